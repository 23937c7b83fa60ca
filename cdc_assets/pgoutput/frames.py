"""
Where the messages lie in what a COPY sends.

A COPY, of a query's rows or of the log, is a run of CopyData frames: the letter d,
a length, and the message. Each frame's place is known only from the one before, but
guesses are cheap: every d that is followed by what a message begins with. A guess
whose length leads to the next guess, from the first one on, was right, and as a rule
they all are. So a million frames are found without a statement for each.

https://www.postgresql.org/docs/current/protocol-message-formats.html (CopyData)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..model.changes import Bytes, Ints
from .cells import PADDING, uint32_at

_COPY_DATA = b"d"[0]
_OVERHEAD = 5
"""Bytes of a frame before its message: the letter and the length, which counts itself."""
_BLOCK = 1 << 20
"""Bytes looked at in one go: what a core's cache holds."""
_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Frames:
    """Some messages, one after the other in `data`, with other bytes between them."""

    data: Bytes
    start: Ints
    end: Ints

    @classmethod
    def of(cls, messages: Sequence[bytes]) -> Frames:
        """The messages, in data that ends with `cells.PADDING`."""
        sizes = np.fromiter(map(len, messages), np.int64, len(messages))
        end = np.cumsum(sizes)
        return cls(np.frombuffer(b"".join([*messages, PADDING]), np.uint8), end - sizes, end)

    @classmethod
    def joined(cls, pieces: Sequence[Frames]) -> Frames:
        """The messages of all pieces, in data that ends with `cells.PADDING`."""
        end = cls(np.frombuffer(PADDING, np.uint8), _NONE, _NONE)
        pieces = [*pieces, end]
        offsets = np.cumsum([0, *(len(piece.data) for piece in pieces[:-1])])
        return cls(
            np.concatenate([piece.data for piece in pieces]),
            np.concatenate([piece.start + at for piece, at in zip(pieces, offsets, strict=True)]),
            np.concatenate([piece.end + at for piece, at in zip(pieces, offsets, strict=True)]),
        )

    def __len__(self) -> int:
        return len(self.start)

    def pieces(self, size: int) -> Iterator[Frames]:
        """The messages in pieces of equal size: of `size` bytes, or up to twice as much."""
        begin, size = 0, len(self.data) // max(len(self.data) // size, 1) + 1
        while begin < len(self):
            end = int(np.searchsorted(self.end, self.start[begin] + size, "right"))
            end = max(end, begin + 1)
            yield self.part(begin, end)
            begin = end

    def __getitem__(self, number: int) -> bytes:
        return self.data[self.start[number] : self.end[number]].tobytes()

    def part(self, begin: int, end: int) -> Frames:
        """The messages from number `begin` to before `end`, in as little data as holds them."""
        if begin == end:
            return Frames(self.data[:0], _NONE, _NONE)
        first, last = int(self.start[begin]), int(self.end[end - 1])
        return Frames(self.data[first:last], self.start[begin:end] - first, self.end[begin:end] - first)


NOTHING = Frames.of([])


def split(data: Bytes, begins_with: bytes, *others: bytes) -> tuple[Frames, int]:
    """The whole CopyData frames that `data` begins with, and where they end: at a frame that
    is not whole, or at a message of another kind.

    The arguments say what messages begin with, all equally long. They make guesses good,
    and have no part in what is right.
    """
    leads = (begins_with, *others)
    starts, ends, at = [], [], 0
    while at + _OVERHEAD <= len(data) and data[at] == _COPY_DATA:
        found = _guesses(data, at, leads)
        following = found + 1 + uint32_at(data, found + 1)
        chain = _chain(found, following)
        found, following = found[chain], following[chain]
        whole = int(np.searchsorted(following, len(data), "right"))
        starts.append(found[:whole] + _OVERHEAD)
        ends.append(following[:whole])
        at = int(following[whole - 1]) if whole else at
        if whole < len(found):
            break
    return Frames(data, np.concatenate([_NONE, *starts]), np.concatenate([_NONE, *ends])), at


def _guesses(data: Bytes, at: int, leads: Sequence[bytes]) -> Ints:
    """Where frames may start in the block at `at`, where one does."""
    room = _OVERHEAD + len(leads[0])
    block = data[at : at + _BLOCK]
    found = np.flatnonzero(block[: max(len(data) - at - room, 0)] == _COPY_DATA) + at
    fits = np.zeros(len(found), bool)
    for lead in leads:
        fits_lead = np.ones(len(found), bool)
        for place, byte in enumerate(lead, _OVERHEAD):
            fits_lead &= data[found + place] == byte
        fits |= fits_lead
    found = found[fits]
    # The first message of a COPY begins with a header, and its last is a trailer.
    return found if len(found) and found[0] == at else np.concatenate([[at], found])


def _chain(found: Ints, following: Ints) -> Ints:
    """Which guesses the first one leads to."""
    leads_on = following[:-1] == found[1:]
    if leads_on.all():
        return np.arange(len(found))
    breaks = np.flatnonzero(np.append(~leads_on, True))
    parts, at = [], 0
    while at < len(found):
        stop = int(breaks[np.searchsorted(breaks, at)])
        parts.append(np.arange(at, stop + 1))
        at = int(np.searchsorted(found, following[stop]))
        if at < len(found) and found[at] != following[stop]:
            break
    return np.concatenate(parts)
