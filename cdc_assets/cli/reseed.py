"""
`reseed`: copy tables again, the old copies readable meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import click

from .. import engine
from ..engine import Event
from ..errors import ConfigError, SlotInUse
from ..model import TableName, TableState
from ..pipeline import Pipeline
from ..postgres.patterns import Pattern
from .options import config_option, pipeline
from .sync import show

_LOOK_EVERY = 0.5
"""Seconds between looks at what another process's stream has put in place."""


@click.command()
@config_option
@click.argument("tables", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every table there is a copy of.")
def reseed(path: Path, tables: tuple[str, ...], every: bool) -> None:
    """Copy TABLES (schema.table) again from a new snapshot.

    The old copy stays readable until the new one takes its place. If another process streams
    (Dagster, or sync --follow), it is that one which puts the new copy there.
    """
    if bool(tables) == every:
        raise click.UsageError("name tables, or say --all")
    running = pipeline(path)
    names = _names(running, tables)
    _mark(running, names)
    show(running, seeded(running, names))


def _names(running: Pipeline, tables: tuple[str, ...]) -> list[TableName]:
    held = running.sink.tables()
    names = [Pattern.parse(text, "the call").table() for text in tables] or list(held)
    for name in names:
        if name not in held:
            raise ConfigError(
                f"there is no copy of {name} to replace", hint="cdc-assets sync makes the first."
            )
    return names


def _mark(running: Pipeline, names: list[TableName]) -> None:
    position = running.sink.position()
    in_step = position is not None and engine.lost_continuity(running.capture, position) is None
    for name in names:
        running.sink.mark_unseeded(name, "asked for", in_step=in_step)


def seeded(running: Pipeline, names: list[TableName]) -> Iterator[Event]:
    try:
        yield from engine.catch_up(running.capture, running.sink, readers=running.config.seed.readers)
    except SlotInUse:
        click.echo("another process streams; waiting for it to put the copies in place")
        while any(running.sink.tables()[name].state is not TableState.SEEDED for name in names):
            time.sleep(_LOOK_EVERY)
