"""
The whole job, for a process that does it all: seed what is unseeded, and stream.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial

from ..errors import CdcError
from ..model import ChangeCapture, Sink, TableName, TableState
from .prepare import StartedAnew, prepare
from .seed import Aside, Loaded, load, plan, repair
from .stream import Step, stream
from .watch import Watch


@dataclass(frozen=True)
class SetAside:
    """A table that is copied when what stands in its way is gone; the others go on."""

    table: TableName
    error: CdcError

    def __str__(self) -> str:
        return f"{self.table} is set aside: {self.error}"


Event = StartedAnew | Loaded | SetAside | Step


def catch_up(
    capture: ChangeCapture,
    sink: Sink,
    *,
    seed: bool = True,
    readers: int = 2,
    start_anew: bool = False,
) -> Iterator[Event]:
    """Bring `sink` to what was committed at the source when this was called, everything seeded.

    What is wrong with one table is raised once all others are there.
    """
    if anew := prepare(capture, sink, start_anew=start_anew):
        yield anew
    watch = Watch(capture, sink)
    target = capture.head()
    aside: Aside = {}
    while True:
        if seed:
            yield from _bring_in(capture, sink, readers, aside)
        target = max(target, watch.look() or capture.head())
        yield from stream(capture, sink, until=target, watch=watch)
        if not watch.wants_look and (not seed or not _unfinished(capture, sink, aside)):
            break
    for error in aside.values():
        raise error


def follow(
    capture: ChangeCapture,
    sink: Sink,
    *,
    stopping: Callable[[], bool],
    seed: bool = True,
    readers: int = 2,
    watch_every: float = 10.0,
    start_anew: bool = False,
) -> Generator[Event, None, None]:
    """Keep `sink` in step until `stopping` says so, which is looked at after each batch.

    Seeds run beside the stream, so that a table that is added does not hold back the others.
    """
    if anew := prepare(capture, sink, start_anew=start_anew):
        yield anew
    watch = Watch(capture, sink, every=watch_every)
    with (
        _seeding(capture, sink, readers) as seeding,
        closing(stream(capture, sink, watch=watch)) as steps,
    ):
        if seed:
            seeding.wake()
        for step in steps:
            yield from seeding.done()
            yield step
            if stopping():
                return
            if seed and watch.found_unseeded:
                watch.found_unseeded = False
                seeding.wake(anew=True)
            elif seed and (step.applied.unseeded or step.applied.incomplete):
                seeding.wake()


def _bring_in(
    capture: ChangeCapture, sink: Sink, readers: int, aside: Aside
) -> Generator[Loaded | SetAside, None, None]:
    """Load everything that is not seeded; what the stream must bring is left to it."""
    said = set(aside)
    while True:
        tables = plan(capture, sink, aside).tables
        if not repair(capture, sink, tables):
            continue
        chunks = {name: pending for name, pending in sink.unloaded().items() if name in tables}
        if chunks:
            yield from load(capture, sink, tables, chunks, readers=readers, aside=aside)
        for name in [name for name in aside if name not in said]:
            said.add(name)
            yield SetAside(name, aside[name])
        if not chunks:
            return


def _unfinished(capture: ChangeCapture, sink: Sink, aside: Aside) -> bool:
    held = sink.tables()
    return any(
        name not in held or held[name].state is not TableState.SEEDED
        for name in capture.select(held).tables
        if name not in aside
    )


class _Seeding:
    """A thread that brings in what is unseeded, each time it is woken."""

    def __init__(self, capture: ChangeCapture, sink: Sink, readers: int) -> None:
        self._prepare = partial(prepare, capture, sink)
        self._bring_in = partial(_bring_in, capture, sink, readers)
        self._done: queue.SimpleQueue[Loaded | SetAside] = queue.SimpleQueue()
        self._aside: dict[TableName, _Waiting] = {}
        self._wanted = threading.Event()
        self._ending = threading.Event()
        self._anew = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="cdc-seed", daemon=True)
        self._thread.start()

    def wake(self, *, anew: bool = False) -> None:
        """`anew`: a table may be new, or be there no more."""
        self._anew |= anew
        self._wanted.set()

    def done(self) -> Iterator[Loaded | SetAside]:
        """What was done since the last time; raises what made the thread fail."""
        while not self._done.empty():
            yield self._done.get()
        if self._error:
            raise self._error

    def end(self) -> None:
        """Ask the thread to end after the chunks it is at."""
        self._ending.set()
        self._wanted.set()
        self._thread.join()

    def _run(self) -> None:
        while self._wanted.wait() and not self._ending.is_set():
            self._wanted.clear()
            try:
                if self._anew:
                    self._anew = False
                    self._prepare()
                now = time.monotonic()
                waiting = {name: found for name, found in self._aside.items() if now < found.until}
                aside: Aside = {name: found.error for name, found in waiting.items()}
                with closing(self._bring_in(aside)) as events:
                    for event in events:
                        # It is tried several times, and said once.
                        if isinstance(event, Loaded) or not self._is_said(event):
                            self._done.put(event)
                        if self._ending.is_set():
                            return
                again = {name: error for name, error in aside.items() if name not in waiting}
                self._aside = waiting | {n: _Waiting.after(self._aside.get(n), e) for n, e in again.items()}
            except BaseException as error:
                self._error = error
                return

    def _is_said(self, event: SetAside) -> bool:
        said = self._aside.get(event.table)
        return said is not None and str(said.error) == str(event.error)


@dataclass(frozen=True)
class _Waiting:
    """A table that was set aside is tried again at the next look, and then after twice as long each time:
    it may be one that is read for an hour before it fails."""

    error: CdcError
    seconds: float = 0.0
    until: float = 0.0

    @classmethod
    def after(cls, before: _Waiting | None, error: CdcError) -> _Waiting:
        seconds = min(max(2 * before.seconds, _FIRST_WAIT), _LONGEST_WAIT) if before else 0.0
        return cls(error, seconds, time.monotonic() + seconds)


_FIRST_WAIT, _LONGEST_WAIT = 20.0, 600.0


@contextmanager
def _seeding(capture: ChangeCapture, sink: Sink, readers: int) -> Iterator[_Seeding]:
    seeding = _Seeding(capture, sink, readers)
    try:
        yield seeding
    finally:
        seeding.end()
