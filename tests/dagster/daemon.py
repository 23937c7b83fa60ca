"""
A shop in a deployment of its own: storage in PostgreSQL, a daemon, a code server, each a process.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import TypeVar

import dagster as dg
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from cdc_assets import engine, load_config
from cdc_assets.dagster.names import Names
from cdc_assets.model import TableName
from cdc_assets.pipeline import build
from cdc_assets.testing import PostgresServer
from cdc_assets.testing.deployment import Deployment
from cdc_assets.testing.instance import make_instance

CONFIG = """
name: shop
source: {conninfo: {env: SHOP_DSN}, tables: ["public.*"]}
destination: {type: duckdb, path: shop.duckdb}
batch: {max_delay: 50ms}
seed: {chunk_bytes: 8KiB}
stream: {emit_every: 2s, supervise_every: 5s, stale_after: 8s}
"""
DEFINITIONS = """
from pathlib import Path
import dagster as dg
from cdc_assets import build_cdc_definitions, load_config

shop = load_config(Path(__file__).with_name("cdc.yaml"))
defs = dg.Definitions.merge(
    build_cdc_definitions(shop, start_sensors=True), dg.Definitions(executor=dg.in_process_executor)
)
"""
NAMES = Names("shop")
ORDERS = TableName("public", "orders")
_WITHIN = 90.0
"""Seconds; a sensor's tick, a dequeue and a worker's start are in it."""
_PID = re.compile(r"\(pid: (\d+)\)")

_Found = TypeVar("_Found")


def eventually(look: Callable[[], _Found], within: float = _WITHIN) -> _Found:
    deadline = time.monotonic() + within
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)
    return found


class Running(Deployment):
    """With a shop's pipeline, and a look at both of its sides."""

    def __init__(self, folder: Path, dsn: str, environment: Mapping[str, str]) -> None:
        super().__init__(folder, environment)
        self.dsn = dsn
        self.instance = dg.DagsterInstance.get()
        self.pipeline = build(load_config(folder / "cdc.yaml"))
        self.source = psycopg.connect(dsn, autocommit=True)

    def end(self) -> None:
        super().end()
        self.source.close()
        self.instance.dispose()

    def write(self, statement: str) -> None:
        self.source.execute(statement.encode())

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Changes of every kind, all the time, until the block ends."""
        ended = threading.Event()
        thread = threading.Thread(target=self._write_until, args=(ended,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _write_until(self, ended: threading.Event) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as source:
            for number in count(10_000):
                if ended.wait(0.01):
                    return
                source.execute("insert into orders values (%s, 'new')", [number])
                source.execute("update orders set status = 'paid' where id = %s", [number - 5])
                source.execute("delete from orders where id = %s", [number - 50])

    def held(self) -> dict[int, str]:
        rows = self.pipeline.sink.read(ORDERS).to_pylist()
        return {row["id"]: row["status"] for row in rows}

    def has(self, key: int) -> bool:
        return self.pipeline.sink.is_seeded(ORDERS) and key in self.held()

    def arrives(self, key: int) -> bool:
        """What is written now, by whichever run streams by then."""
        self.write(f"insert into orders values ({key}, 'new')")
        return eventually(lambda: self.has(key))

    def equal(self) -> bool:
        """Whether both sides are, once the stream is past everything that is written now."""
        head = self.pipeline.capture.head()
        eventually(lambda: (held := self.pipeline.sink.position()) and held.lsn >= head)
        tables = self.pipeline.capture.select().tables
        found = list(engine.compare(self.pipeline.capture, self.pipeline.sink, tables))
        return len(found) == 2 and not any(each.differences for each in found)

    def streams(self, *statuses: dg.DagsterRunStatus) -> Sequence[dg.DagsterRun]:
        """The newest first."""
        return self.instance.get_runs(dg.RunsFilter(tags=NAMES.stream_tags, statuses=list(statuses)))

    def streaming_run(self, *, after: str | None = None) -> str:
        """The run that streams, once there is one, or one that is not `after`."""

        def look() -> str | None:
            lag = self.pipeline.capture.lag()
            started = [run.run_id for run in self.streams(dg.DagsterRunStatus.STARTED)]
            active = lag is not None and lag.active
            return started[0] if active and started and started[0] != after else None

        return eventually(look) or ""

    def status(self, run_id: str) -> dg.DagsterRunStatus:
        run = self.instance.get_run_by_id(run_id)
        assert run
        return run.status

    def worker(self, run_id: str) -> int:
        """The process id of a run's worker."""
        logs = self.instance.all_logs(run_id)
        return next(int(match[1]) for entry in logs if (match := _PID.search(entry.message)))


@contextmanager
def deployment(folder: Path) -> Iterator[Running]:
    """Everything running, on a server of its own; nothing of it is left at the end."""
    (folder / "cdc.yaml").write_text(CONFIG)
    (folder / "definitions.py").write_text(DEFINITIONS)
    with ExitStack() as stack:
        server = stack.enter_context(PostgresServer(settings={"fsync": "off"}))
        patched = stack.enter_context(pytest.MonkeyPatch.context())
        with psycopg.connect(server.dsn, autocommit=True) as admin:
            admin.execute("create database shop")
        dsn = make_conninfo(server.dsn, dbname="shop")
        with psycopg.connect(dsn, autocommit=True) as source:
            source.execute("create table orders (id int primary key, status text)")
            source.execute("insert into orders select i, repeat('x', 200) from generate_series(1, 200) i")
            source.execute("create table items (id int primary key)")
        environment = {**make_instance(folder / "dagster", server.dsn), "SHOP_DSN": dsn}
        for name, value in environment.items():
            patched.setenv(name, value)
        deployed = Running(folder, dsn, environment)
        stack.callback(deployed.end)
        deployed.start()
        yield deployed
