"""
What is left after a kill, of the process or of the server: the same copies, and nothing confirmed twice.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from concurrent_writers import TABLES, set_up, writing
from following import Followed
from wal_captures import capture, confirmed, eventually

from cdc_assets import engine, open_duckdb
from cdc_assets.errors import ServerUnreachable
from cdc_assets.model import LSN, Differences
from cdc_assets.postgres.wal import WalCapture
from cdc_assets.sinks.memory import MemorySink
from cdc_assets.testing import PostgresServer

SAME = dict.fromkeys(TABLES, Differences(0, 0))


@pytest.fixture
def mine(newest_dsn: str) -> WalCapture:
    set_up(newest_dsn)
    return capture(newest_dsn)


@pytest.fixture
def followed(newest_dsn, path, mine) -> Followed:
    return Followed(newest_dsn, path, mine.name)


def differences(mine: WalCapture, sink: Any) -> dict[Any, Differences]:
    list(engine.catch_up(mine, sink))
    tables = mine.select().tables
    return {each.table: each.differences for each in engine.compare(mine, sink, tables)}


@contextmanager
def sampled(dsn: str, slot: str) -> Iterator[list[LSN]]:
    """Where the slot was confirmed, all the time."""
    samples: list[LSN] = []
    ended = threading.Event()

    def sample() -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            query = "select 1 from pg_replication_slots where slot_name = %s and confirmed_flush_lsn > '0/0'"
            while not ended.wait(0.005):
                if connection.execute(query, [slot]).fetchone() is not None:
                    samples.append(confirmed(connection, slot))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()


def chunks_loaded(followed: Followed) -> int:
    return sum(held.chunks_loaded for held in followed.sink.tables().values())


def position(followed: Followed) -> LSN:
    held = followed.sink.position()
    return held.lsn if held else LSN(0)


def test_kills_at_any_moment_lose_nothing_double_nothing_and_move_nothing_back(newest_dsn, mine, followed):
    chance = random.Random(7)
    with writing(newest_dsn), sampled(newest_dsn, mine.slot) as samples:
        with followed.process():
            eventually(lambda: chunks_loaded(followed) > 0)  # and is killed in the middle of the seed
        for _ in range(3):
            before = position(followed)
            with followed.process():
                eventually(lambda before=before: position(followed) > before)
                time.sleep(chance.uniform(0, 0.3))  # then, at no moment in particular, it is killed

    assert differences(mine, followed.sink) == SAME
    assert len(set(samples)) > 3
    assert samples == sorted(samples)


def test_sigterm_ends_follow_with_success_and_everything_it_holds_confirmed(newest_dsn, mine, followed):
    with writing(newest_dsn), followed.process() as process:
        eventually(lambda: position(followed) and followed.sink.is_seeded(TABLES[0]))
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, followed.said()

    with psycopg.connect(newest_dsn) as connection:
        assert confirmed(connection, mine.slot) == position(followed)


def test_another_process_gets_its_turn_at_the_file_while_it_is_streamed_to(newest_dsn, mine, followed, path):
    with writing(newest_dsn), followed.process():
        eventually(lambda: followed.sink.is_seeded(TABLES[0]))
        followed.sink.close()
        for _ in range(3):
            with open_duckdb(path, timeout=20) as copy:
                ((rows,),) = copy.sql("select count(*) from public.items").fetchall()
            assert rows > 0


def test_after_a_crash_of_the_server_the_stream_goes_on_where_it_was():
    with PostgresServer(settings={"fsync": "off"}) as server:
        set_up(server.dsn)
        mine, sink = capture(server.dsn, batch_delay=0.05), MemorySink()
        list(engine.catch_up(mine, sink))
        with psycopg.connect(server.dsn, autocommit=True) as writer:
            steps = engine.stream(mine, sink)
            for number in range(3):
                writer.execute("insert into emptied (body) values (%s)", [str(number)])
                next(step for step in steps if step.batch.size)
            writer.execute("insert into emptied (body) values ('not streamed yet')")
        server.kill()
        with pytest.raises(ServerUnreachable):
            list(steps)
        server.start()

        assert differences(mine, sink) == SAME
