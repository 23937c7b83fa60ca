"""
First copies: plan what the sink has not got, read it chunk by chunk, load it.

A snapshot never moves the slot, and a chunk that is loaded is not read again. So
a seed that stops anywhere is taken up where it was, under a new snapshot; that
the chunks are then of different LSNs is the sink's business, for which the newest
wins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass

from ..errors import CdcError, SeedOutdated, TableRefused, TableRewritten, UnfaithfulValue, UnusableTable
from ..model import (
    LSN,
    ChangeCapture,
    Chunk,
    Held,
    Selection,
    Sink,
    Snapshot,
    Table,
    TableName,
    TableState,
)
from ..points import Point, reached
from .as_text import keep_as_text
from .prepare import prepare

Plan = Mapping[TableName, Sequence[Chunk]]
Aside = dict[TableName, CdcError]
"""Tables that failed for a reason of their own, which is no reason to keep the others waiting."""


@dataclass(frozen=True)
class Loaded:
    """A chunk that is durable in the sink."""

    table: TableName
    chunk: Chunk
    rows: int
    lsn: LSN


def plan(capture: ChangeCapture, sink: Sink, aside: Aside) -> Selection:
    """Begin a seed of every selected table that has to have one.

    What is in `aside` is left alone; a table that the sink refuses is put there.
    """
    while True:
        # Before the tables are looked up: what is older than this, their snapshots will contain.
        head = capture.head()
        held = sink.tables()
        selection = capture.select(held)
        if selection.tables.keys() <= capture.captured():
            break
        # A table that is new: its changes have to be captured before it is read.
        prepare(capture, sink)
    renamed = {table.oid for table in selection.tables.values()} & in_step(held)
    for name, table in selection.tables.items():
        if name in aside or (name in held and held[name].state is not TableState.UNSEEDED):
            continue
        if name in held or table.oid not in renamed:  # or the stream, when it gets there, renames it
            try:
                with suppress(TableRewritten):  # what became of it, the next look will say
                    sink.begin_seed(table, capture.plan(table), after=head)
                    reached(Point.SEED_BEGUN)
            except TableRefused as error:
                _set_aside(sink, name, error, aside)
    return selection


def _set_aside(sink: Sink, name: TableName, error: CdcError, aside: Aside) -> None:
    aside[name] = error
    held = sink.tables().get(name)
    if held is None or (held.state, held.reason) != (TableState.UNSEEDED, str(error)):
        sink.mark_unseeded(name, str(error), in_step=True)


def in_step(held: Mapping[TableName, Held]) -> set[int]:
    """The OIDs of tables that have a copy which follows the stream, whatever they are called."""
    return {
        state.definition.oid
        for state in held.values()
        if state.definition and state.state is TableState.SEEDED
    }


def unloaded(sink: Sink) -> dict[TableName, list[Chunk]]:
    """The chunks that are planned and not loaded, by table."""
    pending = {
        name: [chunk for chunk, lsn in sink.chunks(name).items() if lsn is None]
        for name, held in sink.tables().items()
        if held.chunks_loaded < held.chunks
    }
    return {name: chunks for name, chunks in pending.items() if chunks}


def load(
    capture: ChangeCapture,
    sink: Sink,
    tables: Mapping[TableName, Table],
    chunks: Plan,
    *,
    readers: int = 2,
    aside: Aside | None = None,
) -> Iterator[Loaded]:
    """Read `chunks`, all from one snapshot, several at once; each is reported once it is durable.

    A table that is not any more what its chunks were planned for is marked, to be planned again. One
    that cannot be read, or is refused by the sink, is put into `aside`; without it, that is raised.
    """
    wanted = [tables[name] for name in chunks]
    if not wanted:
        return
    generations = {name: held.generation for name, held in sink.tables().items()}
    with capture.snapshot(wanted) as snapshot, ThreadPoolExecutor(readers, "cdc-read") as pool:
        reached(Point.SNAPSHOT_OPEN)
        work = {
            pool.submit(_load_one, capture, snapshot, sink, tables[name], chunk, generations[name]): name
            for name, planned in chunks.items()
            for chunk in planned
        }
        failure: BaseException | None = None
        try:
            for done in as_completed(work):
                if done.cancelled():
                    continue
                error = done.exception()
                if aside is not None and isinstance(error, _OF_ITS_OWN):
                    _set_aside(sink, work[done], error, aside)
                elif error:
                    # What others were in the middle of becomes durable all the same, and is reported.
                    failure = failure or error
                    for other in work:
                        other.cancel()
                elif loaded := done.result():
                    yield loaded
        finally:
            pool.shutdown(cancel_futures=True)
        if failure:
            raise failure


def _load_one(
    capture: ChangeCapture, snapshot: Snapshot, sink: Sink, table: Table, chunk: Chunk, generation: int
) -> Loaded | None:
    try:
        rows = sink.load(table, chunk, snapshot.read(table, chunk), at=snapshot.lsn)
    except UnfaithfulValue as error:
        keep_as_text(capture, sink, table, error)
        return None
    except _OUTDATED as error:
        if chunk in sink.chunks(table.name):
            _plan_again(sink, table.name, generation, error)
        return None
    reached(Point.CHUNK_DURABLE)
    return Loaded(table.name, chunk, rows, snapshot.lsn)


def repair(capture: ChangeCapture, sink: Sink, tables: Mapping[TableName, Table]) -> bool:
    """Read again the rows that a seed cannot be finished without; False if one is to be planned again."""
    in_time = True
    generations = {name: held.generation for name, held in sink.tables().items()}
    for name, keys in sink.missing().items():
        if name not in tables:
            continue  # it is no longer there, or no longer wanted
        table = tables[name]
        with capture.snapshot([table]) as snapshot:
            try:
                sink.repair(table, keys, snapshot.read_keys(table, keys), at=snapshot.lsn)
                reached(Point.REPAIRED)
            except UnfaithfulValue as error:
                keep_as_text(capture, sink, table, error)
                in_time = False
            except _OUTDATED as error:
                _plan_again(sink, name, generations[name], error)
                in_time = False
    return in_time


def _plan_again(sink: Sink, name: TableName, generation: int, error: CdcError) -> None:
    """But for what became of the seed meanwhile: that it is outdated says nothing against another one that
    has begun, nor against the copy, if another process has finished it."""
    held = sink.tables()[name]
    if held.seed and held.generation == generation:
        sink.mark_unseeded(name, str(error), in_step=True)


_OUTDATED = (TableRewritten, SeedOutdated)
_OF_ITS_OWN = (UnusableTable, TableRefused)
