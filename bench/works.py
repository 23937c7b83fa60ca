"""
What is measured, in the order it is shown.
"""

from __future__ import annotations

from collections.abc import Callable

from . import backlog, batches, large, latency, size, snapshot
from .ground import Ground
from .result import Result

WORKS: dict[str, Callable[[Ground], Result]] = {
    work.__name__: work
    for work in (
        backlog.stream,
        backlog.beside_debezium,
        backlog.one,
        backlog.mix,
        backlog.wide,
        backlog.small,
        backlog.many,
        snapshot.snapshot,
        latency.latency,
        latency.idle,
        large.large,
        size.size,
        batches.batches,
    )
}
"""Their docstrings are their titles."""
