"""
Tables whose key is of a type that an extension or a user made, or has values that PostgreSQL finds
equal and writes differently: the log names a row by its key as it was written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from servers import OLDEST_AND_NEWEST, running_server
from wal_captures import capture

from cdc_assets.engine import catch_up, plan, prepare
from cdc_assets.model import Sink
from cdc_assets.postgres.wal import WalCapture
from cdc_assets.sinks.duckdb.sink import DuckDBSink
from cdc_assets.testing import PostgresServer
from cdc_assets.testing.histories.copies import copies
from cdc_assets.testing.histories.differences import differences

Source = psycopg.Connection[Any]

MAKE_TYPES = """
create schema "Of extensions";
set search_path = public, "Of extensions";
create type mood as enum ('sad', 'so-so', 'a "happy", one', 'other');
create domain feeling as mood;
create domain short as varchar(10);
create domain moods as mood[];
create type point2 as (x int, y text);
"""
MADE_BY_USERS = {
    "mood": ["sad", "so-so", 'a "happy", one', "other"],
    "feeling": ["sad", "so-so", 'a "happy", one', "other"],
    "short": ["a", "b", "", " "],
    "moods": ["{}", "{sad}", "{so-so,NULL}", "{other}"],
    "point2": ["(1,a)", '(1,"b ""c""")', "(,)", "(2,)"],
    "date": ["infinity", "-infinity", "0044-03-15 BC", "10000-01-01"],
    "timestamptz": ["infinity", "-infinity", "0044-03-15 12:00+00 BC", "10000-01-01 00:00:00.000001+00"],
    "time": ["00:00", "24:00", "12:34:56.789", "23:59:59.999999"],
}
OF_EXTENSIONS = {
    "hstore": {"hstore": ['a=>1, "b c"=>NULL', "", "a=>2", 'x=>"\\"\\\\,"']},
    "citext": {"citext": ["Key", "key 2", "", "é"], "citext[]": ["{a,B}", "{}", "{NULL}", "{c}"]},
    "ltree": {"ltree": ["Top.Science", "", "Top", "a.b.c"]},
    "cube": {"cube": ["(1,2),(3,4)", "(0.1)", "(-1,2)", "(1e-300)"]},
    "seg": {"seg": ["1.5 .. 2", "~6.50", "<10", "> 3"]},
    "isn": {"isbn": ["978-0-393-04002-9", "0-8044-2957-X", "0-306-40615-2", "1-56619-909-3"],
            "ean13": ["978-0-393-04002-9", "4006381333931", "9780306406157", "5901234123457"]},
    "vector": {"vector": ["[1,2,3]", "[0.1]", "[-1e-30,1e30]", "[0]"],
               "halfvec": ["[1,2]", "[0.5]", "[3]", "[4]"],
               "sparsevec": ["{1:0.5}/3", "{}/2", "{2:1}/3", "{1:1}/1"]},
}  # fmt: skip
WRITTEN_DIFFERENTLY = {
    "numeric": ("1.0", "1.00"),
    "interval": ("1 mon", "30 days"),
    "double precision": ("0", "-0"),
    "real": ("-0", "0"),
    "jsonb": ('{"a": 1}', '{"a": 1.0}'),
    "bpchar": ("a", "a  "),
    "citext": ("a", "A"),
    "text collate any_case": ("straße", "STRASSE"),
}
BY_ANOTHER_KEY = (
    ["insert into {t} values ({c}, {c}, 3, {large})"],
    ["update {t} set v = {d} where concat(k) = concat({b})"],
    ["update {t} set k = {d} where concat(k) = concat({a})"],
    [
        "update {t} set k = {a}, n = 4 where concat(k) = concat({d})",
        "update {t} set n = 5 where concat(k) = concat({a})",
    ],
    ["delete from {t} where concat(k) = concat({b})"],
    ["insert into {t} values ({b}, null, 6, {large})", "delete from {t} where concat(k) = concat({c})"],
)
BY_ANOTHER_SPELLING = (
    ["update {t} set k = {b}"],
    ["update {t} set k = {a}, n = 2"],
    ["update {t} set k = {b}", "update {t} set n = 3"],
    ["update {t} set k = {a}", "update {t} set k = {b}"],
    ["update {t} set k = {a}", "delete from {t}"],
    ["insert into {t} values ({a}, {a}, 4, {large})", "delete from {t}",
     "insert into {t} values ({b}, {a}, 5, {large})"],
    ["delete from {t}", "insert into {t} values ({a}, {b}, 6, {large})"],
    ["update {t} set k = {b}, n = 7"],
    ["insert into {t} values ({a}, {b}, 8, {large}) on conflict (k) do update set k = excluded.k"],
)  # fmt: skip


@pytest.fixture(params=OLDEST_AND_NEWEST, ids=lambda version: f"pg{version}")
def server(request: pytest.FixtureRequest) -> PostgresServer:
    return running_server(request.param)


@dataclass(frozen=True)
class Keyed:
    """A table, and what is done to it."""

    type: str
    values: dict[str, str]
    steps: tuple[list[str], ...]

    @property
    def name(self) -> str:
        return f"{self.type}, {self.values['a']}"

    def sql(self, statement: str) -> sql.Composed:
        values = {
            name: sql.SQL("{}::{}").format(value, sql.SQL(self.type.split(" collate")[0]))
            for name, value in self.values.items()
        }
        # Out of line, so that it is not sent again with an update.
        large = sql.SQL("(select string_agg(md5(i::text), '') from generate_series(1, 200) i)")
        return sql.SQL(statement).format(t=sql.Identifier(self.name), large=large, **values)

    def make(self, source: Source) -> None:
        source.execute(
            sql.SQL("create table {} (k {} primary key, v {}, n int, large text)").format(
                sql.Identifier(self.name), sql.SQL(self.type), sql.SQL(self.type)
            )
        )
        for value in list(self.values)[: len(self.values) // 2]:
            source.execute(self.sql(f"insert into {{t}} values ({{{value}}}, {{{value}}}, 1, {{large}})"))


def tables(source: Source) -> Iterator[Keyed]:
    """Of every type that the server offers."""
    source.execute(MAKE_TYPES)
    made, differently = dict(MADE_BY_USERS), dict(WRITTEN_DIFFERENTLY)
    offered = {name for (name,) in source.execute("select name from pg_available_extensions")}
    for extension, types in OF_EXTENSIONS.items():
        if extension in offered:
            source.execute(f'create extension {extension} schema "Of extensions"'.encode())
            made |= types
    if "citext" not in offered:
        del differently["citext"]
    try:
        source.execute("create collation any_case (provider = icu, locale = 'und-u-ks-level1', "
                       "deterministic = false)")  # fmt: skip
    except psycopg.errors.FeatureNotSupported:  # a server may be built without ICU
        del differently["text collate any_case"]
    for type_, values in made.items():
        yield Keyed(type_, dict(zip("abcd", values, strict=True)), BY_ANOTHER_KEY)
    for type_, spellings in differently.items():
        yield Keyed(type_, dict(zip("ab", spellings, strict=True)), BY_ANOTHER_SPELLING)


Steps = Sequence[list[sql.Composed]]


def step_by_step(source: Source, mine: WalCapture, sink: Sink, steps: Steps) -> None:
    for step in steps:
        list(catch_up(mine, sink))
        run(source, step)


def at_once(source: Source, mine: WalCapture, sink: Sink, steps: Steps) -> None:
    list(catch_up(mine, sink))
    for step in steps:
        run(source, step)


def while_it_is_copied(source: Source, mine: WalCapture, sink: Sink, steps: Steps) -> None:
    """The changes are in the log, and in what is read."""
    prepare(mine, sink)
    plan(mine, sink, {})
    for step in steps:
        run(source, step)


def run(source: Source, statements: list[sql.Composed]) -> None:
    with source.transaction():
        for statement in statements:
            source.execute(statement)


@pytest.mark.parametrize("way", [step_by_step, at_once, while_it_is_copied])
def test_a_row_is_known_by_its_key(
    source: Source, dsn: str, path: Path, way: Callable[[Source, WalCapture, Sink, Steps], None]
) -> None:
    keyed = list(tables(source))
    for table in keyed:
        table.make(source)
    rounds = zip_longest(*(table.steps for table in keyed), fillvalue=[])
    steps = [
        [table.sql(statement) for table, step in zip(keyed, steps, strict=True) for statement in step]
        for steps in rounds
    ]
    mine, copy = capture(dsn), DuckDBSink(path, "keys")

    way(source, mine, copy, steps)
    list(catch_up(mine, copy))

    assert differences(source, copies(copy)) == []
