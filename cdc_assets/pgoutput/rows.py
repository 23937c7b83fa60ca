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

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ..model import DELETE, UPDATE, Table, arrow
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


class _Column(NamedTuple):
    cells: Cells
    unchanged: Bools


def relation_oids(data: Bytes, at: Ints) -> Ints:
    """Which table each of the row messages that start at `at` is about."""
    return uint32_at(data, at + _RELATION)


def decode(data: Bytes, at: Ints, table: Table) -> Decoded:
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

    rows = _rows(table, new)
    unchanged = {
        column.name: found.unchanged
        for column, found in zip(table.columns, new, strict=True)
        if found.unchanged.any()
    }
    decoded = Decoded(rows, ops, np.zeros(len(at), bool), unchanged, np.arange(len(at)))
    return _with_moves(decoded, table, _rows(table, old), two) if len(two) else decoded


def _walk(data: Bytes, at: Ints, table: Table) -> tuple[list[_Column], Ints]:
    """The cells of each column, for tuples whose first cells are `at`; and where the tuples end."""
    walked = []
    for place in range(len(table.columns) + len(table.skipped)):
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
    )
