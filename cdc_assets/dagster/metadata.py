"""
What events say: numbers as int or float, or the UI would not plot them.
"""

from __future__ import annotations

from typing import Any

import dagster as dg

from ..engine import StartedAnew
from ..model import Held, Lag
from .names import Names
from .tables import KnownTable
from .tally import TableTally, Tally
from .translator import column_schema

HEARTBEAT = "cdc/stream_run"
"""On the observations a stream makes of its slot: which run it is."""
WAITS_FOR = "cdc/waits_for"
"""On those of a run that does not stream at the moment: why."""
LATENCIES = "cdc/latencies"
"""On the same: how long changes took from commit to durable, as `str(Latencies)`, which adds up."""


def lag_metadata(lag: Lag) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "cdc/lag_bytes": lag.bytes,
        "cdc/retained_bytes": lag.retained_bytes,
        "cdc/confirmed_lsn": str(lag.confirmed),
        "cdc/active": lag.active,
        "cdc/wal_status": lag.wal_status or "none",
    }
    if lag.seconds is not None:
        metadata["cdc/lag_seconds"] = round(lag.seconds, 3)
    if lag.safe_wal_size is not None:
        metadata["cdc/safe_wal_size"] = lag.safe_wal_size
    if lag.active_pid is not None:
        metadata["cdc/active_pid"] = str(lag.active_pid)  # not a number to plot
    if lag.held_back_by:
        metadata["cdc/held_back_by"] = lag.held_back_by
    return metadata


def heartbeat_metadata(run_id: str, tally: Tally) -> dict[str, Any]:
    """What the stream did since its last sign of life."""
    return {
        HEARTBEAT: run_id,
        "cdc/changes": tally.changes,
        "cdc/commits": tally.commits,
        "cdc/batches": tally.batches,
        **{
            f"cdc/latency_p{percent}_seconds": round(seconds, 4)
            for percent in (50, 99)
            if (seconds := tally.latencies.percentile(percent)) is not None
        },
        LATENCIES: str(tally.latencies),
    }


def started_anew(names: Names, anew: StartedAnew) -> dg.AssetObservation:
    """Of the slot: the copies could not be continued."""
    return dg.AssetObservation(names.slot, description=str(anew), metadata={"cdc/started_anew": anew.reason})


def table_metadata(tally: TableTally, held: Held | None) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "cdc/inserted": tally.inserted,
        "cdc/updated": tally.updated,
        "cdc/deleted": tally.deleted,
        "cdc/truncated": tally.truncated,
    }
    if tally.first and tally.last:
        metadata |= {"cdc/first_lsn": str(tally.first), "cdc/last_lsn": str(tally.last)}
    if held:
        metadata |= {"cdc/state": held.state.value, "cdc/lsn": str(held.lsn)}
        if held.reason:
            metadata["cdc/reason"] = held.reason
        metadata["cdc/quarantined"] = held.quarantined
        if held.rows is not None:
            metadata["dagster/row_count"] = held.rows
        if held.definition and (tally.seeded or tally.redefined):
            metadata["dagster/column_schema"] = column_schema(KnownTable.of(held.definition))
        if tally.redefined:
            metadata["cdc/redefined"] = "\n".join(tally.redefined)
    return metadata
