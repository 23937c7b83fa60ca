"""
What the demo does on its stage: with the UI until it is stopped, or by itself for a while.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .. import engine
from ..engine import Comparison
from ..engine.latency import Latencies
from ..errors import CdcError
from ..model import Lag, TableState
from ..pipeline import Pipeline
from .stage import Stage
from .watch import Watch

Say = Callable[[str], None]

_OPENED = "expanded=global@global:shop,global@global:analytics"
"""For the UI's asset graph, which else shows two closed groups."""
_SEEDED_WITHIN = 240.0
_CAUGHT_UP_WITHIN = 120.0
_REPORTED_WITHIN = 60.0
"""Seconds."""


@dataclass
class Summary:
    """What a run by itself found."""

    comparisons: list[Comparison]
    lag: Lag | None
    seeded: int = 0
    streamed: int = 0
    latencies: Latencies = field(default_factory=Latencies)
    """From commit to durable, of the changes made while every table was in step."""

    @property
    def equal(self) -> bool:
        return bool(self.comparisons) and not any(found.differences for found in self.comparisons)


def with_ui(checkout: Path, say: Say) -> None:
    """Until interrupted."""
    say("starting PostgreSQL, a shop with 100,000 orders, and Dagster; this takes half a minute")
    with contextlib.suppress(KeyboardInterrupt), Stage(checkout, with_ui=True) as stage:
        stage.start_traffic()
        say(_where_to_look(stage))
        try:
            stage.attend()
        except KeyboardInterrupt:
            say("stopping; the stream finishes its batch")
            raise
    say("everything is stopped and removed")


def by_itself(checkout: Path, seconds: float, say: Say) -> Summary:
    """Seed, stream for `seconds` under traffic, and compare both sides."""
    began = time.monotonic()

    def clock(said: str) -> None:
        say(f"[{time.monotonic() - began:5.1f} s] {said}")

    with Stage(checkout, with_ui=False) as stage, Watch(stage.environment) as watch:
        clock(f"PostgreSQL {stage.server_version}, a shop, and Dagster's daemon are running")
        pipeline = _pipeline(stage)
        stage.start_traffic()
        stage.wait(lambda: _all_seeded(pipeline), _SEEDED_WITHIN, "the end of the seeds")
        clock("every table is seeded and in step")
        _wait_for_report(stage, watch, pipeline)
        in_step = time.time()
        stage.wait(lambda: time.time() >= in_step + seconds, seconds + 5, "the end of the show")
        stage.stop_traffic()
        head = pipeline.capture.head()
        stage.wait(lambda: _position(pipeline) >= head, _CAUGHT_UP_WITHIN, "catching up")
        clock("traffic has stopped and the stream has caught up; comparing")
        summary = _compared(pipeline)
        _wait_for_report(stage, watch, pipeline)
        summary.seeded = watch.rows_seeded(pipeline)
        summary.streamed = watch.changes_streamed(pipeline)
        summary.latencies = watch.latencies(pipeline, in_step)
    clock("everything is stopped and removed")
    return summary


def _pipeline(stage: Stage) -> Pipeline:
    os.environ["SHOP_DSN"] = stage.dsn
    return stage.pipeline()


def _all_seeded(pipeline: Pipeline) -> bool:
    held = pipeline.sink.tables()
    return bool(held) and all(table.state is TableState.SEEDED for table in held.values())


def _position(pipeline: Pipeline) -> int:
    position = pipeline.sink.position()
    return position.lsn if position else 0


def _compared(pipeline: Pipeline) -> Summary:
    tables = pipeline.capture.select().tables
    comparisons = list(engine.compare(pipeline.capture, pipeline.sink, tables))
    return Summary(comparisons, lag=pipeline.capture.lag())


def _wait_for_report(stage: Stage, watch: Watch, pipeline: Pipeline) -> None:
    """Until the stream has told Dagster what it did so far."""
    now = time.time()
    stage.wait(lambda: watch.reported_since(pipeline, now), _REPORTED_WITHIN, "the stream's report")


def _where_to_look(stage: Stage) -> str:
    count = "select status, count(*) from public.orders group by all"
    query = f"import cdc_assets; print(cdc_assets.open_duckdb('{stage.database}').sql('{count}'))"
    return f"""
  Dagster     {stage.ui}/asset-groups?{_OPENED}
                  the tables, their seeds, the slot
              {stage.ui}/runs
                  seeds first, then the stream that stays
              {stage.ui}/assets/shop/slot?view=checks
                  how far the copy trails the source; "Overview", "Plots" has its history

  the copy    {stage.database}
              {sys.executable} -c "{query}"
  the source  {stage.psql}

Ctrl-C stops everything.
"""


def failed(summary: Summary) -> CdcError:
    different = [str(found.table) for found in summary.comparisons if found.differences]
    return CdcError(
        f"the destination is not equal to the source: {', '.join(different) or 'nothing was compared'}",
        hint="this is a bug; the lines above say where.",
    )
