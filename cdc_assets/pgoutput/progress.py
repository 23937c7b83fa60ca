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
from ..model.changes import Bytes, Ints
from . import messages
from .cells import uint32_at
from .envelope import HEAD, among, kinds, logged
from .frames import Frames
from .scratch import Scratch

_IS_BOUND = among(b"SEcA")
_XID = 4
"""Bytes after the kind of each message of a block, for the transaction, or the part of one, that made it."""
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
        self._places: list[tuple[int, int]] = []
        """Of the bytes that were received, and of what says where in them the messages are."""

    def keep(self, block: Frames) -> None:
        for frames in block.pieces(_PIECE):
            logs = kinds(frames) != 0
            xids = uint32_at(frames.data, frames.start[logs] + HEAD + 1)
            outside = _outside(frames.data, frames.start[logs], frames.end[logs])
            numbers = {"start": outside.start, "end": outside.end, "xid": xids}
            data = pa.record_batch({"data": arrow.from_numpy(outside.data)})
            where = pa.record_batch({name: arrow.from_numpy(found) for name, found in numbers.items()})
            self._places.append((self._scratch.put(data), self._scratch.put(where)))

    def kept(self) -> Iterator[Frames]:
        rolled_back = np.array([*self.rolled_back], np.int64)
        for place, numbers in self._places:
            (data,) = map(arrow.to_numpy, self._scratch.get(place).columns)
            start, end, xids = map(arrow.to_numpy, self._scratch.get(numbers).columns)
            counts = ~np.isin(xids, rolled_back)
            yield Frames(data, start[counts], end[counts])


def _outside(data: Bytes, start: Ints, end: Ints) -> Frames:
    """The messages as they would be outside of a block: head and kind take the number's place."""
    data = data.copy()
    data[start + _XID] = data[start]
    data[start + _XID + HEAD] = data[start + HEAD]
    return Frames(data, start + _XID, end)
