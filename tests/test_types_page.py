"""
What docs/types.md says of types is so.
"""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import psycopg
import pytest
from psycopg import sql
from values import ALL_TYPES, ONLY_READ
from wal_captures import capture

from cdc_assets.engine import catch_up
from cdc_assets.sinks.duckdb.sink import DuckDBSink

PAGE = (Path(__file__).parents[1] / "docs" / "types.md").read_text()
OWN, MADE, LIMITS = ("Types of PostgreSQL's own", "Types that are made of others", "At the limits")
(MAKE_TYPES,) = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)


def rows(title: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    section = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


SAID = {
    type_: kept_as
    for title in (OWN, MADE)
    for types, of_duckdb, _ in rows(title)
    for type_ in code(types)
    for kept_as in code(of_duckdb)
}


@pytest.fixture
def source(newest_dsn: str) -> psycopg.Connection[tuple[object, ...]]:
    connection = psycopg.connect(newest_dsn, autocommit=True)
    connection.execute(MAKE_TYPES.encode())
    return connection


def mirrored(dsn: str, path: Path) -> duckdb.DuckDBPyConnection:
    list(catch_up(capture(dsn), DuckDBSink(path, "types")))
    return duckdb.connect(path, read_only=True)


def kept(copy: duckdb.DuckDBPyConnection) -> dict[str, str]:
    return {name: type_ for name, type_, *_ in copy.execute("describe from public.t").fetchall()}


def test_a_column_of_each_type_is_what_the_page_says(source, newest_dsn, path):
    columns = ", ".join(f"c{number} {type_}" for number, type_ in enumerate(SAID))
    source.execute(f"create table t (id int primary key, {columns})")

    with mirrored(newest_dsn, path) as copy:
        found = kept(copy)

    assert {type_: found[f"c{n}"].split("(")[0] for n, type_ in enumerate(SAID)} == SAID


def test_a_value_at_the_limit_of_its_type_is_shown_as_the_page_says(source, newest_dsn, path):
    said = [[code(cell)[0] for cell in row] for row in rows(LIMITS)]
    columns = ", ".join(f"c{number} {type_}" for number, (type_, *_) in enumerate(said))
    source.execute(f"create table t (id int primary key, {columns})")
    values = sql.SQL(", ").join(value for _, value, *_ in said)
    source.execute(sql.SQL("insert into t values (1, {})").format(values))

    with mirrored(newest_dsn, path) as copy:
        found = kept(copy)
        copy.execute("set timezone = 'UTC'")
        shown = copy.execute("select columns('c\\d+')::varchar from public.t").fetchone()

    got = [
        [type_, value, found[f"c{number}"], shown[number]] for number, (type_, value, *_) in enumerate(said)
    ]
    assert got == said


def test_the_page_has_every_type_of_postgresql(source):
    names = "select typname from pg_type where oid = any(%s::regtype[])"
    said = set(source.execute(names, [[*SAID]]))
    assert set(source.execute(ALL_TYPES, [[*ONLY_READ]])) <= said
