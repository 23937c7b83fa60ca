"""
The loop: apply, then confirm, batch by batch.

A batch is confirmed only once the sink holds it. So a crash repeats work and
never loses it; and what is repeated, the sink knows by its LSN.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import NamedTuple

from ..model import LSN, Applied, ChangeBatch, ChangeCapture, Sink
from ..points import Point, reached
from .retelling import Retelling
from .watch import Watch


class Step(NamedTuple):
    """A batch that is durable and confirmed, and what it brought about."""

    batch: ChangeBatch
    applied: Applied


def stream(
    capture: ChangeCapture, sink: Sink, *, until: LSN | None = None, watch: Watch | None = None
) -> Generator[Step, None, None]:
    """Keep `sink` in step; end once everything up to `until` is durable.

    A step comes at least every second or so, with an empty batch when nothing happened. One with a
    batch of no extent says what `watch` found, at the point where that is so.
    """
    watch, retelling = watch or Watch(capture, sink), Retelling(sink)
    with closing(capture.live(until=until, held=watch.held)) as batches:
        for batch in batches:
            applied = Applied()
            if batch.lsn > batch.since:
                retelling.see(batch)
                applied = sink.apply(batch)
                reached(Point.BATCH_DURABLE)
                batch.ack.confirm()
                reached(Point.BATCH_CONFIRMED)
            yield Step(batch, applied)
            for found in watch.passed(batch):
                yield Step(ChangeBatch((), batch.lsn, batch.lsn), found)
            if applied.unseeded:
                watch.learn()
