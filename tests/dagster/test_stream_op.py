"""
The long-running op: it streams, says what it did, and ends as it should, however it is ended.
"""

from __future__ import annotations

import signal
import time

import dagster as dg
import pytest
from deployed import ITEMS, MIRROR, NAMES, Deployed, configured, said, values
from streaming import active_pid, followed, streaming
from wal_captures import confirmed, eventually

from cdc_assets.testing.proxy import Proxy

SHORT = {"max_run_seconds": 2, "emit_every": 1}


@pytest.fixture
def short(tmp_path, newest_dsn, shop, instance) -> Deployed:
    """Seeded, with a stream that is long enough after two seconds."""
    deployed = Deployed(configured(tmp_path, newest_dsn, stream=SHORT), instance)
    deployed.seed()
    return deployed


@pytest.fixture
def seeded(deployed: Deployed, lasting: dg.DagsterInstance) -> Deployed:
    """Seeded, in an instance that other processes have a part in."""
    deployed.seed()
    return Deployed(deployed.config, lasting)


def logged(instance: dg.DagsterInstance, run_id: str) -> str:
    return "\n".join(entry.user_message for entry in instance.all_logs(run_id))


def test_a_run_ends_with_success_when_it_has_streamed_long_enough(short, shop):
    shop.execute("update orders set status = 'paid' where id = 1; delete from orders where id = 3")
    began = time.monotonic()

    assert short.stream().success

    assert 2 <= time.monotonic() - began < 8
    assert [(row["id"], row["status"]) for row in short.held()] == [(1, "paid"), (2, "paid")]


def test_each_table_that_was_touched_says_what_happened_to_it(short, shop):
    before = len(short.materializations(MIRROR)), len(short.materializations(NAMES.mirror(ITEMS)))
    shop.execute("insert into orders values (4, 'new', 1), (5, 'new', 1)")
    shop.execute("update orders set status = 'paid' where id < 4; delete from orders where id = 5")
    short.stream()

    touched, untouched = short.materializations(MIRROR), short.materializations(NAMES.mirror(ITEMS))
    assert (len(touched), len(untouched)) == (before[0] + 1, before[1])
    found = values(touched[-1])
    counts = [found[f"cdc/{did}"] for did in ("inserted", "updated", "deleted", "truncated")]
    assert counts == [2, 3, 1, 0]
    assert found["dagster/row_count"] == 4
    assert found["cdc/state"] == "seeded"
    assert found["cdc/first_lsn"] < found["cdc/last_lsn"]


def test_rows_that_are_refused_are_counted_and_warned_of(short, shop):
    short.by_hand("ALTER TABLE destination.public.orders ALTER status SET NOT NULL")
    shop.execute("insert into orders values (4, null, 1), (5, 'new', 1)")
    run_id = short.stream().dagster_run.run_id

    found = values(short.materializations(MIRROR)[-1])
    assert (found["cdc/quarantined"], found["cdc/state"], found["dagster/row_count"]) == (1, "seeded", 4)
    assert "public.orders: 1 rows were refused and are in quarantine" in logged(short.instance, run_id)
    shop.execute("update orders set status = 'paid' where id = 4")
    short.stream()
    assert values(short.materializations(MIRROR)[-1])["cdc/quarantined"] == 0


def test_a_refused_row_fails_the_run_if_that_is_what_is_configured(tmp_path, newest_dsn, shop, instance):
    deployed = Deployed(configured(tmp_path, newest_dsn, on_row_refused="stop"), instance)
    deployed.seed()
    deployed.by_hand("ALTER TABLE destination.public.orders ALTER status SET NOT NULL")
    shop.execute("insert into orders values (4, null, 1)")

    result = deployed.stream()

    assert not result.success
    assert "DuckDB refused a row of public.orders at 0/" in said(result)
    assert "HINT:  see what was done to the table" in said(result)


def test_a_row_that_stops_a_run_is_nowhere_in_what_the_run_says(tmp_path, newest_dsn, shop, instance):
    """DuckDB's own messages quote values."""
    deployed = Deployed(configured(tmp_path, newest_dsn, on_row_refused="stop"), instance)
    shop.execute("create table notes (note text); alter table notes replica identity full")
    deployed.seed()
    deployed.by_hand("CREATE UNIQUE INDEX one ON destination.public.notes (note)")
    shop.execute("insert into notes values ('secret-17'), ('secret-17')")

    result = deployed.stream()

    assert "DuckDB refused a write to public.notes (Constraint error), at or before 0/" in said(result)
    logs = instance.all_logs(result.dagster_run.run_id)
    assert not any("secret-17" in dg.serialize_value(entry) for entry in logs)


def test_a_copy_that_was_put_in_place_says_what_its_columns_are_as_the_definition_does(deployed):
    assert deployed.materialize(*deployed.mirrors).success

    (first,) = [values(event)["dagster/column_schema"] for event in deployed.materializations(MIRROR)]
    (spec,) = [spec for spec in deployed.defs.resolve_all_asset_specs() if spec.key == MIRROR]
    assert first == spec.metadata["dagster/column_schema"]


def test_a_stream_gives_signs_of_life_whose_numbers_can_be_plotted(short, shop):
    before = len(short.observations())
    shop.execute("insert into orders values (4, 'new', 1)")
    run_id = short.stream().dagster_run.run_id

    found = [values(observation) for observation in short.observations()[before:]]
    assert {each["cdc/stream_run"] for each in found} == {run_id}
    assert sum(each["cdc/changes"] for each in found) == 1
    assert {type(each[f"cdc/{size}_bytes"]) for each in found for size in ("lag", "retained")} == {int}
    (latency,) = [each["cdc/latency_p50_seconds"] for each in found if each["cdc/changes"]]
    assert 0 < latency < 30


def test_the_first_sign_of_life_comes_as_soon_as_it_streams(tmp_path, newest_dsn, shop, instance):
    """Killed before that, a run is taken for one that failed by itself, and the next one waits."""
    stream = {"max_run_seconds": 3, "emit_every": "1h"}
    deployed = Deployed(configured(tmp_path, newest_dsn, stream=stream), instance)
    deployed.seed()
    before = len(deployed.observations())

    run_id = deployed.stream().dagster_run.run_id

    found = [values(observation) for observation in deployed.observations()[before:]]
    assert [each["cdc/stream_run"] for each in found] == [run_id] * 2, "and the last one at its end"


@dg.asset_check(asset=MIRROR)
def of_the_users() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


def test_a_check_on_a_copy_is_not_planned_in_the_streams_run(short):
    """It would be shown as in progress for as long as the stream runs."""
    defs = dg.Definitions.merge(short.defs, dg.Definitions(asset_checks=[of_the_users]))
    result = defs.resolve_job_def(NAMES.stream_job).execute_in_process(instance=short.instance)

    logs = short.instance.all_logs(result.dagster_run.run_id)
    events = {entry.dagster_event.event_type for entry in logs if entry.dagster_event}
    assert dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED in events
    assert dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED not in events


def test_a_stream_that_cannot_go_on_says_why_and_what_to_do(short, shop):
    shop.execute("select pg_drop_replication_slot('cdc_shop')")

    result = short.stream()

    assert not result.success
    assert "are gone" in said(result)
    assert "HINT:  copy everything again" in said(result)


def test_an_outage_is_waited_for_within_the_run(seeded, shop, newest_dsn):
    with Proxy(newest_dsn) as network, streaming(seeded, network.dsn) as (_, run_id):
        network.cut()
        shop.execute("insert into orders values (4, 'new', 1)")
        eventually(lambda: "trying again in" in logged(seeded.instance, run_id))
        network.mend()
        eventually(lambda: len(seeded.held()) == 4)

        assert seeded.status(run_id) is dg.DagsterRunStatus.STARTED


def test_a_run_that_waits_gives_signs_of_life_and_fails_if_it_waits_to_its_end(tmp_path, short):
    assert short.defs
    gone = configured(tmp_path, "host=127.0.0.1 port=1", stream=SHORT)

    result = Deployed(gone, short.instance).stream()

    assert not result.success
    assert "cannot connect to the source" in said(result)
    sign = values(short.observations()[-1])
    assert sign["cdc/stream_run"] == result.dagster_run.run_id
    assert "cannot connect to the source" in sign["cdc/waits_for"]


def test_a_stream_that_may_start_anew_says_that_it_did(tmp_path, newest_dsn, short, shop):
    shop.execute("select pg_drop_replication_slot('cdc_shop')")
    config = configured(tmp_path, newest_dsn, stream=SHORT, on_continuity_lost="reseed")

    assert Deployed(config, short.instance).stream().success

    (anew,) = [values(said) for said in short.observations() if "cdc/started_anew" in said.metadata]
    assert "slot cdc_shop does not exist" in anew["cdc/started_anew"]


# Ended by others


def test_a_run_that_is_stopped_finishes_its_batch_confirms_it_and_lets_go_of_the_slot(
    seeded, shop, newest_dsn
):
    with streaming(seeded, newest_dsn) as (process, run_id):
        shop.execute("insert into orders select i, 'new', 1 from generate_series(4, 5000) i")
        eventually(lambda: len(seeded.held()) > 3)
        run = seeded.instance.get_run_by_id(run_id)
        assert run
        seeded.instance.report_run_canceling(run)
        process.send_signal(signal.SIGTERM)
        process.wait(20)

    assert seeded.status(run_id) is dg.DagsterRunStatus.CANCELED
    assert active_pid(newest_dsn) is None
    position = seeded.pipeline.sink.position()
    assert position
    assert confirmed(shop, "cdc_shop") == position.lsn
    assert values(seeded.materializations(MIRROR)[-1])["dagster/row_count"] == len(seeded.held())


def test_a_run_that_was_declared_finished_leaves_by_itself(seeded, newest_dsn):
    """Another one may have been started in its place."""
    with streaming(seeded, newest_dsn) as (process, run_id):
        run = seeded.instance.get_run_by_id(run_id)
        assert run
        seeded.instance.report_run_failed(run, "it was thought to be gone")
        process.wait(20)

    assert active_pid(newest_dsn) is None


# Materialized by hand, or by a schedule


def test_without_the_streams_tag_a_run_catches_up_to_now_and_ends(deployed, shop):
    deployed.seed()
    shop.execute("update orders set status = 'paid'")

    assert deployed.materialize(*deployed.mirrors).success

    assert {row["status"] for row in deployed.held()} == {"paid"}
    assert values(deployed.materializations(MIRROR)[-1])["cdc/updated"] == 3


def test_a_run_that_catches_up_seeds_what_is_unseeded(deployed):
    assert deployed.materialize(*deployed.mirrors).success

    assert [row["name"] for row in deployed.held(ITEMS)] == ["chair", "table"]
    assert values(deployed.materializations(MIRROR)[-1])["dagster/row_count"] == 3


def test_while_another_one_streams_a_run_that_catches_up_waits_for_it(seeded, shop):
    def waits() -> bool:
        runs = seeded.instance.get_runs(limit=1)
        return any("waiting for it" in logged(seeded.instance, run.run_id) for run in runs)

    with followed(seeded.pipeline, from_when=waits):
        shop.execute("update orders set status = 'paid'")
        assert seeded.materialize(*seeded.mirrors).success

        assert {row["status"] for row in seeded.held()} == {"paid"}


def test_a_slot_that_is_held_by_somebody_else_stops_a_stream(short, newest_dsn):
    with followed(short.pipeline):
        result = short.stream()

    assert not result.success
    assert "slot cdc_shop is in use by pid" in said(result)


def test_a_truncated_table_says_so(deployed, shop):
    deployed.seed()
    shop.execute("truncate orders")
    deployed.materialize(*deployed.mirrors)

    found = values(deployed.materializations(MIRROR)[-1])
    assert (found["dagster/row_count"], found["cdc/truncated"]) == (0, 1)
