"""
From snapshot to stream under load, on every version: the copies are what the source is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from concurrent_writers import TABLES, set_up, writing
from wal_captures import capture

from cdc_assets import engine
from cdc_assets.engine import Loaded
from cdc_assets.model import ChangeCapture, Differences, Sink, TableName
from cdc_assets.sinks.duckdb.sink import DuckDBSink
from cdc_assets.sinks.memory import MemorySink

SINKS: dict[str, Callable[[Path], Sink]] = {
    "memory": lambda path: MemorySink(),
    "duckdb": lambda path: DuckDBSink(path, "shop"),
}
SAME = dict.fromkeys(TABLES, Differences(0, 0))


@pytest.fixture(params=SINKS)
def sink(request: pytest.FixtureRequest, path: Path) -> Sink:
    return SINKS[request.param](path)


def differences(capture: ChangeCapture, sink: Sink) -> dict[TableName, Differences]:
    """Of every table, once nobody writes and the stream has brought everything."""
    list(engine.catch_up(capture, sink))
    tables = capture.select().tables
    return {each.table: each.differences for each in engine.compare(capture, sink, tables)}


def test_what_is_written_while_tables_are_seeded_and_streamed_is_there_in_the_end(dsn, sink):
    set_up(dsn)
    source = capture(dsn, "public.*", chunk_bytes=16_000, batch_delay=0.05)
    chunks = 0
    settled = threading.Event()

    with writing(dsn):
        for event in engine.follow(source, sink, stopping=settled.is_set, readers=3):
            chunks += isinstance(event, Loaded)
            if all(sink.is_seeded(name) for name in TABLES):
                settled.set()

    assert chunks > 10
    assert differences(source, sink) == SAME
