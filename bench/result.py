"""
What was measured, beside what it is measured by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from .plot import Plot


@dataclass(frozen=True)
class Result:
    work: str
    ours: str
    reference: str
    """Empty where there is only a goal."""
    ratio: float | None
    """Of speeds; 1 is as fast as the reference."""
    goal: str
    """Empty where there is none."""
    reached: bool
    plot: Plot | None = None


@dataclass(frozen=True)
class Round:
    ours: float
    """Seconds, start-up subtracted."""
    reference: float
    """Seconds: of what PostgreSQL's own program takes for the same."""


def compared(work: str, rows: int, rounds: Sequence[Round], reference: str, goal: float) -> Result:
    """The middle one of the rounds."""
    ratio = median(found.reference / found.ours for found in rounds)
    ours = median(rows / found.ours for found in rounds)
    theirs = median(rows / found.reference for found in rounds)
    return Result(
        work, f"{ours:,.0f}/s", f"{theirs:,.0f}/s  {reference}", ratio, f"≥ {goal:.2f}", ratio >= goal
    )
