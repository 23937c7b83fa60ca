"""
Any history, read and applied in any order, ends as the source did.

The source here is a dictionary whose rows lie on pages; an update can put a row on another
one, as in PostgreSQL. Chunks are read at some moment and loaded at some later one, while
batches of any size are applied, some of them twice.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from changes import (
    ITEMS,
    UNCHANGED,
    Commit,
    Event,
    batch,
    commit,
    delete,
    insert,
    move,
    record_batch,
    truncate,
    update,
)
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from in_parts import DuckDBInParts

from cdc_assets.errors import SeedOutdated
from cdc_assets.model import LSN, Chunk, Position, Sink, TableState
from cdc_assets.sinks.duckdb.sink import DuckDBSink
from cdc_assets.sinks.memory import MemorySink

NAME = ITEMS.name
CHUNKS = [Chunk(str(number), f"page {number}") for number in range(3)]
KEYS = st.integers(1, 6)
BODIES = st.sampled_from(["short", "long", None])
PAGES = st.sampled_from(CHUNKS)


@dataclass(frozen=True)
class Row:
    name: str
    body: str | None
    page: Chunk


Rows = dict[int, Row]


def memory(path: Path) -> Sink:
    return MemorySink()


def duckdb(path: Path) -> Sink:
    return DuckDBSink(path, "shop")


def in_parts(path: Path) -> Sink:
    return DuckDBInParts(path, "shop")


class Source:
    """A table, and all that it ever was."""

    def __init__(self) -> None:
        self.log: list[Commit] = []
        self.was: dict[LSN, Rows] = {LSN(100): {}}
        self.head = LSN(100)

    def at(self, lsn: LSN) -> dict[int, tuple[str, str | None]]:
        rows = self.was[max(point for point in self.was if point <= lsn)]
        return {key: (row.name, row.body) for key, row in rows.items()}

    def read(self, page: Chunk) -> list[tuple[Any, ...]]:
        rows = self.was[max(self.was)]
        return [(key, row.name, row.body) for key, row in rows.items() if row.page == page]

    def commit(self, data: st.DataObject) -> None:
        rows = dict(self.was[max(self.was)])
        events = [event for _ in range(data.draw(st.integers(1, 3))) for event in self._statement(rows, data)]
        self.head = LSN(self.head + 10)
        self.log.append(commit(self.head, *events))
        self.was[self.head] = rows

    def _statement(self, rows: Rows, data: st.DataObject) -> Iterator[Event]:
        key, other = data.draw(KEYS), data.draw(KEYS)
        new = Row(f"{key} since {self.head}", data.draw(BODIES), data.draw(PAGES))
        kind = data.draw(
            st.sampled_from(["insert", "update", "resend", "delete", "move", "swap", "shift", "truncate"])
        )
        if kind == "truncate":
            rows.clear()
            yield truncate()
        elif kind == "insert" and key not in rows:
            rows[key] = new
            yield insert(key, new.name, new.body)
        elif kind == "delete" and key in rows:
            del rows[key]
            yield delete(key)
        elif kind == "resend" and key in rows:
            rows[key] = new
            yield update(key, new.name, new.body)
        elif kind == "update" and key in rows:
            rows[key] = Row(new.name, rows[key].body, new.page)
            yield update(key, new.name, UNCHANGED)
        elif kind == "move" and key in rows and other not in rows:
            yield self._moved(rows, key, other)
        elif kind == "swap" and key in rows and other in rows and key != other:
            yield self._moved(rows, key, 99)
            yield self._moved(rows, other, key)
            yield self._moved(rows, 99, other)
        elif kind == "shift":
            yield from self._shifted(rows, deferred=data.draw(st.booleans()))

    def _moved(self, rows: Rows, key: int, to: int) -> Event:
        rows[to] = rows.pop(key)
        return move(key, to, rows[to].name, UNCHANGED)

    def _shifted(self, rows: Rows, *, deferred: bool) -> Iterator[Event]:
        """`id = id + 1`: from the far end; or deferred, which takes identity FULL, which resends all."""
        if not deferred:
            for key in sorted(rows, reverse=True):
                yield self._moved(rows, key, key + 1)
            return
        before = dict(rows)
        rows.clear()
        for key in sorted(before):
            rows[key + 1] = before[key]
            yield move(key, key + 1, before[key].name, before[key].body)


@dataclass
class Read:
    """A chunk on its way from the source to the sink."""

    chunk: Chunk
    rows: list[tuple[Any, ...]]
    at: LSN
    outdated: bool = False
    """What it was read for has ended since, so the sink may refuse it."""


class AnyOrder(RuleBasedStateMachine):
    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self.sink, self.source = sink, Source()
        self.sink.adopt(Position(self.source.head, "7", "shop", "cdc_shop"))
        self.reads: list[Read] = []
        self.in_step = False
        self.left_behind: LSN | None = None
        """What an old copy is the state of that does not follow the stream."""

    @rule(data=st.data())
    def something_is_committed(self, data: st.DataObject) -> None:
        self.source.commit(data)

    @rule(data=st.data())
    def some_of_it_is_applied(self, data: st.DataObject) -> None:
        since = data.draw(st.integers(90, self.position), "since")
        self.apply(since, data.draw(st.integers(since, self.source.head), "upto"))

    @rule()
    def a_seed_begins(self) -> None:
        if self.state is not TableState.SEEDING:
            self.outdate()
        self.sink.begin_seed(ITEMS, CHUNKS, after=self.source.head)

    @precondition(lambda self: None in self.sink.chunks(NAME).values())
    @rule(page=PAGES)
    def a_chunk_is_read(self, page: Chunk) -> None:
        self.reads.append(self.read(page))

    @precondition(lambda self: self.reads)
    @rule(data=st.data())
    def a_chunk_is_loaded(self, data: st.DataObject) -> None:
        self.load(data.draw(st.sampled_from(self.reads)))

    @precondition(lambda self: self.sink.missing())
    @rule()
    def what_is_missing_is_read_again(self) -> None:
        self.repair()

    @rule(in_step=st.booleans())
    def a_new_copy_is_asked_for(self, in_step: bool) -> None:
        if self.in_step and not in_step:
            self.in_step, self.left_behind = False, self.position
        self.outdate()
        self.sink.mark_unseeded(NAME, "asked for", in_step=in_step)

    @precondition(lambda self: self.sink.is_seeded(NAME))
    @rule(pages=st.sets(PAGES, min_size=1))
    def some_chunks_are_to_be_loaded_again(self, pages: set[Chunk]) -> None:
        self.outdate()
        self.sink.begin_reload(NAME, list(pages))

    def finish(self) -> None:
        """As the engine does: load what is not loaded, stream to the end, read again what is missing."""
        self.apply(self.position, self.source.head)
        if self.state is TableState.UNSEEDED:
            self.a_seed_begins()
        for page, loaded in self.sink.chunks(NAME).items():
            if loaded is None:
                self.load(self.read(page))
        self.apply(self.position, self.source.head)
        self.repair()
        self.apply(self.position, self.source.head)
        assert self.sink.is_seeded(NAME)
        assert self.in_step

    def teardown(self) -> None:
        self.finish()
        self.sink.close()

    @property
    def position(self) -> LSN:
        position = self.sink.position()
        assert position
        return position.lsn

    @property
    def state(self) -> TableState:
        held = self.sink.tables().get(NAME)
        return held.state if held else TableState.UNSEEDED

    def read(self, page: Chunk) -> Read:
        return Read(page, self.source.read(page), self.source.head)

    def outdate(self) -> None:
        for read in self.reads:
            read.outdated = True

    def apply(self, since: int, upto: int) -> None:
        commits = [each for each in self.source.log if since < each.lsn <= upto]
        applied = self.sink.apply(batch(*commits, since=since, lsn=upto))
        self.in_step |= bool(applied.seeded)
        if applied.seeded or applied.unseeded:
            self.outdate()
        if self.in_step or self.left_behind:
            self.compare(self.source.at(self.position if self.in_step else self.left_behind))

    def compare(self, source: dict[int, tuple[str, str | None]]) -> None:
        assert self.held() == source
        assert len(source) == self.sink.tables(counted=True)[NAME].rows

    def held(self) -> dict[int, tuple[str, str | None]]:
        return {row["id"]: (row["name"], row["body"]) for row in self.sink.read(NAME).to_pylist()}

    def load(self, read: Read) -> None:
        try:
            self.sink.load(ITEMS, read.chunk, [record_batch(ITEMS, read.rows)], at=read.at)
        except SeedOutdated:
            assert read.outdated

    def repair(self) -> None:
        for keys in self.sink.missing().values():
            wanted = [row["id"] for row in keys.to_pylist()]
            found = [(key, *row) for key, row in self.source.at(self.source.head).items() if key in wanted]
            self.sink.repair(ITEMS, keys, [record_batch(ITEMS, found)], at=self.source.head)


@pytest.mark.parametrize(("kind", "examples"), [(memory, 150), (duckdb, 15), (in_parts, 15)])
def test_any_order_of_chunks_and_batches_ends_as_the_source_did(kind, examples):
    with tempfile.TemporaryDirectory() as folder:
        paths = (Path(folder) / str(number) for number in count())
        run_state_machine_as_test(
            lambda: AnyOrder(kind(next(paths))),
            settings=settings(max_examples=examples, stateful_step_count=25, deadline=None),
        )
