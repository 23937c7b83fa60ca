"""
The checks on the slot: given by the supervisor sensor without a run, or executed by hand.
"""

import time
from collections.abc import Iterator

import dagster as dg

from .. import engine
from ..config import CdcConfig
from ..errors import CdcError
from ..model import Lag, TableState
from ..pipeline import Pipeline, build
from . import verdicts
from .failure import failure
from .names import Names
from .verdicts import Verdict

_MOST_SAMPLES = 200


def slot_checks(config: CdcConfig) -> dg.AssetChecksDefinition:
    names = Names(config.name)
    specs = [
        dg.AssetCheckSpec(check, asset=names.slot, description=said)
        for check, said in verdicts.DESCRIPTIONS.items()
    ]

    @dg.multi_asset_check(name=f"{config.name}_slot_checks", specs=specs, can_subset=True)
    def checks(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        pipeline = build(config)
        try:
            found = judge(context.instance, pipeline, pipeline.capture.lag())
        except CdcError as error:
            raise failure(error) from error
        wanted = {key.name for key in context.selected_asset_check_keys}
        yield from (verdict.result(names.slot) for verdict in found if verdict.check in wanted)

    return checks


def judge(instance: dg.DagsterInstance, pipeline: Pipeline, lag: Lag | None) -> list[Verdict]:
    """The verdicts on the slot as it is now, given a sample just taken of it."""
    config = pipeline.config
    found = [verdicts.health_verdict(lag, *_evidence(pipeline))]
    if lag:
        growth = config.lag.growth
        samples = past_lags(instance, Names(config.name).slot, growth.window)
        samples.append((time.time(), lag.bytes))
        found.append(verdicts.lag_verdict(lag, config.lag))
        found.append(verdicts.growth_verdict(samples, growth))
    return found


def _evidence(pipeline: Pipeline) -> tuple[str | None, list[str], dict[str, int]]:
    position = pipeline.sink.position()
    broken = engine.lost_continuity(pipeline.capture, position) if position else None
    captured = pipeline.capture.captured()
    tables = pipeline.sink.tables(counted=True)
    seeded = (name for name, held in tables.items() if held.state is TableState.SEEDED)
    quarantined = {str(name): held.quarantined for name, held in tables.items() if held.quarantined}
    return broken, [str(name) for name in seeded if name not in captured], quarantined


def past_lags(instance: dg.DagsterInstance, slot: dg.AssetKey, window: float) -> list[tuple[float, int]]:
    """When and how many bytes, oldest first, from the observations of the last `window` seconds."""
    since = time.time() - window
    found = []
    for record in instance.fetch_observations(slot, limit=_MOST_SAMPLES).records:
        observation = record.asset_observation
        if record.timestamp < since or observation is None:
            continue
        value = observation.metadata.get("cdc/lag_bytes")
        if value is not None and isinstance(value.value, int | float):
            found.append((record.timestamp, int(value.value)))
    return found[::-1]
