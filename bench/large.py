"""
`python -m bench.large`: one transaction of ten million rows, into DuckDB; how much memory, how fast.
"""

from __future__ import annotations

import argparse
import subprocess
import sysconfig
import time
from contextlib import suppress
from pathlib import Path

from cdc_assets import open_duckdb

from .ground import Following, Ground
from .tables import NARROW, insert

_WORKS = {
    "insert": None,
    "update": "update large set note = note || ' again', amount = amount + 1",
    "delete": "delete from large",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.large", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--only", choices=_WORKS)
    parser.add_argument("--memory-limit", default="1GiB", help="DuckDB's")
    arguments = parser.parse_args()
    with Ground() as ground:
        destination = {"type": "duckdb", "path": "large.duckdb", "memory_limit": arguments.memory_limit}
        ground.run(NARROW.format(name="large"))
        pipeline = ground.pipeline("large", "public.large", destination=destination)
        pipeline.sync()
        for name, statement in _WORKS.items():
            if arguments.only in (None, name) or statement is None:
                began = time.perf_counter()
                ground.run(statement or insert("large", 0, arguments.rows))
                wrote = time.perf_counter() - began
                _measure(name, ground.folder, arguments.rows, wrote)


def _measure(name: str, folder: Path, rows: int, wrote: float) -> None:
    program = Path(sysconfig.get_path("scripts")) / "cdc-assets"
    began = time.perf_counter()
    command = [program, "sync", "--config", folder / "large.yaml", "--skip-seed"]
    peak, longest, seen = 0, 0.0, set()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            with suppress(FileNotFoundError, StopIteration):
                peak = max(peak, Following(process.pid).peak_memory())
            asked = time.perf_counter()
            with open_duckdb(folder / "large.duckdb") as copy:
                longest = max(longest, time.perf_counter() - asked)
                seen |= set(
                    copy.sql(
                        "select count(*), count(*) filter (note like '% again') from public.large"
                    ).fetchall()
                )
            time.sleep(0.1)
    seconds = time.perf_counter() - began
    assert process.returncode == 0
    print(
        f"{name}: {rows / seconds:,.0f} rows/s, {seconds:.0f} s (PostgreSQL wrote it in {wrote:.0f} s); "
        f"resident at most {peak >> 20:,} MiB; a reader waited at most {longest:.1f} s, and saw "
        f"{sorted(seen)}",
        flush=True,
    )


if __name__ == "__main__":
    main()
