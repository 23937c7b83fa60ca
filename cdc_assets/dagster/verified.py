"""
The check of each copy against its source: executed by hand or on a schedule, never by the stream.

It reads the whole table. So where tables are selected to be materialized, whose checks Dagster then
selects too, it is left out; a job that includes it by name or selection gives it.
"""

import time
from collections.abc import Iterator, Sequence

import dagster as dg

from .. import engine
from ..config import CdcConfig
from ..engine import Comparison
from ..errors import CdcError
from ..model import TableName
from ..pipeline import build
from .failure import failure
from .names import Names

VERIFIED = "verified"


def verified_checks(config: CdcConfig, tables: Sequence[TableName]) -> dg.AssetChecksDefinition:
    names = Names(config.name)
    specs = [
        dg.AssetCheckSpec(
            VERIFIED,
            asset=names.mirror(table),
            description="Whether the copy is, row by row, what the source is at one LSN.",
            blocking=False,
        )
        for table in tables
    ]

    @dg.multi_asset_check(name=names.verify_op, specs=specs, can_subset=True)
    def verify(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        if context.run.asset_selection:
            context.log.info("tables are materialized here; their checks are for a job of their own")
            return
        wanted = {key.asset_key for key in context.selected_asset_check_keys}
        pipeline = build(config)
        began = time.monotonic()
        try:
            compared = [
                event
                for event in engine.verify(
                    pipeline.capture,
                    pipeline.sink,
                    [table for table in tables if names.mirror(table) in wanted],
                    readers=config.seed.readers,
                )
                if isinstance(event, Comparison)
            ]
        except CdcError as error:
            raise failure(error) from error
        rate = sum(found.rows for found in compared) / (time.monotonic() - began)
        held = pipeline.sink.tables(counted=True)
        for found in compared:
            quarantined = held[found.table].quarantined if found.table in held else 0
            yield _result(found, names.mirror(found.table), rate, quarantined)

    return verify


def _result(found: Comparison, mirror: dg.AssetKey, rate: float, quarantined: int) -> dg.AssetCheckResult:
    """Numbers only: which rows differ, the command line says."""
    if found.obstacle:
        return dg.AssetCheckResult(
            asset_key=mirror,
            check_name=VERIFIED,
            passed=False,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"not compared: {found.obstacle}",
        )
    command = f"cdc-assets verify {found.table}"
    differs = (
        f"{found.differing:,} of {found.rows:,} rows differ; {command} names them, --repair copies them again"
    )
    return dg.AssetCheckResult(
        asset_key=mirror,
        check_name=VERIFIED,
        passed=not found.differing,
        description=differs if found.differing else f"{found.rows:,} rows are equal at {found.lsn}",
        metadata={
            "cdc/lsn": str(found.lsn),
            "cdc/rows": found.rows,
            "cdc/rows_that_differ": found.differing,
            "cdc/rows_not_judged": found.not_judged,
            "cdc/quarantined": quarantined,
            "cdc/chunks": found.chunks,
            "cdc/rows_per_second": round(rate),
        },
    )
