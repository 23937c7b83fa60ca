"""
Whether a seed's run has a worker.

One that dies together with its code server leaves a run that stays started for ever, and so a table
that would be waited for as long. While a seed is loaded, its run has a tag that says when it last was at
work.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import dagster as dg

ALIVE_TAG = "cdc_assets/alive_at"
"""Seconds since 1970."""


@contextmanager
def giving_signs_of_life(context: dg.AssetExecutionContext, every: float) -> Iterator[None]:
    """Now, and every so many seconds until the end of the block."""
    _give_one(context)
    ended = threading.Event()
    thread = threading.Thread(target=_give, args=(context, every, ended), name="cdc-alive", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _give(context: dg.AssetExecutionContext, every: float, ended: threading.Event) -> None:
    while not ended.wait(every):
        _give_one(context)


def _give_one(context: dg.AssetExecutionContext) -> None:
    # A storage that does not answer now may the next time; the run itself will say what is wrong with it.
    with suppress(Exception):
        context.instance.add_run_tags(context.run.run_id, {ALIVE_TAG: f"{time.time():.0f}"})


def silent_for(record: dg.RunRecord) -> float:
    """Seconds since the run began, or said that it is at work."""
    said = float(record.dagster_run.tags.get(ALIVE_TAG, 0))
    return time.time() - max(said, record.start_time or time.time())
