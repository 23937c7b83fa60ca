"""
Row messages to columns, many rows at a time.

A row message is a head (what happened, to which table) and one or two tuples,
each a run of cells: a kind byte, and for a value its length and its text.
Cells vary in length, so the next cell's place is known only from this one. But
rows need not be walked one after the other: column by column, the places of
every row's cell are one vector, and the next column's places follow from it by
arithmetic. That leaves no Python work per row or per cell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ..model import DELETE, UPDATE, Column, Table, arrow
from ..model.changes import Bools, Bytes, Ints
from . import types
from .cells import Cells, uint32_at

_NULL, _UNCHANGED = b"nu"
_NEW = b"N"[0]
_RELATION, _TUPLE_KIND, _FIRST_CELL = 1, 5, 8
"""Bytes from the start of a row message."""
_BETWEEN_TUPLES = 3
"""Bytes from the end of an old tuple to the first cell of the new one."""


class Decoded(NamedTuple):
    """Rows in the order of their messages; an update that moves a key makes two."""

    rows: pa.RecordBatch
    ops: Bytes
    moved: Bools
    unchanged: dict[str, Bools]
    message: Ints
    """Which message each row came from."""
    doubt: str | None = None
    """What the rows lack, if they lack anything."""


Compute = Callable[[Column, Sequence[tuple[str, str, Cells]], int], pa.Array | None]
"""Makes the values, as text, of a generated column that the log leaves out; None if that cannot be
done. Given are what goes in, of so many rows: the name its expression has for it, its type, its cells."""


class _Column(NamedTuple):
    cells: Cells
    unchanged: Bools


def relation_oids(data: Bytes, at: Ints) -> Ints:
    """Which table each of the row messages that start at `at` is about."""
    return uint32_at(data, at + _RELATION)


def decode(data: Bytes, at: Ints, table: Table, compute: Compute) -> Decoded:
    """Decode the row messages of `table` that start at `at`; `data` ends with `cells.PADDING`."""
    ops = data[at]
    first_cell = at + _FIRST_CELL
    two = np.flatnonzero((ops == UPDATE) & (data[at + _TUPLE_KIND] != _NEW))
    old: list[_Column] = []
    if len(two):
        old, end = _walk(data, first_cell[two], table)
        first_cell[two] = end + _BETWEEN_TUPLES
    new, _ = _walk(data, first_cell, table)
    if len(two):
        new = [_with_old(cells, before, two) for cells, before in zip(new, old, strict=True)]

    generating = _Generating(table, compute)
    # Of a row that is there no more, only what tells it from others counts.
    new = generating.all_columns(new, ops != DELETE if table.key else np.ones(len(at), bool))
    old = generating.all_columns(old, np.full(len(two), not table.key))
    rows = _rows(table, new)
    unchanged = {
        column.name: found.unchanged
        for column, found in zip(table.columns, new, strict=True)
        if found.unchanged.any()
    }
    decoded = Decoded(rows, ops, np.zeros(len(at), bool), unchanged, np.arange(len(at)), generating.doubt)
    return _with_moves(decoded, table, _rows(table, old), two) if len(two) else decoded


def _walk(data: Bytes, at: Ints, table: Table) -> tuple[list[_Column], Ints]:
    """The cells of each column that is sent, for tuples whose first cells are `at`; and where the
    tuples end."""
    walked = []
    for place in range(len(table.sent) + len(table.skipped)):
        kind = data[at]
        unchanged = kind == _UNCHANGED
        valid = ~(unchanged | (kind == _NULL))
        if valid.all():
            start, length = at + 5, uint32_at(data, at + 1)
        else:
            start, length = np.where(valid, at + 5, at + 1), np.zeros(len(at), np.int64)
            length[valid] = uint32_at(data, at[valid] + 1)
        if place not in table.skipped:
            walked.append(_Column(Cells(data, start, length, valid), unchanged))
        at = start + length
    return walked, at


def _with_old(new: _Column, old: _Column, two: Ints) -> _Column:
    """Replica identity FULL sends whole old tuples: what the new one leaves out, they have."""
    fill = new.unchanged[two] & old.cells.valid
    if not fill.any():
        return new
    rows = two[fill]
    start, length, valid = new.cells.start.copy(), new.cells.length.copy(), new.cells.valid.copy()
    unchanged = new.unchanged.copy()
    start[rows], length[rows] = old.cells.start[fill], old.cells.length[fill]
    valid[rows], unchanged[rows] = True, False
    return _Column(Cells(new.cells.data, start, length, valid), unchanged)


class _Generating:
    """Adds the columns that follow from those that are sent."""

    def __init__(self, table: Table, compute: Compute) -> None:
        self._table, self._compute = table, compute
        self.doubt: str | None = None
        """Why one could not be added."""

    def all_columns(self, sent: Sequence[_Column], wanted: Bools) -> list[_Column]:
        """Every column of the table; those that are generated have values in the rows `wanted`."""
        if not sent or len(self._table.sent) == len(self._table.columns):
            return list(sent)
        known = dict(zip([column.number for column in self._table.sent], sent, strict=True))
        return [
            known[column.number] if column.generated is None else self._column(column, known, wanted)
            for column in self._table.columns
        ]

    def _column(self, column: Column, known: Mapping[int, _Column], wanted: Bools) -> _Column:
        assert column.generated
        types_of = {sent.number: sent.type for sent in self._table.sent}
        inputs = [(name, types_of[number], known[number]) for name, number in column.generated.inputs]
        missing = sum((found.unchanged for *_, found in inputs), np.zeros(len(wanted), np.int64))
        unchanged = wanted & (missing == len(inputs)) & (missing > 0)
        if (wanted & (missing > 0) & ~unchanged).any():
            self.doubt = (
                f"column {column.name} is generated from a value that was not sent again (TOAST), which "
                "REPLICA IDENTITY FULL would have it be"
            )
        places = np.flatnonzero(wanted & ~unchanged)
        values: pa.Array | None = pa.array([], pa.large_string())
        if len(places):
            given = [(name, type_, found.cells.at(places)) for name, type_, found in inputs]
            values = self._compute(column, given, len(places))
        if values is None:
            self.doubt = f"column {column.name} is generated, and its expression failed"
            values = pa.nulls(len(places), pa.large_string())
        which = np.full(len(wanted), -1)
        which[places] = np.arange(len(places))
        spread = values.take(pa.array(which, mask=which < 0))
        return _Column(Cells.of(spread), unchanged)


def _rows(table: Table, columns: Sequence[_Column]) -> pa.RecordBatch:
    arrays = [
        types.from_text(column, found.cells, table.name)
        for column, found in zip(table.columns, columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=table.schema)


def _with_moves(decoded: Decoded, table: Table, old: pa.RecordBatch, two: Ints) -> Decoded:
    """`decoded`, with a delete of the old key before each update that changed the key; of the old
    row before every update where there is no key."""
    rows = decoded.rows
    differs = np.ones(len(two), bool)
    if table.key:
        new = arrow.take_rows(rows, two)
        # Neither key is ever null, and both are as PostgreSQL wrote them.
        differs = np.logical_or.reduce([arrow.differ(old[name], new[name]) for name in table.key])
    if not differs.any():
        return decoded
    left = np.flatnonzero(differs)
    # Twice the message's number, less one for the delete: it goes just before its update.
    places = np.concatenate([decoded.message * 2, two[left] * 2 - 1])
    order = np.argsort(places, kind="stable")
    both = pa.Table.from_batches([rows, arrow.take_rows(old, left)]).combine_chunks()
    deletes = np.full(len(left), DELETE, np.uint8)
    moved = np.isin(decoded.message, two[left])
    return Decoded(
        arrow.take_rows(both.to_batches()[0], order),
        np.concatenate([decoded.ops, deletes])[order],
        np.concatenate([moved, np.ones(len(left), bool)])[order],
        {
            name: np.concatenate([mask, np.zeros(len(left), bool)])[order]
            for name, mask in decoded.unchanged.items()
        },
        np.concatenate([decoded.message, two[left]])[order],
        decoded.doubt,
    )
