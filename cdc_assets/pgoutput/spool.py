"""
The changes of a transaction that is too large for memory, on disk until its end has come.

They are kept decoded, each run of them as a record batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ..model import LSN, Table, TableChanges, arrow
from .scratch import Scratch


class _Run(NamedTuple):
    """What of a run is not on disk."""

    at: int
    table: Table
    unchanged: tuple[str, ...]
    truncated: bool


class Spool:
    """Changes of one transaction, in their order."""

    def __init__(self) -> None:
        self.messages = 0
        """How many rows the log had for them."""
        self._scratch = Scratch()
        self._runs: list[_Run] = []

    def add(self, changes: TableChanges) -> None:
        """`SpoolFull` if there is no room."""
        masks = map(arrow.from_numpy, changes.unchanged.values())
        beside = [arrow.from_numpy(changes.ops), arrow.from_numpy(changes.ordinals)]
        columns = [*map(_stored, changes.rows.columns), *beside, arrow.from_numpy(changes.moved), *masks]
        batch = pa.RecordBatch.from_arrays(columns, names=[str(number) for number in range(len(columns))])
        at = self._scratch.put(batch)
        self._runs.append(_Run(at, changes.table, tuple(changes.unchanged), bool(changes.truncated)))

    def committed(self, commit: tuple[LSN, int], then: Sequence[TableChanges]) -> Iterable[TableChanges]:
        """The changes of a transaction that ended there, at that time (microseconds since 1970), and
        what came after those that are on disk."""
        return _Committed(self, *commit, then)

    def read(self, lsn: LSN, time: int) -> Iterator[TableChanges]:
        for run in self._runs:
            columns = self._scratch.get(run.at).columns
            own, beside = columns[: len(run.table.columns)], columns[len(run.table.columns) :]
            ops, ordinals, moved, *masks = map(arrow.to_numpy, beside)
            yield TableChanges(
                table=run.table,
                rows=pa.RecordBatch.from_arrays(
                    list(map(_restored, own, run.table.schema.types)), schema=run.table.schema
                ),
                ops=ops,
                lsns=np.full(len(ops), lsn, np.uint64),
                ordinals=ordinals,
                times=np.full(len(ops), time),
                moved=moved,
                unchanged=dict(zip(run.unchanged, masks, strict=True)),
                truncated=lsn if run.truncated else None,
                continues=True,
            )


@dataclass(frozen=True)
class _Committed(Iterable[TableChanges]):
    spool: Spool
    lsn: LSN
    time: int
    then: Sequence[TableChanges]

    def __iter__(self) -> Iterator[TableChanges]:
        yield from self.spool.read(self.lsn, self.time)
        yield from self.then


def _stored(column: pa.Array) -> pa.Array:
    """Views would bring along all that was received, each column again."""
    if isinstance(column, pa.ExtensionArray):
        return _stored(column.storage)
    return column.cast(pa.large_string()) if pa.types.is_string_view(column.type) else column


def _restored(column: pa.Array, to: pa.DataType) -> pa.Array:
    if isinstance(to, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(to, _restored(column, to.storage_type))
    return column.cast(to)
