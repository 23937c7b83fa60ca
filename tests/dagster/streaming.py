"""
Streams beside the test: the stream's job in a process of its own, and a consumer that is no run.

Run as a program in the pipeline's folder, it executes the job; the source is named by `SHOP_DSN`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
from deployed import NAMES, Deployed, configured
from wal_captures import eventually

from cdc_assets.pipeline import Pipeline

CONNINFO = {"env": "SHOP_DSN"}


@contextmanager
def streaming(deployed: Deployed, dsn: str, **settings: Any) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The process, once it streams, and the id of its run; killed at the end if it is still there."""
    folder = deployed.config.folder
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "SHOP_DSN": dsn,
        "DAGSTER_HOME": str(folder / "dagster"),
    }
    command = [sys.executable, __file__, json.dumps(settings)]
    with (
        (folder / "log").open("ab") as log,
        subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            eventually(lambda: active_pid(dsn) or process.poll() is not None, 30)
            (run,) = deployed.instance.get_runs(dg.RunsFilter(tags=NAMES.stream_tags), limit=1)
            yield process, run.run_id
        finally:
            process.kill()


def active_pid(dsn: str) -> int | None:
    """Which process of the server streams from the slot."""
    with psycopg.connect(dsn) as connection:
        query = "select active_pid from pg_replication_slots where slot_name = 'cdc_shop'"
        row = connection.execute(query).fetchone()
    return row[0] if row else None


@contextmanager
def followed(pipeline: Pipeline, from_when: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Somebody who has the slot, is no run, and applies nothing before `from_when` says so."""
    ended = threading.Event()

    def stream() -> None:
        with closing(pipeline.capture.live()) as batches:
            for batch in batches:
                eventually(lambda: from_when() or ended.is_set(), 60)
                if ended.is_set():
                    return
                pipeline.sink.apply(batch)
                batch.ack.confirm()

    thread = threading.Thread(target=stream)
    thread.start()
    try:
        eventually(lambda: (lag := pipeline.capture.lag()) and lag.active)
        yield
    finally:
        ended.set()
        thread.join()


def main() -> None:
    config = configured(Path.cwd(), CONNINFO, **json.loads(sys.argv[1]))
    with dg.DagsterInstance.get() as instance:
        Deployed(config, instance).stream()


if __name__ == "__main__":
    main()
