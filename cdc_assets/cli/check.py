"""
`check`: everything that stands in the way, each with its remedy in SQL.
"""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import CaptureError
from .options import config_option, pipeline


@click.command()
@config_option
def check(path: Path) -> None:
    """Look for what would go wrong: settings, privileges, keys, slots, types, destination."""
    running = pipeline(path)
    found = running.capture.findings()
    for finding in found:
        click.echo(f"{'problem' if finding.is_problem else 'note'}: {finding.about}: {finding.message}")
        click.echo(f"    {finding.remedy}")
    problems = sum(finding.is_problem for finding in found)
    if problems:
        raise CaptureError(
            f"{problems} problem{'s' if problems > 1 else ''} found", hint="each has its remedy above."
        )
    running.sink.see_that_it_can_be_written()
    click.echo("nothing stands in the way")
