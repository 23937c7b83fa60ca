"""
Before anything is read: see that what is held can be continued, then make ready to capture.

The order matters, and a crash between any two steps leads to the same decision
again: tables that will have a gap are marked before the capture is changed, so
that the mark is there even if nothing else is done. The slot is made before any
snapshot, so that no change can fall between the two.
"""

from __future__ import annotations

from ..errors import ContinuityLost
from ..model import ChangeCapture, Selection, Sink, TableState


def prepare(capture: ChangeCapture, sink: Sink) -> Selection:
    """Make sure that `capture.live` delivers everything after what `sink` holds.

    Raises `ContinuityLost` if it cannot, and tables would be out of step without a word.
    """
    selection = capture.select()
    position, held = sink.position(), sink.tables()
    seeded = [name for name, table in held.items() if table.state is TableState.SEEDED]
    if position and (reason := capture.continuity(position)):
        if seeded:
            raise ContinuityLost(
                f"changes after {position.lsn} are gone: {reason}",
                hint="copy everything again, the old copies stay readable meanwhile:  "
                "cdc-assets reseed --all",
            )
        position = None
    captured = capture.captured()
    for name in held:
        if name in selection.tables and name not in captured and held[name].state in _FOLLOWING:
            sink.mark_unseeded(name, "its changes were not captured for a while")
    start = capture.prepare(list(selection.tables))
    if position is None:
        sink.adopt(start)
    return selection


_FOLLOWING = (TableState.SEEDED, TableState.SEEDING)
