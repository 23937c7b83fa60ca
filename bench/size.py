"""
What a micro-batch costs, by how much there is already in the table it goes to.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
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
from .plot import Curve, Plot
from .result import Result

_SIZES = (1_000_000, 10_000_000, 50_000_000)
_NEWEST = 100_000
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
    """1,000 updates, in a table of 1 M, 10 M and 50 M rows"""
    costs = [_costs(ground, rows) for rows in _SIZES]
    anywhere, newest = ([each[where] * 1000 for each in costs] for where in (0, 1))
    return Result(
        f"micro-batch of 1,000 updates, in 1 M, 10 M, 50 M rows (of the newest {_NEWEST:,})",
        ", ".join(f"{some:.0f} ({few:.0f}) ms" for some, few in zip(anywhere, newest, strict=True)),
        "",
        None,
        "< 2 times, from 1 M to 50 M",
        anywhere[-1] / anywhere[0] < 2,
        Plot(
            "bench-table-size",
            "A batch of 1,000 updates, by the size of its table",
            "rows in the table",
            "ms",
            [
                Curve("all over the table", _SIZES, anywhere, points=True),
                Curve(f"of the newest {_NEWEST:,} rows", _SIZES, newest, points=True),
            ],
            log_x=True,
        ),
    )


def _costs(ground: Ground, rows: int) -> tuple[float, float]:
    """Seconds: of updates all over, and of updates to the newest."""
    sink = DuckDBSink(ground.folder / f"sized{rows}.duckdb", "sized")
    sink.adopt(Position(LSN(1), "bench", "bench", "bench"))
    chunk = Chunk("0", "")
    sink.begin_seed(_TABLE, [chunk], after=LSN(1))
    sink.load(_TABLE, chunk, _rows(rows), at=LSN(2))
    sink.apply(ChangeBatch((), LSN(1), LSN(3)))
    anywhere, newest = _cost(sink, rows, rows, LSN(3)), _cost(sink, rows, _NEWEST, LSN(3 + _ROUNDS))
    sink.close()
    return anywhere, newest


def _cost(sink: DuckDBSink, rows: int, newest: int, after: LSN) -> float:
    chance = np.random.default_rng(17)
    seconds = []
    for at in map(LSN, range(after + 1, after + 1 + _ROUNDS)):
        ids = rows - 1 - chance.choice(newest, _BATCH, replace=False)
        batch = ChangeBatch((_updates(ids, at),), LSN(at - 1), at)
        began = time.perf_counter()
        sink.apply(batch)
        seconds.append(time.perf_counter() - began)
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
