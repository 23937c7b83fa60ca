"""
What commands have in common: where the configuration is.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from ..config import load
from ..pipeline import Pipeline, build

_Command = TypeVar("_Command", bound=Callable[..., object])

config_option: Callable[[_Command], _Command] = click.option(
    "--config",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("cdc.yaml"),
    show_default=True,
    metavar="FILE",
    help="The configuration.",
)


def pipeline(path: Path) -> Pipeline:
    return build(load(path))
