"""
The whole job, for a process that does it all: seed what is unseeded, and stream.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from functools import partial

from ..model import ChangeCapture, Sink, TableState
from .prepare import StartedAnew, prepare
from .seed import Loaded, load, plan, repair, unloaded
from .stream import Step, stream
from .watch import Watch

Event = StartedAnew | Loaded | Step


def catch_up(
    capture: ChangeCapture,
    sink: Sink,
    *,
    seed: bool = True,
    readers: int = 2,
    start_anew: bool = False,
) -> Iterator[Event]:
    """Bring `sink` to what was committed at the source when this was called, everything seeded."""
    if anew := prepare(capture, sink, start_anew=start_anew):
        yield anew
    watch = Watch(capture, sink)
    target = capture.head()
    while True:
        if seed:
            yield from _bring_in(capture, sink, readers)
        target = max(target, watch.look() or capture.head())
        yield from stream(capture, sink, until=target, watch=watch)
        if not seed or not _unfinished(capture, sink):
            return


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
            yield from seeding.loaded()
            yield step
            if stopping():
                return
            if seed and watch.found_unseeded:
                watch.found_unseeded = False
                seeding.wake(anew=True)
            elif seed and (step.applied.unseeded or step.applied.incomplete):
                seeding.wake()


def _bring_in(capture: ChangeCapture, sink: Sink, readers: int) -> Generator[Loaded, None, None]:
    """Load everything that is not seeded; what the stream must bring is left to it."""
    while True:
        tables = plan(capture, sink).tables
        if not repair(capture, sink, tables):
            continue
        chunks = {name: pending for name, pending in unloaded(sink).items() if name in tables}
        if not chunks:
            return
        yield from load(capture, sink, tables, chunks, readers=readers)


def _unfinished(capture: ChangeCapture, sink: Sink) -> bool:
    held = sink.tables()
    return any(
        name not in held or held[name].state is not TableState.SEEDED for name in capture.select(held).tables
    )


class _Seeding:
    """A thread that brings in what is unseeded, each time it is woken."""

    def __init__(self, capture: ChangeCapture, sink: Sink, readers: int) -> None:
        self._prepare = partial(prepare, capture, sink)
        self._bring_in = partial(_bring_in, capture, sink, readers)
        self._loaded: queue.SimpleQueue[Loaded] = queue.SimpleQueue()
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

    def loaded(self) -> Iterator[Loaded]:
        """What was loaded since the last time; raises what made the thread fail."""
        while not self._loaded.empty():
            yield self._loaded.get()
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
                with closing(self._bring_in()) as chunks:
                    for chunk in chunks:
                        self._loaded.put(chunk)
                        if self._ending.is_set():
                            return
            except BaseException as error:
                self._error = error
                return


@contextmanager
def _seeding(capture: ChangeCapture, sink: Sink, readers: int) -> Iterator[_Seeding]:
    seeding = _Seeding(capture, sink, readers)
    try:
        yield seeding
    finally:
        seeding.end()
