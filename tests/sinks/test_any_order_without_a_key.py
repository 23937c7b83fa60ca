"""
Whatever happens to rows without a key, and whenever they are read, the copy ends as the source did.

The source here counts equal rows. A seed begins somewhere in its history, snapshots of
any later moments come in between batches of any size, and the last one to come in counts.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from changes import Commit, Event, batch, become, commit, delete, insert, record_batch, table, truncate
from hypothesis import given, settings
from hypothesis import strategies as st
from in_parts import DuckDBInParts

from cdc_assets.model import LSN, Chunk, Position, Sink
from cdc_assets.sinks.duckdb.sink import DuckDBSink
from cdc_assets.sinks.memory import MemorySink

EVENTS = table("events", "what", "note", key=())
WHOLE = Chunk("0", "all of it")
ROWS = [("a", None), ("a", ""), (None, None)]
Rows = Counter[tuple[str | None, ...]]


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Commit], list[Rows]]:
    """Commits at 10, 20, ...; and what the rows were before and after each of them."""
    rows: Rows = Counter(draw(st.lists(st.sampled_from(ROWS), max_size=4)))
    log, was = [], [rows.copy()]
    for number in range(1, draw(st.integers(1, 8)) + 1):
        events = [_event(draw, rows) for _ in range(draw(st.integers(1, 4)))]
        log.append(commit(number * 10, *events))
        was.append(rows.copy())
    return log, was


def _event(draw: st.DrawFn, rows: Rows) -> Event:
    row, other = draw(st.sampled_from(ROWS)), draw(st.sampled_from(ROWS))
    kind = draw(st.sampled_from(["insert", "delete", "become", "become", "truncate"]))
    if kind == "truncate":
        rows.clear()
        return truncate(EVENTS)
    if kind == "insert" or not rows[row]:
        rows[row] += 1
        return insert(*row, into=EVENTS)
    rows[row] -= 1
    if kind == "delete":
        return delete(*row, of=EVENTS)
    rows[other] += 1
    return become(row, other, of=EVENTS)


def end_as_the_source_did(sink: Sink, data: st.DataObject) -> None:
    log, was = data.draw(histories())
    began = data.draw(st.integers(0, len(log)))
    sink.adopt(Position(LSN(0), "7", "shop", "cdc_shop"))
    sink.begin_seed(EVENTS, [WHOLE], after=LSN(began * 10))
    loads = data.draw(st.lists(st.integers(began, len(log)), min_size=1, max_size=3))
    at = 0
    while at < len(log) or loads:
        if loads and (at == len(log) or data.draw(st.booleans())):
            read = loads.pop()
            rows = list(was[read].elements())
            sink.load(EVENTS, WHOLE, [record_batch(EVENTS, rows)], at=LSN(read * 10))
            if at >= read:
                loads.clear()  # the next batch puts it in place
        upto = data.draw(st.integers(min(at + 1, len(log)), len(log)))
        sink.apply(batch(*log[at:upto], since=at * 10, lsn=upto * 10))
        at = upto
        if sink.is_seeded(EVENTS.name):
            loads.clear()
            held = Counter(tuple(row.values()) for row in sink.read(EVENTS.name).to_pylist())
            assert held == was[at]
    assert sink.is_seeded(EVENTS.name)


def _memory(path: Path) -> Sink:
    return MemorySink()


def _duckdb(path: Path) -> Sink:
    return DuckDBSink(path, "shop")


def _in_parts(path: Path) -> Sink:
    return DuckDBInParts(path, "shop")


@pytest.mark.parametrize(("kind", "examples"), [(_memory, 200), (_duckdb, 20), (_in_parts, 20)])
def test_any_order_of_reads_and_batches_ends_as_the_source_did_without_a_key(
    kind: Callable[[Path], Sink], examples: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = (Path(folder) / str(number) for number in count())

        @settings(max_examples=examples, deadline=None)
        @given(data=st.data())
        def in_any_order(data: st.DataObject) -> None:
            sink = kind(next(paths))
            end_as_the_source_did(sink, data)
            sink.close()

        in_any_order()
