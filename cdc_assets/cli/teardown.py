"""
`teardown`: take back what was made at the source.
"""

from __future__ import annotations

from pathlib import Path

import click

from .options import config_option, pipeline


@click.command()
@config_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def teardown(path: Path, yes: bool) -> None:
    """Drop the slot and the publication. The destination is left alone."""
    capture = pipeline(path).capture
    if not yes:
        click.confirm(
            f"Drop slot {capture.slot} and publication {capture.publication} at the source? "
            "What is not confirmed is then lost to this pipeline.",
            abort=True,
        )
    capture.teardown()
    click.echo(f"dropped slot {capture.slot} and publication {capture.publication}")
