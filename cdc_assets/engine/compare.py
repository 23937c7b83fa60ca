"""
Whether the copies are what the source is, at one LSN.

The source is read from one snapshot. The sink is to be at its LSN: the caller sees to it
that nothing is written meanwhile, and that the stream has passed it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from ..model import LSN, ChangeCapture, Differences, Sink, Snapshot, Table, TableName


@dataclass(frozen=True)
class Comparison:
    table: TableName
    rows: int
    """At the source."""
    lsn: LSN
    differences: Differences


def compare(capture: ChangeCapture, sink: Sink, tables: Mapping[TableName, Table]) -> Iterator[Comparison]:
    with capture.snapshot(list(tables.values())) as snapshot:
        for name, table in tables.items():
            rows = _Counted(capture, snapshot, table)
            differences = sink.compare(table, rows)
            yield Comparison(name, rows.count, snapshot.lsn, differences)


class _Counted:
    """All rows of a table in a snapshot, counted as they go by."""

    def __init__(self, capture: ChangeCapture, snapshot: Snapshot, table: Table) -> None:
        self._capture, self._snapshot, self._table = capture, snapshot, table
        self.count = 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for chunk in self._capture.plan(self._table):
            for batch in self._snapshot.read(self._table, chunk):
                self.count += batch.num_rows
                yield batch
