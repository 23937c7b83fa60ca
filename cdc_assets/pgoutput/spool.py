"""
The changes of a transaction that is too large for memory, on disk until its end has come.

They are kept decoded, in the form that Arrow gives them on the wire, in a file that has no
name: however the process ends, the file is gone with it. It is in the folder that Python
takes for temporary files, which TMPDIR names.

https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc
"""

from __future__ import annotations

import contextlib
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, NamedTuple

import numpy as np
import pyarrow as pa

from ..errors import SpoolFull
from ..model import LSN, Table, TableChanges, arrow


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
        with self._writing():
            self._file: IO[bytes] = tempfile.TemporaryFile(prefix="cdc-")  # noqa: SIM115
        weakref.finalize(self, _close, self._file)
        self._runs: list[_Run] = []

    def add(self, changes: TableChanges) -> None:
        """`SpoolFull` if there is no room."""
        masks = map(arrow.from_numpy, changes.unchanged.values())
        beside = [arrow.from_numpy(changes.ops), arrow.from_numpy(changes.ordinals)]
        columns = [*map(_stored, changes.rows.columns), *beside, arrow.from_numpy(changes.moved), *masks]
        batch = pa.RecordBatch.from_arrays(columns, names=[str(number) for number in range(len(columns))])
        with self._writing():
            run = _Run(self._file.tell(), changes.table, tuple(changes.unchanged), bool(changes.truncated))
            with pa.ipc.new_stream(self._file, batch.schema) as writer:
                writer.write_batch(batch)
            self._file.flush()
        self._runs.append(run)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SpoolFull(
                f"a large transaction cannot be set aside in {tempfile.gettempdir()}: {error.strerror}",
                hint="make room there, or have TMPDIR name another folder and start again.",
            ) from error

    def committed(self, commit: tuple[LSN, int], then: Sequence[TableChanges]) -> Iterable[TableChanges]:
        """The changes of a transaction that ended there, at that time (microseconds since 1970), and
        what came after those that are on disk."""
        return _Committed(self, *commit, then)

    def read(self, lsn: LSN, time: int) -> Iterator[TableChanges]:
        for run in self._runs:
            self._file.seek(run.at)
            with pa.ipc.open_stream(self._file) as reader:
                columns = reader.read_next_batch().columns
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


def _close(file: IO[bytes]) -> None:
    """Also where the disk was full, and something waits to be written."""
    with contextlib.suppress(OSError):
        file.close()
