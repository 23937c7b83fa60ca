"""
Whether the copies are what the source was at one LSN, while both go on changing.

The source is read from a snapshot, and the copy once the stream has brought it past the LSN of
that; see `Judgement` for what can then be said of each row. Rows of which nothing can be said yet,
for they changed in between, are read again from a later snapshot, and are fewer each time. A row
that the copy has not got was either deleted meanwhile, or is missing: if a later snapshot has the
very same version of it, it was there all the time. So no difference is made up; rows that change
all the time end as not judged.

Where a table has no key, rows that are equal are counted, and no version tells one from another. So
they differ only if that is so each time, with the same counts on both sides, in several snapshots.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import CaptureError, CdcError, CopyReplaced, SlotInUse, TableRewritten, UnfaithfulValue
from ..model import (
    AT_SOURCE,
    COPIES,
    LSN,
    PRINT,
    Audit,
    ChangeCapture,
    Chunk,
    Differences,
    Held,
    Judgement,
    Sink,
    Snapshot,
    Table,
    TableName,
    TableState,
)
from .prepare import prepare
from .stream import stream

KEYS = 10_000
"""How many are looked up in one query."""
_ROUNDS = 6
"""How many snapshots are made at most."""
_KEYLESS_ROUNDS = 4
"""In how many of them rows without a key have to differ."""
_LOOK_EVERY = 0.25
_STILL = 5.0
"""Seconds: between looks at how far another process's stream has got; and after which, if it has got
nowhere, it is looked whether there still is one."""


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


@dataclass(frozen=True)
class Read:
    """A chunk was read at the source."""

    table: TableName
    rows: int
    chunks: int
    """Of the table, so far; and how many there are."""
    of: int


@dataclass(frozen=True)
class Awaited:
    """Another process streams; it is waited for until it gets to `lsn`."""

    lsn: LSN


def compare(
    capture: ChangeCapture, sink: Sink, tables: Iterable[TableName] | None = None
) -> Iterator[Comparison]:
    """What `verify` finds; an error if a table cannot be compared."""
    for event in verify(capture, sink, tables):
        if isinstance(event, Comparison):
            if event.obstacle:
                raise CaptureError(f"{event.table} cannot be compared: {event.obstacle}")
            yield event


def verify(
    capture: ChangeCapture,
    sink: Sink,
    tables: Iterable[TableName] | None = None,
    *,
    readers: int = 2,
    patience: float = 60.0,
) -> Iterator[Read | Awaited | Comparison]:
    """Compare `tables`, or all that are selected, with their source; nothing is changed.

    A copy has to get to where the source was read. If nobody streams, that is done here; a stream
    elsewhere is waited for, but not if it stands still for `patience` seconds.
    """
    names = capture.select(sink.tables()).tables if tables is None else tables
    work = [_Work(name) for name in names]
    for _ in range(_ROUNDS):
        yield from _begun(capture, sink, work)
        under_way = [each for each in work if not each.ended]
        if not under_way:
            return
        with ExitStack() as audits:
            for each in under_way:
                each.audit = audits.enter_context(sink.audit(each.table))
            plans = capture.plan([each.table for each in under_way if each.keys is None])
            with capture.snapshot([each.table for each in under_way]) as snapshot:
                yield from _read(snapshot, under_way, plans, readers)
            if any(each.waits for each in under_way):
                yield from _reach(capture, sink, snapshot.lsn, patience)
            for each in under_way:
                if each.waits:
                    each.judge(snapshot.lsn)
                if each.ended:
                    yield each.result()
    yield from (each.result() for each in work if not each.ended)


def _begun(capture: ChangeCapture, sink: Sink, work: Iterable[_Work]) -> Iterator[Comparison]:
    """Have all that is not ended look at the definitions of now."""
    held = sink.tables()
    selected = capture.select(held).tables
    for each in [each for each in work if not each.ended]:
        each.begin(selected.get(each.name), held.get(each.name))
        if each.ended:
            yield each.result()


def _read(
    snapshot: Snapshot,
    work: Iterable[_Work],
    plans: Mapping[TableName, Sequence[Chunk]],
    readers: int,
) -> Iterator[Read]:
    with ThreadPoolExecutor(readers, "cdc-read") as pool:
        reading = {
            pool.submit(each.read, snapshot, chunk): each
            for each in work
            for chunk in plans.get(each.name, ())
        }
        try:
            for each in work:
                if each.keys is not None:
                    each.read_again(snapshot)
            for done in as_completed(reading):
                each = reading[done]
                rows = done.result()
                each.rows += rows
                each.chunks += 1
                yield Read(each.name, rows, each.chunks, len(plans[each.name]))
        finally:
            pool.shutdown(cancel_futures=True)


def _reach(capture: ChangeCapture, sink: Sink, lsn: LSN, patience: float) -> Iterator[Awaited]:
    """Until the copies have passed `lsn`."""
    moved = time.monotonic()
    before, looked = _position(sink), 0.0
    while (position := _position(sink)) < lsn:
        now = time.monotonic()
        if position != before:
            before, moved = position, now
        if now - max(moved, looked) > _STILL or not looked:
            lag, first, looked = capture.lag(), not looked, now
            if not (lag and lag.active) and _stream(capture, sink, lsn):
                return
            if first:
                capture.head()  # writes something, for the stream to get past the snapshot
                yield Awaited(lsn)
        if now - moved > patience:
            raise CaptureError(
                f"the copies stand still at {position}, and the source was read at {lsn}",
                hint="see what the process that streams is doing:  cdc-assets status",
            )
        time.sleep(_LOOK_EVERY)


def _stream(capture: ChangeCapture, sink: Sink, until: LSN) -> bool:
    """Bring the copies there, unless somebody else has begun to."""
    try:
        prepare(capture, sink)
        for _ in stream(capture, sink, until=until):
            pass
    except SlotInUse:
        return False
    return True


def _position(sink: Sink) -> LSN:
    position = sink.position()
    return position.lsn if position else LSN(0)


class _Work:
    """The comparison of one table, from snapshot to snapshot."""

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
