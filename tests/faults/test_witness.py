"""
The witness notices each of the things that must never be.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from wal_captures import capture, eventually

from cdc_assets import engine
from cdc_assets.sinks.duckdb.sink import DuckDBSink
from cdc_assets.testing.faults import transfers
from cdc_assets.testing.faults.witness import Witness


@pytest.fixture
def source(newest_dsn: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(newest_dsn, autocommit=True) as connection:
        transfers.set_up(connection)
        yield connection


@pytest.fixture
def sink(source, newest_dsn, path) -> DuckDBSink:
    sink = DuckDBSink(path, "bank")
    list(engine.catch_up(capture(newest_dsn, "bank.*"), sink))
    return sink


@pytest.fixture
def witness(sink, newest_dsn, path) -> Iterator[Witness]:
    """That has found nothing wrong so far."""
    slot = capture(newest_dsn).slot
    witness = Witness(newest_dsn, slot, path)
    witness.start()
    try:
        eventually(lambda: witness.looks["positions"] > 2 and witness.looks["sums"] > 2)
        assert witness.wrong == []
        yield witness
    finally:
        witness.end()


def test_it_finds_nothing_wrong_with_transfers_that_are_streamed(source, sink, witness, newest_dsn):
    payments = transfers.Transfers(newest_dsn, seed=1)
    payments.start()
    for _ in range(5):
        before = witness.looks["sums"]
        list(engine.catch_up(capture(newest_dsn, "bank.*"), sink))
        eventually(lambda before=before: witness.looks["sums"] > before)
    payments.end()

    assert witness.wrong == []
    assert source.execute(f"select sum(balance) from bank.{transfers.TABLES[0]}").fetchone() != (
        transfers.SUM // 2,
    )


def test_it_finds_what_is_confirmed_and_not_held(source, witness, newest_dsn):
    slot = capture(newest_dsn).slot
    source.execute("create table bank.more (id int primary key)")
    source.execute("select pg_replication_slot_advance(%s, pg_current_wal_lsn())", [slot])

    assert eventually(lambda: found(witness, "is confirmed, and the destination is at"))


def test_it_finds_what_is_confirmed_moving_back(source, sink, witness, newest_dsn):
    mine = capture(newest_dsn, "bank.*")
    source.execute("select pg_copy_logical_replication_slot(%s, 'earlier')", [mine.slot])
    list(engine.catch_up(mine, sink))
    before = witness.looks["positions"]
    eventually(lambda: witness.looks["positions"] > before + 1)
    assert witness.wrong == []
    source.execute("select pg_drop_replication_slot(%s)", [mine.slot])
    source.execute("select pg_copy_logical_replication_slot('earlier', %s)", [mine.slot])

    assert eventually(lambda: found(witness, "was confirmed, and now it is"))


def test_it_finds_half_a_transfer(sink, witness):
    with sink.file.writing() as transaction:
        transaction.run("UPDATE destination.bank.account_a SET balance = balance - 1 WHERE id = 1")

    assert eventually(lambda: found(witness, "where there are always"))


def found(witness: Witness, said: str) -> list[str]:
    return [wrong for wrong in witness.wrong if said in wrong]
