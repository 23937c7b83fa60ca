"""
What follows the source, and is killed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from ..program import Program


class Consumer(ABC):
    """From the time it is made to `finish`, there is a process that follows, or another in its place."""

    moves_within = 90.0
    """Seconds, once the faults are over."""
    pace = 1.0
    """By how much longer than planned it is left alone after a fault."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self.killed = 0
        """How many processes were, at a moment of the killer's choice or at a point."""
        self.endings: Counter[str] = Counter()
        """What other processes said when they ended."""
        self.wrong: list[str] = []
        """Of that, what no fault is a reason for."""

    @property
    @abstractmethod
    def pid(self) -> int | None:
        """Of a process that is at work; None if there is none just now."""

    @abstractmethod
    def kill(self, next_at: str = "") -> None:
        """`next_at`: the point at which the next process is to kill itself, where it can be told that."""

    @abstractmethod
    def pause(self) -> None:
        """As if the machine had stopped for a while, until `go_on`."""

    @abstractmethod
    def go_on(self) -> None: ...

    @contextmanager
    def with_a_second(self) -> Iterator[None]:
        """A process beside it that wants the same."""
        with self._program.start("sync") as second:
            try:
                yield
            finally:
                second.kill()

    @abstractmethod
    def finish(self, within: float) -> None:
        """End it politely; it has so many seconds."""

    def said(self) -> str:
        """By every process there was."""
        return self._program.said()
