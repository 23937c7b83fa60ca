"""
What a run comes to, applied to what the destination held before it, is what the source holds after it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc_assets.model import DELETE, INSERT, UPDATE, Column, Table, TableChanges, TableName, net
from cdc_assets.model.net import NetChanges

Key = tuple[int, str]
Cells = dict[str, str | None]
LARGE = ("body", "other")
"""Columns whose values PostgreSQL keeps out of line, and does not resend."""
COLUMNS = {"a": pa.int64(), "b": pa.string_view(), "body": pa.string_view(), "other": pa.string_view()}
KEYS: list[Key] = [(number, letter) for number in range(2) for letter in "xyz"]


def table(columns: dict[str, pa.DataType], *key: str) -> Table:
    made = tuple(Column(name, 0, -1, "any", 0, arrow) for name, arrow in columns.items())
    return Table(1, TableName("public", "t"), made, key)


@dataclass
class Source:
    """A table and, as its changes are made, what the log says of them."""

    rows: dict[Key, Cells]
    changes: list[tuple[int, Key, Cells, bool, set[str]]] = field(default_factory=list)

    def insert(self, key: Key, **cells: str | None) -> None:
        self._log(INSERT, key, cells)
        self.rows[key] = cells

    def update(self, key: Key, **cells: str | None) -> None:
        self._log(UPDATE, key, cells)
        self.rows[key] |= cells

    def move(self, key: Key, to: Key, **cells: str | None) -> None:
        self._log(DELETE, key, {}, moved=True)
        self._log(UPDATE, to, cells, moved=True)
        self.rows[to] = self.rows.pop(key) | cells

    def delete(self, key: Key) -> None:
        self._log(DELETE, key, {})
        del self.rows[key]

    def permute(self, to: dict[Key, Key]) -> None:
        """One statement that gives several rows each other's keys, under replica identity FULL."""
        after = {to[key]: self.rows.pop(key) for key in to}
        for key, new in to.items():
            if new != key:
                self._log(DELETE, key, {}, moved=True)
            self._log(UPDATE, new, after[new], moved=new != key)
        self.rows |= after

    def _log(self, op: int, key: Key, cells: Cells, moved: bool = False) -> None:
        unchanged = set(LARGE) - set(cells) if op != DELETE else set()
        self.changes.append((op, key, cells, moved, unchanged))

    def run(self) -> TableChanges:
        ops, keys, cells, moved, unchanged = zip(*self.changes, strict=True)
        columns = {"a": [key[0] for key in keys], "b": [key[1] for key in keys]}
        columns |= {name: [row.get(name) for row in cells] for name in LARGE}
        masks = {name: np.array([name in names for names in unchanged]) for name in LARGE}
        arrays = [pa.array(columns[name], arrow) for name, arrow in COLUMNS.items()]
        return run(
            pa.RecordBatch.from_arrays(arrays, names=list(COLUMNS)),
            ops,
            moved,
            {name: mask for name, mask in masks.items() if mask.any()},
            key=("a", "b"),
        )


def run(rows, ops, moved=None, unchanged=None, key=("id",)) -> TableChanges:
    """Changes, each in a commit of its own."""
    count = len(ops)
    return TableChanges(
        table(dict(zip(rows.schema.names, rows.schema.types, strict=True)), *key),
        rows,
        np.array(ops, np.uint8),
        np.arange(1, count + 1, dtype=np.uint64),
        np.zeros(count, np.int64),
        np.zeros(count, np.int64),
        np.array(moved, bool) if moved else np.zeros(count, bool),
        unchanged or {},
    )


def keys_of(rows: pa.RecordBatch) -> list[Key]:
    return [(row["a"], row["b"]) for row in rows.to_pylist()]


def held_in(copy: dict[Key, Cells]):
    return lambda keys: np.array([key in copy for key in keys_of(keys)], bool)


def applied(found: NetChanges, copy: dict[Key, Cells]) -> dict[Key, Cells]:
    """What a sink that merges by key makes of it: first what goes, then what comes."""
    keys = keys_of(found.rows)
    after = {key: cells for key, cells in copy.items() if key not in keys}
    for number in np.flatnonzero(~found.gone):
        cells = found.rows.slice(number, 1).select(list(LARGE)).to_pylist()[0]
        origin = keys_of(found.origin)[number]
        kept = {name: copy[origin][name] for name, mask in found.unchanged.items() if mask[number]}
        after[keys[number]] = cells | kept
    return after


values = st.integers(0, 99).map(str) | st.none()
large = st.fixed_dictionaries({}, optional=dict.fromkeys(LARGE, values))
"""The cells an update resends: PostgreSQL leaves out those it did not change."""
whole = st.fixed_dictionaries(dict.fromkeys(LARGE, values))
copies = st.dictionaries(st.sampled_from(KEYS), whole)


@st.composite
def histories(draw, permutations: bool) -> tuple[dict[Key, Cells], Source]:
    """What was there, and a history PostgreSQL could have made of it.

    Where keys are unique at every moment, cells may be left out. Where a statement may permute
    keys (deferrable ones), the replica identity is FULL, so none ever is.
    """
    before = draw(copies)
    source = Source(dict(before))
    cells = whole if permutations else large
    for _ in range(draw(st.integers(1, 12))):
        free = [key for key in KEYS if key not in source.rows]
        taken = sorted(source.rows)
        possible = ["insert", "insert"] if free else []
        possible += ["update", "update", "delete"] if taken else []
        possible += ["move", "move"] if free and taken else []
        possible += ["permute"] if permutations and taken else []
        match draw(st.sampled_from(possible)):
            case "insert":
                source.insert(draw(st.sampled_from(free)), **draw(whole))
            case "update":
                source.update(draw(st.sampled_from(taken)), **draw(cells))
            case "move":
                source.move(draw(st.sampled_from(taken)), draw(st.sampled_from(free)), **draw(cells))
            case "delete":
                source.delete(draw(st.sampled_from(taken)))
            case "permute":
                order = draw(st.permutations(taken))
                new = draw(st.permutations(KEYS))[: len(order)]
                source.permute(dict(zip(order, new, strict=True)))
    return before, source


either = histories(permutations=False) | histories(permutations=True)


@given(either)
@settings(max_examples=400)
def test_the_net_effect_on_what_was_held_is_what_the_source_holds(history):
    before, source = history

    assert applied(net(source.run(), held_in(before)), before) == source.rows


@given(either)
def test_a_key_has_one_entry_that_says_whether_it_was_there_and_when_it_last_changed(history):
    before, source = history

    found = net(source.run(), held_in(before))

    keys = keys_of(found.rows)
    last = {change[1]: number for number, change in enumerate(source.changes, 1)}
    assert len(set(keys)) == len(keys)
    assert dict(zip(keys, found.lsns.tolist(), strict=True)) == last
    assert dict(zip(keys, (~found.fresh).tolist(), strict=True)) == {key: key in before for key in last}
    assert dict(zip(keys, found.gone.tolist(), strict=True)) == {key: key not in source.rows for key in last}


@given(either)
def test_a_cell_is_taken_from_a_row_the_destination_holds(history):
    before, source = history

    found = net(source.run(), held_in(before))

    origins = keys_of(found.origin)
    needed = np.logical_or.reduce([np.zeros(len(origins), bool), *found.unchanged.values()])
    assert all(origins[number] in before for number in np.flatnonzero(needed))
    assert [origin != key for origin, key in zip(origins, keys_of(found.rows), strict=True)] == [
        *found.relocated
    ]


def test_the_destination_is_asked_only_about_keys_that_first_came_from_another():
    source = Source({key: {"body": None, "other": None} for key in KEYS[:3]})
    source.update(KEYS[0], body="x", other="x")
    source.delete(KEYS[1])
    source.move(KEYS[2], KEYS[1], body="x", other="x")
    source.move(KEYS[1], KEYS[5], body="x", other="x")
    asked = []

    net(source.run(), lambda keys: asked.extend(keys_of(keys)) or np.zeros(len(keys), bool))

    assert asked == [KEYS[5]]


def test_a_long_chain_of_cells_that_were_not_resent_is_followed_to_its_beginning():
    source = Source({KEYS[0]: {"body": "old", "other": "old"}})
    source.update(KEYS[0], body="first")
    for number in range(1000):
        source.update(KEYS[0], other=str(number))

    found = net(source.run(), held_in(source.rows))

    assert found.rows.to_pylist() == [{"a": 0, "b": "x", "body": "first", "other": "999"}]
    assert not any(mask.any() for mask in found.unchanged.values())


def test_a_run_of_nothing_comes_to_nothing():
    found = net(run(pa.RecordBatch.from_pydict({"id": pa.array([], pa.int64())}), []), held_in({}))

    assert len(found.gone) == found.rows.num_rows == 0


@pytest.mark.parametrize(
    "keys",
    [
        pa.array([True, False]),
        pa.array([1, 2], pa.uint32()),
        pa.array([-0.0, 0.0]),
        pa.array([float("nan"), 1.0], pa.float32()),
        pa.array([Decimal("1.10"), Decimal("1.11")], pa.decimal128(38, 2)),
        pa.array(["a", "a string that is too long to lie in its view"], pa.string_view()),
        pa.array([b"", b"\0"], pa.large_binary()),
        pa.array([date(1, 1, 1), date(9999, 12, 31)]),
        pa.array([0, 86_400_000_000], pa.time64("us")),
        pa.array([2**63 - 1, -(2**63) + 1], pa.timestamp("us", "UTC")),
        pa.array([(0, 30, 0), (1, 0, 0)], pa.month_day_nano_interval()),
        pa.ExtensionArray.from_storage(pa.uuid(), pa.array([bytes(16), b"\1" * 16], pa.binary(16))),
        pa.ExtensionArray.from_storage(pa.json_(pa.string_view()), pa.array(["1", "1.0"], pa.string_view())),
    ],
    ids=lambda keys: str(keys.type),
)
def test_keys_of_any_type_are_told_apart(keys):
    """As PostgreSQL writes them: it names a row by the very bytes the row has."""
    rows = pa.RecordBatch.from_arrays([pa.concat_arrays([keys, keys])], names=["id"])

    found = net(run(rows, [INSERT, INSERT, DELETE, UPDATE]), held_in({}))

    assert str(found.rows["id"]) == str(keys)
    assert found.gone.tolist() == [True, False]
