"""
Work that nobody looks after: what goes away by itself is tried again, what does not stops it at once.

Each failure doubles the wait, up to a bound, until the work has gone well for a while. The waits are
random, so that what failed together does not come back together.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

from ..errors import CdcError, SlotInUse, Transient

_Event = TypeVar("_Event")
_DOUBLINGS = 30


@dataclass(frozen=True)
class Retry:
    """What ended an attempt, and the seconds until the next."""

    error: CdcError
    seconds: float

    def __str__(self) -> str:
        return f"{self.error}; trying again in {self.seconds:.1f} s"


@dataclass(frozen=True)
class Patience:
    """Seconds."""

    first: float = 0.5
    longest: float = 30.0
    healthy: float = 10.0
    """For which the work has to have gone well for a failure to be the first again."""
    own_slot: float = 120.0
    """For which a slot that this work has held may be in use: the server has not noticed that our
    connection is gone, and does after wal_sender_timeout, 60 s unless it is changed."""


def unattended(
    attempt: Callable[[], Generator[_Event, None, None]],
    stopping: threading.Event,
    patience: Patience = Patience(),
) -> Iterator[_Event | Retry]:
    """The events of one attempt after the other, until one ends well or fails for good.

    `stopping` ends a wait, and with it the work.
    """
    failures, last = 0, None
    while True:
        began = time.monotonic()
        try:
            with closing(attempt()) as events:
                for event in events:
                    last = time.monotonic()
                    yield event
            return
        except (Transient, SlotInUse) as error:
            if stopping.is_set():
                return
            now = time.monotonic()
            if isinstance(error, SlotInUse) and (last is None or now - last > patience.own_slot):
                raise
            if last is not None and last - began > patience.healthy:
                failures = 0
            longest = min(patience.longest, patience.first * 2.0 ** min(failures, _DOUBLINGS))
            again = Retry(error, longest * random.uniform(0.5, 1.0))
            failures += 1
        yield again
        if stopping.wait(again.seconds):
            return
