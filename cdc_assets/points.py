"""
Moments of the work that have names, so that a process can be made to die at one of them.

    CDC_ASSETS_KILL_AT="chunk durable:3" cdc-assets sync

kills itself, as by `kill -9`, when it gets there for the third time. Each lies between two things
that last, or within one that must be whole. Without the variable nothing is looked up or counted.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from enum import StrEnum
from threading import Lock

VARIABLE = "CDC_ASSETS_KILL_AT"


class Point(StrEnum):
    GAP_MARKED = "gap marked"
    """A table that has to be copied again is marked; nothing is changed at the source yet."""
    SLOT_DROPPED = "slot dropped"
    """It was of no use any more, and there is no other yet."""
    PUBLISHED = "published"
    SLOT_MADE = "slot made"
    """It does not start after the transactions yet that were open meanwhile."""
    PREPARED = "prepared"
    """Publication and slot are there; the destination does not know from where it starts."""
    ADOPTED = "adopted"
    SEED_BEGUN = "seed begun"
    SNAPSHOT_OPEN = "snapshot open"
    CHUNK_WRITTEN = "chunk written"
    """And not committed."""
    CHUNK_DURABLE = "chunk durable"
    REPAIRED = "repaired"
    """Rows that a seed could not be finished without are there; it is not finished yet."""
    REDEFINED = "redefined"
    SEED_IN_PLACE = "seed in place"
    """Not marked as seeded, and not committed."""
    BATCH_WRITTEN = "batch written"
    """And not committed."""
    COMMITTED = "committed"
    """The file is not closed yet, so its own log is still beside it."""
    BATCH_DURABLE = "batch durable"
    """And not confirmed."""
    BATCH_CONFIRMED = "batch confirmed"
    """The server is about to be told."""


class _Death:
    """At the `nth` time a point is reached."""

    def __init__(self, wanted: str) -> None:
        name, _, nth = wanted.partition(":")
        self._point, self._left = Point(name), int(nth or 1)
        self._lock = Lock()

    def __call__(self, point: Point) -> None:
        if point is self._point:
            with self._lock:
                self._left -= 1
                if self._left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)


def _life_goes_on(point: Point) -> None:
    pass


reached: Callable[[Point], None] = _Death(wanted) if (wanted := os.environ.get(VARIABLE)) else _life_goes_on
