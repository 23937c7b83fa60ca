"""
`sync`: seed what is unseeded, and stream, until everything committed so far is durable.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import click

from .. import engine
from ..engine import Event, Loaded, Retry, Step
from ..pipeline import Pipeline
from .options import config_option, pipeline
from .progress import Totals, report


@click.command()
@config_option
@click.option("--follow", is_flag=True, help="Go on until interrupted; then finish the batch and exit.")
@click.option("--skip-seed", is_flag=True, help="Stream only; leave what is unseeded unseeded.")
def sync(path: Path, follow: bool, skip_seed: bool) -> None:
    """Bring the destination in step with the source.

    Prepares what is missing, copies the tables the destination has not got, and streams until all
    that was committed at the source when the command began is durable at the destination.
    """
    running = pipeline(path)
    events = _followed(running, not skip_seed) if follow else _caught_up(running, not skip_seed)
    show(running, events)


def show(running: Pipeline, events: Iterator[Event | Retry]) -> None:
    """Do the work that `events` is, and show it."""
    totals = Totals()
    with closing(running.sink), report() as shown:
        for event in events:
            if isinstance(event, Loaded):
                totals.loaded(event)
                shown.loaded(event)
            elif isinstance(event, Step):
                totals.streamed(event)
                shown.streamed(event)
            else:
                shown.said(str(event))
    click.echo(str(totals))


def _caught_up(running: Pipeline, seed: bool) -> Iterator[Event]:
    return engine.catch_up(
        running.capture,
        running.sink,
        seed=seed,
        readers=running.config.seed.readers,
        start_anew=running.starts_anew,
    )


def _followed(running: Pipeline, seed: bool) -> Iterator[Event | Retry]:
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    follow = partial(
        engine.follow,
        running.capture,
        running.sink,
        stopping=stopped.is_set,
        seed=seed,
        readers=running.config.seed.readers,
        start_anew=running.starts_anew,
    )
    return engine.unattended(follow, stopped)
