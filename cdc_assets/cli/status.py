"""
`status`: slot, lag, and the state of every table.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table as Grid

from ..model import LSN, Held, Lag, TableState
from ..pipeline import Pipeline
from .options import config_option, pipeline


@click.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="For machines; the keys are stable.")
def status(path: Path, as_json: bool) -> None:
    """Show the slot, how far it trails the server, and the tables."""
    found = _status(pipeline(path))
    if as_json:
        click.echo(json.dumps(found))
    else:
        _show(found)


def _status(running: Pipeline) -> dict[str, Any]:
    held = running.sink.tables(counted=True)
    selection = running.capture.select(held)
    lag = running.capture.lag()
    tables = {
        str(name): _table(held.get(name, Held(TableState.UNSEEDED)))
        for name in sorted({*selection.tables, *held})
    }
    for name, reason in selection.set_aside.items():
        tables[str(name)] = _table(Held(TableState.UNSEEDED, reason=reason)) | {"state": "set_aside"}
    return {"slot": _slot(running, lag), "lag": _lag(lag), "tables": tables}


def _table(held: Held) -> dict[str, Any]:
    return {
        "state": held.state.value,
        "rows": held.rows or 0,
        "quarantined": held.quarantined,
        "lsn": str(held.lsn or LSN(0)),
        "chunks": held.chunks,
        "chunks_loaded": held.chunks_loaded,
        "reason": held.reason,
    }


def _slot(running: Pipeline, lag: Lag | None) -> dict[str, Any]:
    return {
        "name": running.capture.slot,
        "publication": running.capture.publication,
        "exists": lag is not None,
        "active": lag.active if lag else False,
        "active_pid": lag.active_pid if lag else None,
        "confirmed_lsn": str(lag.confirmed) if lag else None,
        "wal_status": lag.wal_status if lag else None,
    }


def _lag(lag: Lag | None) -> dict[str, Any]:
    return {
        "bytes": lag.bytes if lag else None,
        "seconds": lag.seconds if lag else None,
        "retained_bytes": lag.retained_bytes if lag else None,
        "safe_wal_size": lag.safe_wal_size if lag else None,
        "held_back_by": lag.held_back_by if lag else None,
    }


def _show(found: dict[str, Any]) -> None:
    slot, lag = found["slot"], found["lag"]
    if not slot["exists"]:
        click.echo(f"slot {slot['name']}: not made yet")
    else:
        reader = f"read by pid {slot['active_pid']}" if slot["active"] else "not being read"
        seconds = "unknown" if lag["seconds"] is None else f"{lag['seconds']:.1f} s"
        click.echo(f"slot {slot['name']}: {reader}, confirmed {slot['confirmed_lsn']}")
        click.echo(
            f"lag: {lag['bytes']:,} bytes, {seconds}; log retained: {lag['retained_bytes']:,} bytes "
            f"({slot['wal_status']})"
        )
        if lag["held_back_by"]:
            click.echo(f"held back by {lag['held_back_by']}")
    grid = Grid("table", "state", "rows", "LSN", "")
    for name, table in found["tables"].items():
        seeding = table["state"] == "seeding" and f"{table['chunks_loaded']}/{table['chunks']} chunks"
        quarantined = table["quarantined"] and f"{table['quarantined']:,} rows in quarantine"
        note = "; ".join(said for said in (table["reason"], seeding, quarantined) if said)
        grid.add_row(name, table["state"], f"{table['rows']:,}", table["lsn"], note)
    Console().print(grid)
