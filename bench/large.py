"""
`python -m bench.large`: one transaction of ten million rows, into DuckDB; how much memory, how fast.
"""

from __future__ import annotations

import argparse
import subprocess
import sysconfig
import time
from pathlib import Path

from cdc_assets import open_duckdb

from .ground import Ground
from .works import _NARROW, _insert

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
        ground.run(_NARROW.format(name="large"))
        pipeline = ground.pipeline("large", "public.large", destination=destination)
        pipeline.sync()
        for name, statement in _WORKS.items():
            if arguments.only in (None, name) or statement is None:
                began = time.perf_counter()
                ground.run(statement or _insert("large", 0, arguments.rows))
                wrote = time.perf_counter() - began
                _measure(name, ground.folder, arguments.rows, wrote)


def _measure(name: str, folder: Path, rows: int, wrote: float) -> None:
    program = Path(sysconfig.get_path("scripts")) / "cdc-assets"
    began = time.perf_counter()
    command = [program, "sync", "--config", folder / "large.yaml", "--skip-seed"]
    peak, longest, seen = 0, 0.0, set()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, _peak(process.pid))
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
        f"resident at most {peak >> 10:,} MiB; a reader waited at most {longest:.1f} s, and saw "
        f"{sorted(seen)}",
        flush=True,
    )


def _peak(process: int) -> int:
    """The most that was ever resident, in KiB.
    https://man7.org/linux/man-pages/man5/proc_pid_status.5.html"""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)


if __name__ == "__main__":
    main()
