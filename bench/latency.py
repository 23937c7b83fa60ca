"""
From a commit at the source to a row that another process can read; and what following costs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import psycopg

from cdc_assets import open_duckdb

from . import tables
from .ground import Following, Ground
from .plot import Curve, Plot
from .result import Result

_SECONDS = 20
_TRANSACTIONS, _ROWS = 50, 100
"""A second; and rows in each."""
_IDLE_SECONDS = 20


def latency(ground: Ground) -> Result:
    """5,000 changes a second"""
    with _followed(ground) as following:
        committed: dict[int, float] = {}
        seen: dict[int, float] = {}
        writer = threading.Thread(target=_write, args=(ground, committed))
        writer.start()
        while writer.is_alive() or len(seen) < len(committed):
            with open_duckdb(ground.folder / "latency.duckdb", timeout=10) as copy:
                newest = copy.sql("select coalesce(max(id), 0) from public.written").fetchall()[0][0]
            now = time.perf_counter()
            for number in committed.copy().keys() - seen.keys():
                if number * _ROWS <= newest:
                    seen[number] = now
            time.sleep(0.02)
        peak = following.peak_memory() / 2**20
    waits = np.sort([1000 * (seen[number] - committed[number]) for number in seen])
    half, most = np.percentile(waits, [50, 99])
    return Result(
        "commit to readable, 5,000 changes/s",
        f"p50 {half:.0f} ms, p99 {most:.0f} ms; {peak:.0f} MiB",
        "",
        None,
        "p50 ≤ 150 ms, p99 ≤ 500 ms, 350 MiB",
        bool(half <= 150 and most <= 500 and peak <= 350),
        Plot(
            "bench-latency",
            "From commit to readable, at 5,000 changes a second",
            "ms after the commit",
            "% of transactions that can be read",
            [Curve("measured", waits.tolist(), (100 * np.arange(1, len(waits) + 1) / len(waits)).tolist())],
            goals=[(150, 50), (500, 99)],
        ),
    )


def idle(ground: Ground) -> Result:
    """Following a server at which nothing happens"""
    with _followed(ground) as following:
        time.sleep(5)
        before = following.cpu_seconds()
        time.sleep(_IDLE_SECONDS)
        share = (following.cpu_seconds() - before) / _IDLE_SECONDS
        behind = int(
            str(
                ground.value(
                    "select (pg_current_wal_lsn() - confirmed_flush_lsn)::bigint from pg_replication_slots"
                )
            )
        )
    return Result(
        "following an idle server",
        f"{share:.1%} of a core, slot {behind / 2**20:.2f} MiB behind",
        "",
        None,
        "≤ 1 % of a core, < 1 MiB",
        share <= 0.01 and behind < 2**20,
    )


@contextmanager
def _followed(ground: Ground) -> Iterator[Following]:
    ground.run(tables.NARROW.format(name="written"))
    pipeline = ground.pipeline("latency", "public.written")
    pipeline.sync()
    with pipeline.following() as following:
        # Its start is not what is measured.
        while not ground.value("select active from pg_replication_slots"):
            time.sleep(0.05)
        yield following


def _write(ground: Ground, committed: dict[int, float]) -> None:
    began = time.perf_counter()
    with psycopg.connect(ground.server.dsn, autocommit=True) as connection:
        for number in range(1, _SECONDS * _TRANSACTIONS + 1):
            connection.execute(tables.insert("written", (number - 1) * _ROWS, _ROWS))
            committed[number] = time.perf_counter()
            time.sleep(max(0.0, began + number / _TRANSACTIONS - time.perf_counter()))
