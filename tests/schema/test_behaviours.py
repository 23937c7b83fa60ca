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

from cdc_assets.engine import Loaded, catch_up
from cdc_assets.postgres.wal import WalCapture
from cdc_assets.sinks.duckdb.sink import DuckDBSink
from cdc_assets.testing.histories.copies import copies
from cdc_assets.testing.histories.differences import differences

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


def assert_same(dsn: str, sink: DuckDBSink) -> None:
    """As PostgreSQL sees it, and whoever opens the file."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        assert differences(connection, copies(sink)) == []


@pytest.mark.parametrize("behaviour", BEHAVIOURS.values(), ids=BEHAVIOURS.keys())
def test_statement_by_statement(
    source: Source, dsn: str, mine: WalCapture, sink: DuckDBSink, behaviour: Behaviour
) -> None:
    run(source, behaviour.setup)
    sync(mine, sink)
    there = sum(held.rows or 0 for held in sink.tables(counted=True).values())
    read = 0
    for step in behaviour.steps:
        run(source, step)
        read += sync(mine, sink)
        assert_same(dsn, sink)
    read -= behaviour is BEHAVIOURS["a new table"]
    if behaviour.in_place is not None:
        assert behaviour.in_place == (read == 0), f"{read} rows read, {there} were there"


@pytest.mark.parametrize("behaviour", BEHAVIOURS.values(), ids=BEHAVIOURS.keys())
def test_all_in_one_batch(
    source: Source, dsn: str, mine: WalCapture, sink: DuckDBSink, behaviour: Behaviour
) -> None:
    run(source, behaviour.setup)
    sync(mine, sink)
    for step in behaviour.steps:
        run(source, step)

    sync(mine, sink)

    assert_same(dsn, sink)
