"""
A consistent view of the source, at a known LSN.

The view is the exported snapshot of a temporary slot: it holds exactly what was
committed before the slot's consistent point, which is its LSN. An LSN asked for
nearby would not do; a commit can be in the log before it is visible to others.
https://www.postgresql.org/docs/current/protocol-replication.html#PROTOCOL-REPLICATION-CREATE-REPLICATION-SLOT

Chunks are read with a binary COPY and decoded here. ADBC, which does the same in C++,
takes about 0.8 s of a core for a million narrow rows where this takes 0.45.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

import pyarrow as pa
from psycopg import RawCursor, errors, sql

from ..errors import CaptureError, ServerUnreachable, TableRewritten, UnusableTable
from ..model import LSN, Chunk, Column, Table, TableName
from ..pgoutput import binary, types
from ..pgoutput.cells import Cells
from . import slot
from .chunks import PageRange
from .copy import Refused, copy
from .publication import Published
from .session import Connection, connect, first_line, server_errors, session

_PIECE = 4 << 20
"""Bytes received that are decoded together."""
_RETRYABLE = ("08", "57")
"""Classes of SQLSTATE: the connection, or an administrator's intervention."""


class WalSnapshot:
    """Reads as of `lsn`, for as long as `opened` is open. Each read is a transaction of its
    own, so that no lock outlives it: a waiting ALTER would make everyone else wait."""

    def __init__(self, conninfo: str, name: str, lsn: LSN, published: Mapping[TableName, Published]) -> None:
        self._conninfo, self._name, self._published = conninfo, name, published
        self.lsn = lsn
        self._idle: list[Connection] = []

    def read(self, table: Table, chunk: Chunk) -> Iterator[pa.RecordBatch]:
        for pages in PageRange.parse(chunk):
            yield from self._read_pages(table, pages)

    def _read_pages(self, table: Table, pages: PageRange) -> Iterator[pa.RecordBatch]:
        query = sql.SQL("COPY (SELECT {} FROM ONLY {} WHERE {}{}) TO STDOUT (FORMAT binary)").format(
            self._columns(table),
            sql.Identifier(*pages.leaf),
            pages.condition(),
            self._row_filter(table),
        )
        with self._transaction() as connection:
            _lock(connection, pages.leaf, pages.oid, table.name)
            _see_that_not_written_anew(connection, pages, table.name)
            try:
                yield from _copied(connection, query.as_bytes(connection), table)
            except Refused as error:
                raise _reading_failed(error, table.name) from error

    def read_keys(self, table: Table, keys: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        cells = sql.SQL(", ").join(_text(sql.Identifier("t", name)) for name in table.names)
        rows = self._of_keys(table, keys, cells)
        columns = zip(*rows, strict=True) if rows else ([] for _ in table.columns)
        arrays = [
            types.from_text(column, Cells.of(pa.array(values, pa.large_string())), table.name)
            for column, values in zip(table.columns, columns, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=table.schema)

    def versions(self, table: Table, keys: pa.RecordBatch) -> list[str | None]:
        """By xmin, the transaction that wrote the row; of what it wrote, only the last is ever seen.
        https://www.postgresql.org/docs/current/ddl-system-columns.html"""
        versions: list[str | None] = [None] * keys.num_rows
        for number, version in self._of_keys(table, keys, sql.SQL("k._cdc_number, t.xmin::pg_catalog.text")):
            versions[number - 1] = version
        return versions

    def holding(self, table: Table, keys: pa.RecordBatch, chunks: Sequence[Chunk]) -> set[Chunk]:
        page = sql.SQL("DISTINCT t.tableoid::int8, (t.ctid::pg_catalog.text::pg_catalog.point)[0]::int8")
        ranges = [(pages, chunk) for chunk in chunks for pages in PageRange.parse(chunk)]
        found = set()
        for oid, number in self._of_keys(table, keys, page):
            chunk = next((chunk for pages, chunk in ranges if pages.has(oid, number)), None)
            if chunk is None:
                raise _rewritten(table.name)
            found.add(chunk)
        return found

    def _of_keys(self, table: Table, keys: pa.RecordBatch, wanted: sql.Composable) -> list[tuple[Any, ...]]:
        """What is wanted of the rows, called t, that have one of `keys`, called k."""
        names = keys.schema.names
        of_key = [column for name in names for column in table.columns if column.name == name]
        with self._transaction() as connection:
            _lock(connection, table.name, table.oid, table.name)
            pairs = list(_matching(connection, of_key))
            # The row filter names columns as they are, and so must not see those of the keys; which
            # come as text, there being no array of which the elements are arrays.
            query = sql.SQL(
                "SELECT {} FROM (SELECT {}, tableoid, ctid, xmin FROM {} WHERE true{}) t "
                "JOIN (SELECT {}, _cdc_number FROM unnest({}) WITH ORDINALITY AS k({}, _cdc_number)) k ON {}"
            ).format(
                wanted,
                sql.SQL(", ").join(map(sql.Identifier, table.names)),
                sql.Identifier(*table.name),
                self._row_filter(table),
                sql.SQL(", ").join(key for _, key in pairs),
                sql.SQL(", ").join(
                    sql.SQL("${}::text[]").format(number) for number in range(1, len(of_key) + 1)
                ),
                sql.SQL(", ").join(map(sql.Identifier, names)),
                sql.SQL(" AND ").join(condition for condition, _ in pairs),
            )
            given = [types.written(column, keys[column.name]) for column in of_key]
            try:
                # A raw cursor: a name or a row filter may have a percent sign in it.
                return RawCursor(connection).execute(query, given).fetchall()
            except (errors.UndefinedTable, errors.UndefinedColumn) as error:
                raise _rewritten(table.name) from error

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """A connection that sees the view; used again by the next read if this one went well."""
        connection = self._idle.pop() if self._idle else connect(self._conninfo)
        try:
            with server_errors():
                connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                self._see_the_view(connection)
                yield connection
                connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)

    def _see_the_view(self, connection: Connection) -> None:
        try:
            connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(self._name))
        except (errors.InvalidParameterValue, errors.UndefinedObject) as error:
            raise ServerUnreachable(
                "the session that keeps the snapshot of the source was ended",
                hint="see the server's log; what is not loaded yet can be read under another.",
            ) from error

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _columns(self, table: Table) -> sql.Composable:
        return sql.SQL(", ").join(
            name if types.has_binary(column) else sql.SQL("{} AS {}").format(_text(name), name)
            for column in table.columns
            for name in [sql.Identifier(column.name)]
        )

    def _row_filter(self, table: Table) -> sql.Composable:
        published = self._published.get(table.name)
        if published is None or published.row_filter is None:
            return sql.SQL("")
        return sql.SQL(" AND ({})").format(sql.SQL(published.row_filter))


def _matching(
    connection: Connection, key: Sequence[Column]
) -> Iterator[tuple[sql.Composable, sql.Composable]]:
    """For each column of a key: that the row t has the value of k, and what k makes of a text."""
    found = connection.execute(_EQUALITY, [[column.base for column in key]]).fetchall()
    bases = {oid: (sql.SQL(type_), sql.Identifier(schema)) for oid, type_, schema in found}
    for column in key:
        name = sql.Identifier(column.name)
        if column.hashed:
            # Of every row, there being no index of it; but keys are read again only now and then.
            hashed = sql.SQL("encode(sha256(convert_to({}, 'UTF8')), 'hex') = k.{}")
            yield hashed.format(_text(sql.Identifier("t", column.name)), name), name
        else:
            type_, schema = bases[column.base]
            equal = sql.SQL("t.{0}::{1} OPERATOR({2}.=) k.{0}").format(name, type_, schema)
            yield equal, sql.SQL("{0}::{1} AS {0}").format(name, type_)


# What is under a domain: one of an enum has no equality of its own. An extension's type brings an
# operator along, in a schema that is not in our search_path.
_EQUALITY = """
select t.oid::bigint, format_type(t.oid, -1), coalesce(n.nspname, 'pg_catalog')
from unnest(%s::oid[]) t(oid)
     left join pg_operator o on o.oprname = '=' and o.oprleft = t.oid and o.oprright = t.oid
     left join pg_namespace n on n.oid = o.oprnamespace
"""


def _text(column: sql.Composable) -> sql.Composable:
    """The text the stream would send: `concat` has it made by the type's output function, whatever
    the type. A cast to text is something else for some (boolean, character, inet), and IS NULL for
    a row of nulls."""
    return sql.SQL("CASE WHEN pg_catalog.num_nulls({0}) = 0 THEN pg_catalog.concat({0}) END").format(column)


def _copied(connection: Connection, query: bytes, table: Table) -> Iterator[pa.RecordBatch]:
    with closing(copy(connection, query, binary.begins_with(table))) as running:
        received = running.early
        while not running.ended:
            running.wait()
            received += running.receive()
            if received >= _PIECE or running.may_have_ended:
                yield binary.decode(running.frames(), table)
                received = 0


@contextmanager
def opened(
    conninfo: str,
    slot_name: str,
    published: Mapping[TableName, Published],
    *,
    wait: float,
) -> Iterator[WalSnapshot]:
    """Make the view; the server waits for writers as `Slot.ensure` says, at most `wait` seconds."""
    with session(conninfo, replication="database") as exporter:
        lsn, name = _export(exporter, conninfo, slot_name, wait)
        snapshot = WalSnapshot(conninfo, name, lsn, published)
        try:
            yield snapshot
        finally:
            snapshot.close()


def _export(exporter: Connection, conninfo: str, slot_name: str, wait: float) -> tuple[LSN, str]:
    temporary = sql.Identifier(f"{slot_name[:40]}_seed_{uuid.uuid4().hex[:12]}")
    command = sql.SQL("CREATE_REPLICATION_SLOT {} TEMPORARY LOGICAL pgoutput EXPORT_SNAPSHOT")
    # statement_timeout does not count for replication commands.
    timer = threading.Timer(wait, exporter.cancel)
    timer.start()
    try:
        row = exporter.execute(command.format(temporary)).fetchone()
    except errors.QueryCanceled as error:
        with session(conninfo) as connection:
            raise slot.waited_for_writers(connection, slot_name, wait) from error
    except errors.ConfigurationLimitExceeded as error:
        raise slot.no_free_slot() from error
    except errors.ObjectNotInPrerequisiteState as error:
        raise slot.wal_level_too_low() from error
    finally:
        timer.cancel()
    assert row is not None
    return LSN.parse(row[1]), row[2]


def _lock(connection: Connection, name: TableName, oid: int, table: TableName) -> None:
    """See that `name` is, and for this transaction stays, what the relation `oid` of `table` is called."""
    relation = sql.Identifier(*name)
    try:
        connection.execute(sql.SQL("LOCK TABLE ONLY {} IN ACCESS SHARE MODE").format(relation))
    except errors.UndefinedTable as error:
        raise _rewritten(table) from error
    except errors.InsufficientPrivilege as error:
        raise _unreadable(first_line(error), table) from error
    named = connection.execute("select to_regclass(%s)::int8", [relation.as_string(None)]).fetchone()
    if named != (oid,):
        raise _rewritten(table)


def _see_that_not_written_anew(connection: Connection, pages: PageRange, table: TableName) -> None:
    """What rewrites or empties a table is not MVCC-safe: an older snapshot would see no rows in it,
    without an error. https://www.postgresql.org/docs/current/mvcc-caveats.html"""
    seen_and_now = connection.execute(_FILENODES, {"oid": pages.oid}).fetchone()
    if seen_and_now != (pages.filenode, pages.filenode):
        raise _rewritten(table)


_FILENODES = """
select (select relfilenode::int8 from pg_class where oid = %(oid)s), pg_relation_filenode(%(oid)s)::int8
"""


def _rewritten(table: TableName) -> TableRewritten:
    return TableRewritten(
        f"table {table} was rewritten or altered since its chunks were planned",
        hint="its seed is planned again.",
    )


def _reading_failed(error: Refused, table: TableName) -> CaptureError:
    if error.sqlstate in _ALTERED:
        return _rewritten(table)
    if error.sqlstate.startswith(_RETRYABLE):
        return ServerUnreachable(
            f"reading from the source broke off: {error}",
            hint="see the server's log; the chunk can be read again.",
        )
    return _unreadable(str(error), table)


def _unreadable(said: str, table: TableName) -> UnusableTable:
    return UnusableTable(
        f"reading {table} failed: {said}", hint="cdc-assets check looks for what is missing at the source."
    )


_ALTERED = ("42P01", "42703")
"""SQLSTATE: no such table, no such column."""
