"""
The sensor that keeps exactly one stream running, and says how the slot is.

It judges by three things, none of which is believed alone: the runs that are not
finished, the slot's row at the server, and the stream's last sign of life. A worker
that dies together with its code server leaves a run that stays started for ever.

To stop a stream, turn this sensor off, and then the run; a run that is only cancelled is
started again.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import dagster as dg

from ..config import CdcConfig
from ..errors import CdcError
from ..model import Lag
from ..pipeline import Pipeline, build
from .checks import judge
from .metadata import HEARTBEAT, WAITS_FOR, lag_metadata
from .names import Names

_UNFINISHED = [
    status
    for status in dg.DagsterRunStatus
    if status not in (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
]
"""Statuses that Dagster may add count as alive."""
_QUICK = 60.0
"""Seconds; a run that fails sooner, and did not stream, makes the next one wait, twice as long each time."""
_FIRST_WAIT, _LONGEST_WAIT = 5.0, 300.0
_RECENT = 8
_SIGNS = 100
"""Of life, that are looked at."""


@dataclass(frozen=True)
class _Decision:
    said: str
    start: bool = False
    give_up: str | None = None
    """The run to declare failed first."""


def supervisor(config: CdcConfig, status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    names = Names(config.name)

    @dg.sensor(
        name=names.supervisor,
        job_name=names.stream_job,
        minimum_interval_seconds=max(5, round(config.stream.supervise_every)),
        default_status=status,
        description="Keeps one stream running; observes the slot, and gives the results of its checks.",
    )
    def supervise(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        pipeline = build(config)
        try:
            lag = pipeline.capture.lag()
            verdicts = judge(context.instance, pipeline, lag)
        except CdcError as error:
            return dg.SensorResult(skip_reason=f"{error}; {error.hint}")
        decision = _decide(context.instance, pipeline, lag)
        if decision.give_up:
            run = context.instance.get_run_by_id(decision.give_up)
            assert run is not None
            context.instance.report_run_failed(run, decision.said)
        events = [verdict.evaluation(names.slot) for verdict in verdicts]
        observations = []
        if lag and _silent_for(context.instance, names) > config.stream.emit_every * 1.5:
            observations = [dg.AssetObservation(names.slot, metadata=lag_metadata(lag))]
        request = dg.RunRequest(run_key=f"{config.name}:{time.time():.0f}", tags=names.stream_tags)
        return dg.SensorResult(
            run_requests=[request] if decision.start else [],
            skip_reason=None if decision.start else decision.said,
            asset_events=[*observations, *events],
        )

    return supervise


def _decide(instance: dg.DagsterInstance, pipeline: Pipeline, lag: Lag | None) -> _Decision:
    names = Names(pipeline.config.name)
    records = instance.get_run_records(
        dg.RunsFilter(job_name=names.stream_job, tags=names.stream_tags), limit=_RECENT
    )
    alive = [record for record in records if record.dagster_run.status in _UNFINISHED]
    if not alive:
        if lag and lag.active:
            return _Decision(f"slot held by pid {lag.active_pid}, which is not a run of this pipeline")
        if (wait := _back_off(records, _streamed(instance, names))) > 0:
            return _Decision(f"the last runs failed quickly; the next one starts in {wait:.0f} s")
        return _Decision("", start=True)
    record = alive[0]
    run = record.dagster_run
    if run.status is not dg.DagsterRunStatus.STARTED:
        return _Decision(f"run {run.run_id} is {run.status.value.lower()}")
    silence = min(_silent_for(instance, names, run.run_id), time.time() - (record.start_time or time.time()))
    if silence > pipeline.config.stream.stale_after and not (lag and lag.active):
        said = (
            f"no sign of life from run {run.run_id} for {silence:.0f} s, and nothing reads the slot: "
            "its worker is gone"
        )
        return _Decision(said, start=True, give_up=run.run_id)
    return _Decision(f"run {run.run_id} streams; last sign of life {silence:.0f} s ago")


def _back_off(records: Sequence[dg.RunRecord], streamed: Collection[str]) -> float:
    """Seconds still to wait after runs that failed soon after their start. One that streamed was well, and
    was killed."""
    quick = 0
    for record in records:
        began, ended = record.start_time or record.create_timestamp.timestamp(), record.end_time
        if record.dagster_run.status is not dg.DagsterRunStatus.FAILURE or ended is None:
            break
        if ended - began > _QUICK or record.dagster_run.run_id in streamed:
            break
        quick += 1
    if not quick:
        return 0.0
    wait: float = min(_FIRST_WAIT * 2**quick, _LONGEST_WAIT)
    return wait - (time.time() - (records[0].end_time or 0.0))


def _streamed(instance: dg.DagsterInstance, names: Names) -> set[str]:
    """The runs of which it is known."""
    signs = instance.fetch_observations(names.slot, limit=_SIGNS).records
    said = [sign.asset_observation.metadata for sign in signs if sign.asset_observation]
    return {str(each[HEARTBEAT].value) for each in said if HEARTBEAT in each and WAITS_FOR not in each}


def _silent_for(instance: dg.DagsterInstance, names: Names, run_id: str | None = None) -> float:
    """Seconds since the slot was observed, by this run if one is named; infinite if it never was."""
    for record in instance.fetch_observations(names.slot, limit=_RECENT).records:
        observation = record.asset_observation
        said_by = observation.metadata.get(HEARTBEAT) if observation else None
        if run_id is None or (said_by is not None and said_by.value == run_id):
            return time.time() - record.timestamp
    return float("inf")
