"""
`quarantine`: the rows that the destination refused, and another try of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ..errors import ConfigError, SinkError
from ..model import Quarantined, Retried, Sink, TableName
from ..postgres.patterns import Pattern
from .options import config_option, pipeline

_DIGITS = 12
"""Of the hash of a key: enough to tell the rows of a list apart."""

_as_json = click.option("--json", "as_json", is_flag=True, help="For machines; the keys are stable.")


@click.group()
def quarantine() -> None:
    """Rows that the destination refused, and keeps beside the copy until it takes them."""


@quarantine.command("list")
@config_option
@click.option("--show-keys", is_flag=True, help="Show the rows' keys, not only a hash of each.")
@_as_json
def list_(path: Path, show_keys: bool, as_json: bool) -> None:
    """Show which rows were refused, at what LSN, why and when."""
    found = [_entry(each, show_keys) for each in pipeline(path).sink.quarantined()]
    if as_json:
        click.echo(json.dumps(found))
        return
    if not found:
        click.echo("nothing is in quarantine")
        return
    for each in found:
        click.echo("  ".join(_shown(each[name]) for name in ("table", "key", "lsn", "at", "reason")))


@quarantine.command()
@config_option
@click.argument("tables", nargs=-1)
@_as_json
def retry(path: Path, tables: tuple[str, ...], as_json: bool) -> None:
    """Try again the refused rows of TABLES (schema.table), or of all.

    Exit status 1 if any are refused still. A stream may go on meanwhile.
    """
    sink = pipeline(path).sink
    retried = {name: sink.retry(name) for name in _names(sink, tables)}
    if as_json:
        click.echo(json.dumps({str(name): came._asdict() for name, came in retried.items()}))
    else:
        _show(retried)
    if refused := sum(came.refused for came in retried.values()):
        raise SinkError(
            f"{refused:,} rows are refused still", hint="cdc-assets quarantine list says why, row by row."
        )


def _names(sink: Sink, tables: Sequence[str]) -> list[TableName]:
    held = sink.tables(counted=True)
    named = [Pattern.parse(text, "the call").table() for text in tables]
    for name in named:
        if name not in held:
            raise ConfigError(f"there is no copy of {name}", hint="cdc-assets status names those there are.")
    return named or [name for name, table in held.items() if table.quarantined]


def _show(retried: dict[TableName, Retried]) -> None:
    for name, came in retried.items():
        click.echo(f"{name}: {came.taken:,} rows went in, {came.refused:,} remain")
    if not retried:
        click.echo("nothing is in quarantine")


def _entry(found: Quarantined, show_keys: bool) -> dict[str, Any]:
    key = {name: _plain(value) for name, value in found.key.items()}
    hashed = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:_DIGITS]
    return {
        "table": str(found.table),
        "key": key if show_keys else hashed,
        "lsn": str(found.lsn),
        "reason": found.reason,
        "at": found.at.isoformat(timespec="seconds"),
    }


def _plain(value: object) -> object:
    """As JSON has it, or as text."""
    return value if isinstance(value, bool | int | str | None) else str(value)


def _shown(cell: object) -> str:
    if isinstance(cell, dict):
        return ", ".join(f"{name} = {json.dumps(value)}" for name, value in cell.items())
    return str(cell)
