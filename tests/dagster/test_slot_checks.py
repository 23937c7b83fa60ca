"""
The slot's checks, executed by hand.
"""

from __future__ import annotations

import dagster as dg
import pytest
from deployed import NAMES, ORDERS, Deployed, configured, said

from cdc_assets.dagster.checks import past_lags


def execute(deployed: Deployed, *checks: str) -> tuple[dg.ExecuteInProcessResult, dict[str, bool]]:
    """In a run; what each check said."""
    keys = [dg.AssetCheckKey(NAMES.slot, check) for check in checks]
    selection = dg.AssetSelection.checks(*keys) if keys else dg.AssetSelection.checks_for_assets(NAMES.slot)
    job = dg.define_asset_job("by_hand", selection=selection)
    defs = dg.Definitions.merge(deployed.defs, dg.Definitions(jobs=[job]))
    result = defs.resolve_job_def("by_hand").execute_in_process(
        instance=deployed.instance, raise_on_error=False
    )
    return result, {found.check_name: found.passed for found in result.get_asset_check_evaluations()}


def test_all_checks_can_be_executed_in_a_run(deployed):
    deployed.seed()

    result, found = execute(deployed)

    assert result.success, "a check that does not pass fails no run"
    assert found == {"slot_lag": True, "slot_lag_growth": True, "slot_health": False}


@pytest.mark.parametrize("check", ["slot_lag", "slot_lag_growth", "slot_health"])
def test_one_check_can_be_executed_alone(deployed, check):
    deployed.seed()

    _, found = execute(deployed, check)

    assert set(found) == {check}


def test_lag_beyond_its_limit_does_not_pass(tmp_path, newest_dsn, shop, instance):
    deployed = Deployed(configured(tmp_path, newest_dsn, lag={"warn": 1000}), instance)
    deployed.seed()
    shop.execute("insert into orders select i, 'new', 1 from generate_series(4, 1000) i")

    _, found = execute(deployed, "slot_lag")

    assert found == {"slot_lag": False}


def test_a_slot_that_is_gone_does_not_pass_and_says_what_to_do(deployed, shop):
    deployed.seed()
    shop.execute("select pg_drop_replication_slot('cdc_shop')")

    result, found = execute(deployed, "slot_health")

    assert found == {"slot_health": False}
    (evaluation,) = result.get_asset_check_evaluations()
    assert "cdc-assets reseed --all" in (evaluation.description or "")


def test_rows_that_were_refused_are_warned_of_until_they_are_taken(deployed, shop):
    deployed.seed()
    deployed.by_hand("ALTER TABLE destination.public.orders ALTER status SET NOT NULL")
    shop.execute("insert into orders values (4, null, 1), (5, null, 2)")
    deployed.seed()

    result, _ = execute(deployed, "slot_health")

    (evaluation,) = result.get_asset_check_evaluations()
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "2 rows were refused and are in quarantine" in (evaluation.description or "")
    assert evaluation.metadata["cdc/quarantined"].value == 2
    deployed.by_hand("ALTER TABLE destination.public.orders ALTER status DROP NOT NULL")
    deployed.pipeline.sink.retry(ORDERS)
    result, _ = execute(deployed, "slot_health")
    (evaluation,) = result.get_asset_check_evaluations()
    assert "quarantine" not in (evaluation.description or "")


def test_growth_is_judged_by_what_was_observed_before_oldest_first(instance):
    for lag in (1, 2, 3):
        sample = dg.AssetObservation(NAMES.slot, metadata={"cdc/lag_bytes": lag})
        instance.report_runless_asset_event(sample)
    instance.report_runless_asset_event(dg.AssetObservation(NAMES.slot))

    assert [lag for _, lag in past_lags(instance, NAMES.slot, window=600)] == [1, 2, 3]
    assert past_lags(instance, NAMES.slot, window=0) == []


def test_a_source_that_cannot_be_reached_fails_the_run_and_says_so(tmp_path, deployed):
    assert deployed.defs
    gone = configured(tmp_path, "host=127.0.0.1 port=1 connect_timeout=2")

    result, _ = execute(Deployed(gone, deployed.instance), "slot_health")

    assert not result.success
    assert "127.0.0.1" in said(result)
