"""
What a copy has that its source has not, or the other way round, as PostgreSQL sees it.

The source is read as PostgreSQL's text. A copy is text too, in whatever form its
destination shows values; PostgreSQL reads that as the column's type, and shows it in
its own form. So neither side goes through a decoder of ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from ...model import TableName

Connection = psycopg.Connection[Any]

_SETTINGS = """
set datestyle = 'ISO'; set intervalstyle = 'postgres'; set timezone = 'UTC'; set bytea_output = 'hex';
set extra_float_digits = 1; set search_path = pg_catalog
"""
_TABLES = """
select n.nspname, c.relname, c.relreplident::text,
       exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary and i.indimmediate),
       exists (select from pg_index i where i.indrelid = c.oid and i.indisreplident),
       (select json_agg(json_build_array(attname, format_type(atttypid, atttypmod)))
        from pg_attribute a where a.attrelid = c.oid and attnum > 0 and not attisdropped)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence = 'p'
  and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
order by 1, 2
"""


class CopiedTable(NamedTuple):
    columns: Sequence[str]
    rows: Sequence[Sequence[str | None]]
    """As text, in the form the destination shows."""


Copies = Mapping[TableName, CopiedTable]
"""What a destination says that it holds and keeps in step."""


@dataclass(frozen=True)
class Difference:
    table: TableName
    found: str

    def __str__(self) -> str:
        return f"{self.table}: {self.found}"


class SourceColumn(NamedTuple):
    name: str
    type: str


def differences(source: Connection, copies: Copies) -> list[Difference]:
    """Between all tables that can be mirrored and their copies; nobody may be writing."""
    source.execute(_SETTINGS)
    tables = dict(_mirrored(source))
    found = [Difference(name, "not there, or not in step") for name in tables if name not in copies]
    found += [
        Difference(name, "there, but not at the source as a table to mirror")
        for name in copies
        if name not in tables
    ]
    for name, columns in tables.items():
        if name in copies:
            found += (Difference(name, said) for said in _of_table(source, name, columns, copies[name]))
    return found


def _mirrored(source: Connection) -> Iterator[tuple[TableName, list[SourceColumn]]]:
    for schema, name, identity, immediate, index, columns in source.execute(_TABLES):
        # Under FULL a table needs no key.
        if {"d": immediate, "f": True, "i": index, "n": False}[identity]:
            yield TableName(schema, name), [SourceColumn(*column) for column in columns]


def _of_table(
    source: Connection, name: TableName, columns: Sequence[SourceColumn], copy: CopiedTable
) -> Iterator[str]:
    names = {column.name for column in columns}
    if names != set(copy.columns):
        at_source, in_copy = sorted(names - set(copy.columns)), sorted(set(copy.columns) - names)
        yield f"columns only at the source: {at_source}; only in the copy: {in_copy}"
        return
    try:
        only_source, only_copy = _rows(source, name, columns, copy)
    except psycopg.DataError as error:
        yield f"PostgreSQL does not know a value again: {error.diag.message_primary}"
        return
    if only_source or only_copy:
        differing = [
            f"{column.name} ({column.type})"
            for number, column in enumerate(columns)
            if Counter(row[number] for row in only_source) != Counter(row[number] for row in only_copy)
        ]
        yield (
            f"{len(only_source)} rows only at the source, {len(only_copy)} only in the copy; "
            f"columns that differ: {', '.join(differing) or 'none, but their combinations'}"
        )


def _rows(
    source: Connection, name: TableName, columns: Sequence[SourceColumn], copy: CopiedTable
) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Those that are on one side only."""
    place = {column: number for number, column in enumerate(copy.columns)}
    values = [[row[place[column.name]] for row in copy.rows] for column in columns]
    # A column's own collation may find texts equal that are not the same.
    shown = sql.SQL(", ").join(
        sql.SQL('{}::text collate "C"').format(sql.Identifier(c.name)) for c in columns
    )
    again = sql.SQL(", ").join(
        sql.SQL("{}::{}::text").format(sql.Identifier(f"c{number}"), sql.SQL(column.type))
        for number, column in enumerate(columns)
    )
    given = sql.SQL(", ").join(sql.SQL(f"${number + 1}::text[]") for number in range(len(columns)))
    as_names = sql.SQL(", ").join(sql.Identifier(f"c{number}") for number in range(len(columns)))
    query = sql.SQL(
        "with source as (select {} from {}), copy as (select {} from unnest({}) as copied({})) "
        "select true, * from (table source except all table copy) s "
        "union all select false, * from (table copy except all table source) c"
    ).format(shown, sql.Identifier(*name), again, given, as_names)
    # A raw cursor: names may have a percent sign in them.
    found = psycopg.RawCursor(source).execute(query, values).fetchall()
    return [row[1:] for row in found if row[0]], [row[1:] for row in found if not row[0]]
