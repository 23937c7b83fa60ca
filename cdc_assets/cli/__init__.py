"""
The command line: `cdc-assets`, thin over the engine.

Exit status 0; 1 for what failed, said in one line and a hint; 2 for a wrong call.
"""

from __future__ import annotations

import sys

import click

from ..errors import CdcError
from .check import check
from .demo import demo
from .quarantine import quarantine
from .reseed import reseed
from .status import status
from .sync import sync
from .teardown import teardown
from .verify import verify


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cdc-assets")
def cli() -> None:
    """PostgreSQL change data capture as Dagster assets."""


for command in (demo, check, sync, status, verify, reseed, quarantine, teardown):
    cli.add_command(command)


def main() -> None:
    try:
        cli()
    except CdcError as error:
        click.echo(f"ERROR:  {error}", err=True)
        if error.hint:
            click.echo(f"HINT:  {error.hint}", err=True)
        sys.exit(1)
