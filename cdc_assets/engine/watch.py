"""
Definitions that changed without a word in the log: found in the catalog, and taken over at the
point of the stream at which they were found.

Most of what ALTER does shows in the stream before the next changed row, but there may be none;
and of some things nothing shows at all (a label renamed, a partition attached). So the catalog is
looked at now and then. What is found there is the state of the source at an LSN only if it is the
same before and after the LSN was taken.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from ..model import LSN, Applied, ChangeBatch, ChangeCapture, Sink, Table, TableState
from ..points import Point, reached


class Watch:
    def __init__(self, capture: ChangeCapture, sink: Sink, *, every: float | None = None) -> None:
        """`every`: seconds between looks; None for looks only when asked for one."""
        self._capture, self._sink, self._every = capture, sink, every
        self._looked = time.monotonic()
        self._found: dict[int, Table] = {}
        """By OID: what is to be taken over once the stream has passed `_at`."""
        self._at = LSN(0)
        self._changed_since: set[int] = set()
        """Tables with changes after `_at`; the definition of these may be a later one."""
        self.held: dict[int, Table] = {}
        """The definitions that the sink has, by OID, for the stream to be made out against."""
        self.wants_look = False
        """Whether the stream has spoken of partitions that no look has found, and may be gone again."""
        self.found_unseeded = False
        """Whether the last look found tables that have to be seeded, or are no longer wanted."""
        self.learn()

    def look(self) -> LSN | None:
        """Look at the catalog; up to where the stream has to come, or None if nothing is different."""
        self._looked = time.monotonic()
        self.wants_look = False
        self._found, self._changed_since = {}, set()
        held = self._sink.tables()
        selection = self._capture.select(held)
        in_use = {name: state for name, state in held.items() if state.state is not TableState.UNSEEDED}
        definitions = {
            definition.oid: definition
            for state in in_use.values()
            if (definition := state.seed or state.definition)
        }
        selected = {table.oid for table in selection.tables.values()}
        self.found_unseeded = definitions.keys() != selected or not in_use.keys() <= selection.tables.keys()
        different = [
            table
            for table in selection.tables.values()
            if table.oid in definitions and not _is_the_same(definitions[table.oid], table)
        ]
        if not different:
            return None
        self._at = self._capture.head()
        again = self._capture.select(held).tables
        self._found = {
            table.oid: table
            for table in different
            if table.name in again and _is_the_same(again[table.name], table)
        }
        return self._at

    def passed(self, batch: ChangeBatch) -> Iterator[Applied]:
        """After each batch: looks if it is time, and has the sink take over what was found before."""
        for changes in batch.changes:
            if len(changes) and np.max(changes.lsns) > self._at:
                self._changed_since.add(changes.table.oid)
        if any(self._is_new(changes.table) for changes in batch.changes):
            self.learn()
            self.wants_look = True
        if self._found and batch.lsn >= self._at:
            redefined = self._sink.redefine(self._certain())
            reached(Point.REDEFINED)
            yield redefined
            self._found = {}
            self.learn()
        elif self._every is not None and (self.wants_look or time.monotonic() - self._looked >= self._every):
            self.learn()
            self.look()

    def _is_new(self, table: Table) -> bool:
        """Whether it has partitions that are not known."""
        held = self.held.get(table.oid)
        return held is not None and held.hearing(table) is not held

    def _certain(self) -> list[Table]:
        """Of what was found, that which is still so where the stream is now."""
        held = {state.definition for state in self._sink.tables().values()}
        return [
            table for oid, table in self._found.items() if oid not in self._changed_since or table in held
        ]

    def learn(self) -> None:
        """What the sink has now."""
        self.held.clear()
        # A copy that is not in use any more may be of a table that there is another of.
        states = sorted(
            self._sink.tables().values(), key=lambda state: state.state is not TableState.UNSEEDED
        )
        for state in states:
            if definition := state.seed or state.definition:
                self.held[definition.oid] = definition


def _is_the_same(table: Table, other: Table) -> bool:
    return table == other and table.evidence == other.evidence
