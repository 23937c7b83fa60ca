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
from dataclasses import dataclass

from ..errors import CaptureError, SlotInUse
from ..model import (
    LSN,
    ChangeCapture,
    Chunk,
    Sink,
    Snapshot,
    TableName,
)
from .comparison import Comparing, Comparison
from .prepare import prepare
from .stream import stream

_ROUNDS = 6
"""How many snapshots are made at most."""
_LOOK_EVERY = 0.25
_STILL = 5.0
"""Seconds: between looks at how far another process's stream has got; and after which, if it has got
nowhere, it is looked whether there still is one."""


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
    work = [Comparing(name) for name in names]
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


def _begun(capture: ChangeCapture, sink: Sink, work: Iterable[Comparing]) -> Iterator[Comparison]:
    """Have all that is not ended look at the definitions of now."""
    held = sink.tables()
    selected = capture.select(held).tables
    for each in [each for each in work if not each.ended]:
        each.begin(selected.get(each.name), held.get(each.name))
        if each.ended:
            yield each.result()


def _read(
    snapshot: Snapshot,
    work: Iterable[Comparing],
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
