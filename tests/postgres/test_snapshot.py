"""
What a snapshot reads, however tables and columns are called; and that it reads nothing else.
"""

import psycopg
import pyarrow as pa
import pytest
from wal_captures import capture

from cdc_assets.errors import ServerUnreachable, TableRewritten
from cdc_assets.model import TableName


def test_rows_are_read_again_by_keys_whose_names_have_a_percent_sign(newest_dsn):
    with psycopg.connect(newest_dsn, autocommit=True) as source:
        source.execute('create table "100%" ("a%b" int primary key, "%s" text)')
        source.execute("""insert into "100%" values (1, 'one'), (2, 'two')""")
    mine = capture(newest_dsn)
    (table,) = mine.select().tables.values()
    keys = pa.RecordBatch.from_pylist([{"a%b": 2}], pa.schema([table.schema.field("a%b")]))

    with mine.snapshot([table]) as snapshot:
        (rows,) = snapshot.read_keys(table, keys)

    assert rows.to_pylist() == [{"a%b": 2, "%s": "two"}]


def test_a_table_that_has_the_name_of_another_by_now_is_not_read_for_it(source, dsn):
    source.execute("create table one (id int primary key)")
    source.execute("create table two (id int primary key)")
    mine = capture(dsn)
    one = mine.select().tables[TableName("public", "one")]
    (chunk,) = mine.plan([one])[one.name]
    source.execute("alter table one rename to three; alter table two rename to one")

    with mine.snapshot([one]) as snapshot:
        with pytest.raises(TableRewritten):
            list(snapshot.read(one, chunk))
        with pytest.raises(TableRewritten):
            list(snapshot.read_keys(one, pa.RecordBatch.from_pylist([{"id": 1}], one.schema)))


def test_a_table_that_is_dropped_is_not_planned_as_an_empty_one(source, dsn):
    source.execute("create table one (id int primary key)")
    mine = capture(dsn)
    (one,) = mine.select().tables.values()
    source.execute("drop table one")

    assert mine.plan([one]) == {}


def test_a_view_whose_session_was_ended_can_be_taken_again(source, dsn):
    source.execute("create table one (id int primary key)")
    mine = capture(dsn)
    (one,) = mine.select().tables.values()
    (chunk,) = mine.plan([one])[one.name]

    with mine.snapshot([one]) as snapshot:
        source.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
            "where query like '%EXPORT_SNAPSHOT%' and pid <> pg_backend_pid() "
            "and datname = current_database()"
        )
        with pytest.raises(ServerUnreachable, match="the snapshot of the source was ended"):
            list(snapshot.read(one, chunk))
