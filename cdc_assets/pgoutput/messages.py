"""
The pgoutput messages that are not rows.

Rows (Insert, Update, Delete) stay bytes here: there are thousands of them for
each of these, and `rows` decodes them a column at a time instead.

Format: https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from ..model import ReplicaIdentity, TableName

_TRUNCATE = Struct(">xIB").unpack_from
_OID = Struct(">I").unpack_from
_XIDS = Struct(">II").unpack_from
_COLUMN = Struct(">Ii").unpack_from

RELATION, TRUNCATE, COMMIT, BEGIN = b"RTCB"
STREAM_START, STREAM_STOP, STREAM_COMMIT, STREAM_ABORT = b"SEcA"


class RelationColumn(NamedTuple):
    name: str
    oid: int
    typmod: int
    in_identity: bool


class Relation(NamedTuple):
    """A table as it was defined when the next change to it was made."""

    oid: int
    name: TableName
    identity: ReplicaIdentity
    columns: tuple[RelationColumn, ...]


def relation(message: bytes) -> Relation:
    (oid,) = _OID(message, 1)
    schema, at = _text(message, 5)
    name, at = _text(message, at)
    identity = ReplicaIdentity(chr(message[at]))
    count = int.from_bytes(message[at + 1 : at + 3], "big")
    at += 3
    columns = []
    for _ in range(count):
        flags = message[at]
        column, at = _text(message, at + 1)
        type_oid, typmod = _COLUMN(message, at)
        at += 8
        columns.append(RelationColumn(column, type_oid, typmod, bool(flags & 1)))
    # The schema is empty for pg_catalog.
    return Relation(oid, TableName(schema or "pg_catalog", name), identity, tuple(columns))


def truncated(message: bytes) -> tuple[int, ...]:
    """The OIDs of the tables a Truncate empties, the cascade included."""
    count, _options = _TRUNCATE(message)
    return tuple(_OID(message, 6 + 4 * n)[0] for n in range(count))


def xids(message: bytes) -> tuple[int, int]:
    """Of a Stream Abort: the transaction, and the part of it that was rolled back; the same if it is all."""
    return _XIDS(message, 1)


def xid(message: bytes) -> int:
    """Of a Stream Start or a Stream Commit."""
    return int(_OID(message, 1)[0])


def commit(stream_commit: bytes) -> bytes:
    """The Commit that would have come, had the transaction not been sent in progress."""
    return bytes([COMMIT]) + stream_commit[5:]


def _text(message: bytes, at: int) -> tuple[str, int]:
    end = message.index(0, at)
    return message[at:end].decode(), end + 1
