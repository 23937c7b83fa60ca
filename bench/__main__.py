"""
`python -m bench`, or `make bench`: measure, print one table, write it as JSON, and draw it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cdc_assets.testing import installations

from .ground import Ground
from .plot import draw
from .result import Result
from .works import WORKS


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--only", choices=WORKS, nargs="+", default=WORKS, help="measure these")
    parser.add_argument("--json", type=Path, default=Path("bench.json"), help="where it is written")
    parser.add_argument("--plots", type=Path, default=Path("docs"), help="the folder of the pictures")
    arguments = parser.parse_args()
    arguments.plots.mkdir(parents=True, exist_ok=True)
    console, results = Console(), []
    for name in arguments.only:
        work = WORKS[name]
        with Ground() as ground, console.status(f"{name}: {work.__doc__}"):
            results.append(work(ground))
    console.print(_table(results))
    machine = _machine()
    arguments.json.write_text(json.dumps(machine | {"results": [asdict(each) for each in results]}, indent=2))
    said = f"PostgreSQL {machine['postgresql']}, {machine['cores']} cores, {str(machine['at'])[:10]}"
    for plot in [each.plot for each in results if each.plot]:
        draw(plot, arguments.plots, said)


def _table(results: list[Result]) -> Table:
    table = Table("work", "ours", "reference", "ratio", "goal", title="the middle of 3 rounds")
    for each in results:
        ratio = "" if each.ratio is None else f"{each.ratio:.2f}"
        colour = "green" if each.reached else "yellow"
        table.add_row(
            each.work, each.ours, escape(each.reference), f"[{colour}]{ratio}[/]", f"[{colour}]{each.goal}[/]"
        )
    return table


def _machine() -> dict[str, object]:
    packages = ("cdc_assets", "duckdb", "numpy", "psycopg", "pyarrow")
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "machine": platform.platform(),
        "python": platform.python_version(),
        "postgresql": max(installations()),
        "packages": {name: version(name) for name in packages},
    }


if __name__ == "__main__":
    main()
