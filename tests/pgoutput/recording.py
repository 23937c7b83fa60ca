"""
Streams recorded on real servers, as a walsender would have sent them.
"""

from __future__ import annotations

import select
import struct
from collections.abc import Iterable, Iterator
from contextlib import closing

import numpy as np
import psycopg
import pyarrow as pa
from psycopg.conninfo import make_conninfo

from cdc_assets.model import ChangeBatch, Column, Table
from cdc_assets.pgoutput.frames import Frames, split
from cdc_assets.pgoutput.messages import Relation

PEEK = """
select data from pg_logical_slot_peek_binary_changes(
    'recorder', null, null, 'proto_version', '1', 'publication_names', 'recorded')
"""


def record(source: psycopg.Connection, *statements: str, before: Iterable[str] = ()) -> list[bytes]:
    """The pgoutput messages of `statements`, each a transaction, or several if it has semicolons."""
    begin_to_record(source, before)
    for statement in statements:
        source.execute(statement)
    return recorded(source)


def begin_to_record(source: psycopg.Connection, before: Iterable[str] = ()) -> None:
    for statement in before:
        source.execute(statement)
    source.execute("create publication recorded for all tables with (publish_via_partition_root)")
    source.execute("select pg_create_logical_replication_slot('recorder', 'pgoutput')")


def recorded(source: psycopg.Connection) -> list[bytes]:
    return [message for (message,) in source.execute(PEEK)]


class Walsender:
    """What a server sends of what is going on; its memory for decoding is full all the time."""

    def __init__(self, dsn: str, source: psycopg.Connection) -> None:
        self._source, self.messages = source, list[bytes]()
        small = make_conninfo(dsn, replication="database", options="-c logical_decoding_work_mem=64kB")
        self._connection = psycopg.connect(small, autocommit=True)
        self._pgconn = self._connection.pgconn
        self._pgconn.exec_(
            b"START_REPLICATION SLOT recorder LOGICAL 0/0 "
            b"(proto_version '2', streaming 'on', publication_names 'recorded')"
        )

    def catch_up(self) -> None:
        """Until everything that is written by now is sent."""
        self._source.execute("checkpoint")
        (written,) = self._source.execute("select pg_current_wal_flush_lsn() - '0/0'").fetchone()
        while True:
            self._pgconn.put_copy_data(struct.pack(">cQQQQB", b"r", 0, 0, 0, 0, 1))
            self._pgconn.flush()
            select.select([self._pgconn.socket], [], [], 0.1)
            self._pgconn.consume_input()
            while (received := self._pgconn.get_copy_data(1))[0] > 0:
                message = bytes(received[1])
                if message[:1] == b"w":
                    self.messages.append(message[25:])
                elif struct.unpack_from(">xQ", message)[0] >= written:
                    return

    def close(self) -> None:
        self._source.execute(
            "select pg_terminate_backend(active_pid, 10_000) from pg_replication_slots where active"
        )


def in_progress(dsn: str, source: psycopg.Connection, works: Iterable[str]) -> list[bytes]:
    """What is sent of `works` while they are done: statements that only semicolons separate."""
    walsender = Walsender(dsn, source)
    with closing(walsender), psycopg.connect(dsn, autocommit=True) as writer:
        for statement in ";".join(works).split(";"):
            writer.execute(statement)
            walsender.catch_up()
    return walsender.messages


def log_data(message: bytes) -> bytes:
    """A message under the head a walsender gives it."""
    return struct.pack(">cQQQ", b"w", 0, 0, 0) + message


def keepalive(lsn: int) -> bytes:
    return struct.pack(">cQQB", b"k", lsn, 0, 0)


def framed(message: bytes) -> bytes:
    return b"d" + struct.pack(">I", len(message) + 4) + message


def frames(*messages: bytes) -> Frames:
    """Messages, heads included, as they are received."""
    return split(np.frombuffer(b"".join(map(framed, messages)), np.uint8), b"w", b"k")[0]


def logged(messages: Iterable[bytes]) -> Frames:
    return frames(*map(log_data, messages))


def as_text(relation: Relation, key: Iterable[str] | None = None) -> Table:
    """A table whose columns are all kept as text, so that what was sent can be seen; the key is what
    the log says, if nothing else is."""
    columns = [Column(c.name, c.oid, c.typmod, "text", 25, pa.string_view()) for c in relation.columns]
    marked = [column.name for column in relation.columns if column.in_identity]
    return Table(
        relation.oid, relation.name, tuple(columns), tuple(marked if key is None else key), relation.identity
    )


def commit_ends(messages: Iterable[bytes]) -> list[int]:
    return [int.from_bytes(message[10:18], "big") for message in messages if message[:1] == b"C"]


def each(batch: ChangeBatch) -> Iterator[tuple[str, str, tuple[str | None, ...] | None]]:
    """What a batch says: operation, table and row, a truncation before the rows that follow it."""
    for changes in batch.changes:
        name = changes.table.name.name
        if changes.truncated:
            yield "T", name, None
        for op, row in zip(changes.ops, changes.rows.to_pylist(), strict=True):
            yield chr(op), name, tuple(row.values())
