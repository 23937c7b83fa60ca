"""
How long changes took from their commit at the source until they were durable here.

Kept as a histogram whose bounds grow by a twentieth, so a percentile is right to 5 %
whatever its size, and histograms add up. It is as good as the two clocks agree.
"""

from __future__ import annotations

import time

import numpy as np

from ..model import ChangeBatch

_FACTOR = 1.05
_FIRST = 0.001
"""Seconds: the upper bound of the first bucket."""
_BUCKETS = 400
"""The last one ends after three days."""


class Latencies:
    def __init__(self) -> None:
        self._counts = np.zeros(_BUCKETS, np.int64)

    @classmethod
    def parse(cls, text: str) -> Latencies:
        """What `str` made."""
        latencies = cls()
        for part in text.split():
            bucket, _, count = part.partition(":")
            latencies._counts[int(bucket)] = int(count)
        return latencies

    def __str__(self) -> str:
        """The buckets that are not empty, in one line: `80:2 85:22`."""
        return " ".join(f"{bucket}:{self._counts[bucket]}" for bucket in np.flatnonzero(self._counts))

    def __iadd__(self, other: Latencies) -> Latencies:
        self._counts += other._counts
        return self

    def add(self, batch: ChangeBatch, at: float | None = None) -> None:
        """The changes of a batch that became durable just now, or `at` (seconds since 1970)."""
        now = int((time.time() if at is None else at) * 1e6)
        for changes in batch.changes:
            seconds = np.maximum(now - changes.times, 1) / 1e6
            bucket = np.ceil(np.log(seconds / _FIRST) / np.log(_FACTOR)).astype(np.int64)
            self._counts += np.bincount(np.clip(bucket, 0, _BUCKETS - 1), minlength=_BUCKETS)

    def percentile(self, percent: float) -> float | None:
        """Seconds that `percent` of the changes took at most; None if there were none."""
        total = self._counts.sum()
        if not total:
            return None
        bucket = int(np.searchsorted(self._counts.cumsum(), total * percent / 100))
        return float(_FIRST * _FACTOR**bucket)
