"""
The replication slot: who may have it, where it starts, and what is waited for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import pytest
from wal_captures import capture, confirmed, eventually

from cdc_assets import engine
from cdc_assets.errors import CaptureError, SlotInUse
from cdc_assets.model import LSN, ChangeBatch, TableName
from cdc_assets.postgres.wal import WalCapture
from cdc_assets.sinks.memory import MemorySink

Connection = psycopg.Connection[Any]


@pytest.fixture
def observer(newest_dsn: str) -> Iterator[Connection]:
    with psycopg.connect(newest_dsn, autocommit=True) as connection:
        connection.execute("create table items (id int primary key, body text)")
        yield connection


@contextmanager
def consumer(captured: WalCapture) -> Iterator[ChangeBatch]:
    """One that has the slot for as long as the block lasts."""
    batches = captured.live()
    try:
        yield next(batches)
    finally:
        batches.close()


def test_a_slot_in_use_is_refused_and_who_uses_it_is_said(newest_dsn, observer):
    mine = capture(newest_dsn, takeover_wait=0.0)
    mine.prepare(mine.select().tables)

    with consumer(mine):
        (pid,) = observer.execute("select active_pid from pg_replication_slots").fetchone()
        with pytest.raises(SlotInUse, match=f"slot {mine.slot} is in use by pid {pid}, cdc_assets") as caught:
            next(mine.live())

    assert caught.value.hint


def test_a_slot_is_taken_over_as_soon_as_it_is_let_go(newest_dsn, observer):
    mine = capture(newest_dsn, takeover_wait=20.0)
    mine.prepare(mine.select().tables)
    refused = threading.Event()
    asked = mine.conninfo

    def conninfo() -> str:
        refused.set()
        return asked()

    other = capture(newest_dsn, takeover_wait=20.0)
    object.__setattr__(other, "conninfo", conninfo)
    with ThreadPoolExecutor(1) as pool:
        with consumer(mine):
            taken: Future[ChangeBatch] = pool.submit(lambda: next(other.live()))
            assert refused.wait(10)
            assert not taken.done()
        assert taken.result(20)


def test_what_was_confirmed_until_a_moment_before_a_takeover_is_not_taken_back(newest_dsn, observer):
    """A slot is read, then taken; in between, the consumer before may confirm more."""
    mine = capture(newest_dsn)
    mine.prepare(mine.select().tables)
    observer.execute("insert into items values (1, 'confirmed by another')")
    calls = iter(range(100))

    def conninfo() -> str:
        if next(calls) == 1:
            observer.execute("select pg_replication_slot_advance(%s, pg_current_wal_lsn())", [mine.slot])
        return newest_dsn

    late = WalCapture(mine.name, conninfo, mine.patterns)
    before = confirmed(observer, mine.slot)
    batches = late.live()
    first = next(batches)
    advanced = confirmed(observer, mine.slot)
    batches.close()

    assert before < advanced <= first.since
    assert confirmed(observer, mine.slot) >= advanced


@contextmanager
def transaction(dsn: str, *statements: str) -> Iterator[Connection]:
    """One that stays open until it is committed, or the block ends."""
    with psycopg.connect(dsn) as connection:
        for statement in statements:
            connection.execute(statement)
        yield connection


def test_writers_that_a_new_slot_waits_for_are_named(newest_dsn, observer):
    mine = capture(newest_dsn, slot_wait=0.3)

    with transaction(newest_dsn, "insert into items values (1)") as writer:
        with pytest.raises(CaptureError, match=rf"it waits for pid {writer.info.backend_pid}") as caught:
            mine.prepare(mine.select().tables)
        assert "pg_terminate_backend" in caught.value.hint

    assert observer.execute("select count(*) from pg_replication_slots").fetchone() == (0,)
    mine.prepare(mine.select().tables)


def waiting_for(observer: Connection, writer: Connection) -> Callable[[], bool]:
    """Whether the making of a slot waits for `writer` to end."""
    query = "select count(*) from pg_stat_activity where %s = any(pg_blocking_pids(pid)) "
    return lambda: observer.execute(query, [writer.info.backend_pid]).fetchone() == (1,)


def test_a_truncation_while_the_slot_is_made_does_not_break_it(source, dsn):
    """The server does not see it in the catalog when it decodes a transaction that began before the
    slot was ready, and would fail at that for ever."""
    source.execute("create table items (id int primary key, body text)")
    source.execute("create table others (id int primary key)")
    mine, sink = capture(dsn), MemorySink()
    with ExitStack() as stack, ThreadPoolExecutor(1) as pool:
        first = stack.enter_context(transaction(dsn, "insert into others values (1)"))
        made = pool.submit(engine.prepare, mine, sink)
        eventually(waiting_for(source, first))
        second = stack.enter_context(transaction(dsn, "insert into others values (2)"))
        source.execute("truncate items")
        first.commit()
        eventually(waiting_for(source, second))
        third = stack.enter_context(transaction(dsn, "insert into items values (3)"))
        second.commit()
        query = "select count(*) from pg_replication_slots where confirmed_flush_lsn is not null"
        eventually(lambda: source.execute(query).fetchone() == (1,))
        third.commit()
        made.result(20)

    list(engine.catch_up(mine, sink))

    assert sink.rows(TableName("public", "items")).keys() == {(3,)}


def test_to_prepare_again_does_not_move_the_slot(newest_dsn, observer):
    mine = capture(newest_dsn)
    tables = mine.select().tables
    start = mine.prepare(tables)
    observer.execute("insert into items values (1)")

    assert mine.prepare(tables) == start
    assert confirmed(observer, mine.slot) == start.lsn


def test_what_is_written_between_the_first_copy_and_the_first_stream_is_there(newest_dsn, observer):
    """The slot keeps it since before the snapshot was taken, not only since it is read for the first time."""
    observer.execute("insert into items values (1, 'read'), (2, 'read')")
    mine, sink = capture(newest_dsn), MemorySink()
    engine.prepare(mine, sink)
    tables = engine.plan(mine, sink, {}).tables
    list(engine.load(mine, sink, tables, sink.unloaded()))
    observer.execute(
        "update items set body = 'written' where id = 2; insert into items values (3, 'written')"
    )

    list(engine.stream(mine, sink, until=mine.head()))

    rows = sink.read(TableName("public", "items")).to_pylist()
    assert {row["id"]: row["body"] for row in rows} == {1: "read", 2: "written", 3: "written"}


def test_a_seed_does_not_move_the_slot(newest_dsn, observer):
    mine, sink = capture(newest_dsn), MemorySink()
    engine.prepare(mine, sink)
    start = confirmed(observer, mine.slot)
    tables = engine.plan(mine, sink, {}).tables

    list(engine.load(mine, sink, tables, sink.unloaded()))

    assert confirmed(observer, mine.slot) == start


def test_a_seed_leaves_no_slot_behind(newest_dsn, observer):
    mine, sink = capture(newest_dsn), MemorySink()
    list(engine.catch_up(mine, sink))

    assert observer.execute("select slot_name from pg_replication_slots").fetchall() == [(mine.slot,)]


def test_a_slot_of_the_same_name_that_is_not_ours_is_left_alone(newest_dsn, observer):
    mine = capture(newest_dsn)
    observer.execute("select pg_create_physical_replication_slot(%s)", [mine.slot])

    with pytest.raises(CaptureError, match="is of plugin None in database None") as caught:
        mine.prepare(mine.select().tables)

    assert "pg_drop_replication_slot" in caught.value.hint
    observer.execute("select pg_drop_replication_slot(%s)", [mine.slot])


def test_teardown_drops_slot_and_publication_and_can_be_repeated(newest_dsn, observer):
    mine = capture(newest_dsn)
    mine.prepare(mine.select().tables)

    mine.teardown()
    mine.teardown()

    assert mine.lag() is None
    assert mine.captured() == set()


def test_teardown_does_not_take_a_slot_from_who_streams(newest_dsn, observer):
    mine = capture(newest_dsn)
    mine.prepare(mine.select().tables)

    with consumer(mine), pytest.raises(SlotInUse):
        mine.teardown()

    assert mine.captured()


def test_an_idle_source_lets_its_log_go(newest_dsn, observer):
    """Traffic nobody publishes is only heard of in keepalives; the log would fill the disk."""
    mine, sink = capture(newest_dsn, "public.items"), MemorySink()
    list(engine.catch_up(mine, sink))
    observer.execute("create table noise (id int)")
    observer.execute("insert into noise select generate_series(1, 1000)")
    (written,) = observer.execute("select (pg_current_wal_lsn() - '0/0')::bigint").fetchone()

    for _ in engine.stream(mine, sink):
        if confirmed(observer, mine.slot) >= LSN(written):
            break
    assert confirmed(observer, mine.slot) >= LSN(written)
