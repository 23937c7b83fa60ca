"""
The supervisor sensor: exactly one stream, and a word on the slot at each look.
"""

from __future__ import annotations

import dagster as dg
import pytest
from deployed import NAMES, Deployed, configured, values
from streaming import followed

from cdc_assets.dagster.names import STREAM_TAG

STREAM = NAMES.stream_tags
CHECKS = {"slot_lag", "slot_lag_growth", "slot_health"}


@pytest.fixture
def supervised(tmp_path, newest_dsn, shop, instance) -> Deployed:
    """Seeded; a stream is thought to be gone after five seconds."""
    deployed = Deployed(
        configured(tmp_path, newest_dsn, stream={"stale_after": 5, "emit_every": 1}), instance
    )
    deployed.seed()
    return deployed


def skipped(result: dg.SensorResult) -> str:
    assert not result.run_requests
    assert isinstance(result.skip_reason, dg.SkipReason)
    return result.skip_reason.skip_message or ""


def starts(result: dg.SensorResult) -> bool:
    return bool(result.run_requests)


def checked(result: dg.SensorResult) -> dict[str, bool]:
    events = [event for event in result.asset_events if isinstance(event, dg.AssetCheckEvaluation)]
    assert all(event.asset_key == NAMES.slot for event in events)
    return {event.check_name: event.passed for event in events}


def test_a_stream_is_started_where_there_is_none(supervised):
    (request,) = supervised.supervise().run_requests or ()

    assert request.tags == {STREAM_TAG: "shop", "dagster/max_retries": "0"}


@pytest.mark.parametrize("status", ["SUCCESS", "CANCELED"])
def test_a_stream_that_ended_is_followed_by_the_next_at_once(supervised, status):
    supervised.ended(STREAM, status, began=30)

    assert starts(supervised.supervise())


@pytest.mark.parametrize("status", ["NOT_STARTED", "STARTING", "CANCELING"])
def test_nothing_is_started_while_a_run_is_on_its_way(supervised, status):
    job = supervised.defs.resolve_job_def(NAMES.stream_job)
    run = supervised.instance.create_run_for_job(job, tags=STREAM, status=dg.DagsterRunStatus(status))

    assert skipped(supervised.supervise()) == f"run {run.run_id} is {status.lower()}"


def test_nothing_is_started_while_a_run_streams(supervised):
    run_id = supervised.started(STREAM, began=3600)
    with followed(supervised.pipeline):
        assert f"run {run_id} streams" in skipped(supervised.supervise())

    assert supervised.status(run_id) is dg.DagsterRunStatus.STARTED


def test_a_run_that_started_just_now_is_given_time(supervised):
    run_id = supervised.started(STREAM, began=1)

    assert f"run {run_id} streams" in skipped(supervised.supervise())


def test_a_run_whose_worker_is_gone_is_declared_failed_and_replaced(supervised):
    """It would stay started for ever: nothing else sees a worker die together with its code server."""
    run_id = supervised.started(STREAM, began=60)

    assert starts(supervised.supervise())
    assert supervised.status(run_id) is dg.DagsterRunStatus.FAILURE


def test_a_sign_of_life_of_another_run_does_not_count(supervised):
    run_id = supervised.started(STREAM, began=60)
    supervised.observed({"cdc/stream_run": "another"})

    assert starts(supervised.supervise())
    assert supervised.status(run_id) is dg.DagsterRunStatus.FAILURE


def test_a_run_that_gave_a_sign_of_life_is_left_alone(supervised):
    run_id = supervised.started(STREAM, began=60)
    supervised.observed({"cdc/stream_run": run_id})

    assert f"run {run_id} streams" in skipped(supervised.supervise())


def test_a_slot_that_somebody_else_reads_is_left_to_them_and_said(supervised):
    with followed(supervised.pipeline):
        said = skipped(supervised.supervise())

    assert said.startswith("slot held by pid ")
    assert said.endswith("which is not a run of this pipeline")


def test_after_a_quick_failure_the_next_run_waits(supervised):
    supervised.ended(STREAM, "FAILURE", began=5, ended=1)

    assert "failed quickly; the next one starts in 9 s" in skipped(supervised.supervise())


def test_each_quick_failure_doubles_the_wait(supervised):
    for began in (90, 60, 30):
        supervised.ended(STREAM, "FAILURE", began=began, ended=began - 5)

    assert "the next one starts in 15 s" in skipped(supervised.supervise())


def test_a_run_that_streamed_before_it_was_killed_is_followed_by_the_next_at_once(supervised):
    run_id = supervised.ended(STREAM, "FAILURE", began=5, ended=1)
    supervised.observed({"cdc/stream_run": run_id})

    assert starts(supervised.supervise())


def test_a_run_that_only_waited_is_no_better_than_one_that_failed(supervised):
    run_id = supervised.ended(STREAM, "FAILURE", began=5, ended=1)
    supervised.observed({"cdc/stream_run": run_id, "cdc/waits_for": "the server"})

    assert "failed quickly" in skipped(supervised.supervise())


def test_after_the_wait_a_stream_is_started(supervised):
    supervised.ended(STREAM, "FAILURE", began=20, ended=11)

    assert starts(supervised.supervise())


def test_a_failure_after_a_long_run_is_no_reason_to_wait(supervised):
    supervised.ended(STREAM, "FAILURE", began=300, ended=1)

    assert starts(supervised.supervise())


def test_each_look_gives_the_checks_results_without_a_run(supervised):
    result = supervised.supervise()

    assert checked(result) == {"slot_lag": True, "slot_lag_growth": True, "slot_health": False}


def test_a_slot_that_is_read_is_healthy(supervised):
    with followed(supervised.pipeline):
        assert all(checked(supervised.supervise()).values())


def test_the_slot_is_observed_where_no_stream_does_it(tmp_path, newest_dsn, shop, instance):
    deployed = Deployed(configured(tmp_path, newest_dsn), instance)
    deployed.plan()

    observed = [
        event for event in deployed.supervise().asset_events if isinstance(event, dg.AssetObservation)
    ]

    (metadata,) = [values(event) for event in observed]
    assert {type(metadata[f"cdc/{size}_bytes"]) for size in ("lag", "retained")} == {int}
    assert type(metadata["cdc/lag_seconds"]) is float
    assert metadata["cdc/active"] is False


def test_a_slot_that_was_observed_a_moment_ago_is_not_observed_again(deployed):
    deployed.seed()
    deployed.instance.report_runless_asset_event(dg.AssetObservation(NAMES.slot))

    events = deployed.supervise().asset_events

    assert not [event for event in events if isinstance(event, dg.AssetObservation)]


def test_a_table_whose_changes_are_not_sent_is_an_error(supervised, shop):
    shop.execute("alter publication cdc_shop drop table orders")

    assert checked(supervised.supervise())["slot_health"] is False


def test_before_there_is_a_slot_only_its_health_is_judged(deployed):
    assert checked(deployed.supervise()) == {"slot_health": True}


def test_a_source_that_cannot_be_reached_is_said_and_not_raised(tmp_path, supervised):
    gone = configured(tmp_path, "host=127.0.0.1 port=1 connect_timeout=2")

    assert "127.0.0.1" in skipped(Deployed(gone, supervised.instance).supervise())


def test_the_streams_runs_are_known_by_job_and_tag(supervised):
    """A table that is materialized by hand is no stream."""
    supervised.started({}, began=1)

    assert starts(supervised.supervise())
