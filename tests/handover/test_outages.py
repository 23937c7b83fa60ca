"""
Faults that go away by themselves, while `follow` runs unattended: it goes on, and the copies are right.
"""

from __future__ import annotations

import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import duckdb
import psycopg
import pytest
from concurrent_writers import TABLES, set_up, writing
from following import Followed, Unattended
from psycopg.conninfo import make_conninfo
from wal_captures import capture, eventually

from cdc_assets import engine
from cdc_assets.model import Differences, Sink
from cdc_assets.postgres.wal import WalCapture
from cdc_assets.sinks.duckdb.sink import DuckDBSink
from cdc_assets.sinks.memory import MemorySink
from cdc_assets.testing import PostgresServer
from cdc_assets.testing.proxy import Proxy

SAME = dict.fromkeys(TABLES, Differences(0, 0))
MUCH = "insert into emptied (body) select repeat(md5(i::text), 30) from generate_series(1, 9000) i"


def differences(mine: WalCapture, sink: Any) -> dict[Any, Differences]:
    list(engine.catch_up(mine, sink))
    tables = mine.select().tables
    return {each.table: each.differences for each in engine.compare(mine, sink, tables)}


def all_seeded(sink: Sink) -> bool:
    return all(sink.is_seeded(name) for name in TABLES)


def test_sessions_that_an_administrator_ends_are_made_anew(newest_dsn):
    """All of them while tables are seeded, and then the stream's."""
    set_up(newest_dsn)
    mine, sink = capture(newest_dsn, chunk_bytes=8_000, batch_delay=0.05), MemorySink()
    of_a_seed = (
        "select pid from pg_stat_activity where datname = current_database() and application_name = %s"
    )
    of_the_stream = "select active_pid from pg_replication_slots where slot_name = %s"
    with (
        psycopg.connect(newest_dsn, autocommit=True) as administrator,
        writing(newest_dsn),
        Unattended(mine, sink) as unattended,
    ):
        eventually(lambda: any(held.chunks_loaded for held in sink.tables().values()))
        for ready, sessions, name in (
            (lambda: True, of_a_seed, "cdc_assets"),
            (lambda: all_seeded(sink), of_the_stream, mine.slot),
        ):
            eventually(ready)
            before = len(unattended.retries)
            administrator.execute(
                f"select pg_terminate_backend(pid) from ({sessions}) s (pid)".encode(), [name]
            )
            eventually(lambda before=before: len(unattended.retries) > before)
            unattended.goes_on()

    assert differences(mine, sink) == SAME


def test_a_network_that_is_cut_or_swallows_everything_is_waited_for(newest_dsn):
    set_up(newest_dsn)
    with Proxy(newest_dsn) as network, psycopg.connect(newest_dsn, autocommit=True) as writer:
        # The stream's silence is noticed after as long as the server would wait.
        dsn = make_conninfo(network.dsn, options="-c wal_sender_timeout=1500", connect_timeout=2)
        mine, sink = capture(dsn, chunk_bytes=16_000, batch_delay=0.05), MemorySink()
        with Unattended(mine, sink) as unattended:
            eventually(lambda: any(held.chunks_loaded for held in sink.tables().values()))
            network.cut()
            writer.execute("update items set version = version + 1")
            eventually(lambda: len(unattended.retries) > 2)
            network.mend()
            eventually(lambda: all_seeded(sink))
            network.hold()
            writer.execute("update items set version = version + 1")
            eventually(lambda: any("silent" in retry for retry in unattended.retries))
            network.mend()
            unattended.goes_on()

    assert differences(capture(newest_dsn), sink) == SAME


def test_a_server_that_crashes_is_waited_for_and_streamed_from_again(path):
    with PostgresServer(settings={"fsync": "off"}) as server:
        set_up(server.dsn)
        mine, sink = capture(server.dsn, batch_delay=0.05), DuckDBSink(path, "postgres")
        with Unattended(mine, sink) as unattended:
            eventually(lambda: all_seeded(sink))
            with psycopg.connect(server.dsn, autocommit=True) as writer:
                writer.execute("update items set version = version + 1")
            server.kill()
            eventually(lambda: len(unattended.retries) > 3)
            server.start()
            unattended.goes_on()

        assert differences(mine, sink) == SAME


def test_a_file_that_somebody_else_holds_is_waited_for(newest_dsn, path):
    set_up(newest_dsn)
    mine, sink = capture(newest_dsn, batch_delay=0.05), DuckDBSink(path, "shop", lock_timeout=0.2)
    with psycopg.connect(newest_dsn, autocommit=True) as writer, Unattended(mine, sink) as unattended:
        eventually(lambda: all_seeded(sink))
        with held_elsewhere(path):
            writer.execute("update items set version = version + 1")
            eventually(lambda: len(unattended.retries) > 1)
        unattended.goes_on()

    assert "was held by" in unattended.retries[0]
    assert differences(mine, sink) == SAME


@contextmanager
def held_elsewhere(path: Any) -> Iterator[None]:
    """By a connection of its own, as another program has it."""
    while True:
        try:
            holder = duckdb.connect(path)
            break
        except duckdb.Error:
            time.sleep(0.002)
    with holder:
        yield


def test_a_full_disk_is_waited_for_and_a_signal_ends_the_wait(newest_dsn, path):
    """A limit on the size of files is what can be set, and lifted, from outside."""
    set_up(newest_dsn)
    mine = capture(newest_dsn)
    followed = Followed(newest_dsn, path, mine.name)
    no_limit = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    with psycopg.connect(newest_dsn, autocommit=True) as writer, followed.process() as process:
        eventually(lambda: all_seeded(followed.sink))
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1 << 16, resource.RLIM_INFINITY))
        writer.execute(
            "insert into emptied (body) select repeat(md5(i::text), 30) from generate_series(1, 9000) i"
        )
        eventually(lambda: f"there is no room for {path}; trying again in" in followed.said())
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, no_limit)
        eventually(lambda: followed.sink.tables(counted=True)[TABLES[3]].rows == 9200)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1 << 16, resource.RLIM_INFINITY))
        writer.execute(
            "insert into emptied (body) select repeat(md5(i::text), 30) from generate_series(1, 9000) i"
        )
        eventually(lambda: followed.said().count("trying again in") > 2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0, followed.said()

    assert differences(mine, followed.sink) == SAME


def test_an_error_that_somebody_has_to_mend_stops_it(newest_dsn):
    set_up(newest_dsn)
    wrong = capture(make_conninfo(newest_dsn, password="wrong"))

    with pytest.raises(AssertionError, match="password"), Unattended(wrong, MemorySink()) as unattended:
        unattended.goes_on()
