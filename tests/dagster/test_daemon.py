"""
The whole of it in real processes: seeded, streamed, and taken up again whatever is killed.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator

import dagster as dg
import pytest
from daemon import NAMES, ORDERS, Running, deployment, eventually


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with deployment(tmp_path_factory.mktemp("deployment")) as running:
        yield running


def test_an_event_can_be_written_to_the_storage_in_postgresql(running):
    """With SQLAlchemy 2.1 and psycopg 3, a bare postgresql:// makes each of them fail."""
    running.instance.report_runless_asset_event(dg.AssetMaterialization("probe"))

    assert running.instance.get_latest_materialization_event(dg.AssetKey("probe"))


def test_sensors_seed_every_table_chunk_by_chunk(running):
    partitions = NAMES.chunks(ORDERS)
    eventually(lambda: running.pipeline.sink.is_seeded(ORDERS))

    chunks = running.instance.get_dynamic_partitions(partitions.name or "")
    records = running.instance.fetch_materializations(NAMES.snapshot(ORDERS), limit=100).records
    assert len(chunks) > 3
    assert sorted(record.partition_key or "" for record in records) == list(chunks)


def test_changes_arrive_and_are_reported(running):
    assert running.arrives(1001)

    eventually(lambda: running.instance.fetch_materializations(NAMES.mirror(ORDERS), limit=1).records)
    eventually(lambda: running.instance.fetch_observations(NAMES.slot, limit=1).records)
    check = dg.AssetCheckKey(NAMES.slot, "slot_lag")
    eventually(lambda: running.instance.get_latest_asset_check_evaluation_record(check))


def test_when_the_worker_is_killed_another_run_goes_on(running):
    run_id = running.streaming_run()
    os.kill(running.worker(run_id), signal.SIGKILL)

    assert running.arrives(1002)
    assert running.status(run_id) is dg.DagsterRunStatus.FAILURE


def test_a_run_that_is_terminated_ends_well_and_is_followed_by_another(running):
    run_id = running.streaming_run()
    assert running.instance.run_launcher.terminate(run_id)

    eventually(lambda: running.status(run_id) is dg.DagsterRunStatus.CANCELED)
    assert running.arrives(1003)


def test_when_worker_and_code_server_are_killed_the_run_is_declared_failed_and_replaced(running):
    """Nobody else tells the run, which would be said to be started for ever."""
    run_id = running.streaming_run()
    running.kill_workers_and_code_server()
    assert running.status(run_id) is dg.DagsterRunStatus.STARTED
    running.start_code_server()

    assert running.arrives(1004)
    assert running.status(run_id) is dg.DagsterRunStatus.FAILURE


def test_workers_killed_at_any_moment_lose_nothing_and_double_nothing(running):
    chance = random.Random(5)
    with running.writing():
        for _ in range(4):
            run_id = running.streaming_run()
            time.sleep(chance.uniform(0, 3))
            os.kill(running.worker(run_id), signal.SIGKILL)
            eventually(lambda run_id=run_id: running.status(run_id) is dg.DagsterRunStatus.FAILURE)
            # After runs that failed soon, the supervisor would wait, twice as long each time.
            running.instance.delete_run(run_id)

    assert running.equal()


def test_after_all_that_both_sides_are_equal_and_one_run_streams(running):
    running.streaming_run()

    assert running.equal()
    assert len(running.streams(dg.DagsterRunStatus.STARTED)) == 1
