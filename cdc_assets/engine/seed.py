"""
First copies: plan what the sink has not got, read it chunk by chunk, load it.

A snapshot never moves the slot, and a chunk that is loaded is not read again. So
a seed that stops anywhere is taken up where it was, under a new snapshot; that
the chunks are then of different LSNs is the sink's business, for which the newest
wins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..errors import CdcError, SeedOutdated, TableRewritten, UnfaithfulValue
from ..model import (
    LSN,
    ChangeCapture,
    Chunk,
    Held,
    Selection,
    Sink,
    Table,
    TableName,
    TableState,
)
from ..points import Point, reached
from .as_text import keep_as_text
from .loading import Loading
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
    chunks: int
    """Of the table, so far; and how many there are."""
    of: int


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
    wanted = [
        table
        for name, table in selection.tables.items()
        if name not in aside
        and (name not in held or held[name].state is TableState.UNSEEDED)
        and (name in held or table.oid not in renamed)  # or the stream, when it gets there, renames it
    ]
    for first in range(0, len(wanted), _TOGETHER):
        _begin(capture, sink, wanted[first : first + _TOGETHER], head, aside)
    return selection


def _begin(capture: ChangeCapture, sink: Sink, tables: Sequence[Table], head: LSN, aside: Aside) -> None:
    chunks = capture.plan(tables)
    # What became of one that is not there any more, the next look will say.
    planned = [(table, chunks[table.name]) for table in tables if table.name in chunks]
    refused = sink.begin_seeds(planned, after=head)
    reached(Point.SEED_BEGUN)
    for name, error in refused.items():
        _set_aside(sink, name, error, aside)


_TOGETHER = 200
"""Seeds that begin in one transaction of the sink, for which the stream waits."""


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
    held = sink.tables()
    loaded = {name: held[name].chunks_loaded for name in chunks}
    with capture.snapshot(wanted) as snapshot:
        reached(Point.SNAPSHOT_OPEN)
        loading = Loading(
            snapshot, sink, [(tables[name], chunk) for name in chunks for chunk in chunks[name]]
        )
        for ended in loading.run(readers):
            name = ended.table.name
            if ended.error is None:
                loaded[name] += 1
                yield Loaded(name, ended.chunk, ended.rows, snapshot.lsn, loaded[name], held[name].chunks)
            elif isinstance(ended.error, UnfaithfulValue):
                keep_as_text(capture, sink, ended.table, ended.error)
            elif isinstance(ended.error, _OUTDATED):
                if ended.chunk in sink.chunks(name):
                    _plan_again(sink, name, held[name].generation, ended.error)
            elif aside is not None:
                _set_aside(sink, name, ended.error, aside)
            else:
                loading.fail(ended.error)


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
