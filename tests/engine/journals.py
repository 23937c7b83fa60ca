"""
A sink that notes what it is asked to do beside the steps of the source, and fails like it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cdc_assets.errors import TableRefused
from cdc_assets.model import LSN, Applied, ChangeBatch, Chunk, Part, Position, Table, TableName
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

    def begin_seeds(
        self, planned: Sequence[tuple[Table, Sequence[Chunk]]], *, after: LSN
    ) -> Mapping[TableName, TableRefused]:
        refused = {}
        for table, _ in planned:
            try:
                self._step(f"begin {table.name}")
            except TableRefused as error:
                refused[table.name] = error
        super().begin_seeds([each for each in planned if each[0].name not in refused], after=after)
        return refused

    def load_together(self, parts: Sequence[Part], *, at: LSN) -> Sequence[int]:
        counts = super().load_together(parts, at=at)
        for part in parts:
            self._step(f"loaded {part.table.name} {part.chunk.key}")
        return counts

    def apply(self, batch: ChangeBatch) -> Applied:
        self._step(f"apply {batch.lsn}")
        return super().apply(batch)


def copied(sink: MemorySink, table: Table) -> dict[int, str]:
    """What a reader sees: the second column, by key."""
    return {row["id"]: row["name"] for row in sink.rows(table.name).values()}
