"""
Where changes come from.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Protocol

import pyarrow as pa

from .changes import ChangeBatch, Commit
from .held import Held
from .lag import Lag
from .lsn import LSN
from .table import Table, TableName


@dataclass(frozen=True)
class Position:
    """Up to where a sink holds the source, and the evidence that it is this source."""

    lsn: LSN
    system: str
    """PostgreSQL's system identifier: the cluster, whatever its address."""
    database: str
    slot: str
    commit: Commit | None = field(default=None, compare=False)
    """The last commit that a sink holds changes of: between it and `lsn` there was none. Without a
    time, it is not known whether one ended just there."""
    doubt: str | None = field(default=None, compare=False)
    """Why it is not to be gone on from, if that was found."""

    def after(self, batch: ChangeBatch, last: LSN) -> Position:
        """With `batch` applied, of which the changes that were not held went up to `last`."""
        commit = batch.commits.at(last) or self.commit
        return replace(self, lsn=max(self.lsn, batch.lsn), commit=commit)

    def with_seeds_in_place(self) -> Position:
        """There may have been changes to these tables before, which are in their rows."""
        known = self.commit and self.commit.lsn >= self.lsn
        return self if known else replace(self, commit=Commit(self.lsn, None))


@dataclass(frozen=True)
class Chunk:
    """One part of a seed. What `bounds` says is for the capture that planned it to read."""

    key: str
    """Sorts in the order in which chunks are read."""
    bounds: str


@dataclass(frozen=True)
class Selection:
    """What the configured patterns come to on this source, now."""

    tables: Mapping[TableName, Table]
    set_aside: Mapping[TableName, str]
    """Tables a wildcard matches that cannot be mirrored, and why."""


class Snapshot(Protocol):
    """One consistent view of several tables, and the LSN it is the state of."""

    @property
    def lsn(self) -> LSN: ...

    def read(self, table: Table, chunk: Chunk) -> Iterator[pa.RecordBatch]:
        """The rows of one chunk. Several threads may read at once."""

    def read_keys(self, table: Table, keys: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """The rows that have one of `keys`."""

    def versions(self, table: Table, keys: pa.RecordBatch) -> Sequence[str | None]:
        """Of each of `keys`, what is another after every change to its row; None where there is no row."""

    def holding(self, table: Table, keys: pa.RecordBatch, chunks: Sequence[Chunk]) -> set[Chunk]:
        """Which of `chunks` the rows of `keys` are in.

        Raises `TableRewritten` if one is in none: they were planned for other pages.
        """


class ChangeCapture(ABC):
    """A source that can say what changed.

    Where to resume is the capture's to remember (for PostgreSQL the slot does
    it, on the server); no cursor crosses this interface.
    """

    @abstractmethod
    def select(self, known: Mapping[TableName, Held] = MappingProxyType({})) -> Selection:
        """The tables to copy, as they are defined now. Read-only.

        That there is none where the configuration means one is an error, unless there was one:
        `known` is what the sink says of every table it has heard of; a column that it keeps as text
        goes on to be carried as text.
        """

    @abstractmethod
    def captured(self) -> set[TableName]:
        """The tables whose changes are being kept for `live`; one that is not has a gap."""

    @abstractmethod
    def prepare(self, tables: Mapping[TableName, Table]) -> Position:
        """Create what `live` needs (publication, then slot) where it is missing; say where it starts.

        Raises `TableRewritten` if one of `tables` is not there any more as it was selected.
        """

    @abstractmethod
    def continuity(self, position: Position) -> str | None:
        """Why `live` can no longer deliver everything after `position`; None if it can."""

    @abstractmethod
    def plan(self, tables: Sequence[Table]) -> Mapping[TableName, Sequence[Chunk]]:
        """Cut each of `tables` into chunks; one without a key into a single one, one that is not there any
        more not at all."""

    @abstractmethod
    def snapshot(self, tables: Sequence[Table]) -> AbstractContextManager[Snapshot]:
        """Open a consistent view of `tables` to seed a sink from. It never moves the slot."""

    @abstractmethod
    def live(
        self, *, until: LSN | None = None, held: Mapping[int, Table] = MappingProxyType({})
    ) -> Generator[ChangeBatch, None, None]:
        """Stream from the last confirmed batch; end with the batch that reaches `until`.

        `held` are the definitions that the sink has, by the table's OID, with the evidence of the
        last look; a definition in the stream is made out against the one before it. It may change.
        """

    @abstractmethod
    def head(self) -> LSN:
        """The end of everything committed at the source so far."""

    @abstractmethod
    def lag(self) -> Lag | None:
        """Sampled out of band; None where there is no such thing as lag, or no slot yet."""

    def close(self) -> None:
        """Let go of connections. The capture can be used again."""
