"""
What decoding and writing get done in a second, by how many changes share a batch.

While a batch is written the next one gathers, so in a stream that is behind they become large by themselves.
Here they are as large as they are told to be: the log was received before, and is in memory.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from statistics import median

import psycopg

from cdc_assets.model import LSN, Ack, ChangeBatch, Chunk, Position, Table, TableName
from cdc_assets.pgoutput.assembler import Assembler
from cdc_assets.pgoutput.envelope import HEAD, LOG_DATA
from cdc_assets.pgoutput.frames import Frames
from cdc_assets.pgoutput.messages import COMMIT
from cdc_assets.postgres.patterns import Patterns
from cdc_assets.postgres.wal import WalCapture
from cdc_assets.sinks.duckdb.sink import DuckDBSink

from . import tables
from .ground import Ground
from .plot import Curve, Plot
from .result import Result

_SIZES = (10, 100, 1000, 10_000, 100_000)
"""Changes in a batch."""
_AT_ONCE, _COUNT, _AT_MOST = 10, 300_000, 50
"""Changes in a transaction, and in all; and batches of one size."""


def batches(ground: Ground) -> Result:
    """Narrow inserts in batches of 10 to 100,000"""
    log = _Log.recorded(ground)
    speeds = [size / median(_seconds(ground, log, size)) for size in _SIZES]
    return Result(
        f"decoded and written in batches of {', '.join(f'{size:,}' for size in _SIZES)}",
        ", ".join(f"{speed:,.0f}" for speed in speeds) + "/s",
        "",
        None,
        "",
        True,
        Plot(
            "bench-batch-size",
            "Decoding and writing, by the size of a batch",
            "narrow inserts in a batch",
            "inserts a second",
            [Curve("ours", _SIZES, speeds, points=True)],
            log_x=True,
        ),
    )


@dataclass(frozen=True)
class _Log:
    """What a server sends of transactions that write to one table."""

    table: Table
    frames: Frames
    ends: Sequence[int]
    """Before which message each transaction begins; and where the last one ends."""

    @classmethod
    def recorded(cls, ground: Ground) -> _Log:
        ground.run(
            tables.NARROW.format(name="batched"),
            "create publication batched for table batched",
            "select pg_create_logical_replication_slot('batched', 'pgoutput')",
            *(tables.insert("batched", first, _AT_ONCE) for first in range(0, _COUNT, _AT_ONCE)),
        )
        capture = WalCapture("batched", lambda: ground.server.dsn, Patterns.parse(["public.batched"]))
        with psycopg.connect(ground.server.dsn) as connection:
            messages = connection.execute(
                "select data from pg_logical_slot_peek_binary_changes('batched', null, null, "
                "'proto_version', '1', 'publication_names', 'batched')"
            ).fetchall()
        return cls(
            capture.select().tables[TableName("public", "batched")],
            Frames.of([bytes([LOG_DATA]) + bytes(HEAD - 1) + message for (message,) in messages]),
            [0, *(number for number, (message,) in enumerate(messages, 1) if message[0] == COMMIT)],
        )

    def batches(self, size: int) -> Iterator[ChangeBatch]:
        assembler = Assembler(lambda *_: self.table, LSN(1))
        transactions = size // _AT_ONCE
        for begin, end in pairwise(self.ends[::transactions]):
            assembler.feed(self.frames.part(begin, end))
            yield assembler.take(lambda _: Ack())


def _seconds(ground: Ground, log: _Log, size: int) -> list[float]:
    """Of each batch but the first, which pays for what is loaded late."""
    sink = DuckDBSink(ground.folder / f"batched{size}.duckdb", "batched")
    sink.adopt(Position(LSN(1), "bench", "bench", "bench"))
    sink.begin_seed(log.table, [Chunk("0", "")], after=LSN(1))
    sink.load(log.table, Chunk("0", ""), [], at=LSN(1))
    times = [time.perf_counter()]
    for batch in islice(log.batches(size), _AT_MOST):
        sink.apply(batch)
        times.append(time.perf_counter())
    sink.close()
    return [after - before for before, after in pairwise(times)][1:]
