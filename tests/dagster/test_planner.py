"""
The planner sensor: what is unseeded becomes partitions, and one run for those that are not loaded.
"""

from __future__ import annotations

import time

import dagster as dg
from deployed import ITEMS, NAMES, ORDERS, SEEDS, Deployed, configured

from cdc_assets.dagster.alive import ALIVE_TAG
from cdc_assets.dagster.names import RANGE_END, RANGE_START, SEED_TAG

FIRST_SEED = {SEED_TAG: "shop/public.orders/1"}


def requested(result: dg.SensorResult) -> dict[str, tuple[str, str]]:
    """The first and the last partition that a run is wanted for, by its seed."""
    return {
        request.tags[SEED_TAG]: (request.tags[RANGE_START], request.tags[RANGE_END])
        for request in result.run_requests or ()
    }


def skipped(result: dg.SensorResult) -> str:
    assert not result.run_requests
    assert isinstance(result.skip_reason, dg.SkipReason)
    return result.skip_reason.skip_message or ""


def test_chunks_become_partitions_in_the_order_they_are_read(chunked):
    chunked.plan()

    assert chunked.partitions() == [f"0001-{n:06}_orders_{n}" for n in range(6)]


def test_there_is_one_run_for_all_chunks_of_a_table(chunked):
    result = chunked.plan()

    first, *_, last = chunked.partitions()
    only = chunked.partitions(ITEMS)[0]
    assert requested(result) == {
        "shop/public.orders/1": (first, last),
        "shop/public.items/1": (only, only),
    }
    assert [request.asset_selection for request in result.run_requests or ()] == [
        [NAMES.snapshot(ITEMS)],
        [SEEDS],
    ]


def test_two_runs_never_have_the_same_key(chunked):
    """Dagster would leave out the second, for ever."""
    keys = [request.run_key for request in chunked.plan().run_requests or ()]

    assert len(set(keys)) == 2
    assert all("{" not in str(key) for key in keys)


def test_nothing_is_requested_while_a_run_of_the_seed_is_unfinished(chunked):
    chunked.plan()
    chunked.started(FIRST_SEED, began=5)

    result = chunked.plan()

    assert "shop/public.orders/1" not in requested(result)
    assert "shop/public.items/1" in requested(result)


def test_a_run_whose_worker_is_gone_is_declared_failed_and_followed_by_another(chunked):
    """Nobody else would notice: a worker can die together with its code server."""
    chunked.plan()
    run_id = chunked.started(FIRST_SEED, began=200)

    chunked.plan()

    assert chunked.status(run_id) is dg.DagsterRunStatus.FAILURE


def test_a_run_that_said_that_it_is_at_work_is_left_alone(chunked):
    chunked.plan()
    run_id = chunked.started(FIRST_SEED, began=200)
    chunked.instance.add_run_tags(run_id, {ALIVE_TAG: f"{time.time() - 30:.0f}"})

    chunked.plan()

    assert chunked.status(run_id) is dg.DagsterRunStatus.STARTED


def test_after_a_failed_run_the_next_one_waits(chunked):
    chunked.plan()
    chunked.ended(FIRST_SEED, "FAILURE", began=20, ended=2)

    assert "shop/public.orders/1" not in requested(chunked.plan())


def test_the_wait_is_twice_as_long_each_time(chunked):
    chunked.plan()
    chunked.ended(FIRST_SEED, "FAILURE", began=120, ended=100)
    chunked.ended(FIRST_SEED, "FAILURE", began=60, ended=20)

    assert "shop/public.orders/1" not in requested(chunked.plan())


def test_after_the_wait_exactly_the_rest_is_requested(chunked):
    chunked.plan()
    first, second, *_, last = chunked.partitions()
    chunked.ended(FIRST_SEED, "FAILURE", began=60, ended=20)
    assert chunked.materialize(SEEDS, partition_key=first).success

    assert requested(chunked.plan())["shop/public.orders/1"] == (second, last)


def test_what_is_seeded_is_not_planned_again(deployed):
    deployed.seed()

    assert skipped(deployed.plan()) == "everything is seeded"


def test_partitions_of_an_earlier_seed_go_when_the_next_one_is_planned(deployed):
    deployed.seed()
    deployed.pipeline.sink.mark_unseeded(ORDERS, "asked to", in_step=True)

    deployed.plan()

    assert deployed.partitions() == ["0002-000000_orders_0"]


def test_a_table_made_since_the_definitions_were_loaded_shows_once_they_are_loaded_again(deployed, shop):
    before = deployed.defs.resolve_sensor_def(NAMES.planner)
    shop.execute("create table later (id int primary key)")

    context = dg.build_sensor_context(instance=deployed.instance)
    result = before(context)

    assert "shop/public.later/1" not in requested(result)
    assert "shop/public.later/1" in requested(deployed.plan())


def test_what_a_table_is_set_aside_for_is_said(deployed, shop):
    deployed.seed()
    shop.execute("create table keyless (a int)")

    assert "public.keyless is set aside: " in skipped(deployed.plan())


def test_a_source_that_cannot_be_reached_is_said_and_not_raised(tmp_path, newest_dsn, shop, instance):
    reachable = Deployed(configured(tmp_path, newest_dsn), instance)
    assert reachable.defs
    gone = Deployed(configured(tmp_path, "host=127.0.0.1 port=1 connect_timeout=2"), instance)

    assert "127.0.0.1" in skipped(gone.plan())


def test_what_may_start_anew_is_planned_anew_and_observed(tmp_path, newest_dsn, deployed, shop):
    deployed.seed()
    shop.execute("select pg_drop_replication_slot('cdc_shop')")
    assert "are gone" in skipped(deployed.plan())
    config = configured(tmp_path, newest_dsn, on_continuity_lost="reseed")

    result = Deployed(config, deployed.instance).plan()

    assert set(requested(result)) == {"shop/public.orders/2", "shop/public.items/2"}
    (said,) = result.asset_events
    assert "slot cdc_shop does not exist" in str(said.metadata["cdc/started_anew"].value)
