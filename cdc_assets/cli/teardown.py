"""
`teardown`: take back what was made at the source.
"""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import CaptureError
from .options import config_option, pipeline


@click.command()
@config_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def teardown(path: Path, yes: bool) -> None:
    """Drop the slot and the publication. The destination is left alone."""
    capture = pipeline(path).capture
    if not (yes or _confirmed(capture.slot, capture.publication)):
        raise CaptureError("not confirmed, so nothing is dropped", hint="--yes does not ask.")
    capture.teardown()
    click.echo(f"dropped slot {capture.slot} and publication {capture.publication}")


def _confirmed(slot: str, publication: str) -> bool:
    """Not where nobody is there to answer, either."""
    question = f"Drop slot {slot} and publication {publication} at the source?"
    try:
        return click.confirm(f"{question} What is not confirmed is then lost to this pipeline.", err=True)
    except click.Abort:
        click.echo(err=True)
        return False
