"""
A capture that needs no server: it plays what it is given, and fails where it is told to.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa

from ..errors import CaptureError, ContinuityLost, TableRewritten
from ..model import (
    LSN,
    Ack,
    ChangeBatch,
    ChangeCapture,
    Chunk,
    Held,
    Lag,
    Position,
    Selection,
    Snapshot,
    Table,
    TableName,
    arrow,
)

_QUIET = 0.01
"""Seconds between the empty batches of a source at which nothing happens."""


class ReplayCapture(ChangeCapture):
    """For tests of what stands behind a capture: a sink, an asset, a loop of your own.

    It does what a slot does: a batch that is not confirmed comes again, one that is
    confirmed does not. What it is asked for are its `steps`, in order: "publication",
    "slot", "snapshot", "read public.orders 0000", "live", "confirm 0/12C". A step that
    `fail_at` names fails once, before it does anything; so a crash can be put anywhere.

        capture = ReplayCapture([orders], [first, second], rows={orders.name: [some, more]})
        capture.fail_at("confirm 0/12C")
        with pytest.raises(CaptureError):
            list(engine.catch_up(capture, sink))
        list(engine.catch_up(capture, sink))
        assert sink.read(orders.name) == expected
    """

    def __init__(
        self,
        tables: Iterable[Table],
        batches: Iterable[ChangeBatch] = (),
        *,
        rows: Mapping[TableName, Sequence[pa.RecordBatch]] | None = None,
        snapshot_lsn: LSN | None = None,
        start: LSN = LSN(1),
    ) -> None:
        """`rows` is what every snapshot sees, each batch of them a chunk, and `snapshot_lsn` where;
        None for after everything else. `start` is where the slot is made. All can be changed later."""
        self.tables = {table.name: table for table in tables}
        self.batches = list(batches)
        self.rows = dict(rows or {})
        self.snapshot_lsn = snapshot_lsn
        self.start = start
        self.published: set[TableName] = set()
        self.confirmed: LSN | None = None
        """None while there is no slot."""
        self.broken: str | None = None
        """What `continuity` answers."""
        self.steps: list[str] = []
        self._written = start
        self._failures: dict[str, Exception] = {}
        self._rewritten: dict[TableName, int] = {}

    def fail_at(self, step: str, error: Exception | None = None) -> None:
        """Have the next `step` of this name fail, with a `CaptureError` if nothing else is said."""
        self._failures[step] = error or CaptureError(f"told to fail at {step}")

    def rewrite(self, table: TableName) -> None:
        """Make the chunks planned for `table` outdated."""
        self._rewritten[table] = self._rewritten.get(table, 0) + 1

    def step(self, name: str) -> None:
        """Note a step, or fail at it. A double of a sink can have its own noted here, in order."""
        if failure := self._failures.pop(name, None):
            raise failure
        self.steps.append(name)

    def select(self, known: Mapping[TableName, Held] = MappingProxyType({})) -> Selection:
        return Selection(dict(self.tables), {})

    def captured(self) -> set[TableName]:
        return set(self.published)

    def prepare(self, tables: Mapping[TableName, Table]) -> Position:
        self.step("publication")
        self.published |= set(tables)
        self.step("slot")
        self.confirmed = self.start if self.confirmed is None else self.confirmed
        return Position(self.confirmed, system="replay", database="replay", slot="cdc_replay")

    def continuity(self, position: Position) -> str | None:
        return self.broken

    def plan(self, tables: Sequence[Table]) -> Mapping[TableName, Sequence[Chunk]]:
        return {table.name: self._planned(table) for table in tables}

    def _planned(self, table: Table) -> Sequence[Chunk]:
        version = self._rewritten.get(table.name, 0)
        return [Chunk(f"{number:04}", str(version)) for number in range(len(self._rows_of(table)))]

    def _rows_of(self, table: Table) -> Sequence[pa.RecordBatch]:
        rows = self.rows.get(table.name) or [pa.RecordBatch.from_pylist([], table.schema)]
        return rows if table.key else [pa.concat_batches(rows)]

    @contextmanager
    def snapshot(self, tables: Sequence[Table]) -> Iterator[Snapshot]:
        self.step("snapshot")
        # A server's log grows by the making of a snapshot, so that the stream gets past it.
        at = LSN(self.head() + 1) if self.snapshot_lsn is None else self.snapshot_lsn
        self._written = max(self._written, at)
        yield _ReplaySnapshot(self, at)

    def live(
        self, *, until: LSN | None = None, held: Mapping[int, Table] = MappingProxyType({})
    ) -> Generator[ChangeBatch, None, None]:
        """Without `until` it does not end, as a quiet server's stream does not."""
        self.step("live")
        if self.confirmed is None:
            raise ContinuityLost("there is no slot")
        at = self.confirmed
        while True:
            for batch in [batch for batch in self.batches if batch.lsn > at]:
                yield self._acknowledged(batch)
                at = batch.lsn
                if until is not None and at >= until:
                    return
            if until is not None:
                yield self._acknowledged(ChangeBatch((), at, max(at, until)))
                return
            time.sleep(_QUIET)
            yield ChangeBatch((), at, at)

    def _acknowledged(self, batch: ChangeBatch) -> ChangeBatch:
        return replace(batch, ack=Ack(partial(self._confirm, batch.lsn)))

    def _confirm(self, lsn: LSN) -> None:
        self.step(f"confirm {lsn}")
        self.confirmed = max(lsn, self.confirmed or lsn)

    def head(self) -> LSN:
        ends = (batch.lsn for batch in self.batches)
        return max(self._written, self.start, self.confirmed or self.start, *ends)

    def lag(self) -> Lag | None:
        if self.confirmed is None:
            return None
        behind = self.head() - self.confirmed
        return Lag(self.confirmed, behind, None if behind else 0.0, behind, None, "reserved", None, None)


@dataclass(frozen=True)
class _ReplaySnapshot:
    capture: ReplayCapture
    lsn: LSN

    def read(self, table: Table, chunk: Chunk) -> Iterator[pa.RecordBatch]:
        self.capture.step(f"read {table.name} {chunk.key}")
        if chunk not in self.capture._planned(table):
            raise TableRewritten(f"table {table.name} was rewritten since its chunks were planned")
        yield self.capture._rows_of(table)[int(chunk.key)]

    def read_keys(self, table: Table, keys: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        self.capture.step(f"read again {table.name}")
        wanted = keys.to_pylist()
        for rows in self.capture._rows_of(table):
            found = [key in wanted for key in rows.select(keys.schema.names).to_pylist()]
            yield arrow.take_rows(rows, np.flatnonzero(found))

    def versions(self, table: Table, keys: pa.RecordBatch) -> list[str | None]:
        rows = {str(_key(table, row)): str(row) for row in self._rows(table)}
        return [rows.get(str(_key(table, key))) for key in keys.to_pylist()]

    def holding(self, table: Table, keys: pa.RecordBatch, chunks: Sequence[Chunk]) -> set[Chunk]:
        wanted = [_key(table, key) for key in keys.to_pylist()]
        if not {*chunks} <= {*self.capture._planned(table)}:
            raise TableRewritten(f"table {table.name} was rewritten since its chunks were planned")
        return {
            chunk
            for chunk in chunks
            for row in self.capture._rows_of(table)[int(chunk.key)].to_pylist()
            if _key(table, row) in wanted
        }

    def _rows(self, table: Table) -> list[dict[str, Any]]:
        return [row for rows in self.capture._rows_of(table) for row in rows.to_pylist()]


def _key(table: Table, row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in table.key)
