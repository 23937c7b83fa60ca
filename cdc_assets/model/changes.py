"""
The unit everything here trades in: a batch of changes.

A `ChangeBatch` holds whole source transactions, so a sink that applies one
batch atomically is always at a state the source itself was in. Within a batch
the changes lie by table and by column (Arrow): handling them a Python object at
a time costs four times as much as everything else together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from . import arrow
from .lsn import LSN
from .table import Table, TableName

if TYPE_CHECKING:
    import pandas as pd

Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
LSNs = npt.NDArray[np.uint64]

INSERT, UPDATE, DELETE = b"IUD"
"""What happened to a row: the byte pgoutput marks it with."""


class Ack:
    """Confirms that a batch is durable downstream; unconfirmed, it comes again."""

    __slots__ = ("_confirm",)

    def __init__(self, confirm: Callable[[], None] = lambda: None) -> None:
        self._confirm = confirm

    def confirm(self) -> None:
        self._confirm()


class Commit(NamedTuple):
    """The end of a transaction of the source."""

    lsn: LSN
    time: int | None
    """By the source's clock: microseconds since 1970, UTC; None if that is not known."""


@dataclass(frozen=True)
class Commits:
    """Transactions, in their order: where each ended, and when."""

    ends: LSNs = field(default_factory=lambda: np.zeros(0, np.uint64))
    times: Ints = field(default_factory=lambda: np.zeros(0, np.int64))

    def at(self, lsn: LSN) -> Commit | None:
        """The one that ended there."""
        place = int(np.searchsorted(self.ends, np.uint64(lsn)))
        if place == len(self) or self.ends[place] != lsn:
            return None
        return Commit(lsn, int(self.times[place]))

    def __len__(self) -> int:
        return len(self.ends)


class Change(NamedTuple):
    """One change, for people: what iterating over a batch gives."""

    table: TableName
    op: str
    row: dict[str, Any]
    lsn: LSN


@dataclass(frozen=True)
class TableChanges:
    """A run of changes to one table, in commit order, under one definition of it.

    Everything beside `table` and `truncated` has one entry a change.
    """

    table: Table
    rows: pa.RecordBatch
    ops: Bytes
    """`INSERT`, `UPDATE` or `DELETE`. Of a deleted row, only the key is sure to be there."""
    lsns: LSNs
    """The end of the commit that made the change."""
    ordinals: Ints
    """Which change within its commit, from 0; the two of a moved key share one."""
    times: Ints
    """When the change was committed, by the source's clock: microseconds since 1970, UTC."""
    moved: Bools
    """Whether the change is one of the two an update of the key makes: a delete, then an update.
    Without a key every update makes two, and of a deleted row everything is there."""
    unchanged: Mapping[str, Bools] = field(default_factory=dict)
    """Cells PostgreSQL did not resend (TOAST), by column; most tables have none."""
    truncated: LSN | None = None
    """The commit that emptied the table just before these changes, if one did."""
    continues: bool = False
    """The transaction goes on in another run: it was too large for one."""

    def after(self, lsn: LSN) -> TableChanges:
        """These changes without the ones committed at or before `lsn`."""
        later = self.lsns > np.uint64(lsn)
        truncated = self.truncated if self.truncated and self.truncated > lsn else None
        if later.all():
            return replace(self, truncated=truncated)
        return replace(
            self,
            rows=arrow.take_rows(self.rows, np.flatnonzero(later)),
            ops=self.ops[later],
            lsns=self.lsns[later],
            ordinals=self.ordinals[later],
            times=self.times[later],
            moved=self.moved[later],
            unchanged={name: mask[later] for name, mask in self.unchanged.items()},
            truncated=truncated,
        )

    @property
    def last(self) -> LSN:
        """The end of the last commit that is in it."""
        return LSN(self.lsns[-1]) if len(self) else self.truncated or LSN(0)

    def __bool__(self) -> bool:
        return len(self) > 0 or self.truncated is not None

    def __len__(self) -> int:
        return len(self.ops)

    def to_pandas(self) -> pd.DataFrame:
        """The rows, and `_cdc_op` and `_cdc_lsn` beside them."""
        rows: pd.DataFrame = self.rows.to_pandas()
        return rows.assign(_cdc_op=[chr(op) for op in self.ops], _cdc_lsn=self.lsns)


@dataclass(frozen=True)
class ChangeBatch:
    """Every change after `since`, up to the commit that ended at `lsn`.

    A batch without changes says that nothing happened up to its `lsn`. Sinks
    record it like any other, so a quiet table never holds back the slot.
    """

    changes: Iterable[TableChanges]
    """Can be gone through several times. Of a transaction that does not fit in memory they are on
    disk, and each time are read anew: then do not keep them, either."""
    since: LSN
    lsn: LSN
    commits: Commits = field(default_factory=Commits, compare=False)
    """None in a batch that says nothing happened."""
    ack: Ack = field(default_factory=Ack, compare=False)

    @property
    def committed_at(self) -> datetime | None:
        """When the last of the transactions was committed, by the source's clock."""
        if not len(self.commits):
            return None
        return datetime.fromtimestamp(int(self.commits.times[-1]) / 1e6, UTC)

    @property
    def size(self) -> int:
        """How many changes."""
        return sum(map(len, self.changes))

    def __iter__(self) -> Iterator[Change]:
        for changes in self.changes:
            rows = zip(changes.ops, changes.rows.to_pylist(), changes.lsns, strict=True)
            for op, row, lsn in rows:
                yield Change(changes.table.name, chr(op), row, LSN(lsn))
