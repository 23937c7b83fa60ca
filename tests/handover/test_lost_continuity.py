"""
Changes that are gone: noticed before anything is applied, said with what to do; copied again if told so.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from wal_captures import eventually

from cdc_assets import engine
from cdc_assets.config import parse
from cdc_assets.dagster.checks import judge
from cdc_assets.engine import StartedAnew
from cdc_assets.engine.unattended import Patience
from cdc_assets.errors import CaptureError, ContinuityInDoubt, ContinuityLost
from cdc_assets.model import Position, Table, TableName, TableState
from cdc_assets.pipeline import Pipeline, build
from cdc_assets.testing import PostgresServer

ITEMS = TableName("public", "items")
SLOT = "cdc_shop"


@dataclass
class Shop:
    """A table of two rows in step, on a server of its own; the third row is not copied yet."""

    server: PostgresServer
    dsn: str
    path: Path

    def __post_init__(self) -> None:
        self.run(
            f"select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = '{SLOT}'"
        )
        self.run(f"drop publication if exists {SLOT}")
        self.run("drop table if exists items")
        self.run("create table items (id int primary key); insert into items values (1), (2)")
        self.sync()

    def run(self, statements: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(statements.encode())

    def pipeline(self, **settings: str) -> Pipeline:
        data = {
            "name": "shop",
            "source": {"conninfo": self.dsn, "tables": ["public.*"], "takeover_wait": 1},
            "destination": {"type": "duckdb", "path": str(self.path)},
        }
        return build(parse(data | settings))

    def sync(self, **settings: str) -> list[engine.Event]:
        mine = self.pipeline(**settings)
        return list(engine.catch_up(mine.capture, mine.sink, start_anew=mine.starts_anew))

    def copied(self) -> list[int]:
        return sorted(self.pipeline().sink.read(ITEMS)["id"].to_pylist())

    def health(self) -> str | None:
        """What the check on the slot says, unless it passes or only misses a reader."""
        mine = self.pipeline()
        with dg.DagsterInstance.ephemeral() as instance:
            (health,) = [v for v in judge(instance, mine, mine.capture.lag()) if v.check == "slot_health"]
        return None if health.passed or health.severity is dg.AssetCheckSeverity.WARN else health.said


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One that keeps little log for a slot, so that it can lose it."""
    small = {"fsync": "off", "max_slot_wal_keep_size": "16MB", "max_wal_size": "32MB", "min_wal_size": "32MB"}
    with PostgresServer(settings=small) as server:
        yield server


@pytest.fixture
def shop(server: PostgresServer, path: Path) -> Shop:
    return Shop(server, server.dsn, path)


def dropped(shop: Shop) -> None:
    shop.run(f"select pg_drop_replication_slot('{SLOT}')")


def made_again(shop: Shop) -> None:
    dropped(shop)
    shop.run(f"select pg_create_logical_replication_slot('{SLOT}', 'pgoutput')")


def moved(shop: Shop) -> None:
    shop.run("insert into items values (4)")
    shop.run(f"select pg_replication_slot_advance('{SLOT}', pg_current_wal_lsn())")


def without_its_log(shop: Shop) -> None:
    for _ in range(4):
        shop.run("select pg_logical_emit_message(false, '', 'x')")
        shop.run("select pg_switch_wal()")
    shop.run("checkpoint")
    with psycopg.connect(shop.dsn, autocommit=True) as connection:
        status = f"select 1 from pg_replication_slots where slot_name = '{SLOT}' and wal_status = 'lost'"
        eventually(lambda: connection.execute(status.encode()).fetchone())


def unpublished(shop: Shop) -> None:
    shop.run(f"drop publication {SLOT}")


def an_older_copy(shop: Shop) -> None:
    shutil.copy(shop.path, shop.path.with_suffix(".old"))
    shop.run("insert into items values (4)")
    shop.sync()
    shutil.move(shop.path.with_suffix(".old"), shop.path)


def of_another_server(shop: Shop) -> None:
    """The same address, another cluster: the copy is of one that is gone."""
    with shop.pipeline().sink.file.writing() as transaction:  # type: ignore[attr-defined]
        transaction.run("update destination._cdc.stream set system = '1'")


def an_older_server(shop: Shop) -> None:
    """Brought back from a copy of its folder, as from a backup."""
    data, backup = shop.server.directory / "data", shop.server.directory / "backup"
    shop.server.stop()
    shutil.copytree(data, backup)
    own(data, backup)
    shop.server.start()
    shop.run("insert into items select generate_series(4, 5000)")
    shop.sync()
    shop.server.stop()
    shutil.rmtree(data)
    backup.rename(data)
    shop.server.start()


def an_older_server_written_to(shop: Shop) -> None:
    """As much as the destination has of it, to the byte, and then some."""
    an_older_server(shop)
    shop.run("insert into items select generate_series(10004, 15000)")
    shop.run("insert into items select generate_series(20000, 25000)")


def own(like: Path, folder: Path) -> None:
    """Have everything in `folder` belong to whom `like` does."""
    owner = like.stat()
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, owner.st_uid, owner.st_gid)
    folder.chmod(0o700)


@pytest.mark.parametrize(
    ("lose", "said"),
    [
        (dropped, "slot cdc_shop does not exist"),
        (made_again, "slot cdc_shop is at .* already: it was moved or made again"),
        (moved, "slot cdc_shop is at .* already: it was moved or made again"),
        (without_its_log, "slot cdc_shop has lost its log"),
        (unpublished, "publication cdc_shop does not exist"),
        (an_older_copy, "or the destination is an older copy"),
        (of_another_server, "the server is another one"),
        (an_older_server, "it was restored from an older state"),
    ],
)
def test_lost_continuity_is_said_and_mended_only_if_told(shop: Shop, lose: Callable[[Shop], None], said: str):
    lose(shop)
    before = shop.copied()
    shop.run("insert into items values (3); delete from items where id = 1")

    with pytest.raises(ContinuityLost, match=f"changes after .* are gone: .*{said}") as caught:
        shop.sync()
    health = shop.health()

    assert "cdc-assets reseed --all" in caught.value.hint
    assert health is not None
    assert caught.value.args[0].partition(": ")[2] in health
    assert shop.copied() == before, "nothing is applied"

    anew = [event for event in shop.sync(on_continuity_lost="reseed") if isinstance(event, StartedAnew)]

    assert [str(event) for event in anew] == [f"{caught.value}; everything is copied again"]
    with psycopg.connect(shop.dsn) as source:
        assert shop.copied() == [id_ for (id_,) in source.execute("select id from items order by id")]
    assert shop.health() is None
    shop.run("insert into items values (6000)")
    assert not any(isinstance(event, StartedAnew) for event in shop.sync(on_continuity_lost="reseed"))
    assert shop.copied()[-1] == 6000


def test_an_older_server_that_was_written_to_since_is_known_by_what_it_says_again(shop):
    """No position shows it, for it is past ours."""
    an_older_server_written_to(shop)
    before = shop.copied()
    assert shop.health() is None

    with pytest.raises(ContinuityInDoubt, match="restored from an older state, and written to since") as said:
        shop.sync()
    with pytest.raises(ContinuityLost, match=r"changes after .* are gone: the server has another log"):
        shop.sync()

    assert str(said.value) in (shop.health() or "")
    assert shop.copied() == before
    shop.sync(on_continuity_lost="reseed")
    assert shop.copied()[-1] == 25000
    assert shop.health() is None


def test_a_slot_that_somebody_else_made_is_not_taken_from_them(shop):
    dropped(shop)
    shop.run(f"select pg_create_physical_replication_slot('{SLOT}')")
    with pytest.raises(ContinuityLost, match="is of plugin None"):
        shop.sync()
    assert "is of plugin None" in (shop.health() or "")

    with pytest.raises(CaptureError, match="is of plugin None") as caught:
        shop.sync(on_continuity_lost="reseed")

    assert f"SELECT pg_drop_replication_slot('{SLOT}');" in caught.value.hint
    dropped(shop)
    shop.sync(on_continuity_lost="reseed")
    assert shop.copied() == [1, 2]


def test_a_destination_that_was_deleted_is_made_anew(shop):
    shop.path.unlink()
    shop.run("insert into items values (3)")

    shop.sync()

    assert shop.copied() == [1, 2, 3]


def test_a_table_taken_out_of_the_publication_for_a_while_is_copied_again_and_no_other(shop):
    shop.run("create table others (id int primary key)")
    shop.sync()
    shop.run(f"alter publication {SLOT} drop table items")
    shop.run("insert into items values (3)")
    assert "does not send public.items" in (shop.health() or "")

    shop.sync()

    assert shop.copied() == [1, 2, 3]
    held = shop.pipeline().sink.tables()
    assert [held[ITEMS].generation, held[TableName("public", "others")].generation] == [2, 1]
    shop.run("drop table others")


@pytest.mark.parametrize(
    ("taken_out", "put_back"),
    [
        ("drop table items", "add table items"),
        ("set table others", "add table items"),
        ("drop table items", "add tables in schema public"),
    ],
)
def test_a_table_that_was_out_of_the_publication_between_two_looks_is_copied_again(shop, taken_out, put_back):
    shop.run("create table if not exists others (id int primary key)")
    shop.sync()
    shop.run(f"alter publication {SLOT} {taken_out}")
    shop.run("insert into items values (3)")
    shop.run(f"alter publication {SLOT} {put_back}")
    assert shop.health() is None, "nothing shows in the publication itself"

    shop.sync()

    assert shop.copied() == [1, 2, 3]
    held = shop.pipeline().sink.tables()
    assert held[ITEMS].generation == 2
    assert held[TableName("public", "others")].generation == 1 or "schema" in put_back
    shop.run("drop table others")


@pytest.mark.parametrize("lose", [dropped, without_its_log])
def test_a_slot_that_goes_while_it_is_looked_at_is_looked_at_again(shop, lose, monkeypatch):
    """What `sync --follow` does with it, and a run of Dagster's."""
    mine, stopping = shop.pipeline(on_continuity_lost="reseed"), threading.Event()
    ours = mine.capture.prepare
    shop.run("insert into items values (3)")

    def late(_: object, tables: Mapping[TableName, Table]) -> Position:
        monkeypatch.undo()
        start = ours(tables)
        lose(shop)
        return start

    def attempt() -> Generator[engine.Event, None, None]:
        return engine.follow(mine.capture, mine.sink, stopping=stopping.is_set, start_anew=True)

    monkeypatch.setattr(type(mine.capture), "prepare", late)
    said = []
    for event in engine.unattended(attempt, stopping, Patience(first=0.1)):
        if isinstance(event, StartedAnew | engine.Retry):
            said.append(str(event))
        if shop.copied() == [1, 2, 3]:
            stopping.set()

    again, anew = said
    assert "trying again in" in again
    assert "everything is copied again" in anew


def test_a_copy_that_was_restored_reads_as_it_was_until_the_new_one_is_there(shop):
    """Marked is not dropped."""
    dropped(shop)
    mine = shop.pipeline()

    engine.prepare(mine.capture, mine.sink, start_anew=True)

    assert shop.copied() == [1, 2]
    assert mine.sink.tables()[ITEMS].state is TableState.UNSEEDED
