"""
One transaction that would not fit into memory: how much of that it takes, and how fast it is.

`make bench` has one of three million inserts, then of as many updates and deletes. `python -m bench.large`
has ten million, and says how long a reader of the file had to wait, and what it saw.
"""

from __future__ import annotations

import argparse
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from cdc_assets import open_duckdb

from .ground import Following, Ground
from .plot import Curve, Level, Plot
from .result import Result
from .tables import NARROW, insert

_ROWS = 3_000_000
_GOAL = 512
"""MiB."""
_WORKS = {
    "insert": None,
    "update": "update large set note = note || ' again', amount = amount + 1",
    "delete": "delete from large",
}


@dataclass
class _Copied:
    """What was seen of our process while it copied a transaction."""

    work: str
    rows: int
    wrote: float
    """Seconds that PostgreSQL took for it."""
    at: list[float] = field(default_factory=list)
    """Seconds from the start of our process, until its end."""
    memory: list[float] = field(default_factory=list)
    """MiB resident then."""
    peak: float = 0.0
    waited: float = 0.0
    """Seconds, the longest that a reader of the file did."""
    saw: set[tuple[int, int]] = field(default_factory=set)
    """How many rows it found, and how many of them updated."""

    @property
    def speed(self) -> float:
        return self.rows / self.at[-1]


def large(ground: Ground) -> Result:
    """One transaction of 3 M inserts, then updates, then deletes"""
    copied = list(_measured(ground, _ROWS, _WORKS))
    return Result(
        "one transaction of 3 M inserts, updates, deletes",
        f"{', '.join(f'{each.speed:,.0f}' for each in copied)}/s; "
        f"{', '.join(f'{each.peak:.0f}' for each in copied)} MiB",
        "",
        None,
        f"{_GOAL} MiB",
        all(each.peak <= _GOAL for each in copied),
        Plot(
            "bench-large-transaction",
            "Memory while one transaction of 3 M rows is copied",
            "seconds",
            "MiB resident",
            [Curve(each.work, each.at, each.memory) for each in copied],
            [Level("goal", _GOAL)],
        ),
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.large", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--only", choices=_WORKS)
    parser.add_argument("--memory-limit", default="1GiB", help="DuckDB's")
    arguments = parser.parse_args()
    works = ["insert", *({arguments.only} - {"insert"})] if arguments.only else _WORKS
    with Ground() as ground:
        for each in _measured(ground, arguments.rows, works, memory_limit=arguments.memory_limit):
            print(
                f"{each.work}: {each.speed:,.0f} rows/s, {each.at[-1]:.0f} s (PostgreSQL wrote it in "
                f"{each.wrote:.0f} s); resident at most {each.peak:,.0f} MiB; a reader waited at most "
                f"{each.waited:.1f} s, and saw {sorted(each.saw)}",
                flush=True,
            )


def _measured(ground: Ground, rows: int, works: Iterable[str], **destination: str) -> Iterator[_Copied]:
    ground.run(NARROW.format(name="large"))
    options = {"type": "duckdb", "path": "large.duckdb", **destination}
    pipeline = ground.pipeline("large", "public.large", destination=options)
    pipeline.sync()
    for work in works:
        began = time.perf_counter()
        ground.run(_WORKS[work] or insert("large", 0, rows))
        copied = _Copied(work, rows, time.perf_counter() - began)
        began = time.perf_counter()
        with pipeline.begun("--skip-seed") as process:
            reader = threading.Thread(target=_read, args=(ground, copied, process))
            reader.start()
            while process.poll() is None:
                _look_at(Following(process.pid), copied, began)
                time.sleep(0.1)
            reader.join()
        copied.at.append(time.perf_counter() - began)
        copied.memory.append(0)
        assert process.returncode == 0
        yield copied


def _look_at(process: Following, copied: _Copied, began: float) -> None:
    with suppress(FileNotFoundError, StopIteration):  # it has just ended
        resident, copied.peak = process.memory() / 2**20, max(copied.peak, process.peak_memory() / 2**20)
        copied.memory.append(resident)
        copied.at.append(time.perf_counter() - began)


def _read(ground: Ground, copied: _Copied, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        asked = time.perf_counter()
        with open_duckdb(ground.folder / "large.duckdb") as copy:
            copied.waited = max(copied.waited, time.perf_counter() - asked)
            found = copy.sql("select count(*), count(*) filter (note like '% again') from public.large")
            copied.saw |= set(found.fetchall())
        time.sleep(0.1)


if __name__ == "__main__":
    main()
