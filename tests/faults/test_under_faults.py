"""
Random histories under random faults come out right; the long run is `make soak FAULTS=1`.
"""

from __future__ import annotations

from cdc_assets.testing import installations
from cdc_assets.testing.faults.plan import Fault, plan
from cdc_assets.testing.faults.trial import FaultTrial


def test_a_history_under_faults_comes_out_right():
    played = FaultTrial.of(2, faults=8).played(max(installations()))

    assert not played.verdict, "\n".join((*played.verdict.findings, played.verdict.details, played.journal))
    assert played.counts["processes killed"]
    assert played.counts["looks: positions"]
    assert played.counts["looks: sums"]


def test_a_seed_says_the_same_faults_again():
    assert plan(7) == plan(7) != plan(8)


def test_every_fault_happens():
    assert {planned.fault for seed in range(20) for planned in plan(seed)} == set(Fault)
