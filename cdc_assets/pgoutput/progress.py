"""
Transactions that are sent while they are in progress.

Where it may, a server sends a transaction that outgrows its memory for decoding in blocks, as it
is made, and says afterwards what of it was rolled back. A block's messages are kept on disk until
the transaction's commit, and are then handed on as if they had come only now.

https://www.postgresql.org/docs/current/protocol-logical-replication.html#PROTOCOL-LOGICAL-MESSAGES-FLOW
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from ..model import arrow
from ..model.changes import Bools, Bytes, Ints
from . import messages
from .cells import uint32_at
from .envelope import HEAD, among, kinds, logged
from .frames import Frames
from .scratch import Scratch

_IS_BOUND = among(b"SEcA")
_XID = 4
"""Bytes after the kind of each message of a block: the transaction, or the part of it, that made it."""
_PIECE = 8 << 20
"""Bytes that are kept, and handed on, together."""


class InProgress:
    """The transactions of one stream that have begun and not ended."""

    def __init__(self) -> None:
        self._begun: dict[int, _Transaction] = {}
        self._sent: _Transaction | None = None
        """The one whose block is being sent."""

    def ended(self, frames: Frames) -> Iterator[Frames]:
        """`frames` with each transaction where its commit is, without what was rolled back of it."""
        bounds = np.flatnonzero(_IS_BOUND[kinds(frames)]) if len(frames) else np.zeros(0, np.int64)
        begin = 0
        for bound in [*bounds.tolist(), len(frames)]:
            between = frames.part(begin, bound)
            if self._sent:
                self._sent.keep(between)
            elif len(between):
                yield between
            if bound < len(frames):
                yield from self._passed(frames[bound][HEAD:])
            begin = bound + 1

    def _passed(self, message: bytes) -> Iterator[Frames]:
        match message[0]:
            case messages.STREAM_START:
                xid = messages.xid(message)
                self._sent = self._begun.setdefault(xid, _Transaction())
            case messages.STREAM_STOP:
                self._sent = None
            case messages.STREAM_ABORT:
                xid, part = messages.xids(message)
                if part == xid:
                    self._begun.pop(xid, None)
                elif xid in self._begun:
                    self._begun[xid].rolled_back.add(part)
            case messages.STREAM_COMMIT:
                if transaction := self._begun.pop(messages.xid(message), None):
                    yield from transaction.kept()
                yield logged(messages.commit(message))


class _Transaction:
    def __init__(self) -> None:
        self.rolled_back: set[int] = set()
        """The parts, each by its own number, of which nothing counts; nor what they say of tables, which
        the server then says again."""
        self._scratch = Scratch()
        self._places: list[int] = []

    def keep(self, block: Frames) -> None:
        for frames in block.pieces(_PIECE):
            logs = kinds(frames) != 0
            if logs.any():
                batch = _without_xids(frames.data, frames.start[logs], frames.end[logs])
                self._places.append(self._scratch.put(batch))

    def kept(self) -> Iterator[Frames]:
        rolled_back = np.array([*self.rolled_back], np.int64)
        for place in self._places:
            messages, xids = self._scratch.get(place).columns
            yield _frames(messages, ~np.isin(arrow.to_numpy(xids), rolled_back))


def _without_xids(data: Bytes, start: Ints, end: Ints) -> pa.RecordBatch:
    """The messages as they would be outside of a block, and the transaction of each."""
    steps = np.zeros(len(data) + 1, np.int8)
    kind_end = start + HEAD + 1
    for places, step in ((start, 1), (kind_end, -1), (kind_end + _XID, 1), (end, -1)):
        np.add.at(steps, places, np.int8(step))
    used = data[np.cumsum(steps[:-1], dtype=np.int8).astype(bool)]
    offsets = np.concatenate([[0], np.cumsum(end - start - _XID)])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(used)]
    found = pa.Array.from_buffers(pa.large_binary(), len(start), buffers)
    return pa.record_batch({"message": found, "xid": arrow.from_numpy(uint32_at(data, kind_end))})


def _frames(kept: pa.LargeBinaryArray, counts: Bools) -> Frames:
    _, offsets, data = kept.buffers()
    bounds = np.frombuffer(offsets, np.int64)[: len(kept) + 1]
    return Frames(np.frombuffer(data, np.uint8), bounds[:-1][counts], bounds[1:][counts])
