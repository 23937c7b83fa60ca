"""
Seeds as partitions: each chunk is reported when it is durable, and read once.
"""

from __future__ import annotations

import time
from typing import Any

import duckdb
import psycopg
from deployed import ORDERS, SEEDS, said, values

from cdc_assets import engine
from cdc_assets.dagster.alive import ALIVE_TAG
from cdc_assets.dagster.names import RANGE_END, RANGE_START


def tags(partitions: list[str]) -> dict[str, str]:
    return {RANGE_START: partitions[0], RANGE_END: partitions[-1]}


def spoil(shop: psycopg.Connection[Any]) -> None:
    """Of the six chunks the third cannot be read: for a row of it the row filter fails."""
    shop.execute(
        "create publication cdc_shop for table orders where (1 / (id - 100) is not null) "
        "with (publish_via_partition_root)"
    )


def test_each_chunk_is_materialized_once_and_nothing_at_the_end(chunked):
    chunked.plan()
    partitions = chunked.partitions()

    assert chunked.materialize(SEEDS, tags=tags(partitions)).success

    assert chunked.loaded() == partitions
    assert (
        sum(values(event)["dagster/partition_row_count"] for event in chunked.materializations(SEEDS)) == 240
    )


def test_a_run_says_when_it_was_at_work(chunked):
    chunked.plan()
    began = int(time.time())

    result = chunked.materialize(SEEDS, tags=tags(chunked.partitions()))

    run = chunked.instance.get_run_by_id(result.run_id)
    assert run
    assert began <= int(run.tags[ALIVE_TAG]) <= time.time() + 1


def test_a_failure_leaves_exactly_the_finished_chunks_done(chunked, shop):
    spoil(shop)
    chunked.plan()
    partitions = chunked.partitions()

    result = chunked.materialize(SEEDS, tags=tags(partitions))

    assert not result.success
    assert "HINT:" in said(result)
    done = {chunk for chunk, lsn in chunked.pipeline.sink.chunks(ORDERS).items() if lsn is not None}
    assert 0 < len(done) < len(partitions)
    assert {f"0001-{chunk.key}" for chunk in done} == set(chunked.loaded())


def test_the_next_run_reads_only_what_is_missing(chunked, shop):
    spoil(shop)
    chunked.plan()
    partitions = chunked.partitions()
    chunked.materialize(SEEDS, tags=tags(partitions))
    before = chunked.loaded()
    shop.execute("alter publication cdc_shop set table orders")

    assert chunked.materialize(SEEDS, tags=tags(partitions)).success

    assert sorted(chunked.loaded()[len(before) :]) == sorted(set(partitions) - set(before))
    assert chunked.materialize(*chunked.mirrors).success
    assert len(chunked.held()) == 240


def test_what_a_killed_run_loaded_and_could_not_say_is_said_by_the_next(chunked):
    """Here it is another process that loads the first chunk, and does not tell Dagster."""
    chunked.plan()
    pipeline, partitions = chunked.pipeline, chunked.partitions()
    first = next(iter(pipeline.sink.chunks(ORDERS)))
    tables = pipeline.capture.select().tables
    list(engine.load(pipeline.capture, pipeline.sink, tables, {ORDERS: [first]}))

    *_, request = chunked.plan().run_requests or ()
    assert chunked.run(request).success

    assert chunked.loaded() == partitions
    assert "dagster/partition_row_count" not in chunked.materializations(SEEDS)[0].metadata, "it was not read"


def test_a_chunk_materialized_by_hand_on_a_live_table_is_read_again(chunked, shop):
    chunked.seed()
    with duckdb.connect(chunked.config.folder / "copy.duckdb") as copy:
        copy.execute("update public.orders set status = 'wrong' where id < 100")
    shop.execute("update orders set status = 'later' where id = 2")

    assert chunked.materialize(SEEDS, partition_key=chunked.partitions()[0]).success
    assert chunked.materialize(*chunked.mirrors).success

    held = {row["id"]: row["status"] for row in chunked.held()}
    assert (held[1], held[2]) == ("new", "later")
    assert held[99] == "wrong", "it is in another chunk"


def test_partitions_of_an_earlier_seed_are_refused(deployed):
    deployed.seed()
    first = deployed.partitions()
    deployed.pipeline.sink.mark_unseeded(ORDERS, "asked to", in_step=True)
    deployed.plan()
    deployed.instance.add_dynamic_partitions("cdc__shop__public.orders", first)

    result = deployed.materialize(SEEDS, partition_key=first[0])

    assert not result.success
    assert "belong to an earlier seed of public.orders; the present one is number 2" in said(result)
    assert deployed.loaded() == []


def test_a_table_that_was_rewritten_since_it_was_planned_fails_and_is_planned_again(chunked, shop):
    chunked.plan()
    partitions = chunked.partitions()
    shop.execute("vacuum full orders")

    result = chunked.materialize(SEEDS, tags=tags(partitions))
    chunked.plan()

    assert "the planner plans it again" in said(result)
    assert all(key.startswith("0002-") for key in chunked.partitions())


def test_a_chunk_says_what_it_was(deployed):
    deployed.plan()
    assert deployed.materialize(SEEDS, partition_key=deployed.partitions()[0]).success

    (event,) = deployed.materializations(SEEDS)
    assert {"cdc/snapshot_lsn", "cdc/seconds_into_run", "dagster/partition_row_count"} <= set(event.metadata)
