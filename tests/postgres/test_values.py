"""
A value is the same through the snapshot and through the stream, and PostgreSQL, asked, knows it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import psycopg
import pyarrow as pa
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from servers import running_server
from values import ALL_TYPES, EDGES, MAKE_TYPES, ONLY_READ

from cdc_assets.engine import catch_up
from cdc_assets.model import TableName
from cdc_assets.pgoutput.spool import Spool
from cdc_assets.postgres.patterns import Patterns
from cdc_assets.postgres.wal import WalCapture
from cdc_assets.sinks.duckdb.sink import DuckDBSink
from cdc_assets.testing import installations

SET = """
alter database of_values set datestyle = 'German';
alter database of_values set intervalstyle = 'sql_standard';
alter database of_values set timezone = 'Asia/Kolkata';
alter database of_values set bytea_output = 'escape';
alter database of_values set extra_float_digits = '-15';
"""
NAMES = {type_: f"t{number}" for number, type_ in enumerate(EDGES)}


@dataclass
class Recorded:
    """The same rows through both paths, and the questions that can be asked about them."""

    source: psycopg.Connection[tuple[object, ...]]
    snapshot: dict[str, pa.Table]
    stream: dict[str, pa.Table]
    copy: Path
    read_again: dict[str, pa.RecordBatch]
    """By the values as keys, of types that can be keys."""
    set_aside: dict[str, pa.Table]
    """What was streamed, after it was on disk as part of a large transaction."""


@pytest.fixture(
    scope="module",
    params=sorted({min(installations()), max(installations())}),
    ids=lambda version: f"pg{version}",
)
def recorded(request: pytest.FixtureRequest) -> Iterator[Recorded]:
    server = running_server(request.param)
    with (
        psycopg.connect(server.dsn, autocommit=True) as admin,
        TemporaryDirectory() as folder,
    ):
        admin.execute("create database of_values")
        dsn = make_conninfo(server.dsn, dbname="of_values")
        try:
            with psycopg.connect(dsn, autocommit=True) as source:
                yield _record(source, dsn, Path(folder))
                source.execute("select pg_drop_replication_slot('cdc_values')")
        finally:
            admin.execute("drop database of_values with (force)")


def _record(source: psycopg.Connection[tuple[object, ...]], dsn: str, folder: Path) -> Recorded:
    source.execute(MAKE_TYPES.encode())
    for statement in SET.split(";"):
        source.execute(statement.encode())
    for type_, name in NAMES.items():
        source.execute(f"create table {name} (id int generated always as identity primary key, v {type_})")
    capture = WalCapture(name="values", conninfo=lambda: dsn, patterns=Patterns.parse(["public.*"]))
    tables = capture.select().tables
    capture.prepare(tables)
    for type_, name in NAMES.items():
        for value in [*EDGES[type_], None]:
            with suppress(psycopg.errors.FeatureNotSupported):  # a server may be built without XML
                source.execute(
                    sql.SQL("insert into {} (v) values (%s)").format(sql.Identifier(name)), [value]
                )
    head = capture.head()
    streamed: dict[str, list[pa.RecordBatch]] = {}
    set_aside: dict[str, list[pa.RecordBatch]] = {}
    for batch in capture.live(until=head):
        for changes in batch.changes:
            streamed.setdefault(changes.table.name.name, []).append(changes.rows)
            spool = Spool()
            spool.add(changes)
            (again,) = spool.committed((batch.lsn, 0), ())
            set_aside.setdefault(changes.table.name.name, []).append(again.rows)
    read, read_again = {}, {}
    with capture.snapshot(list(tables.values())) as snapshot:
        for name, table in tables.items():
            chunks = capture.plan([table])[table.name]
            batches = [batch for chunk in chunks for batch in snapshot.read(table, chunk)]
            read[name.name] = pa.Table.from_batches(batches, table.schema)
    with capture.snapshot(list(tables.values())) as snapshot:
        for type_ in filter(partial(_can_be_a_key, source), EDGES):
            name = NAMES[type_]
            (keys,) = read[name].select(["v"])[:-1].to_batches()  # the last is null
            (read_again[name],) = snapshot.read_keys(tables[TableName("public", name)], keys)
    copy = folder / "copy.duckdb"
    list(catch_up(capture, DuckDBSink(copy, "values")))
    stream = {name: pa.Table.from_batches(batches) for name, batches in streamed.items()}
    aside = {name: pa.Table.from_batches(batches) for name, batches in set_aside.items()}
    return Recorded(source, read, stream, copy, read_again, aside)


def _can_be_a_key(source: psycopg.Connection[tuple[object, ...]], type_: str) -> bool:
    """Whether PostgreSQL knows when two values are equal, or two elements."""
    make = f"create temp table keys (v {type_} unique); insert into keys values ({{0}}), ({{0}})"
    with suppress(psycopg.errors.UndefinedObject, psycopg.errors.UndefinedFunction), source.transaction():
        source.execute(sql.SQL(f"{make} on conflict do nothing; drop table keys").format(EDGES[type_][0]))
        return True
    return False


@pytest.mark.parametrize("type_", EDGES)
def test_a_value_is_the_same_through_both_paths(recorded: Recorded, type_: str) -> None:
    read, streamed = recorded.snapshot[NAMES[type_]], recorded.stream[NAMES[type_]]
    assert read.schema == streamed.schema
    assert len(read) == len(streamed) >= (1 if type_ == "xml" else len(EDGES[type_]) + 1)
    assert repr(_storage(read["v"])) == repr(_storage(streamed["v"]))


@pytest.mark.parametrize("type_", EDGES)
def test_a_value_is_the_same_after_it_was_set_aside(recorded: Recorded, type_: str) -> None:
    again, streamed = recorded.set_aside[NAMES[type_]], recorded.stream[NAMES[type_]]
    assert again.schema == streamed.schema
    assert repr(_storage(again["v"])) == repr(_storage(streamed["v"]))


def _storage(column: pa.ChunkedArray) -> list[object]:
    """The values as they are kept, for which Python has not always a type."""
    whole = column.combine_chunks()
    plain = whole.storage if isinstance(whole, pa.ExtensionArray) else whole
    if pa.types.is_date32(plain.type):
        plain = plain.view(pa.int32())
    elif pa.types.is_timestamp(plain.type) or pa.types.is_time64(plain.type):
        plain = plain.view(pa.int64())
    return list(plain.to_pylist())


def test_rows_are_read_again_by_keys_of_any_value(recorded: Recorded) -> None:
    assert len(recorded.read_again) > 60
    for name, rows in recorded.read_again.items():
        assert set(rows["id"].to_pylist()) == set(recorded.snapshot[name]["id"].to_pylist()[:-1])


@pytest.mark.parametrize("type_", EDGES)
def test_postgresql_knows_its_value_again(recorded: Recorded, type_: str) -> None:
    name = NAMES[type_]
    with duckdb.connect(recorded.copy, read_only=True) as copy:
        (kept_as,) = copy.execute(
            "select data_type from information_schema.columns where table_name = ? and column_name = 'v'",
            [name],
        ).fetchall()[0]
        shown = "'\\x' || lower(hex(v))" if kept_as == "BLOB" else "replace(v::varchar, '(BC)', 'BC')"
        kept = [value for (value,) in copy.sql(f"select {shown} from public.{name} order by id").fetchall()]
    recorded.source.execute("set datestyle = 'ISO'; set timezone = 'UTC'; set extra_float_digits = 1")
    query = f"select v::text, cast(%s as text)::{type_}::text from {name} order by id offset %s limit 1"
    for number, value in enumerate(kept):
        ((original, again),) = recorded.source.execute(query.encode(), [value, number]).fetchall()
        assert again == original, f"{kept_as} {value!r}"


def test_every_type_of_postgresql_is_among_these(recorded: Recorded) -> None:
    names = "select typname from pg_type where oid = any(%s::regtype[])"
    among = set(recorded.source.execute(names, [[*EDGES]]))
    assert set(recorded.source.execute(ALL_TYPES, [[*ONLY_READ]])) <= among


def test_the_tables_are_those_of_the_list(recorded: Recorded) -> None:
    assert set(recorded.stream) == set(NAMES.values())
    assert TableName("public", "t0").name in recorded.snapshot
