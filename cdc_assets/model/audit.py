"""
A copy held against its source: what a sink does for it, and what it says.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from .lsn import LSN

PRINT, COPIES, AT_SOURCE = "_cdc_print", "_cdc_copies", "_cdc_at_source"
"""In place of a key where a table has none: a number that equal rows have in common, of how many of
them something is said, and how many the source had."""


@dataclass(frozen=True)
class Judgement:
    """What a copy is, held against the rows that the source had at an LSN which the copy has passed.

    A row of the copy that was written up to that LSN has not changed since, or it would not be
    there any more. So it is what the source had, or it is wrong. Of the others nothing is known
    yet. All are tables of keys.

    Where there is no key, equal rows that come and go leave one that was written before. So too many
    rows written up to the LSN, or too few whenever written, are only a sign that something is wrong.
    """

    changed: pa.Table
    """The source had another row; or the copy has several."""
    extra: pa.Table
    """The source had no row."""
    absent: pa.Table
    """The copy has no row: it is missing, or was deleted since."""
    later: pa.Table
    """The row was written since."""


@dataclass(frozen=True)
class Differences:
    """How many rows are on one side only; a row that differs is on each."""

    source_only: int
    copy_only: int

    def __bool__(self) -> bool:
        return bool(self.source_only or self.copy_only)


class Audit(ABC):
    """The rows of one table at the source, and then the copy of it.

    No more is kept of a row than its key and a number made of all it holds.
    """

    @abstractmethod
    def take(self, rows: Iterable[pa.RecordBatch]) -> int:
        """Take in rows of the source; how many there were. Several threads may do so at once."""

    @abstractmethod
    def judge(self, at: LSN, keys: pa.Table | None = None) -> Judgement:
        """Hold the copy, which has passed `at`, against the rows taken: those with one of `keys`, or all.

        Raises `CopyReplaced` if the copy is not kept in step, or not of the definition that was read.
        """
