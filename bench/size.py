"""
What a micro-batch costs, by how much there is already in the table it goes to.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from statistics import median

import numpy as np
import pyarrow as pa

from cdc_assets.model import (
    LSN,
    UPDATE,
    ChangeBatch,
    Chunk,
    Column,
    Position,
    ReplicaIdentity,
    Table,
    TableChanges,
    TableName,
)
from cdc_assets.sinks.duckdb.sink import DuckDBSink

from .ground import Ground
from .result import Result

_SIZES = (1_000_000, 10_000_000, 50_000_000)
_RECENT = 100_000
_BATCH, _ROUNDS = 1000, 15
_PIECE = 1_000_000
_TABLE = Table(
    1,
    TableName("public", "sized"),
    (
        Column("id", 20, -1, "bigint", 20, pa.int64(), number=1),
        Column("note", 25, -1, "text", 25, pa.string_view(), number=2),
    ),
    ("id",),
    ReplicaIdentity.DEFAULT,
)


def size(ground: Ground) -> Result:
    """1,000 updates, all over a table of 1 M, 10 M and 50 M rows"""
    costs = [_cost(ground, rows, rows) for rows in _SIZES]
    return _growth("micro-batch of 1,000 updates, all over 1 M, 10 M, 50 M rows", costs)


def recent(ground: Ground) -> Result:
    """1,000 updates to the newest rows of a table of 1 M, 10 M and 50 M"""
    costs = [_cost(ground, rows, _RECENT) for rows in _SIZES]
    return _growth(f"the same, to the newest {_RECENT:,} of them", costs)


def _growth(work: str, costs: list[float]) -> Result:
    return Result(
        work,
        ", ".join(f"{cost * 1000:.0f} ms" for cost in costs),
        "",
        None,
        "< 2 times, from 1 M to 50 M",
        costs[-1] / costs[0] < 2,
    )


def _cost(ground: Ground, rows: int, newest: int) -> float:
    """Seconds of an update to some of the `newest`."""
    sink = DuckDBSink(ground.folder / f"sized{rows}.duckdb", "sized")
    sink.adopt(Position(LSN(1), "bench", "bench", "bench"))
    chunk = Chunk("0", "")
    sink.begin_seed(_TABLE, [chunk], after=LSN(1))
    sink.load(_TABLE, chunk, _rows(rows), at=LSN(2))
    sink.apply(ChangeBatch((), LSN(1), LSN(3)))
    chance = np.random.default_rng(17)
    seconds = []
    for number in range(_ROUNDS):
        ids = rows - 1 - chance.choice(newest, _BATCH, replace=False)
        at = LSN(4 + number)
        batch = ChangeBatch((_updates(ids, at),), LSN(3 + number), at, 1, datetime.now(UTC))
        began = time.perf_counter()
        sink.apply(batch)
        seconds.append(time.perf_counter() - began)
    sink.close()
    return median(seconds)


def _rows(count: int) -> Iterator[pa.RecordBatch]:
    for first in range(0, count, _PIECE):
        yield _batch(np.arange(first, min(first + _PIECE, count)))


def _batch(ids: np.ndarray[tuple[int], np.dtype[np.int64]]) -> pa.RecordBatch:
    notes = pa.array(ids).cast(pa.string()).cast(pa.string_view())
    return pa.RecordBatch.from_arrays([pa.array(ids), notes], schema=_TABLE.schema)


def _updates(ids: np.ndarray[tuple[int], np.dtype[np.int64]], at: LSN) -> TableChanges:
    return TableChanges(
        _TABLE,
        _batch(ids),
        ops=np.full(len(ids), UPDATE, np.uint8),
        lsns=np.full(len(ids), at, np.uint64),
        ordinals=np.arange(len(ids)),
        times=np.zeros(len(ids), np.int64),
        moved=np.zeros(len(ids), bool),
    )
