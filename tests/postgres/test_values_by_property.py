"""
Any rows of any types come out the same through both paths, whatever the source's settings, and
PostgreSQL, asked, knows every value again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import duckdb
import numpy as np
import psycopg
import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from servers import OLDEST_AND_NEWEST, running_server
from values import EDGES, MAKE_TYPES, VALUES
from wal_captures import capture

from cdc_assets.errors import UnfaithfulValue
from cdc_assets.model import Table, TableName, TextColumn, arrow
from cdc_assets.testing.histories.copies import shown
from cdc_assets.testing.histories.differences import differences

NAME = TableName("public", "t")
SETTINGS = {
    "datestyle": ["German", "SQL, DMY", "Postgres, MDY"],
    "intervalstyle": ["sql_standard", "postgres_verbose", "iso_8601"],
    "timezone": ["Asia/Kolkata", "America/St_Johns", "Africa/Monrovia"],
    "bytea_output": ["escape"],
    "extra_float_digits": ["-15", "0", "3"],
    "search_path": ["public", "nowhere"],
    "xmlbinary": ["hex"],
    "quote_all_identifiers": ["on"],
}

WITHOUT_SHRINKING = set(Phase) - {Phase.shrink, Phase.explain}
"""Which would take minutes, each step a table; what is wrong is said by column."""


class Given(NamedTuple):
    settings: dict[str, str]
    of_the_role: bool
    """Whether they are set for the role, rather than for the database."""
    types: list[str]
    rows: list[Sequence[str | None]]


class Carried(NamedTuple):
    table: Table
    """With columns kept as text for what a typed one cannot hold."""
    rows: pa.Table


@st.composite
def givens(draw: st.DrawFn, types: list[str], locales: list[str]) -> Given:
    choices = {name: st.sampled_from(values) for name, values in SETTINGS.items()}
    choices["lc_monetary"] = st.sampled_from(locales)
    columns = draw(st.lists(st.sampled_from(types), min_size=1, max_size=12))
    row = st.tuples(*(st.none() | VALUES[type_] for type_ in columns))
    return Given(
        draw(st.fixed_dictionaries({}, optional=choices)),
        draw(st.booleans()),
        columns,
        draw(st.lists(row, min_size=1, max_size=6)),
    )


class Paths:
    """A database of one table, which is made anew for each example, and both ways out of it."""

    def __init__(self, dsn: str) -> None:
        self._database = conninfo_to_dict(dsn)["dbname"]
        self._source = psycopg.connect(dsn, autocommit=True)
        self._asked = psycopg.connect(dsn, autocommit=True)
        self._capture = capture(dsn)
        self._source.execute(MAKE_TYPES.encode())
        self.types = [type_ for type_ in EDGES if self._is_offered(type_)]
        found = self._source.execute("select distinct collcollate from pg_collation where collprovider = 'c'")
        self.locales = [str(name) for (name,) in found]

    def close(self) -> None:
        self._source.execute("select pg_drop_replication_slot(slot_name) from pg_replication_slots "
                             "where database = current_database()")  # fmt: skip
        self._source.close()
        self._asked.close()

    def _is_offered(self, type_: str) -> bool:
        """A server may be built without XML."""
        query = sql.SQL("select {}::{}").format(EDGES[type_][0], sql.SQL(type_))
        try:
            self._source.execute(query)
        except psycopg.errors.FeatureNotSupported:
            return False
        return True

    def make(self, given: Given) -> Table:
        self._set(given)
        columns = sql.SQL("").join(
            sql.SQL(", {} {}").format(sql.Identifier(f"c{number}"), sql.SQL(type_))
            for number, type_ in enumerate(given.types)
        )
        self._source.execute("drop table if exists t")
        self._source.execute(sql.SQL("create table t (id int primary key{})").format(columns))
        tables = self._capture.select().tables
        self._capture.prepare(tables)
        for number, row in enumerate(given.rows):
            values = sql.SQL(", ").join(map(sql.Literal, (number, *row)))
            self._source.execute(sql.SQL("insert into t values ({})").format(values))
        self._head = self._capture.head()
        return tables[NAME]

    def _set(self, given: Given) -> None:
        database = sql.Identifier(str(self._database))
        of = sql.SQL("role postgres in database {}" if given.of_the_role else "database {}").format(database)
        for whose in (sql.SQL("role postgres in database {}"), sql.SQL("database {}")):
            self._source.execute(sql.SQL("alter {} reset all").format(whose.format(database)))
        for name, value in given.settings.items():
            self._source.execute(sql.SQL("alter {} set {} = {}").format(of, sql.SQL(name), value))

    def streamed(self, table: Table) -> Carried:
        batches = self._capture.live(until=self._head, held={table.oid: table})
        every = [each for batch in batches for each in batch.changes if each.table.oid == table.oid]
        if as_text := {column for each in every for column in each.table.as_text} - table.as_text:
            # From some row on; now from the first.
            return self.streamed(table.keeping_as_text(as_text | table.as_text))
        return Carried(table, pa.Table.from_batches([each.rows for each in every], table.schema))

    def snapshot(self, table: Table) -> list[pa.RecordBatch]:
        with self._capture.snapshot([table]) as snapshot:
            chunks = self._capture.plan([table])[table.name]
            return [rows for chunk in chunks for rows in snapshot.read(table, chunk)]

    def read_again(self, table: Table) -> list[pa.RecordBatch]:
        keys = self.snapshot(table)[0].select(["id"])
        with self._capture.snapshot([table]) as snapshot:
            return list(snapshot.read_keys(table, keys))

    def passed(self) -> None:
        """The stream need not bring it again."""
        slot = self._capture.slot
        self._source.execute("select pg_replication_slot_advance(%s, '0/0'::pg_lsn + %s)", [slot, self._head])

    def unknown_to_postgresql(self, rows: pa.Table) -> list[str]:
        """What PostgreSQL, given the values back as DuckDB shows them, finds not to be what it has."""
        with duckdb.connect() as connection:
            connection.register("copy", rows)
            return list(map(str, differences(self._asked, {NAME: shown(connection, "copy")})))


@pytest.fixture(
    scope="module",
    params=OLDEST_AND_NEWEST,
    ids=lambda version: f"pg{version}",
)
def paths(request: pytest.FixtureRequest) -> Iterator[Paths]:
    server = running_server(request.param)
    with psycopg.connect(server.dsn, autocommit=True) as admin:
        admin.execute("create database of_any_values")
        try:
            paths = Paths(make_conninfo(server.dsn, dbname="of_any_values"))
            yield paths
            paths.close()
        finally:
            admin.execute("drop database of_any_values with (force)")


def test_any_value_is_the_same_through_both_paths_and_known_again(paths: Paths) -> None:
    @settings(max_examples=settings.default.max_examples // 6, phases=WITHOUT_SHRINKING)
    @given(givens(paths.types, paths.locales))
    def check(given: Given) -> None:
        table = paths.make(given)

        streamed = paths.streamed(table)
        snapshot = carried(table, paths.snapshot)

        assert snapshot.table == streamed.table
        assert differing(snapshot.rows, streamed.rows) == []
        assert differing(snapshot.rows, carried(table, paths.read_again).rows) == []
        assert paths.unknown_to_postgresql(streamed.rows) == []
        paths.passed()

    check()


def carried(table: Table, read: Callable[[Table], list[pa.RecordBatch]]) -> Carried:
    while True:
        try:
            return Carried(table, pa.Table.from_batches(read(table), table.schema))
        except UnfaithfulValue as error:
            column = TextColumn(table.oid, error.number, error.type_oid)
            if column in table.as_text:
                raise
            table = table.keeping_as_text(table.as_text | {column})


def differing(left: pa.Table, right: pa.Table) -> list[str]:
    """Columns that do not have the very same values."""
    return [name for name in left.column_names if not _same(left[name], right[name])]


def _same(left: pa.ChunkedArray, right: pa.ChunkedArray) -> bool:
    left, right = left.combine_chunks(), right.combine_chunks()
    valid = arrow.is_valid(left)
    if not np.array_equal(valid, arrow.is_valid(right)):
        return False
    there = np.flatnonzero(valid)
    return not arrow.differ(arrow.take(left, there), arrow.take(right, there)).any()
