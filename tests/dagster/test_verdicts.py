"""
What a sample of the slot's lag means.
"""

from __future__ import annotations

from dataclasses import replace

import dagster as dg
import pytest

from cdc_assets.config import Growth, LagPolicy
from cdc_assets.dagster.verdicts import Verdict, growth_verdict, health_verdict, lag_verdict
from cdc_assets.model import LSN, Lag

WELL = Lag(LSN(100), 0, 0.0, 0, None, "reserved", 4711, None)
POLICY = LagPolicy(warn=1000, error=2000, warn_seconds=10, error_seconds=20)
GROWTH = Growth(bytes_per_second=10, window=100)
REFUSED = {"public.orders": 2, "public.items": 1}
OK, WARN, ERROR = "ok", "WARN", "ERROR"


def verdict(found: Verdict) -> str:
    """As the UI has it."""
    said = found.evaluation(dg.AssetKey("slot"))
    return OK if said.passed else said.severity.value


@pytest.mark.parametrize(
    ("size", "seconds", "expected"),
    [
        (999, 9.9, OK),
        (1000, 0.0, WARN),
        (0, 10.0, WARN),
        (2000, 0.0, ERROR),
        (0, 20.0, ERROR),
        (1000, 20.0, ERROR),
        (999, None, OK),
        (1000, None, WARN),
    ],
)
def test_lag_warns_and_then_fails_by_bytes_and_by_seconds(size, seconds, expected):
    assert verdict(lag_verdict(replace(WELL, bytes=size, seconds=seconds), POLICY)) == expected


def test_lag_whose_age_could_not_be_found_out_is_not_said_to_be_none():
    assert "an unknown time behind" in lag_verdict(replace(WELL, seconds=None), POLICY).said


def test_a_limit_that_is_passed_is_said():
    assert "the limit is 1,000 bytes or 10 s" in lag_verdict(replace(WELL, bytes=1500), POLICY).said


def test_lag_is_a_number_so_that_it_is_plotted():
    metadata = lag_verdict(WELL, POLICY).metadata

    assert {type(value) for value in metadata.values()} == {int, float}


def samples(every: int, lags: list[int]) -> list[tuple[float, int]]:
    return [(1_000_000.0 + every * n, lag) for n, lag in enumerate(lags)]


@pytest.mark.parametrize(
    ("every", "lags", "expected"),
    [
        (25, [0, 300, 600, 900, 1200], WARN),
        (25, [0, 200, 400, 600, 800], OK),
        (25, [9000, 6000, 3000, 0], OK),
        (25, [500, 500, 500, 500, 500], OK),
        (5, [0, 5000, 10_000], OK),
        (50, [0, 50_000], OK),
    ],
    ids=["grows", "grows slowly", "shrinks", "stays", "is a burst", "too few samples"],
)
def test_lag_that_grows_for_most_of_the_window_is_warned_of(every, lags, expected):
    assert verdict(growth_verdict(samples(every, lags), GROWTH)) == expected


def test_samples_of_one_moment_have_no_slope():
    assert verdict(growth_verdict([(5.0, 1), (5.0, 2), (5.0, 3)], GROWTH)) == OK


@pytest.mark.parametrize(
    ("lag", "broken", "uncovered", "refused", "expected", "said"),
    [
        (WELL, None, [], {}, OK, "read by pid 4711"),
        (None, None, [], {}, OK, "there is no slot yet"),
        (None, "slot cdc_shop is gone", [], {}, ERROR, "cdc-assets reseed --all"),
        (WELL, "the server is another", [], {}, ERROR, "the server is another"),
        (replace(WELL, wal_status="extended"), None, [], {}, OK, "extended"),
        (replace(WELL, wal_status="unreserved"), None, [], {}, ERROR, "unreserved"),
        (replace(WELL, wal_status="lost", active_pid=None), None, [], {}, ERROR, "lost"),
        (WELL, None, ["public.orders"], {}, ERROR, "does not send public.orders"),
        (replace(WELL, held_back_by="pid 1 (shop)"), None, [], {}, WARN, "held back by pid 1 (shop)"),
        (replace(WELL, active_pid=None), None, [], {}, WARN, "nothing reads the slot"),
        (WELL, None, [], REFUSED, WARN, "3 rows were refused and are in quarantine"),
        (WELL, None, [], REFUSED, WARN, "(public.orders, public.items)"),
        (replace(WELL, held_back_by="pid 1", active_pid=None), None, [], REFUSED, WARN, "in quarantine"),
        (WELL, None, ["public.orders"], REFUSED, ERROR, "does not send public.orders"),
    ],
)
def test_health_says_the_worst_of_what_it_sees(lag, broken, uncovered, refused, expected, said):
    found = health_verdict(lag, broken, uncovered, refused)

    assert verdict(found) == expected
    assert said in found.said
