"""
One table that cannot be copied: it is set aside and said, the others go on, and its changes are not lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from following import Unattended
from psycopg import sql
from psycopg.conninfo import make_conninfo
from wal_captures import capture, eventually

from cdc_assets import engine, open_duckdb
from cdc_assets.errors import TableRefused, UnusableTable
from cdc_assets.model import Differences, TableName, TableState
from cdc_assets.sinks.duckdb.sink import DuckDBSink

Connection = psycopg.Connection[Any]
BAD, GOOD = TableName("public", "bad"), TableName("public", "good")
SAME = {BAD: Differences(0, 0), GOOD: Differences(0, 0)}


@pytest.fixture
def shop(newest_dsn: str) -> Iterator[Connection]:
    with psycopg.connect(newest_dsn, autocommit=True) as connection:
        for name in ("bad", "good"):
            connection.execute(f"create table {name} (id int primary key, note text)".encode())
            connection.execute(f"insert into {name} values (1, 'first'), (2, 'second')".encode())
        yield connection


@pytest.fixture
def sink(path) -> DuckDBSink:
    return DuckDBSink(path, "shop", lock_timeout=20)


def differences(mine: Any, sink: DuckDBSink) -> dict[TableName, Differences | None]:
    tables = mine.select().tables
    return {each.table: each.differences for each in engine.compare(mine, sink, tables)}


def change(sink: DuckDBSink, statements: str) -> None:
    """By hand, in the file."""
    with sink.file.writing() as transaction:
        transaction.run("USE destination")
        try:
            transaction.run(statements)
        finally:
            transaction.run("USE memory")


VIEW = "ALTER TABLE public.bad RENAME TO moved; CREATE VIEW public.bad AS SELECT 1 AS id"


def test_a_table_that_the_destination_refuses_is_set_aside_until_that_is_mended(newest_dsn, shop, sink, path):
    mine = capture(newest_dsn, batch_delay=0.05)
    with Unattended(mine, sink, watch_every=0.2) as unattended:
        eventually(lambda: sink.is_seeded(BAD) and sink.is_seeded(GOOD))
        change(sink, VIEW)
        shop.execute("insert into bad values (3, 'third'); insert into good values (3, 'third')")
        eventually(lambda: sink.read(GOOD).num_rows == 3)
        eventually(lambda: unattended.aside)
        held = sink.tables()[BAD]
        shop.execute("delete from bad where id = 1; delete from good where id = 1")
        eventually(lambda: sink.read(GOOD).num_rows == 2)
        change(sink, "DROP VIEW public.bad")
        eventually(lambda: sink.is_seeded(BAD))

    assert held.state is TableState.UNSEEDED
    assert held.lsn
    assert "has a public.bad already, which is not a copy" in (held.reason or "")
    assert unattended.aside == [f"public.bad is set aside: {held.reason}"], "said once"
    assert unattended.retries == []
    list(engine.catch_up(mine, sink))
    assert differences(mine, sink) == SAME
    assert sink.tables()[GOOD].generation == 1
    sink.close()
    with open_duckdb(path) as copy:
        assert copy.sql("select count(*) from public.moved").fetchall() == [(2,)], "what is not ours stays"


@pytest.mark.parametrize(
    "by_hand",
    ["DROP TABLE public.bad", "ALTER TABLE public.bad DROP COLUMN note", VIEW],
    ids=lambda s: s[:10],
)
def test_a_copy_that_was_changed_by_hand_keeps_no_other_table_back(newest_dsn, shop, sink, by_hand):
    mine = capture(newest_dsn)
    list(engine.catch_up(mine, sink))
    change(sink, by_hand)
    shop.execute("insert into bad values (3, 'third'); insert into good values (3, 'third')")

    if by_hand == VIEW:
        with pytest.raises(TableRefused, match=r"public\.bad already"):
            list(engine.catch_up(mine, sink))
        change(sink, "DROP VIEW public.bad")
    list(engine.catch_up(mine, sink))

    assert differences(mine, sink) == SAME
    assert sink.tables()[GOOD].generation == 1


def test_columns_that_the_destination_takes_for_one_keep_no_other_table_back(newest_dsn, shop, sink):
    mine = capture(newest_dsn)
    list(engine.catch_up(mine, sink))
    shop.execute('alter table bad add "Note" text; insert into bad values (3); insert into good values (3)')

    with pytest.raises(TableRefused, match="differ only in case"):
        list(engine.catch_up(mine, sink))

    assert sink.read(GOOD).num_rows == 3
    assert sink.tables()[BAD].state is TableState.UNSEEDED
    shop.execute('alter table bad drop "Note"')
    list(engine.catch_up(mine, sink))
    assert differences(mine, sink) == SAME


def test_a_table_that_may_not_be_read_any_more_keeps_no_other_seed_back(newest_dsn, shop, sink):
    dbname = shop.info.dbname
    role = sql.Identifier(f"reader_{dbname}")
    shop.execute(sql.SQL("create role {} login replication password 'x'").format(role))
    try:
        shop.execute(sql.SQL("grant select on bad, good to {}").format(role))
        owner = capture(newest_dsn)
        owner.prepare(owner.select().tables)
        mine = capture(make_conninfo(newest_dsn, user=f"reader_{dbname}", password="x"))
        engine.prepare(mine, sink)
        aside: dict[TableName, Any] = {}
        tables = engine.plan(mine, sink, aside).tables
        shop.execute(sql.SQL("revoke select on bad from {}").format(role))

        loaded = list(engine.load(mine, sink, tables, sink.unloaded(), aside=aside))

        assert [each.table for each in loaded] == [GOOD]
        assert isinstance(aside[BAD], UnusableTable)
        assert (
            sink.tables()[BAD].reason
            == str(aside[BAD])
            == ("reading public.bad failed: permission denied for table bad")
        )
        shop.execute(sql.SQL("grant select on bad to {}").format(role))
        list(engine.catch_up(mine, sink))
        assert differences(mine, sink) == SAME
    finally:
        shop.execute(sql.SQL("drop owned by {}").format(role))
        shop.execute(sql.SQL("drop role {}").format(role))
