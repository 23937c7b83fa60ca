"""
Where changes go.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa

from ..errors import TableRefused
from .audit import Audit
from .capture import Chunk, Position
from .changes import ChangeBatch
from .held import Held, TableState
from .lsn import LSN
from .quarantine import Quarantined, Retried
from .table import Table, TableName


@dataclass(frozen=True)
class Applied:
    """What a batch brought about, beside its changes."""

    seeded: tuple[TableName, ...] = ()
    """Tables whose seed it completed."""
    unseeded: Mapping[TableName, str] = field(default_factory=dict)
    """Tables that have to be seeded again, and why."""
    redefined: Mapping[TableName, str] = field(default_factory=dict)
    """Tables whose copy was given another definition, and what changed."""
    quarantined: Mapping[TableName, int] = field(default_factory=dict)
    """Tables of which it had rows refused, and how many are in quarantine now."""
    incomplete: bool = False
    """A seed waits for rows to be read again: see `missing`."""


class Part(NamedTuple):
    """The rows of a chunk."""

    table: Table
    chunk: Chunk
    rows: Iterable[pa.RecordBatch]


class Sink(ABC):
    """A destination that holds tables, and remembers what it holds.

    Every write is atomic with what it changes of that memory: the rows and the
    LSN become durable together or not at all. From that one rule it follows that
    a batch delivered twice can be recognised, and is applied once.

    A seed and the stream may write in any order, from different threads or processes, and
    the result is the same, because for each key the newest LSN wins:

    1. `begin_seeds` marks the table before the seed's snapshot is taken. From the
       mark on, changes to it are kept, deletes too; before it they are dropped,
       for the snapshot will contain them.
    2. `load_together` adds rows read by a snapshot at an LSN. They yield to changes the
       snapshot did not contain, and supersede those it did.
    3. The copy is put in place by the `apply` that reaches the LSN of the last
       chunk: then it is what the source was at that point, like all the others.

    A table without a key has rows that nothing but all they hold tells apart, some of them
    several times; no LSN of a row says whether a change to one like it was before or after it.
    So it is loaded in one chunk, and what counts is the LSN of that: changes up to there are in
    the rows, and of those after it each adds a row or takes one of the equal ones away.

    A row that the destination refuses is in quarantine: written with everything else of its batch,
    it is not in the copy, nor is an older one of its key, and is still what later changes to it
    start from. It stays there until a change to its key, or a new copy of the table, supersedes
    it, or the destination takes it after all. So every row is in one of the two places; or, if
    that is what was configured, `RowRefused` is raised, and nothing of the batch is written. A
    table with more refused rows than are worth looking at, or whose rows have no key, is left
    behind by the stream, and has to be seeded again.
    """

    def see_that_it_can_be_written(self) -> None:
        """Raise what a write would, and write nothing: before anything is made at the source."""

    @abstractmethod
    def position(self) -> Position | None:
        """Up to where every seeded table is held; None in a destination not used yet."""

    @abstractmethod
    def adopt(self, position: Position) -> None:
        """Start from `position`. Every table held is out of step from here on."""

    @abstractmethod
    def doubt(self, reason: str) -> None:
        """Remember, with the position, why it is not to be gone on from."""

    @abstractmethod
    def tables(self, *, counted: bool = False) -> Mapping[TableName, Held]:
        """Every table the sink has heard of; how many rows it has, and has in quarantine, if they are to
        be `counted`."""

    @abstractmethod
    def read(self, table: TableName) -> pa.Table:
        """The copy, as any reader sees it, without columns of ours."""

    @abstractmethod
    def audit(self, table: Table) -> AbstractContextManager[Audit]:
        """Hold the copy of `table` against its source, while it goes on following the stream."""

    @abstractmethod
    def remove(self, table: TableName, keys: pa.Table, *, at: LSN) -> None:
        """Take away the rows of `keys` that were written up to `at`, where the source had none."""

    def is_seeded(self, table: TableName) -> bool:
        held = self.tables().get(table)
        return held is not None and held.state is TableState.SEEDED

    @abstractmethod
    def mark_unseeded(self, table: TableName, reason: str, *, in_step: bool = False) -> None:
        """Have `table` seeded again. What is held stays readable until that is done.

        `in_step` says that it is right as it is, and goes on following the stream.
        """

    @abstractmethod
    def begin_seeds(
        self, planned: Sequence[tuple[Table, Sequence[Chunk]]], *, after: LSN
    ) -> Mapping[TableName, TableRefused]:
        """Start a new generation of each table, before any snapshot it will be loaded from.

        `after` is an end of the source's log from before the tables were looked up: changes up
        to there will be in the snapshot. Nothing happens to one of which a seed of the same definition
        is already under way. A table without a key has one chunk. Those that are refused are
        answered, and all others begun.
        """

    def begin_seed(self, table: Table, chunks: Sequence[Chunk], *, after: LSN) -> None:
        for refused in self.begin_seeds([(table, chunks)], after=after).values():
            raise refused

    @abstractmethod
    def begin_reload(self, table: TableName, chunks: Sequence[Chunk]) -> None:
        """Make ready for some chunks of the present generation to be loaded again, before the
        snapshot they will be loaded from. The copy goes on following the stream.

        Refused for a table without a key: which rows of the copy are a chunk's cannot be told."""

    @abstractmethod
    def chunks(self, table: TableName) -> Mapping[Chunk, LSN | None]:
        """The chunks of the table's present generation, in order, and at what LSN each was loaded."""

    @abstractmethod
    def unloaded(self) -> Mapping[TableName, Sequence[Chunk]]:
        """The chunks that are planned and not loaded, in order, of each table that has such."""

    @abstractmethod
    def load_together(self, parts: Sequence[Part], *, at: LSN) -> Sequence[int]:
        """Add the rows a snapshot at `at` has in some chunks; how many there were in each.

        All become durable together. If one cannot be loaded none is, and what stands in its way
        is raised.
        """

    def load(self, table: Table, chunk: Chunk, rows: Iterable[pa.RecordBatch], *, at: LSN) -> int:
        (count,) = self.load_together([Part(table, chunk, rows)], at=at)
        return count

    @abstractmethod
    def apply(self, batch: ChangeBatch) -> Applied:
        """Make `batch` durable, its LSN with it; put in place every seed it completes.

        What of it the sink holds already is left out. A batch that starts later than
        the sink's position is refused: something between the two would be lost.
        """

    @abstractmethod
    def redefine(self, tables: Iterable[Table]) -> Applied:
        """The source has `tables` so, as of the position; no change to a row has said so.

        A copy that follows the stream is given the definition, or has to be seeded again.
        """

    @abstractmethod
    def missing(self) -> Mapping[TableName, pa.RecordBatch]:
        """Keys that a seed cannot be finished without: the stream had only part of their rows."""

    @abstractmethod
    def repair(self, table: Table, keys: pa.RecordBatch, rows: Iterable[pa.RecordBatch], *, at: LSN) -> None:
        """Add the rows a snapshot at `at` has for `keys`."""

    @abstractmethod
    def quarantined(self) -> Sequence[Quarantined]:
        """Every row that was refused, by table, in the order in which the source wrote them."""

    @abstractmethod
    def retry(self, table: TableName) -> Retried:
        """Try again what of `table` is in quarantine."""

    def close(self) -> None:
        """Let go of the destination. The sink can be used again."""
