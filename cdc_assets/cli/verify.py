"""
`verify`: whether the copies are what the source is, and which rows are not.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import pyarrow as pa

from .. import engine
from ..engine import Awaited, Comparison, Read
from ..errors import CdcError, ConfigError
from ..model import COPIES, TableName
from ..pipeline import Pipeline
from ..postgres.patterns import Pattern
from .options import config_option, pipeline
from .progress import report
from .reseed import seeded
from .sync import show

_SHOWN = 10
"""Keys of a table, of each kind of difference."""


@click.command()
@config_option
@click.argument("tables", nargs=-1)
@click.option("--repair", is_flag=True, help="Copy again what differs, then compare that once more.")
def verify(path: Path, tables: tuple[str, ...], repair: bool) -> None:
    """Compare TABLES (schema.table), or all, with their source, at one LSN, while both go on changing.

    If no other process streams (Dagster, or sync --follow), the copies are first brought to that LSN.
    Rows that differ are named by their keys. Exit status 1 if there are any.
    """
    running = pipeline(path)
    found = _compared(running, _names(running, tables))
    differing = [each for each in found if each.differing]
    if repair and differing:
        _repair(running, differing)
        again = _compared(running, [each.table for each in differing])
        differing = [each for each in again if each.differing]
        found = [each for each in found if not each.differing] + again
    if differing:
        raise CdcError(
            f"the destination differs from its source in {', '.join(str(each.table) for each in differing)}",
            hint=f"cdc-assets verify --repair {' '.join(str(each.table) for each in differing)}"
            if not repair
            else "does somebody else write to the destination? See the lines above.",
        )
    _see_that_it_was_all(found, named=bool(tables))


def _names(running: Pipeline, tables: Sequence[str]) -> list[TableName]:
    selected = running.capture.select(running.sink.tables()).tables
    names = [Pattern.parse(text, "the call").table() for text in tables] or list(selected)
    for name in names:
        if name not in selected:
            raise ConfigError(f"table {name} is not one that is copied", hint="cdc-assets status names them.")
    return names


def _compared(running: Pipeline, names: Sequence[TableName]) -> list[Comparison]:
    began = time.monotonic()
    found = []
    with report() as shown:
        for event in engine.verify(running.capture, running.sink, names, readers=running.config.seed.readers):
            if isinstance(event, Read):
                shown.compared(event)
            elif isinstance(event, Awaited):
                click.echo(f"another process streams; waiting for it to get to {event.lsn}")
            else:
                found.append(event)
    held = running.sink.tables(counted=True)
    for each in sorted(found, key=lambda each: each.table):
        for line in _lines(each):
            click.echo(line)
        if rows := held[each.table].quarantined if each.table in held else 0:
            click.echo(f"    {rows:,} rows are in quarantine: cdc-assets quarantine list says why")
    rows, seconds = sum(each.rows for each in found), time.monotonic() - began
    chunks, lsn = sum(each.chunks for each in found), max((each.lsn for each in found), default=0)
    click.echo(
        f"{rows:,} rows in {chunks:,} chunks compared at {lsn} in {seconds:.1f} s ({rows / seconds:,.0f}/s)"
    )
    return found


def _lines(found: Comparison) -> Iterator[str]:
    if found.obstacle:
        yield f"{found.table} was not compared: {found.obstacle}"
        return
    said = f"{found.differing:,} differ" if found.differing else "equal"
    open_ = f", {found.not_judged:,} that change all the time not judged" if found.not_judged else ""
    yield f"{found.table}: {found.rows:,} rows, {said}{open_}"
    for kind in ("missing", "changed", "extra"):
        if of_kind := [keys for _, keys in getattr(found, kind)]:
            yield from _keys(kind, pa.concat_tables(of_kind))


def _keys(kind: str, keys: pa.Table) -> Iterator[str]:
    if COPIES in keys.schema.names:
        copies = sum(keys[COPIES].to_pylist())
        yield f"    {kind}: {copies:,} rows of a table without a key"
        return
    for row in keys.slice(0, _SHOWN).to_pylist():
        yield f"    {kind}: " + ", ".join(f"{name} = {_shown(value)}" for name, value in row.items())
    if len(keys) > _SHOWN:
        yield f"    {kind}: and {len(keys) - _SHOWN:,} more"


def _shown(value: object) -> str:
    """In one line, whatever it holds."""
    return json.dumps(value, default=str)


def _repair(running: Pipeline, differing: Sequence[Comparison]) -> None:
    for each in differing:
        chunks = engine.mend(running.capture, running.sink, each)
        if chunks is None:
            click.echo(f"copying {each.table} again as a whole")
        elif chunks:
            total = len(running.sink.chunks(each.table))
            click.echo(f"reading {len(chunks)} of {total} chunks of {each.table} again")
        if extra := sum(len(keys) for _, keys in each.extra if chunks is not None):
            click.echo(f"took {extra:,} rows out of the copy of {each.table} that the source has not got")
    show(running, seeded(running, [each.table for each in differing]))


def _see_that_it_was_all(found: Sequence[Comparison], *, named: bool) -> None:
    missed = [each for each in found if each.obstacle]
    if missed and (named or len(missed) == len(found)):
        raise CdcError(
            f"{', '.join(str(each.table) for each in missed)} could not be compared",
            hint="the lines above say why; cdc-assets sync copies what is not copied.",
        )
