"""
Playing a history while it is mirrored, and looking at both sides whenever they must be the same.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random

import psycopg

from ... import engine
from ...errors import CaptureError
from ...model import Sink
from ...postgres.patterns import Patterns
from ...postgres.wal import WalCapture
from .copies import copies
from .differences import Difference, differences
from .history import History, Stage, Step
from .session import connected, run, sending_in_progress, shared

_PATIENCE = 60.0
"""Seconds that catching up may take; it takes less than one."""


class TooLong(Exception):
    """The copies are not caught up and never will be."""


@dataclass(frozen=True)
class Conditions:
    """Under which a history is played; they say nothing of what must come of it."""

    sink: str = "duckdb"
    writers: int = 1
    follow: bool = False
    """The stream runs beside the writers."""
    pace: float = 0.0
    """Seconds a writer rests after a step, when it is not the only one at work."""
    early: bool = True
    """The first copies are made before the steps, not after them."""
    batch_bytes: int = 32 << 20
    batch_delay: float = 0.5
    chunk_bytes: int = 64 << 20
    held_bytes: int = 8 << 20
    in_progress: bool = False
    """Every transaction is sent while it is in progress, as far as the server can be made to."""

    @classmethod
    def of(cls, seed: int) -> Conditions:
        chance = Random(f"conditions {seed}")
        return cls(
            sink=chance.choice(("duckdb", "duckdb", "memory")),
            writers=chance.choice((1, 1, 1, 1, 2, 4)),
            follow=chance.random() < 0.35,
            pace=chance.choice((0.0, 0.01, 0.05)),
            early=chance.random() < 0.9,
            batch_bytes=chance.choice((1, 300, 5_000, 100_000, 32 << 20)),
            batch_delay=chance.choice((0.0, 0.01, 0.1, 0.5)),
            chunk_bytes=chance.choice((8_192, 16_384, 64 << 20)),
            held_bytes=chance.choice((1, 300, 16 << 20)),
            in_progress=chance.random() < 0.3,
        )


def play(history: History, dsn: str, sink: Sink, conditions: Conditions) -> list[Difference]:
    """Make `history` happen in an empty database; what the copies then lack or have too much.

    What the engine raises is raised. Statements that PostgreSQL refuses do not count: whatever
    the source then holds is right.
    """
    player = _Player(history, dsn, sink, conditions)
    with connected(dsn) as source:
        run(source, history.at(Stage.BEFORE))
        if conditions.early and (found := player.caught_up()):
            return found
        if conditions.writers == 1 and not conditions.follow:
            for step in history.at(Stage.DURING):
                run(source, [step])
                if step.sync and (found := player.caught_up()):
                    return found
        else:
            player.beside(conditions)
        return player.caught_up()


class _Player:
    def __init__(self, history: History, dsn: str, sink: Sink, conditions: Conditions) -> None:
        self._history, self._dsn, self._sink = history, dsn, sink
        name = str(psycopg.conninfo.conninfo_to_dict(dsn)["dbname"])
        conninfo = sending_in_progress(dsn) if conditions.in_progress else dsn
        self._capture = WalCapture(
            name=name,
            conninfo=lambda: conninfo,
            patterns=Patterns.parse(["*.*"]),
            batch_bytes=conditions.batch_bytes,
            batch_delay=conditions.batch_delay,
            chunk_bytes=conditions.chunk_bytes,
            held_bytes=conditions.held_bytes,
        )

    def caught_up(self) -> list[Difference]:
        self._catch_up()
        with connected(self._dsn) as source:
            return differences(source, copies(self._sink))

    def _catch_up(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        for _ in engine.catch_up(self._capture, self._sink):
            if time.monotonic() > deadline:
                raise TooLong(f"catching up was not done after {_PATIENCE:.0f} s")

    def beside(self, conditions: Conditions) -> None:
        """Writers, each in a thread of its own, while this one mirrors."""
        failures: list[BaseException] = []
        shares = shared(self._history.at(Stage.DURING), conditions.writers)
        threads = [
            threading.Thread(
                target=_noting(failures, self._write), args=(share, conditions.pace), daemon=True
            )
            for share in shares
        ]
        for thread in threads:
            thread.start()
        ended = _Ended(threads)
        try:
            while not ended():
                # Definitions change while they are read: what is run is then run again.
                with suppress(CaptureError):
                    if conditions.follow:
                        for _ in engine.follow(self._capture, self._sink, stopping=ended):
                            pass
                    else:
                        self._catch_up()
        finally:
            for thread in threads:
                thread.join()
        if failures:
            raise failures[0]

    def _write(self, steps: Sequence[Step], pace: float) -> None:
        with connected(self._dsn) as source:
            for step in steps:
                run(source, [step])
                time.sleep(pace)


class _Ended:
    """Whether all threads are."""

    def __init__(self, threads: Sequence[threading.Thread]) -> None:
        self._threads = threads

    def __call__(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)


def _noting(failures: list[BaseException], run: Callable[..., None]) -> Callable[..., None]:
    def noted(*arguments: object) -> None:
        try:
            run(*arguments)
        except BaseException as error:
            failures.append(error)

    return noted
