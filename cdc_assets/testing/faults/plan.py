"""
Which faults, and when: all of it said by a seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random

from ...points import Point


class Fault(StrEnum):
    KILL = "kill -9"
    POINT = "kill -9 at a point"
    """The next process kills itself there, if it gets there."""
    PAUSE = "process stopped"
    """And goes on after a while, as if nothing had happened."""
    NO_ROOM = "disk full"
    SECOND = "second process"
    """It reads what is not copied yet, as the first does, and waits for the slot until it is killed."""
    CUT = "network cut"
    HOLD = "network silent"
    DELAY = "network slow"
    END_STREAM = "stream's session ended"
    END_SESSIONS = "all sessions ended"
    CRASH = "server crashed"
    RESTART = "server restarted"


_WEIGHTS = {
    Fault.KILL: 9,
    Fault.POINT: 5,
    Fault.PAUSE: 2,
    Fault.NO_ROOM: 1,
    Fault.SECOND: 2,
    Fault.CUT: 2,
    Fault.HOLD: 2,
    Fault.DELAY: 2,
    Fault.END_STREAM: 2,
    Fault.END_SESSIONS: 2,
    Fault.CRASH: 2,
    Fault.RESTART: 1,
}
# Chunks of one table that are read from different snapshots are what rests on most.
_POINTS = (*Point, *(Point.CHUNK_DURABLE,) * 4)
_MOST_GAP, _MOST_LASTING = 3.0, 1.5
_STARTING = 1.5
"""Seconds that a process takes to do anything at all."""


@dataclass(frozen=True)
class Planned:
    fault: Fault
    after: float
    """Seconds after the fault before it."""
    lasts: float
    """Seconds, where it is one that lasts."""
    killing: bool
    """The process is killed before it is over."""
    point: str
    """Where the next process kills itself, if that is the fault."""

    def __str__(self) -> str:
        return f"{self.fault} {self.point}".strip()


def plan(seed: int, faults: int | None = None) -> tuple[Planned, ...]:
    chance = Random(f"faults {seed}")
    number = chance.randint(12, 20)
    kinds = chance.choices(list(_WEIGHTS), list(_WEIGHTS.values()), k=number)
    return tuple(_planned(kind, chance) for kind in kinds)[:faults]


def _planned(fault: Fault, chance: Random) -> Planned:
    point = f"{chance.choice(_POINTS)}:{chance.choice((1, 1, 2, 5))}"
    return Planned(
        fault,
        after=chance.uniform(0.05, _MOST_GAP),
        lasts=chance.uniform(0.1, _MOST_LASTING) + _STARTING * (fault is Fault.SECOND),
        killing=chance.random() < 0.25,
        point=point if fault is Fault.POINT else "",
    )
