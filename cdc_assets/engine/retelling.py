"""
What the stream says again has to be what it said before.

After a crash it begins before the sink's position, with changes that are held already. Are these not
the same, then the server is an older state of itself, brought back by copying its files, which has
gone another way since: what it wrote in place of what we hold would be taken for held.
"""

from __future__ import annotations

from ..errors import ContinuityInDoubt
from ..model import LSN, ChangeBatch, Position, Sink, TableChanges, TableState


class Retelling:
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._position = sink.position()
        self._followed = {
            held.definition.oid
            for held in sink.tables().values()
            if held.state is TableState.SEEDED and held.definition
        }
        """By OID, the tables of which the sink holds every change up to the position."""

    def see(self, batch: ChangeBatch) -> None:
        """Before a batch is applied. Raises `ContinuityInDoubt`, once the sink has a note of why."""
        position = self._position
        if position is None or batch.since >= position.lsn:
            return
        if reason := self._difference(batch, position):
            self._sink.doubt(reason)
            raise ContinuityInDoubt(reason)

    def _difference(self, batch: ChangeBatch, position: Position) -> str | None:
        commit = position.commit
        if commit is None:
            return None
        is_told = batch.since < commit.lsn <= batch.lsn
        if is_told and commit.time is not None and batch.commits.at(commit.lsn) != commit:
            return f"the server has another log at {commit.lsn}: {_RESTORED}"
        for changes in batch.changes:
            if changes.table.oid in self._followed and _is_any(changes, commit.lsn, position.lsn):
                return f"the server has another log before {position.lsn}: {_RESTORED}"
        return None


_RESTORED = "it was restored from an older state, and written to since"


def _is_any(changes: TableChanges, after: LSN, upto: LSN) -> bool:
    """Whether one was committed after the one LSN, and not after the other."""
    later = changes.after(after)
    return any(lsn is not None and lsn <= upto for lsn in (later.truncated, *later.lsns[:1]))
