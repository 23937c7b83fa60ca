"""
The long-running op: streams, confirms in micro-batches, and says what it does.

The engine runs in a thread of its own. Dagster stops a run by raising in the main
thread, at any point; there it finds only someone waiting, who then lets the engine
finish its batch and confirm it. A run that was replaced finds out by itself, and leaves.

What goes away by itself is waited for within the run, which goes on giving signs of life:
else a server that is restarted would leave a row of failed runs.

Materialized by hand or by a schedule, outside the stream's own job, the same op catches
up to what is committed now, and ends.
"""

import queue
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing

import dagster as dg

from .. import engine
from ..config import CdcConfig
from ..engine import Loaded, Retry, SetAside, StartedAnew, Step
from ..errors import CdcError, SlotInUse
from ..model import LSN
from ..pipeline import Pipeline, build
from .failure import failure
from .metadata import HEARTBEAT, WAITS_FOR, heartbeat_metadata, lag_metadata, started_anew, table_metadata
from .names import STREAM_TAG, Names
from .tally import Tallies, Tally
from .verdicts import in_quarantine

_LOOK = 1.0
"""Seconds between looks at what the engine has done, and at the time."""
_FENCE = 5.0
"""Seconds between looks at whether this run has been replaced."""
_GRACE = 20.0
"""Seconds the engine has to finish its batch when the run is stopped; Kubernetes kills after 30."""
_OTHERS = 0.5
"""Seconds between looks at how far another run's stream has got."""
_OTHERS_WITHIN = 600.0
"""Seconds to wait for it."""


def stream_assets(config: CdcConfig, specs: Sequence[dg.AssetSpec]) -> dg.AssetsDefinition:
    """One op for one slot: a slot cannot be read for one table and not another."""
    names = Names(config.name)

    @dg.multi_asset(name=names.stream_op, specs=specs)
    def stream(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        run = _Run(context, build(config))
        if context.run.tags.get(STREAM_TAG) == config.name:
            run.follow()
        else:
            run.catch_up()
        yield from ()  # what happened to each table was logged as it happened

    return stream


class _Run:
    def __init__(self, context: dg.AssetExecutionContext, pipeline: Pipeline) -> None:
        self._context, self._pipeline = context, pipeline
        self._config = pipeline.config
        self._names = Names(self._config.name)
        self._tallies = Tallies()
        self._stopping = threading.Event()
        self._said: queue.SimpleQueue[Retry | StartedAnew] = queue.SimpleQueue()
        self._waits_for: CdcError | None = None
        """What the engine failed at, until it streams again."""
        self._streams = threading.Event()
        """Set for good by the first step."""
        self._error: BaseException | None = None

    def follow(self) -> None:
        worker = threading.Thread(target=self._stream, name="cdc-engine", daemon=True)
        worker.start()
        try:
            self._attend(worker)
        finally:
            self._stopping.set()
            worker.join(_GRACE)
            self._say_what_happened()
            self._report()
        error = self._error or self._waits_for
        if isinstance(error, CdcError):
            raise failure(error) from error
        if error:
            raise error

    def _attend(self, worker: threading.Thread) -> None:
        began = reported = fenced = time.monotonic()
        is_known = False
        while worker.is_alive():
            worker.join(_LOOK)
            self._say_what_happened()
            now = time.monotonic()
            if now - began >= self._config.stream.max_run_seconds:
                self._context.log.info("this run has streamed long enough; the next one goes on")
                return
            if now - fenced >= _FENCE:
                fenced = now
                self._leave_if_replaced()
            is_first = self._streams.is_set() and not is_known
            if is_first or now - reported >= self._config.stream.emit_every:
                reported, is_known = now, self._streams.is_set()
                if self._waits_for:
                    self._give_a_sign_of_life(self._waits_for)
                else:
                    self._report()

    def _say_what_happened(self) -> None:
        """Here, for Dagster writes events in the thread that runs the op."""
        while not self._said.empty():
            said = self._said.get()
            self._context.log.warning(str(said))
            if isinstance(said, StartedAnew):
                self._context.log_event(started_anew(self._names, said))

    def _give_a_sign_of_life(self, waits_for: CdcError) -> None:
        """Without asking the source or the destination, one of which does not answer."""
        metadata = {HEARTBEAT: self._context.run.run_id, WAITS_FOR: str(waits_for)}
        self._context.log_event(dg.AssetObservation(self._names.slot, metadata=metadata))

    def _leave_if_replaced(self) -> None:
        run = self._context.instance.get_run_by_id(self._context.run.run_id)
        if run is None or run.is_finished:
            raise dg.Failure("this run was declared finished, so another may be streaming: leaving")

    def _stream(self) -> None:
        try:
            for event in engine.unattended(self._attempt, self._stopping):
                if isinstance(event, Retry):
                    self._waits_for = event.error
                    self._said.put(event)
                    continue
                self._waits_for = None
                if isinstance(event, StartedAnew):
                    self._said.put(event)
                else:
                    self._tallies.add(event)
                    self._streams.set()
        except BaseException as error:
            self._error = error

    def _attempt(self) -> Generator[StartedAnew | Step, None, None]:
        capture, sink = self._pipeline.capture, self._pipeline.sink
        if anew := engine.prepare(capture, sink, start_anew=self._pipeline.starts_anew):
            yield anew
        with closing(engine.stream(capture, sink)) as steps:
            for step in steps:
                yield step
                self._repair(step)
                if self._stopping.is_set():
                    return

    def _repair(self, step: Step) -> None:
        if step.applied.incomplete:
            tables = self._pipeline.capture.select(self._pipeline.sink.tables()).tables
            engine.repair(self._pipeline.capture, self._pipeline.sink, tables)

    def catch_up(self) -> None:
        try:
            for event in engine.catch_up(
                self._pipeline.capture,
                self._pipeline.sink,
                readers=self._config.seed.readers,
                start_anew=self._pipeline.starts_anew,
            ):
                if isinstance(event, Loaded):
                    self._context.log.info(f"seeded {event.rows:,} rows of {event.table} ({event.chunk.key})")
                elif isinstance(event, SetAside):
                    self._context.log.warning(str(event))
                elif isinstance(event, StartedAnew):
                    self._said.put(event)
                    self._say_what_happened()
                else:
                    self._tallies.add(event)
        except SlotInUse as error:
            self._wait_for_the_stream(error)
        except CdcError as error:
            raise failure(error) from error
        finally:
            self._report(everything=True)

    def _wait_for_the_stream(self, error: SlotInUse) -> None:
        """Somebody streams already; what is wanted is that it gets to where the source is now."""
        target = self._pipeline.capture.head()
        self._context.log.info(f"{error}; waiting for it to reach {target}")
        deadline = time.monotonic() + _OTHERS_WITHIN
        while self._position() < target:
            if time.monotonic() > deadline:
                raise failure(error) from error
            time.sleep(_OTHERS)

    def _position(self) -> LSN:
        position = self._pipeline.sink.position()
        return position.lsn if position else LSN(0)

    def _report(self, *, everything: bool = False) -> None:
        """One event for each table that was touched, and one for the slot: a sign of life."""
        tally = self._tallies.take()
        try:
            events = list(self._events(tally, everything))
        except CdcError as error:
            # It must not hide why a run ends.
            self._context.log.warning(f"could not report: {error}")
            self._tallies.give_back(tally)
            return
        for event in events:
            self._context.log_event(event)

    def _events(
        self, tally: Tally, everything: bool
    ) -> Iterator[dg.AssetMaterialization | dg.AssetObservation]:
        held = self._pipeline.sink.tables(counted=True) if tally.tables or everything else {}
        for name in {**tally.tables, **(held if everything else {})}:
            for said in tally.table(name).redefined:
                self._context.log.info(f"{name} was altered: {said}")
            for reason in tally.table(name).unseeded:
                self._context.log.warning(f"{name} has to be seeded again: {reason}")
            if rows := tally.table(name).quarantined:
                self._context.log.warning(f"{name}: {in_quarantine(rows)}")
            yield dg.AssetMaterialization(
                self._names.mirror(name), metadata=table_metadata(tally.table(name), held.get(name))
            )
        if lag := self._pipeline.capture.lag():
            heartbeat = heartbeat_metadata(self._context.run.run_id, tally)
            yield dg.AssetObservation(self._names.slot, metadata=lag_metadata(lag) | heartbeat)
