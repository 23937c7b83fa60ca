"""
What a publication covers, and what it sends of it.
"""

import threading
import time

import psycopg
import pytest
from wal_captures import capture

from cdc_assets import engine
from cdc_assets.errors import UnusableTable
from cdc_assets.model import TableName
from cdc_assets.sinks.memory import MemorySink


def test_one_can_be_made_before_there_is_anything_to_publish(source, dsn):
    source.execute("create table without_a_key (v text)")
    mine = capture(dsn)
    mine.prepare({})
    assert mine.captured() == set()

    source.execute("create table t (id int primary key)")
    mine.prepare(mine.select().tables)
    assert mine.captured() == {TableName("public", "t")}


def test_a_generated_column_is_copied_whether_or_not_it_is_in_the_log(source, dsn):
    source.execute("create table t (id int primary key, g int generated always as (id * 2) stored)")
    mine = capture(dsn)
    mine.prepare(mine.select().tables)
    source.execute("insert into t values (1)")
    (batch,) = (batch for batch in mine.live(until=mine.head()) if batch.changes)

    assert batch.changes[0].rows.to_pylist() == [{"id": 1, "g": 2}]
    (selected,) = mine.select().tables.values()
    assert selected == batch.changes[0].table


def test_a_generated_column_is_not_copied_if_the_publication_names_others(source, dsn):
    if source.info.server_version < 150_000:
        return  # it has no column lists
    source.execute("create table t (id int primary key, g int generated always as (id * 2) stored)")
    mine = capture(dsn)
    source.execute(f'create publication "{mine.publication}" for table t (id)')

    (selected,) = mine.select().tables.values()
    assert selected.names == ("id",)


def test_a_table_whose_key_is_generated_is_refused_if_it_is_not_in_the_log(source, dsn):
    source.execute("create table t (id int, g int generated always as (id * 2) stored primary key)")
    mine = capture(dsn, "public.t")
    mine.prepare({})
    if source.info.server_version >= 180_000:  # where it is
        assert mine.select().tables[TableName("public", "t")].key == ("g",)
    else:
        with pytest.raises(UnusableTable, match="g of its key is generated, and not in the log"):
            mine.select()


def test_it_is_read_while_what_it_covers_is_dropped(source, dsn):
    mine = capture(dsn)
    source.execute("create table kept (id int primary key)")
    mine.prepare(mine.select().tables)
    until = time.monotonic() + 1

    def come_and_go() -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            while time.monotonic() < until:
                connection.execute("create table passing (id int primary key)")
                connection.execute(f'alter publication "{mine.publication}" add table passing')
                connection.execute("drop table passing")

    writer = threading.Thread(target=come_and_go)
    writer.start()
    while writer.is_alive():
        assert TableName("public", "kept") in mine.captured()


def test_a_slot_that_is_older_than_its_publication_is_made_anew(source, dsn):
    """Before PostgreSQL 18 the server fails at every change from when there was none."""
    source.execute("create table items (id int primary key)")
    mine, sink = capture(dsn), MemorySink()
    list(engine.catch_up(mine, sink))
    source.execute(f"drop publication {mine.publication}".encode())
    source.execute("insert into items values (1)")

    list(engine.catch_up(mine, sink, start_anew=True))

    assert sink.rows(TableName("public", "items")).keys() == {(1,)}
