"""
After anything an application does to its tables, the copy is what the source is.

Each behaviour is followed statement by statement, and once all in one batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from behaviours import BEHAVIOURS, Behaviour
from wal_captures import capture

from cdc_assets.engine import Loaded, catch_up, compare
from cdc_assets.model import Differences, TableState
from cdc_assets.postgres.wal import WalCapture
from cdc_assets.sinks.duckdb.sink import DuckDBSink

Source = psycopg.Connection[tuple[object, ...]]


@pytest.fixture
def mine(dsn: str) -> WalCapture:
    return capture(dsn, "*.*")


@pytest.fixture
def sink(path: Path) -> Iterator[DuckDBSink]:
    sink = DuckDBSink(path, "schema")
    yield sink
    sink.close()


def run(source: Source, statements: str) -> None:
    """As `psql` would: each a transaction of its own, unless it says otherwise."""
    for statement in statements.split("; "):
        source.execute(statement.encode())


def sync(mine: WalCapture, sink: DuckDBSink) -> int:
    """How many rows were read."""
    return sum(event.rows for event in catch_up(mine, sink) if isinstance(event, Loaded))


def assert_same(mine: WalCapture, sink: DuckDBSink) -> None:
    tables = mine.select(sink.tables()).tables
    assert set(tables) == {name for name, held in sink.tables().items() if held.state is TableState.SEEDED}
    columns = {name: set(sink.read(name).column_names) for name in tables}
    assert columns == {name: set(table.names) for name, table in tables.items()}
    found = {each.table: each.differences for each in compare(mine, sink, tables)}
    assert found == dict.fromkeys(tables, Differences(0, 0))


@pytest.mark.parametrize("behaviour", BEHAVIOURS.values(), ids=BEHAVIOURS.keys())
def test_statement_by_statement(
    source: Source, mine: WalCapture, sink: DuckDBSink, behaviour: Behaviour
) -> None:
    run(source, behaviour.setup)
    sync(mine, sink)
    there = sum(held.rows or 0 for held in sink.tables().values())
    read = 0
    for step in behaviour.steps:
        run(source, step)
        read += sync(mine, sink)
        assert_same(mine, sink)
    read -= behaviour is BEHAVIOURS["a new table"]
    if behaviour.in_place is not None:
        assert behaviour.in_place == (read == 0), f"{read} rows read, {there} were there"


@pytest.mark.parametrize("behaviour", BEHAVIOURS.values(), ids=BEHAVIOURS.keys())
def test_all_in_one_batch(source: Source, mine: WalCapture, sink: DuckDBSink, behaviour: Behaviour) -> None:
    run(source, behaviour.setup)
    sync(mine, sink)
    for step in behaviour.steps:
        run(source, step)

    sync(mine, sink)

    assert_same(mine, sink)
