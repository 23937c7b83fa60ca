"""
Random histories come out right: some that stay the same, and some that nobody has seen before.
"""

from __future__ import annotations

import os

import pytest
from servers import running_server

from cdc_assets.testing import installations
from cdc_assets.testing.histories.trial import Trial

FIXED = [1, 2]
FRESH = [int.from_bytes(os.urandom(4)) for _ in range(2)]


@pytest.mark.parametrize("version", installations())
@pytest.mark.parametrize("which", range(len(FIXED)))
def test_a_history_comes_out_right(version: int, which: int) -> None:
    see_that_it_comes_out_right(FIXED[which], version)


@pytest.mark.parametrize("version", installations())
@pytest.mark.parametrize("which", range(len(FRESH)))
def test_a_history_that_nobody_has_seen_comes_out_right(version: int, which: int) -> None:
    see_that_it_comes_out_right(FRESH[which], version)


def see_that_it_comes_out_right(seed: int, version: int) -> None:
    trial = Trial.of(seed)
    verdict = trial.verdict(running_server(version).dsn)
    again = f"python -m cdc_assets.testing.soak --seed {seed} --postgres {version}"
    assert not verdict, "\n".join((*verdict.findings, verdict.details, trial.describe(), again))
