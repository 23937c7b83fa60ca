"""
A process that dies at a point that has a name: what it left is taken up, whatever it was in the middle of.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from wal_captures import confirmed

from cdc_assets import engine, load_config
from cdc_assets.model import LSN
from cdc_assets.pipeline import build
from cdc_assets.points import Point
from cdc_assets.sinks.duckdb.sink import DuckDBSink
from cdc_assets.testing.histories.copies import copies
from cdc_assets.testing.histories.differences import Difference, differences
from cdc_assets.testing.program import Program

CONFIG = """
name: {name}
source: {{conninfo: "{dsn}", tables: ["public.*"], takeover_wait: 30s}}
destination: {{type: duckdb, path: copy.duckdb}}
on_continuity_lost: reseed
"""
SETUP = """
create table items (id int primary key, version int not null, body text);
alter table items alter body set storage external;
insert into items select i, 0, repeat(md5(i::text), 100) from generate_series(1, 100) i;
create table remade (id int primary key);
create table altered (id int primary key);
insert into altered values (1);
"""


class Shop:
    def __init__(self, dsn: str, folder: Path) -> None:
        name = str(psycopg.conninfo.conninfo_to_dict(dsn)["dbname"])
        self.dsn, self.slot = dsn, f"cdc_{name}"
        config = folder / "cdc.yaml"
        config.write_text(CONFIG.format(name=name, dsn=dsn))
        self._program = Program(config, {})
        self._pipeline = build(load_config(config))

    def run(self, statements: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(statements.encode())

    def dies(self, at: Point) -> bool:
        """Whether a `sync` gets there; if not it has to succeed."""
        with self._program.start("sync", kill_at=at) as process:
            ended = process.wait(60)
        assert ended in (0, -signal.SIGKILL), self._program.said()
        return ended != 0

    def differences(self) -> list[Difference]:
        """After a `sync` that nobody kills."""
        sink = self._pipeline.sink
        list(engine.catch_up(self._pipeline.capture, sink, start_anew=True))
        with psycopg.connect(self.dsn, autocommit=True) as source:
            return differences(source, copies(sink))

    def confirmed(self) -> LSN:
        with psycopg.connect(self.dsn) as connection:
            slots = "select slot_name from pg_replication_slots where slot_name = %s"
            is_there = connection.execute(slots, [self.slot]).fetchone()
            return confirmed(connection, self.slot) if is_there else LSN(0)

    def held(self) -> LSN | None:
        """Up to where the destination says that it has everything; None if it says nothing of the sort."""
        assert isinstance(self._pipeline.sink, DuckDBSink)
        position = self._pipeline.sink.position()
        return position.lsn if position else None


def nothing_is_copied(shop: Shop) -> None:
    shop.run(SETUP)


def tables_are_altered_and_made_anew(shop: Shop) -> None:
    shop.run("alter table altered add more text default 'more'")
    shop.run("drop table remade; create table remade (id int primary key); insert into remade values (1)")


def a_row_is_moved_before_its_first_copy_is_finished(shop: Shop) -> None:
    shop.run("create table moved (id int primary key, body text)")
    shop.run("alter table moved alter body set storage external")
    shop.run("insert into moved select i, repeat(md5(i::text), 100) from generate_series(1, 9) i")
    assert shop.dies(Point.CHUNK_DURABLE)
    shop.run("update moved set id = 1001 where id = 1")


def changes_are_gone(shop: Shop) -> None:
    shop.run(f"drop publication {shop.slot}")


WAYS: list[Callable[[Shop], None]] = [
    nothing_is_copied,
    tables_are_altered_and_made_anew,
    a_row_is_moved_before_its_first_copy_is_finished,
    changes_are_gone,
]
LATER = {
    Point.GAP_MARKED: tables_are_altered_and_made_anew,
    Point.REDEFINED: tables_are_altered_and_made_anew,
    Point.REPAIRED: a_row_is_moved_before_its_first_copy_is_finished,
    Point.SLOT_DROPPED: changes_are_gone,
}
"""Points that need more than a first start, so that nobody waits for processes that do not get there."""


@pytest.mark.parametrize("point", Point)
def test_a_process_that_dies_at_a_point_loses_nothing_and_doubles_nothing(point, newest_dsn, tmp_path):
    shop = Shop(newest_dsn, tmp_path)
    first = WAYS.index(LATER.get(point, WAYS[0]))
    for number, way in enumerate(WAYS):
        way(shop)
        if number < first:
            assert shop.differences() == []
        elif shop.dies(point):
            break
    else:
        pytest.fail(f"nothing here gets to {point}")
    after_its_death, held = shop.confirmed(), shop.held()
    shop.run("update items set version = version + 1; delete from items where id % 10 = 0")

    assert held is None or after_its_death <= held
    assert shop.differences() == []
    assert shop.confirmed() > after_its_death


def test_processes_that_die_after_every_single_commit_get_there_all_the_same(newest_dsn, tmp_path):
    """What is durable and not confirmed comes again; of rows without a key, none may be taken twice."""
    shop = Shop(newest_dsn, tmp_path)
    shop.run("create table counted (name text); alter table counted replica identity full")
    for _ in range(6):
        shop.run("insert into counted values ('same'), ('same')")
        assert shop.dies(Point.COMMITTED)

    assert shop.differences() == []
