"""
`python -m bench`, or `make bench`: measure, and print one table.
"""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.table import Table

from .ground import Ground
from .works import WORKS, Result


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--only", choices=[work.name for work in WORKS], help="measure one work")
    only = parser.parse_args().only
    console = Console()
    results = []
    for work in WORKS:
        if only in (None, work.name):
            with Ground() as ground, console.status(work.title):
                results.append(Result(work, list(work.measure(ground, work))))
    console.print(_table(results))


def _table(results: list[Result]) -> Table:
    table = Table("work", "ours", "reference", "ratio", "goal", title="rows a second; the middle of 3 rounds")
    for result in results:
        ours, reference = zip(*((found.ours, found.reference) for found in result.rounds), strict=True)
        table.add_row(
            f"{result.work.title}\n[dim]beside {result.work.reference}[/dim]",
            f"{result.rate(sorted(ours)[len(ours) // 2]):,.0f}",
            f"{result.rate(sorted(reference)[len(reference) // 2]):,.0f}",
            f"{result.ratio:.2f}",
            f"≥ {result.work.goal:.2f}",
        )
    return table


if __name__ == "__main__":
    main()
