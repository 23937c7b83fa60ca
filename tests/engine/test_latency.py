"""
How long changes took: right to 5 %, whatever their number.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from changes import batch, commit, insert

from cdc_assets.engine.latency import Latencies

NOW = 1_800_000_000.0


def latencies(*seconds: float) -> Latencies:
    """Of a batch of changes that were committed so many seconds before now."""
    whole = batch(commit(300, *(insert(key, "", "") for key in range(len(seconds)))), since=1)
    (changes,) = whole.changes
    times = ((NOW - np.array(seconds)) * 1e6).astype(np.int64)
    made = Latencies()
    made.add(replace(whole, changes=(replace(changes, times=times),)), at=NOW)
    return made


def test_without_changes_there_is_no_percentile():
    assert Latencies().percentile(50) is None


@pytest.mark.parametrize("percent", [50, 95, 99])
def test_a_percentile_is_right_to_a_twentieth(percent):
    seconds = np.random.default_rng(7).lognormal(0, 1.5, 2_000)
    exact = np.percentile(seconds, percent, method="inverted_cdf")

    assert latencies(*seconds).percentile(percent) == pytest.approx(exact, rel=0.05)


def test_what_came_before_its_time_counts_as_at_once():
    """The two clocks need not agree."""
    assert latencies(-5.0).percentile(100) == 0.001


def test_what_took_longer_than_the_last_bucket_is_counted_in_it():
    assert (latencies(1e9).percentile(100) or 0) > 3 * 86_400


def test_histograms_add_up():
    together = latencies(1.0, 1.0)
    together += latencies(100.0)

    assert together.percentile(60) == pytest.approx(1.0, rel=0.05)
    assert together.percentile(99) == pytest.approx(100.0, rel=0.05)


def test_a_histogram_comes_back_from_what_was_written_down():
    written = str(latencies(0.01, 1.0, 1.0, 60.0))

    assert str(Latencies.parse(written)) == written
    assert sorted(part.partition(":")[2] for part in written.split()) == ["1", "1", "2"]
