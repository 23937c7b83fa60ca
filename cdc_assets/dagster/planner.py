"""
The sensor that asks the sink what is unseeded, and has its chunks loaded.

It plans, registers the chunks as partitions, and launches one run for the range of
those that are not loaded. A run that failed is followed by another, for what is left,
later each time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import dagster as dg

from .. import engine
from ..config import CdcConfig
from ..errors import CdcError
from ..model import TableName
from ..pipeline import Pipeline, build
from .alive import silent_for
from .metadata import started_anew
from .names import RANGE_END, RANGE_START, SEED_TAG, Names, partition_key
from .snapshot import unreported
from .tables import remember

_EVERY = 30
"""Seconds."""
_FIRST_WAIT, _LONGEST_WAIT = 15.0, 900.0
_RECENT = 10


@dataclass
class _Tick:
    requests: list[dg.RunRequest] = field(default_factory=list)
    partitions: list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest] = field(
        default_factory=list
    )
    said: list[str] = field(default_factory=list)
    events: list[dg.AssetObservation] = field(default_factory=list)


def planner(
    config: CdcConfig, tables: Sequence[TableName], status: dg.DefaultSensorStatus
) -> dg.SensorDefinition:
    names = Names(config.name)

    @dg.sensor(
        name=names.planner,
        asset_selection=[names.snapshot(table) for table in tables] or None,
        minimum_interval_seconds=max(5, min(_EVERY, round(config.stream.supervise_every))),
        default_status=status,
        description="Plans the seeds of tables that have none, and launches a run for their chunks.",
    )
    def plan(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        tick = _Tick()
        try:
            for table in _to_seed(build(config), tables, tick):
                _request(context.instance, build(config), table, tick)
        except CdcError as error:
            tick.said.append(f"{error}; {error.hint}")
        return dg.SensorResult(
            run_requests=tick.requests,
            dynamic_partitions_requests=tick.partitions,
            skip_reason=None if tick.requests else "; ".join(tick.said) or "everything is seeded",
            asset_events=tick.events,
        )

    return plan


def _to_seed(pipeline: Pipeline, tables: Sequence[TableName], tick: _Tick) -> Iterator[TableName]:
    """Begin what has to be begun; the tables that have chunks to load."""
    anew = engine.prepare(pipeline.capture, pipeline.sink, start_anew=pipeline.starts_anew)
    if anew:
        tick.events.append(started_anew(Names(pipeline.config.name), anew))
    aside: dict[TableName, CdcError] = {}
    selection = engine.plan(pipeline.capture, pipeline.sink, aside)
    remember(pipeline, selection.tables)
    refused = {name: f"{error} ({error.hint})" for name, error in aside.items()}
    for name, reason in {**selection.set_aside, **refused}.items():
        tick.said.append(f"{name} is set aside: {reason}")
    for name in pipeline.sink.unloaded():
        if name in tables:
            yield name
        else:
            tick.said.append(f"{name} is new: reload the code location to see it")


def _request(instance: dg.DagsterInstance, pipeline: Pipeline, table: TableName, tick: _Tick) -> None:
    names = Names(pipeline.config.name)
    generation = pipeline.sink.tables()[table].generation
    tag = names.seed_tag(table, generation)
    # Before the chunks: what a run that ends just now has loaded must not be asked for again.
    runs = instance.get_run_records(dg.RunsFilter(tags=tag), limit=_RECENT)
    chunks = pipeline.sink.chunks(table)
    keys = {chunk: partition_key(generation, chunk) for chunk in chunks}
    _register(instance, names, table, list(keys.values()), tick)
    if unfinished := [record for record in runs if not record.dagster_run.is_finished]:
        tick.said.append(f"{table} is being seeded")
        for record in unfinished:
            _give_up_if_silent(instance, record, pipeline.config.stream.stale_after)
        return
    if (wait := _back_off(runs)) > 0:
        tick.said.append(f"the last seed of {table} failed; the next one starts in {wait:.0f} s")
        return
    loaded = [keys[chunk] for chunk, lsn in chunks.items() if lsn is not None]
    done = set(loaded) - set(unreported(instance, names, table, loaded))
    left = [key for key in keys.values() if key not in done]
    if not left:
        return
    tick.requests.append(
        dg.RunRequest(
            run_key=f"{tag[SEED_TAG]}:{time.time():.3f}",
            asset_selection=[names.snapshot(table)],
            tags=tag | {RANGE_START: left[0], RANGE_END: left[-1]},
        )
    )


def _give_up_if_silent(instance: dg.DagsterInstance, record: dg.RunRecord, stale_after: float) -> None:
    """Should it be there after all, it does no harm: what another run loads too, is loaded once."""
    run, silence = record.dagster_run, silent_for(record)
    if run.status is dg.DagsterRunStatus.STARTED and silence > stale_after:
        said = f"no sign of life from run {run.run_id} for {silence:.0f} s: its worker is gone"
        instance.report_run_failed(run, said)


def _register(
    instance: dg.DagsterInstance, names: Names, table: TableName, keys: list[str], tick: _Tick
) -> None:
    """Have the present seed's chunks as partitions, in order, and no earlier seed's."""
    partitions = names.chunks(table)
    there = instance.get_dynamic_partitions(partitions.name or "")
    if outdated := [key for key in there if key not in set(keys)]:
        tick.partitions.append(partitions.build_delete_request(outdated))
    if new := [key for key in keys if key not in set(there)]:
        tick.partitions.append(partitions.build_add_request(new))


def _back_off(runs: Sequence[dg.RunRecord]) -> float:
    """Seconds still to wait after the runs of this seed that failed."""
    failed = sum(record.dagster_run.status is dg.DagsterRunStatus.FAILURE for record in runs)
    if not failed:
        return 0.0
    wait: float = min(_FIRST_WAIT * 2 ** (failed - 1), _LONGEST_WAIT)
    return wait - (time.time() - (runs[0].end_time or 0.0))
