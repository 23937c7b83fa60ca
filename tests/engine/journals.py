"""
A sink that notes what it is asked to do beside the steps of the source, and fails like it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from cdc_assets.model import LSN, Applied, ChangeBatch, Chunk, Position, Table, TableName
from cdc_assets.sinks.memory import MemorySink
from cdc_assets.testing import ReplayCapture


class JournalSink(MemorySink):
    def __init__(self, capture: ReplayCapture) -> None:
        super().__init__()
        self._step = capture.step

    def adopt(self, position: Position) -> None:
        self._step("adopt")
        super().adopt(position)

    def mark_unseeded(self, table: TableName, reason: str, *, in_step: bool = False) -> None:
        self._step(f"mark {table}")
        super().mark_unseeded(table, reason, in_step=in_step)

    def begin_seed(self, table: Table, chunks: Sequence[Chunk], *, after: LSN) -> None:
        self._step(f"begin {table.name}")
        super().begin_seed(table, chunks, after=after)

    def load(self, table: Table, chunk: Chunk, rows: Iterable[pa.RecordBatch], *, at: LSN) -> int:
        count = super().load(table, chunk, rows, at=at)
        self._step(f"loaded {table.name} {chunk.key}")
        return count

    def apply(self, batch: ChangeBatch) -> Applied:
        self._step(f"apply {batch.lsn}")
        return super().apply(batch)


def copied(sink: MemorySink, table: Table) -> dict[int, str]:
    """What a reader sees: the second column, by key."""
    return {row["id"]: row["name"] for row in sink.rows(table.name).values()}
