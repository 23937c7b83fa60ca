"""
Random histories come out right: some that stay the same, and some that nobody has seen before.
"""

from __future__ import annotations

import os

import pytest
from servers import running_server

from cdc_assets.testing import installations
from cdc_assets.testing.histories.trial import Trial

RIGHT = ""
FIXED = [1, 2]
FRESH = [int.from_bytes(os.urandom(4)) for _ in range(2)]


@pytest.mark.parametrize("version", installations())
@pytest.mark.parametrize("which", range(len(FIXED)))
def test_a_history_comes_out_right(version: int, which: int) -> None:
    assert came_out(FIXED[which], version) == RIGHT


@pytest.mark.parametrize("version", installations())
@pytest.mark.parametrize("which", range(len(FRESH)))
def test_a_history_that_nobody_has_seen_comes_out_right(version: int, which: int) -> None:
    assert came_out(FRESH[which], version) == RIGHT


def came_out(seed: int, version: int) -> str:
    """What is wrong, and all that it takes to have it again."""
    trial = Trial.of(seed)
    verdict = trial.verdict(running_server(version).dsn)
    if not verdict:
        return RIGHT
    again = f"python -m cdc_assets.testing.soak --seed {seed} --postgres {version}"
    return "\n".join((*verdict.findings, verdict.details, trial.describe(), again))
