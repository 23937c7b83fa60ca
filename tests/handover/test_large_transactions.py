"""
Transactions that are too large to be held: there as a whole, or not at all.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from concurrent_writers import TABLES, set_up, writing
from following import Followed
from psycopg.conninfo import make_conninfo
from wal_captures import capture, eventually

from cdc_assets import engine, open_duckdb
from cdc_assets.errors import SpoolFull
from cdc_assets.model import Differences, Sink, TableName
from cdc_assets.postgres import receiver
from cdc_assets.postgres.copy import Copy, Refused, copy
from cdc_assets.postgres.wal import WalCapture
from cdc_assets.sinks.duckdb.sink import DuckDBSink
from cdc_assets.sinks.memory import MemorySink

FIRST, SECOND = TableName("public", "first"), TableName("public", "second")
ROWS = 300_000
"""Several times of what is held in memory."""
SET_UP = """
create table first (id int primary key, note text);
create table second (id int primary key, note text);
"""
LARGE = f"""
begin;
insert into first select n, 'note number ' || n from generate_series(1, {ROWS}) n;
savepoint s; delete from first; insert into second values (0); rollback to s;
insert into second select n, 'note number ' || n from generate_series(1, {ROWS}) n;
update first set note = 'last' where id = 1;
commit
"""


@pytest.fixture
def source(newest_dsn: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(newest_dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def followed(newest_dsn, path, source) -> Followed:
    source.execute(SET_UP)
    return Followed(newest_dsn, path, capture(newest_dsn).name)


def sets_aside(process: int) -> bool:
    """Whether it has a temporary file, which has no name."""
    with suppress(FileNotFoundError):
        files = [file.readlink() for file in Path(f"/proc/{process}/fd").iterdir()]
        return any(str(file).startswith(tempfile.gettempdir()) and "deleted" in file.name for file in files)
    return False


def seen(path: Path) -> tuple[int, ...]:
    with open_duckdb(path, timeout=30) as copy:
        return copy.sql(
            "select (select count(*) from public.first), (select count(*) from public.second), "
            "(select count(*) from public.first where note = 'last')"
        ).fetchall()[0]


def test_another_process_sees_all_of_it_or_nothing_also_if_it_is_cut_off_by_a_kill(source, followed, path):
    with followed.process():
        eventually(lambda: followed.sink.is_seeded(SECOND))
    followed.sink.close()
    source.execute(LARGE)
    with followed.process() as process:
        eventually(lambda: sets_aside(process.pid))
    assert seen(path) == (0, 0, 0)

    with followed.process():
        views = {seen(path)}
        while views == {(0, 0, 0)}:
            views.add(seen(path))

    assert views == {(0, 0, 0), (ROWS, ROWS, 1)}


def differences(mine: WalCapture, sink: Sink) -> dict[TableName, Differences]:
    list(engine.catch_up(mine, sink))
    compared = engine.compare(mine, sink, mine.select().tables)
    return {each.table: each.differences for each in compared}


IN_PROGRESS = "-c logical_decoding_work_mem=64kB"


@pytest.mark.parametrize("options", ["", IN_PROGRESS])
def test_what_is_rolled_back_leaves_nothing(source, newest_dsn, options):
    source.execute(SET_UP)
    mine, sink = capture(make_conninfo(newest_dsn, options=options), held_bytes=1), MemorySink()
    list(engine.catch_up(mine, sink))
    source.execute("begin; insert into first select generate_series(1, 20_000); rollback")
    source.execute(
        "begin; insert into first values (-1); savepoint s; delete from first; insert into second "
        "select generate_series(1, 9000); rollback to s; insert into second values (-2); commit"
    )

    assert differences(mine, sink) == dict.fromkeys((FIRST, SECOND), Differences(0, 0))
    assert (len(sink.rows(FIRST)), len(sink.rows(SECOND))) == (1, 1)


def test_what_is_sent_in_progress_is_there_once_it_is_committed(source, newest_dsn, path):
    source.execute(SET_UP)
    mine = capture(make_conninfo(newest_dsn, options=IN_PROGRESS), held_bytes=1 << 20)
    sink, done = DuckDBSink(path, "shop"), threading.Event()

    def write() -> None:
        try:
            source.execute("begin; insert into first select n, 'early' from generate_series(1, 20_000) n")
            eventually(lambda: sent_in_progress(newest_dsn) > 0)
            source.execute("insert into second values (1)")
            source.execute("commit")
            eventually(lambda: sink.tables(counted=True)[SECOND].rows == 1)
        finally:
            done.set()

    list(engine.catch_up(mine, sink))
    with running(write):
        for _ in engine.follow(mine, sink, stopping=done.is_set):
            pass

    assert differences(mine, sink) == dict.fromkeys((FIRST, SECOND), Differences(0, 0))
    assert sink.tables(counted=True)[FIRST].rows == 20_000


def test_what_the_server_cannot_send_in_progress_comes_after_its_commit(source, newest_dsn, monkeypatch):
    """It does not fail on request: some order of schema changes that are rolled back makes it. Each
    stream would fail at the same place."""
    source.execute(SET_UP)
    mine, sink = capture(newest_dsn), MemorySink()
    list(engine.catch_up(mine, sink))
    source.execute("insert into first values (1)")
    commands: list[bytes] = []

    def failing(connection: Any, command: bytes, *begins_with: bytes) -> Copy:
        commands.append(command)
        if b"streaming" in command:
            raise Refused("XX000", "could not map filenumber to relation OID")
        return copy(connection, command, *begins_with)

    monkeypatch.setattr(receiver, "copy", failing)

    assert differences(mine, sink) == dict.fromkeys((FIRST, SECOND), Differences(0, 0))
    assert ["streaming" in command.decode() for command in commands[:2]] == [True, False]
    assert len(sink.rows(FIRST)) == 1


def sent_in_progress(dsn: str) -> int:
    """How many blocks the server says that it has sent."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        ((blocks,),) = connection.execute("select sum(stream_count) from pg_stat_replication_slots")
    return blocks or 0


@contextmanager
def running(work: Callable[[], None]) -> Iterator[None]:
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(work)
        yield
        ended.result()


def test_the_stream_goes_on_once_a_full_disk_has_room_again(source, newest_dsn, path, full_disk):
    source.execute(SET_UP)
    mine, sink = capture(newest_dsn, held_bytes=1 << 20), DuckDBSink(path, "shop")
    list(engine.catch_up(mine, sink))
    source.execute("insert into first select n, repeat('n', 100) from generate_series(1, 50_000) n")
    with full_disk(), pytest.raises(SpoolFull, match="cannot be set aside in"):
        list(engine.catch_up(mine, sink))

    assert differences(mine, sink) == dict.fromkeys((FIRST, SECOND), Differences(0, 0))


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch):
    """A disk for temporary files without room."""

    @contextmanager
    def full() -> Iterator[None]:
        with monkeypatch.context() as patch, Path("/dev/full").open("w+b", buffering=0) as file:
            patch.setattr(tempfile, "TemporaryFile", lambda **_: file)
            yield

    return full


@pytest.mark.parametrize("kind", [lambda path: MemorySink(), lambda path: DuckDBSink(path, "shop")])
def test_under_load_every_transaction_that_is_open_may_be_set_aside(newest_dsn, path, kind):
    set_up(newest_dsn)
    mine, sink = capture(newest_dsn, chunk_bytes=16_000, batch_delay=0.05, held_bytes=1), kind(path)
    settled = threading.Event()
    with writing(newest_dsn):
        for _ in engine.follow(mine, sink, stopping=settled.is_set):
            if all(sink.is_seeded(name) for name in TABLES):
                settled.set()

    assert differences(mine, sink) == dict.fromkeys(TABLES, Differences(0, 0))
