"""
A table that is there already, until it is a table in DuckDB; beside COPY to nowhere.
"""

from __future__ import annotations

from statistics import median

from . import tables
from .ground import Ground
from .result import Result, Round, compared

_ROUNDS = 3
_ROWS = 5_000_000


def snapshot(ground: Ground) -> Result:
    """5 M narrow rows, one connection each"""
    ground.run(
        tables.NARROW.format(name="seeded"), tables.insert("seeded", 0, _ROWS), "vacuum analyze seeded"
    )
    idle, rounds = 0.0, []
    for number in range(_ROUNDS):
        before = _copied(ground)
        pipeline = ground.pipeline(f"snapshot{number}", "public.seeded", seed={"readers": 1})
        whole = pipeline.sync()
        idle = idle or median(pipeline.sync() for _ in range(3))
        rounds.append(Round(whole - idle, (before + _copied(ground)) / 2))
    return compared(
        "snapshot: 5 M narrow rows, one reader", _ROWS, rounds, "COPY (FORMAT binary) to /dev/null", 0.6
    )


def _copied(ground: Ground) -> float:
    return ground.program("psql", "-d", ground.server.dsn, "-qc", "copy seeded to stdout (format binary)")
