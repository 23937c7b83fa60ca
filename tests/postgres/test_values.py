"""
A value is the same through the snapshot and through the stream, and PostgreSQL, asked, knows it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import psycopg
import pyarrow as pa
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from servers import running_server

from cdc_assets.engine import catch_up
from cdc_assets.model import TableName
from cdc_assets.postgres.patterns import Patterns
from cdc_assets.postgres.wal import WalCapture
from cdc_assets.sinks.duckdb.sink import DuckDBSink
from cdc_assets.testing import installations

MAKE_TYPES = """
create type mood as enum ('sad', 'so-so', 'a "happy", one');
create type point3 as (x int, y text, z timestamptz);
create domain email as varchar(60) check (value like '%@%');
create domain price as numeric(12, 2) default 0;
create domain many as int[];
alter database of_values set datestyle = 'German';
alter database of_values set intervalstyle = 'sql_standard';
alter database of_values set timezone = 'Asia/Kolkata';
alter database of_values set bytea_output = 'escape';
alter database of_values set extra_float_digits = '-15';
"""
VALUES: dict[str, list[str]] = {
    "boolean": ["true", "false"],
    "smallint": ["0", "-32768", "32767"],
    "integer": ["0", "-2147483648", "2147483647"],
    "bigint": ["0", "-9223372036854775808", "9223372036854775807"],
    "oid": ["0", "4294967295"],
    "real": ["0", "-0", "1e-45", "3.4028235e38", "0.1", "inf", "-inf", "nan"],
    "double precision": ["0", "-0", "5e-324", "1.7976931348623157e308", "0.1", "inf", "-inf", "nan"],
    "numeric": ["0", "1e-30", "1" + "0" * 60, "-12.3400", "nan", "123456789.123456789"],
    "numeric(10,2)": ["0", "-0.01", "99999999.99", "-99999999.99", "1"],
    "numeric(18,0)": ["0", "999999999999999999", "-999999999999999999", "10000", "12345678"],
    "numeric(18,18)": ["0", "0.000000000000000001", "-0.999999999999999999"],
    "numeric(38,10)": ["0", "9" * 28 + "." + "9" * 10, "-0.0000000001"],
    "numeric(50,5)": ["0", "9" * 45 + ".99999"],
    "numeric(5,-2)": ["0", "1234500"],
    "numeric(3,5)": ["0.00999", "-0.00001"],
    "money": ["0", "-92233720368547758.08", "12.34"],
    "text": ["", " ", "a", "é", "\U0001f418", "twelve bytes", "thirteen byte",
             "line\nbreak\ttab\\", "x" * 5000],
    "varchar(20)": ["", "twenty characters ok", "ÄÖÜäöü"],
    "character(5)": ["", "a", "abcde"],
    '"char"': ["a", ""],
    "name": ["a_name"],
    "bytea": ["", "\\x00", "\\xdeadbeef", "\\x" + "5c" * 3000],
    "date": ["2000-01-01", "1999-12-31", "1970-01-01", "0001-01-01", "9999-12-31", "10000-01-01",
             "5874897-12-31", "0044-03-15 BC", "4713-01-01 BC", "infinity", "-infinity", "2024-02-29"],
    "time": ["00:00", "24:00", "23:59:59.999999", "12:34:56.7"],
    "timetz": ["00:00+00", "23:59:59.999999-15:59", "12:00+05:30"],
    "timestamp": ["2000-01-01", "1999-12-31 23:59:59.999999", "0001-01-01", "9999-12-31 23:59:59.999999",
                  "10000-01-01", "290000-12-31",
                  "0044-03-15 12:00 BC", "4713-01-01 BC", "infinity", "-infinity"],
    "timestamp(0)": ["2024-02-29 12:34:56.5"],
    "timestamptz": ["2000-01-01+00", "1883-11-18 12:03:57-05", "0044-03-15 12:00+00 BC",
                    "infinity", "-infinity",
                    "2024-03-31 01:30+01", "10000-01-01 00:00+14"],
    "interval": ["0", "1 year 2 months 3 days 04:05:06.789", "-1 year", "1 mon -1 day", "-00:00:00.000001",
                 "100000:00:00", "-178000 years", "1 day -24:00:00", "-1 mon 1 day -1:00"],
    "uuid": ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff",
             "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
    "json": ["null", "{}", '{"b": 1,  "a": [1, 2.50, "\\u00e9"], "b": 2}', '"x"', "12345678901234567890.5"],
    "jsonb": ["null", "{}", '{"b": 1,  "a": [1, 2.50, "\\u00e9"], "b": 2}', "12345678901234567890.5"],
    "xml": ["<a>text &amp; more</a>"],
    "inet": ["192.168.0.1", "192.168.0.1/24", "::1"],
    "cidr": ["10.0.0.0/8", "2001:db8::/32"],
    "macaddr": ["08:00:2b:01:02:03"],
    "macaddr8": ["08:00:2b:01:02:03:04:05"],
    "bit(3)": ["101"],
    "bit varying(9)": ["", "101010101"],
    "point": ["(1.5,-2)"],
    "line": ["{1,2,3}"],
    "lseg": ["[(0,0),(1,1)]"],
    "box": ["(1,1),(0,0)"],
    "path": ["((0,0),(1,1))", "[(0,0),(1,1)]"],
    "polygon": ["((0,0),(1,1),(2,0))"],
    "circle": ["<(0,0),1>"],
    "tsvector": ["'a':1A 'fat':2B,4C"],
    "tsquery": ["'fat' & 'rat'"],
    "int4range": ["empty", "[1,10)", "(,)"],
    "numrange": ["[1.10,2.2]"],
    "tsrange": ['["2024-01-01 00:00:00","2024-01-02 00:00:00")'],
    "tstzrange": ["[2024-01-01 00:00+02,)"],
    "daterange": ["[2024-01-01,2024-01-05]"],
    "int4multirange": ["{}", "{[1,3),[5,9)}"],
    "pg_lsn": ["16/B374D848"],
    "txid_snapshot": ["10:20:10,14,15"],
    "xid8": ["18446744073709551615"],
    "regclass": ["pg_class"],
    "int[]": ["{}", "{1,NULL,3}", "{{1,2},{3,4}}", "[0:1]={7,8}"],
    "text[]": ["{}", '{a,"b c","d,e",NULL,"NULL","\\"","\\\\"}'],
    "timestamptz[]": ["{2024-01-01 00:00+02}"],
    "bytea[]": ['{"\\\\xdeadbeef"}'],
    "double precision[]": ["{0.1,inf,nan}"],
    "mood": ["sad", 'a "happy", one'],
    "mood[]": ["{sad,so-so}"],
    "point3": ["(1,\"a, b\",\"2024-01-01 00:00+02\")", "(,,)"],
    "email": ["a@b.example"],
    "price": ["0.01", "-9999999999.99"],
    "many": ["{1,2}"],
}  # fmt: skip
NAMES = {type_: f"t{number}" for number, type_ in enumerate(VALUES)}

pytestmark = pytest.mark.xdist_group("values")


@dataclass
class Recorded:
    """The same rows through both paths, and the questions that can be asked about them."""

    source: psycopg.Connection[tuple[object, ...]]
    snapshot: dict[str, pa.Table]
    stream: dict[str, pa.Table]
    copy: Path


@pytest.fixture(scope="module", params=installations(), ids=lambda version: f"pg{version}")
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
    for statement in MAKE_TYPES.split(";"):
        source.execute(statement.encode())
    for type_, name in NAMES.items():
        source.execute(f"create table {name} (id int generated always as identity primary key, v {type_})")
    capture = WalCapture(name="values", conninfo=lambda: dsn, patterns=Patterns.parse(["public.*"]))
    tables = capture.select().tables
    capture.prepare(tables)
    for type_, name in NAMES.items():
        for value in [*VALUES[type_], None]:
            with suppress(psycopg.errors.FeatureNotSupported):  # a server may be built without XML
                source.execute(
                    sql.SQL("insert into {} (v) values (%s)").format(sql.Identifier(name)), [value]
                )
    head = capture.head()
    streamed: dict[str, list[pa.RecordBatch]] = {}
    for batch in capture.live(until=head):
        for changes in batch.changes:
            streamed.setdefault(changes.table.name.name, []).append(changes.rows)
    read = {}
    with capture.snapshot(list(tables.values())) as snapshot:
        for name, table in tables.items():
            batches = [batch for chunk in capture.plan(table) for batch in snapshot.read(table, chunk)]
            read[name.name] = pa.Table.from_batches(batches, table.schema)
    copy = folder / "copy.duckdb"
    list(catch_up(capture, DuckDBSink(copy, "values")))
    stream = {name: pa.Table.from_batches(batches) for name, batches in streamed.items()}
    return Recorded(source, read, stream, copy)


@pytest.mark.parametrize("type_", VALUES)
def test_a_value_is_the_same_through_both_paths(recorded: Recorded, type_: str) -> None:
    read, streamed = recorded.snapshot[NAMES[type_]], recorded.stream[NAMES[type_]]
    assert read.schema == streamed.schema
    assert len(read) == len(streamed) >= (1 if type_ == "xml" else len(VALUES[type_]) + 1)
    assert repr(_storage(read["v"])) == repr(_storage(streamed["v"]))


def _storage(column: pa.ChunkedArray) -> list[object]:
    """The values as they are kept, for which Python has not always a type."""
    whole = column.combine_chunks()
    plain = whole.storage if isinstance(whole, pa.ExtensionArray) else whole
    if pa.types.is_date32(plain.type):
        plain = plain.view(pa.int32())
    elif pa.types.is_timestamp(plain.type) or pa.types.is_time64(plain.type):
        plain = plain.view(pa.int64())
    return list(plain.to_pylist())


@pytest.mark.parametrize("type_", VALUES)
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


KEPT_AS = {
    "boolean": "BOOLEAN", "smallint": "SMALLINT", "integer": "INTEGER", "bigint": "BIGINT", "oid": "UINTEGER",
    "real": "FLOAT", "double precision": "DOUBLE", "numeric(10,2)": "DECIMAL(10,2)",
    "numeric(38,10)": "DECIMAL(38,10)", "numeric": "VARCHAR", "numeric(50,5)": "VARCHAR", "text": "VARCHAR",
    "bytea": "BLOB", "date": "DATE", "time": "TIME", "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMP WITH TIME ZONE", "interval": "INTERVAL", "uuid": "UUID", "json": "JSON",
    "jsonb": "JSON", "int[]": "VARCHAR", "mood": "VARCHAR", "email": "VARCHAR", "price": "DECIMAL(12,2)",
}  # fmt: skip


def test_a_column_has_the_type_that_holds_its_values(recorded: Recorded) -> None:
    with duckdb.connect(recorded.copy, read_only=True) as copy:
        found = dict(
            copy.execute(
                "select table_name, data_type from information_schema.columns where column_name = 'v'"
            ).fetchall()
        )
    assert {type_: found[NAMES[type_]] for type_ in KEPT_AS} == KEPT_AS


def test_every_scalar_type_of_postgresql_is_among_these(recorded: Recorded) -> None:
    internal = {"aclitem", "cid", "gtsvector", "int2vector", "oidvector", "refcursor", "tid", "xid",
                "jsonpath",
                "pg_snapshot", "pg_node_tree", "pg_ndistinct", "pg_dependencies", "pg_mcv_list",
                "pg_brin_bloom_summary", "pg_brin_minmax_multi_summary"}  # fmt: skip
    query = """
        select typname from pg_type t where typtype = 'b' and typcategory <> 'A'
        and typnamespace = 'pg_catalog'::regnamespace and typname !~ '^reg'"""
    there = {str(name) for (name,) in recorded.source.execute(query).fetchall()}
    tried = "select distinct atttypid::regtype::oid from pg_attribute a join pg_class c on c.oid = attrelid "
    tried += "where c.relnamespace = 'public'::regnamespace and attname = 'v'"
    names = recorded.source.execute(f"select typname from pg_type where oid in ({tried})".encode()).fetchall()
    assert there - {str(name) for (name,) in names} <= internal


def test_the_tables_are_those_of_the_list(recorded: Recorded) -> None:
    assert set(recorded.stream) == set(NAMES.values())
    assert TableName("public", "t0").name in recorded.snapshot
