"""
What it costs to follow the log, against what it costs the server to send it.

No clock is looked at: it would tell what else the machine has to do. Compared is how long processors were at
work for either side. Others on the machine can only make that more, so the least of some rounds is taken.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import closing
from pathlib import Path

import psycopg
from recording import log_data
from wal_captures import capture

from bench import tables
from cdc_assets.engine import catch_up
from cdc_assets.model import Ack
from cdc_assets.pgoutput.assembler import Assembler
from cdc_assets.pgoutput.frames import Frames
from cdc_assets.sinks.duckdb.sink import DuckDBSink

_WHOLE, _DECODING = 1.3, 0.27
"""How much of what the server spends may be spent on all of it, and on making columns of messages."""
_WORK = [
    *(tables.insert("narrow", first, 10_000) for first in range(0, 120_000, 10_000)),
    "update narrow set note = note || ' again' where id % 3 = 0",
    *(tables.insert_wide("wide", first, 1000) for first in range(0, 8000, 1000)),
]


def test_following_the_log_costs_what_it_did(newest_dsn: str, path: Path) -> None:
    with psycopg.connect(newest_dsn, autocommit=True) as source:
        backlog = _Backlog(newest_dsn, source, path)

        whole = [backlog.follow(), backlog.follow()]
        while min(whole) > _WHOLE * backlog.spent_by_server and len(whole) < 10:
            whole.append(backlog.follow())
        assert min(whole) <= _WHOLE * backlog.spent_by_server

        frames = backlog.frames()
        decoding = [backlog.decode(frames) for _ in range(3)]
        while min(decoding) > _DECODING * backlog.spent_by_server and len(decoding) < 50:
            decoding.append(backlog.decode(frames))
        assert min(decoding) <= _DECODING * backlog.spent_by_server


class _Backlog:
    """Changes that wait in a slot, and can be had again and again; what is spent on it is in seconds."""

    def __init__(self, dsn: str, source: psycopg.Connection, path: Path) -> None:
        self._source, self._path, self._wal = source, path, capture(dsn)
        source.execute(tables.NARROW.format(name="narrow"))
        source.execute(tables.WIDE.format(name="wide"))
        with closing(self._sink(path)) as sink:
            list(catch_up(self._wal, sink))
        source.execute("select pg_copy_logical_replication_slot(%s, 'backlog')", [self._wal.slot])
        for statement in _WORK:
            source.execute(statement)
        self.spent_by_server = float("inf")
        """The least that sending the backlog took."""

    def _sink(self, path: Path) -> DuckDBSink:
        return DuckDBSink(path, self._wal.name)

    def follow(self) -> float:
        """What is spent on having the backlog in a DuckDB file."""
        slot = self._wal.slot
        self._source.execute("select pg_drop_replication_slot(%s)", [slot])
        self._source.execute("select pg_copy_logical_replication_slot('backlog', %s)", [slot])
        until = self._wal.head()
        with closing(self._sink(Path(shutil.copy(self._path, f"{self._path}.copy")))) as sink:
            began = time.process_time()
            for batch in self._wal.live(until=until):
                sink.apply(batch)
                batch.ack.confirm()
                server = self._spent_by_sender()
            spent = time.process_time() - began
        self.spent_by_server = min(self.spent_by_server, server)
        return spent

    def _spent_by_sender(self) -> float:
        """https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html (utime, stime)"""
        (pid,) = self._source.execute(
            "select active_pid from pg_replication_slots where slot_name = %s", [self._wal.slot]
        ).fetchone()
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def frames(self) -> Frames:
        """The backlog as it is received."""
        messages = self._source.execute(
            "select data from pg_logical_slot_peek_binary_changes("
            "'backlog', null, null, 'proto_version', '1', 'publication_names', %s)",
            [self._wal.publication],
        )
        return Frames.of([log_data(message) for (message,) in messages])

    def decode(self, frames: Frames) -> float:
        """What is spent on making Arrow columns of it."""
        found = self._wal.select().tables
        assembler = Assembler(lambda relation, _: found[relation.name])
        began = time.thread_time()
        assembler.feed(frames)
        assembler.take(lambda _: Ack())
        return time.thread_time() - began
