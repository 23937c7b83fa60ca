"""
Before anything is read: see that what is held can be continued, then make ready to capture.

The order matters, and a crash between any two steps leads to the same decision
again: tables that will have a gap are marked before the capture is changed, so
that the mark is there even if nothing else is done. The slot is made before any
snapshot, so that no change can fall between the two.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from ..errors import ContinuityLost, TableRewritten
from ..model import ChangeCapture, Position, Sink, TableName, TableState
from ..points import Point, reached

_ATTEMPTS = 10
"""At a source whose tables are renamed and made anew while they are looked at."""


@dataclass(frozen=True)
class StartedAnew:
    """Every table has to be copied again, and why."""

    reason: str

    def __str__(self) -> str:
        return f"{self.reason}; everything is copied again"


def prepare(capture: ChangeCapture, sink: Sink, *, start_anew: bool = False) -> StartedAnew | None:
    """Make sure that `capture.live` delivers everything after what `sink` holds.

    Raises `ContinuityLost` if it cannot, and tables would be out of step without a word; or with
    `start_anew` has them all seeded again, from where `live` can begin.
    """
    for _ in range(_ATTEMPTS):
        with suppress(TableRewritten):
            return _prepare(capture, sink, start_anew)
    return _prepare(capture, sink, start_anew)


def _prepare(capture: ChangeCapture, sink: Sink, start_anew: bool) -> StartedAnew | None:
    held = sink.tables()
    selection = capture.select(held)
    position, reason = _continuity(capture, sink)
    started_anew = None
    if position and reason:
        if any(table.state is TableState.SEEDED for table in held.values()):
            gone = f"changes after {position.lsn} are gone: {reason}"
            if not start_anew:
                raise ContinuityLost(gone, hint=_REMEDY)
            started_anew = StartedAnew(gone)
            for name in held:
                _mark(sink, name, gone)
            held = {}
        position = None
    captured = capture.captured()
    renamed = {table.oid: name for name, table in selection.tables.items() if name not in held}
    for name, table in held.items():
        if table.state is TableState.UNSEEDED:
            continue
        if table.definition and table.definition.oid in renamed:
            if renamed[table.definition.oid] not in captured:
                _mark(sink, name, _NOT_CAPTURED)
        elif name not in selection.tables:
            # Its changes are left out from here on; were it selected again, it would have a gap.
            _mark(sink, name, "it is not selected")
        elif name not in captured:
            _mark(sink, name, _NOT_CAPTURED)
        elif table.definition and table.definition.oid != selection.tables[name].oid:
            _mark(sink, name, "it was dropped and made again")
    sink.see_that_it_can_be_written()
    start = capture.prepare(selection.tables)
    reached(Point.PREPARED)
    if position is None:
        sink.adopt(start)
        reached(Point.ADOPTED)
    return started_anew


def _mark(sink: Sink, name: TableName, reason: str) -> None:
    sink.mark_unseeded(name, reason)
    reached(Point.GAP_MARKED)


_NOT_CAPTURED = "its changes were not captured for a while"
_REMEDY = "copy everything again, the old copies stay readable meanwhile:  cdc-assets reseed --all"


def lost_continuity(capture: ChangeCapture, position: Position) -> str | None:
    """Why the stream cannot go on from `position`; None if it can."""
    return position.doubt or capture.continuity(position)


def _continuity(capture: ChangeCapture, sink: Sink) -> tuple[Position | None, str | None]:
    """Where the sink is, and why the capture cannot go on from there, if it cannot.

    Another process may be streaming: a slot that is past the sink's position may only
    mean that both moved on after the one was read and before the other.
    """
    position = sink.position()
    while position and (reason := lost_continuity(capture, position)):
        if (now := sink.position()) == position:
            return position, reason
        position = now
    return position, None
