"""
What a stream did to each table since it was last reported.

Made in the thread that streams, read in the one that reports: batches themselves are not
kept, for they are large.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np

from ..engine import Step
from ..engine.latency import Latencies
from ..model import DELETE, INSERT, LSN, UPDATE, TableChanges, TableName


@dataclass
class TableTally:
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    truncated: int = 0
    first: LSN | None = None
    last: LSN | None = None
    seeded: bool = False
    """A seed was put in place."""
    redefined: list[str] = field(default_factory=list)
    """What changed in its definition."""
    unseeded: list[str] = field(default_factory=list)
    """Why it has to be seeded again."""
    quarantined: int = 0
    """How many of its rows were in quarantine when one was refused."""

    def add(self, changes: TableChanges) -> None:
        counts = np.bincount(changes.ops, minlength=256)
        # A moved key is a delete and an update of one row.
        moves = int(changes.moved.sum()) // 2
        self.inserted += int(counts[INSERT])
        self.updated += int(counts[UPDATE])
        self.deleted += int(counts[DELETE]) - moves
        self.truncated += changes.truncated is not None
        if len(changes):
            self.first = self.first or LSN(changes.lsns[0])
            self.last = LSN(changes.lsns[-1])

    def merge(self, later: TableTally) -> None:
        self.inserted += later.inserted
        self.updated += later.updated
        self.deleted += later.deleted
        self.truncated += later.truncated
        self.first, self.last = self.first or later.first, later.last or self.last
        self.seeded |= later.seeded
        self.redefined += later.redefined
        self.unseeded += later.unseeded
        self.quarantined = later.quarantined or self.quarantined


@dataclass
class Tally:
    tables: dict[TableName, TableTally] = field(default_factory=dict)
    latencies: Latencies = field(default_factory=Latencies)
    batches: int = 0
    commits: int = 0
    changes: int = 0

    def table(self, name: TableName) -> TableTally:
        return self.tables.setdefault(name, TableTally())

    def add(self, step: Step) -> None:
        self.batches += bool(len(step.batch.commits))
        self.commits += len(step.batch.commits)
        self.changes += step.batch.size
        self.latencies.add(step.batch)
        for changes in step.batch.changes:
            self.table(changes.table.name).add(changes)
        for name in step.applied.seeded:
            self.table(name).seeded = True
        for name, said in step.applied.redefined.items():
            self.table(name).redefined.append(said)
        for name, reason in step.applied.unseeded.items():
            self.table(name).unseeded.append(reason)
        for name, rows in step.applied.quarantined.items():
            self.table(name).quarantined = rows

    def merge(self, later: Tally) -> None:
        self.batches += later.batches
        self.commits += later.commits
        self.changes += later.changes
        self.latencies += later.latencies
        for name, tally in later.tables.items():
            self.table(name).merge(tally)


class Tallies:
    """What is added by one thread, and taken by another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tally = Tally()

    def add(self, step: Step) -> None:
        with self._lock:
            self._tally.add(step)

    def take(self) -> Tally:
        """Everything since the last take."""
        with self._lock:
            taken, self._tally = self._tally, Tally()
            return taken

    def give_back(self, taken: Tally) -> None:
        """It could not be reported: the next take has it too."""
        with self._lock:
            taken.merge(self._tally)
            self._tally = taken
