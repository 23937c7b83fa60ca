"""
The comparison of one table, from snapshot to snapshot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import CdcError, CopyReplaced, TableRewritten, UnfaithfulValue
from ..model import (
    AT_SOURCE,
    COPIES,
    LSN,
    PRINT,
    Audit,
    Chunk,
    Differences,
    Held,
    Judgement,
    Snapshot,
    Table,
    TableName,
    TableState,
)

KEYS = 10_000
"""How many are looked up in one query."""
_KEYLESS_ROUNDS = 4
"""In how many of them rows without a key have to differ."""

Found = list[tuple[LSN, pa.Table]]
"""Keys of rows, and as of which LSN it was found."""


@dataclass(frozen=True)
class Comparison:
    """What was found of one table; the rows that differ as in a `Judgement`."""

    table: TableName
    rows: int = 0
    """At the source."""
    chunks: int = 0
    lsn: LSN = LSN(0)
    """Of the snapshot that all rows were read from."""
    missing: Found = field(default_factory=list)
    changed: Found = field(default_factory=list)
    extra: Found = field(default_factory=list)
    not_judged: int = 0
    """Rows that changed all the time."""
    obstacle: str | None = None
    """Why the table could not be compared, if so."""

    @property
    def differences(self) -> Differences:
        changed = _count(self.changed)
        return Differences(_count(self.missing) + changed, _count(self.extra) + changed)

    @property
    def differing(self) -> int:
        """How many rows; one that is another in the copy, once."""
        return _count(self.missing) + _count(self.changed) + _count(self.extra)


class Comparing:
    """The comparison while it is under way."""

    table: Table
    audit: Audit

    def __init__(self, name: TableName) -> None:
        self.name = name
        self.ended = False
        self.waits = False
        """For the copy to be held against what was read."""
        self._obstacle: str | None = None
        self._definition: Table | None = None
        self._start()

    def _start(self) -> None:
        self.keys: pa.Table | None = None
        """Of the rows that are still to be judged; None for all."""
        self.chunks = self.rows = 0
        self._lsn = LSN(0)
        self._missing: Found = []
        self._changed: Found = []
        self._extra: Found = []
        self._versions: dict[str, str | None] = {}
        """What the rows of `keys` were at the source in the last snapshot."""
        self._absent: pa.Table | None = None
        """Keys of those that the copy, later, had not got."""
        self._looks = 0
        self._lasting: dict[int, tuple[int, int]] = {}
        """Without a key: which rows were the same in every look, and not the same on both sides."""
        self._not_judged = 0

    def begin(self, table: Table | None, held: Held | None) -> None:
        """A round, with what is said of the table now."""
        if table is None:
            self._end("it is not at the source, or not selected")
        elif held is None or held.state is not TableState.SEEDED:
            self._end(
                "it is not seeded" if held is None or not held.reason else f"it is not seeded: {held.reason}"
            )
        else:
            if table != self._definition:
                self._start()
            elif not table.key:
                self.chunks = self.rows = 0
            self.table = self._definition = table
            self.waits, self._obstacle = True, None

    def _end(self, obstacle: str | None = None) -> None:
        self.ended, self.waits, self._obstacle = True, False, obstacle

    def read(self, snapshot: Snapshot, chunk: Chunk) -> int:
        """In a thread of its own; how many rows there were."""
        try:
            return self.audit.take(snapshot.read(self.table, chunk))
        except _OUTDATED as error:
            self._again(error)
            return 0

    def read_again(self, snapshot: Snapshot) -> None:
        assert self.keys is not None
        try:
            batches = self.keys.to_batches(KEYS)
            versions = [version for keys in batches for version in snapshot.versions(self.table, keys)]
            self._find_missing(snapshot.lsn, versions)
            for keys in self.keys.to_batches(KEYS):
                self.audit.take(snapshot.read_keys(self.table, keys))
        except _OUTDATED as error:
            self._again(error)

    def _find_missing(self, lsn: LSN, versions: Sequence[str | None]) -> None:
        """Those of the rows that the copy had not got which are still what they were before that."""
        assert self.keys is not None
        absent = set(_each(self._absent)) if self._absent is not None else set()
        named = _each(self.keys)
        missing = [
            name in absent and version is not None and version == self._versions.get(name)
            for name, version in zip(named, versions, strict=True)
        ]
        _add(self._missing, lsn, self.keys.filter(pa.array(missing, pa.bool_())))
        self.keys = self.keys.filter(pa.array([not found for found in missing], pa.bool_()))
        self._versions = dict(zip(named, versions, strict=True))
        if not len(self.keys):
            self._end()

    def judge(self, lsn: LSN) -> None:
        try:
            judgement = self.audit.judge(lsn, self.keys)
        except CopyReplaced as error:
            self._again(error)
            return
        if not self.table.key:
            self._judge_keyless(lsn, judgement)
            return
        self._lsn = self._lsn or lsn
        _add(self._changed, lsn, judgement.changed)
        _add(self._extra, lsn, judgement.extra)
        self._absent = judgement.absent
        self.keys = pa.concat_tables([judgement.absent, judgement.later])
        if not len(self.keys):
            self._end()

    def _judge_keyless(self, lsn: LSN, judgement: Judgement) -> None:
        found = _counts(judgement.extra, -1) | _counts(judgement.absent, 1)
        self._lsn = lsn
        self._looks += 1
        self._lasting = found if self._looks == 1 else dict(found.items() & self._lasting.items())
        if not found:
            self._end()
        elif self._looks == _KEYLESS_ROUNDS:
            last = pa.array([*self._lasting], pa.uint64())
            for of_kind, rows in ((self._missing, judgement.absent), (self._extra, judgement.extra)):
                _add(of_kind, lsn, rows.filter(pc.is_in(rows[PRINT], last)))
            self._not_judged = len(found) - len(self._lasting)
            self._end()

    def _again(self, error: CdcError) -> None:
        """From the start, in the next round: the table was altered, or its copy replaced."""
        self._definition, self.waits, self._obstacle = None, False, str(error)

    def result(self) -> Comparison:
        if not self.ended and self.keys is None:
            self._obstacle = self._obstacle or "it was altered meanwhile"
        if self._obstacle:
            return Comparison(self.name, obstacle=self._obstacle)
        return Comparison(
            self.name,
            self.rows,
            self.chunks,
            self._lsn,
            self._missing,
            self._changed,
            self._extra,
            not_judged=self._not_judged if self.keys is None else len(self.keys),
        )


_OUTDATED = (TableRewritten, UnfaithfulValue)


def _add(found: Found, lsn: LSN, keys: pa.Table) -> None:
    if len(keys):
        found.append((lsn, keys))


def _each(keys: pa.Table) -> list[str]:
    """Something to tell each of `keys` by."""
    return [str(row) for row in keys.to_pylist()]


def _counts(rows: pa.Table, sign: int) -> dict[int, tuple[int, int]]:
    """Of each row, how many the source had, and how many more than the copy."""
    prints, copies, at_source = (rows[name].to_pylist() for name in (PRINT, COPIES, AT_SOURCE))
    return {one: (there, sign * more) for one, more, there in zip(prints, copies, at_source, strict=True)}


def _count(found: Found) -> int:
    """How many rows are said to be wrong."""
    return sum(
        pc.sum(keys[COPIES]).as_py() if COPIES in keys.schema.names else len(keys) for _, keys in found
    )
