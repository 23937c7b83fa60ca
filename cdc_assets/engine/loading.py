"""
Chunks read from one snapshot, by several readers at once, into a sink.

To make something durable costs the sink the same for a few rows as for many. So a reader goes on
from one small chunk to the next until it has enough, and these become durable together; a chunk
that is large by itself is handed to the sink while it is read.
"""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import NamedTuple

import pyarrow as pa

from ..errors import CdcError, SeedOutdated, TableRefused, TableRewritten, UnfaithfulValue, UnusableTable
from ..model import Chunk, Part, Sink, Snapshot, Table
from ..points import Point, reached

_ENOUGH = 8 << 20
"""Bytes of rows."""
_MOST = 200
"""Chunks."""
_PATIENCE = 1.0
"""Seconds, after which what has been read by then is made durable."""


class Ended(NamedTuple):
    """A chunk that is durable, or the reason of its table why it is not."""

    table: Table
    chunk: Chunk
    rows: int = 0
    error: CdcError | None = None


class Loading:
    def __init__(self, snapshot: Snapshot, sink: Sink, chunks: Sequence[tuple[Table, Chunk]]) -> None:
        self._snapshot, self._sink = snapshot, sink
        self._left = deque(chunks)
        self._ended: queue.SimpleQueue[Ended | None] = queue.SimpleQueue()
        """None for a reader that has nothing more to do."""
        self._failure: BaseException | None = None

    def run(self, readers: int) -> Iterator[Ended]:
        """Each chunk as it ends, until all have."""
        with ThreadPoolExecutor(readers, "cdc-read") as pool:
            for _ in range(readers):
                pool.submit(self._read)
            try:
                while readers:
                    if ended := self._ended.get():
                        yield ended
                    else:
                        readers -= 1
            finally:
                self._left.clear()
        if self._failure:
            raise self._failure

    def fail(self, error: BaseException) -> None:
        """Have this raised in the end, and no more begun. What readers are in the middle of becomes
        durable all the same, and is reported."""
        self._failure = self._failure or error
        self._left.clear()

    def _read(self) -> None:
        try:
            while self._left:
                self._read_some()
        except BaseException as error:
            self.fail(error)
        finally:
            self._ended.put(None)

    def _read_some(self) -> None:
        """As much as is worth a transaction of the sink."""
        small: list[Part] = []
        size, until = 0, time.monotonic() + _PATIENCE
        try:
            while size < _ENOUGH and len(small) < _MOST and time.monotonic() < until:
                if not (wanted := self._next()):
                    return
                table, chunk = wanted
                try:
                    batches = self._snapshot.read(table, chunk)
                    first, of_these = _up_to(_ENOUGH, batches)
                except _OF_ITS_OWN as error:
                    self._ended.put(Ended(table, chunk, error=error))
                    continue
                size += of_these
                if of_these < _ENOUGH:
                    small.append(Part(table, chunk, first))
                else:
                    self._make_durable([Part(table, chunk, chain(first, batches))])
        finally:
            self._make_durable(small)

    def _next(self) -> tuple[Table, Chunk] | None:
        try:
            return self._left.popleft()
        except IndexError:  # another reader was quicker
            return None

    def _make_durable(self, parts: Sequence[Part]) -> None:
        if not parts:
            return
        try:
            counts = self._sink.load_together(parts, at=self._snapshot.lsn)
        except _OF_ITS_OWN as error:
            if len(parts) > 1:  # whose fault it is shows if each is alone
                for part in parts:
                    self._make_durable([part])
            else:
                self._ended.put(Ended(parts[0].table, parts[0].chunk, error=error))
            return
        for part, rows in zip(parts, counts, strict=True):
            reached(Point.CHUNK_DURABLE)
            self._ended.put(Ended(part.table, part.chunk, rows))


_OF_ITS_OWN = (UnusableTable, TableRefused, UnfaithfulValue, TableRewritten, SeedOutdated)


def _up_to(enough: int, batches: Iterator[pa.RecordBatch]) -> tuple[list[pa.RecordBatch], int]:
    """Batches, and their bytes, until these are `enough`, or there are no more."""
    taken, size = [], 0
    for batch in batches:
        taken.append(batch)
        size += batch.nbytes
        if size >= enough:
            break
    return taken, size
