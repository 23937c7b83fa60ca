"""
What a sample of the slot's lag means: three checks, WARN before ERROR.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import numpy as np

from ..config import Growth, LagPolicy
from ..model import Lag

LAG, GROWTH, HEALTH = "slot_lag", "slot_lag_growth", "slot_health"
DESCRIPTIONS = {
    LAG: "How far what is confirmed trails the server, in bytes and in seconds.",
    GROWTH: "Whether the lag has been growing, faster than it should, for a while.",
    HEALTH: "Whether the slot has its log, something reads it, it continues what we hold, and we hold all.",
}
_FEWEST = 3
"""Samples that make a slope."""
_HEALTHY = ("reserved", "extended")


@dataclass(frozen=True)
class Verdict:
    check: str
    passed: bool
    said: str
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def evaluation(self, slot: dg.AssetKey) -> dg.AssetCheckEvaluation:
        """For a sensor, which needs no run to give it."""
        return dg.AssetCheckEvaluation(**self._said_of(slot))

    def result(self, slot: dg.AssetKey) -> dg.AssetCheckResult:
        """For a run that executes the check."""
        return dg.AssetCheckResult(**self._said_of(slot))

    def _said_of(self, slot: dg.AssetKey) -> dict[str, Any]:
        return {
            "asset_key": slot,
            "check_name": self.check,
            "passed": self.passed,
            "severity": self.severity,
            "description": self.said,
            "metadata": dict(self.metadata),
        }


def lag_verdict(lag: Lag, policy: LagPolicy) -> Verdict:
    seconds = lag.seconds or 0.0
    metadata: dict[str, Any] = {"cdc/lag_bytes": lag.bytes, "cdc/lag_seconds": round(seconds, 3)}
    age = "an unknown time" if lag.seconds is None else f"{seconds:.1f} s"
    said = f"{lag.bytes:,} bytes, {age} behind"
    for severity, most_bytes, most_seconds in (
        (dg.AssetCheckSeverity.ERROR, policy.error, policy.error_seconds),
        (dg.AssetCheckSeverity.WARN, policy.warn, policy.warn_seconds),
    ):
        if lag.bytes >= most_bytes or seconds >= most_seconds:
            limit = f"{most_bytes:,} bytes or {most_seconds:g} s"
            return Verdict(LAG, False, f"{said}; the limit is {limit}", severity, metadata)
    return Verdict(LAG, True, said, metadata=metadata)


def growth_verdict(samples: Sequence[tuple[float, int]], growth: Growth) -> Verdict:
    """`samples`: when (seconds) and how many bytes, of the last `growth.window` seconds."""
    times, lags = np.array([when for when, _ in samples]), np.array([lag for _, lag in samples])
    covered = float(np.ptp(times)) if samples else 0.0
    if len(samples) < _FEWEST or not covered:
        return Verdict(GROWTH, True, f"{len(samples)} samples say nothing yet")
    slope = float(np.polyfit(times - times[0], lags, 1)[0])
    said = f"{slope:+,.0f} bytes/s over {covered:.0f} s"
    # A burst is not growth: only a slope over most of the window is.
    passed = slope <= growth.bytes_per_second or covered < growth.window * 0.8
    metadata = {"cdc/lag_slope_bytes_per_second": round(slope, 1), "cdc/samples": len(samples)}
    return Verdict(GROWTH, passed, said, dg.AssetCheckSeverity.WARN, metadata)


def in_quarantine(rows: int) -> str:
    return f"{rows:,} rows were refused and are in quarantine: cdc-assets quarantine list says why"


def health_verdict(
    lag: Lag | None, broken: str | None, uncovered: Sequence[str], quarantined: Mapping[str, int]
) -> Verdict:
    """`broken`: why the stream cannot be continued; `uncovered`: tables not in the publication;
    `quarantined`: how many rows of which tables the destination has refused."""
    if broken:
        return Verdict(HEALTH, False, f"{broken}; stop, and copy again: cdc-assets reseed --all")
    if lag is None:
        return Verdict(HEALTH, True, "there is no slot yet")
    metadata: dict[str, Any] = {"cdc/wal_status": lag.wal_status or "none", "cdc/active": lag.active}
    if lag.wal_status not in _HEALTHY:
        said = f"wal_status is {lag.wal_status}: the server may have removed log that is still needed"
        return Verdict(HEALTH, False, said, metadata=metadata)
    if uncovered:
        said = f"the publication does not send {', '.join(uncovered)}"
        return Verdict(HEALTH, False, said, metadata=metadata)
    if quarantined:
        said = f"{in_quarantine(sum(quarantined.values()))} ({', '.join(quarantined)})"
        metadata |= {"cdc/quarantined": sum(quarantined.values())}
        return Verdict(HEALTH, False, said, dg.AssetCheckSeverity.WARN, metadata)
    if lag.held_back_by:
        said = f"log is kept that is already confirmed: held back by {lag.held_back_by}"
        return Verdict(HEALTH, False, said, dg.AssetCheckSeverity.WARN, metadata)
    if not lag.active:
        return Verdict(HEALTH, False, "nothing reads the slot", dg.AssetCheckSeverity.WARN, metadata)
    return Verdict(
        HEALTH, True, f"wal_status {lag.wal_status}, read by pid {lag.active_pid}", metadata=metadata
    )
