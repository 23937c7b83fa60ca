"""
What a run of changes comes to: at most one row for each key.

A key may be written many times in a run, leave and come back. A sink that merges
by key needs only the end of that: the last row, or that there is none. Three
things make this more than "the last change wins":

- A cell that was not resent (TOAST) is filled from the change before it; where
  there is none, from the row the destination holds, which may be under another
  key if the key moved.
- A statement that shifts keys (`id = id + 1`, deferrable) lets two rows have one
  key for a moment. The delete of the old one comes after the new one's arrival,
  and is not about it. So rows are counted, not only the last change looked at.
- For that count one must know whether the key was there before. The first change
  tells, unless it is an arrival from another key; then the destination is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from . import arrow
from .changes import DELETE, INSERT, Bools, Ints, LSNs, TableChanges

Present = Callable[[pa.RecordBatch], Bools]
"""Answers, for rows of key columns, which of them the destination holds."""
Beside = Callable[[pa.RecordBatch], Ints]
"""Answers, for rows of key columns, how many rows each has beside the one that the destination holds:
none, but after a run that ended within a statement that shifts keys."""

_BEFORE = -1
"""In place of a change: the row as it was before the run."""


@dataclass(frozen=True)
class NetChanges:
    """One entry a key, in the order of the changes that decided it."""

    rows: pa.RecordBatch
    gone: Bools
    """No row has the key afterwards; of `rows`, only the key counts."""
    fresh: Bools
    """No row had the key before: there is nothing to replace."""
    lsns: LSNs
    unchanged: dict[str, Bools]
    """Cells to be taken from the row that `origin` has in the destination."""
    origin: pa.RecordBatch
    """The key under which the destination holds the row; mostly the row's own."""
    relocated: Bools
    """`origin` is another key than the row's own."""
    beside: Ints
    """How many rows have the key afterwards beside this one, if the run ends within a transaction."""


def net(changes: TableChanges, present: Present, beside: Beside | None = None) -> NetChanges:
    """The effect of `changes` as a whole; a truncation before them is not part of it."""
    keys = changes.rows.select(list(changes.table.key))
    if (changes.ops == INSERT).all() and beside is None:
        none = np.zeros(len(changes), bool)
        return NetChanges(changes.rows, none, ~none, changes.lsns, {}, keys, none, none.astype(np.int64))

    codes, count = _codes(keys)
    number = np.arange(len(changes))
    upsert = changes.ops != DELETE
    arrived = upsert & changes.moved

    first = _last(codes[::-1], number[::-1], count)
    last_upsert = _last(codes[upsert], number[upsert], count)
    came_or_went = np.where(upsert, (changes.ops == INSERT) | arrived, -1)
    balance = np.bincount(codes, came_or_went, count)

    was_there = changes.ops[first] != INSERT
    unsure = arrived[first]
    if unsure.any():
        was_there[unsure] = present(arrow.take_rows(keys, first[unsure]))
    before = was_there.astype(np.int64)
    if beside is not None:
        others = beside(arrow.take_rows(keys, first))
        before = np.where(others, 1 + others, before)
    after = before + balance.astype(np.int64)
    gone = after < 1
    # Of several rows some left: the newest, which the destination holds, did not.
    stays = ~gone & (last_upsert < 0)

    pick = np.where(last_upsert < 0, first, np.where(gone, first, last_upsert))
    by_change = np.argsort(pick)
    pick, gone, stays = pick[by_change], gone[by_change], stays[by_change]
    rows, unchanged, origin = _filled(changes, codes, pick, before)
    if stays.any():
        no = np.zeros(len(stays), bool)
        unchanged = {name: unchanged.get(name, no) | stays for name in changes.table.names}
    return NetChanges(
        rows=rows,
        gone=gone,
        fresh=before[by_change] == 0,
        lsns=changes.lsns[_last(codes, number, count)[by_change]],
        unchanged={name: mask & ~gone for name, mask in unchanged.items()},
        origin=arrow.take_rows(keys, first[origin]),
        relocated=origin != codes[pick],
        beside=np.maximum(after[by_change] - 1, 0),
    )


def _codes(keys: pa.RecordBatch) -> tuple[Ints, int]:
    """A number for each key, the same for the same key, from 0; and how many there are."""
    codes = np.zeros(keys.num_rows, np.int64)
    for column in keys.columns:
        plain = column.storage if isinstance(column, pa.ExtensionArray) else column
        encoded = plain.dictionary_encode()
        mixed = codes * len(encoded.dictionary) + arrow.to_numpy(encoded.indices)
        codes = mixed if len(keys.columns) == 1 else np.unique(mixed, return_inverse=True)[1]
    return codes, int(codes.max(initial=-1)) + 1


def _last(codes: Ints, number: Ints, count: int) -> Ints:
    """The last `number` of each code, or -1; NumPy keeps the last of repeated assignments."""
    last = np.full(count, -1)
    last[codes] = number
    return last


def _filled(
    changes: TableChanges, codes: Ints, pick: Ints, before: Ints
) -> tuple[pa.RecordBatch, dict[str, Bools], Ints]:
    """The picked rows with what the run knows of their unchanged cells; what it does not
    know, by column; and the code of the key whose row in the destination does."""
    if not changes.unchanged:
        return arrow.take_rows(changes.rows, pick), {}, codes[pick]
    previous, origin = _previous(changes, codes, before)
    columns, unchanged = [], {}
    for name, column in zip(changes.rows.schema.names, changes.rows.columns, strict=True):
        source = pick
        if (mask := changes.unchanged.get(name)) is not None:
            source = _resent(mask, previous)[pick]
            unchanged[name] = source == _BEFORE
        columns.append(arrow.take(column, np.maximum(source, 0), source != _BEFORE))
    return pa.RecordBatch.from_arrays(columns, schema=changes.rows.schema), unchanged, origin[pick]


def _resent(mask: Bools, previous: Ints) -> Ints:
    """For each change, the change that last sent the cell, or `_BEFORE`.

    A chain of unchanged cells can be as long as the run; each round halves what is left of it.
    """
    last = np.append(np.where(mask, previous, np.arange(len(mask))), _BEFORE)
    while (further := last[last] != last).any():
        last = np.where(further, last[last], last)
    return last[:-1]


def _previous(changes: TableChanges, codes: Ints, before: Ints) -> tuple[Ints, Ints]:
    """For each change, the change that wrote the row it found, or `_BEFORE`; and the code
    of the key that row had before the run."""
    arrived = changes.moved & (changes.ops != DELETE)
    resent = ~np.logical_or.reduce(list(changes.unchanged.values()))
    if resent[arrived].all():
        return _previous_of_same_key(codes), codes
    return _previous_version(changes, codes, before)


def _previous_of_same_key(codes: Ints) -> Ints:
    order = np.argsort(codes, kind="stable")
    same = codes[order][1:] == codes[order][:-1]
    previous = np.full(len(codes), _BEFORE)
    previous[order[1:][same]] = order[:-1][same]
    return previous


def _previous_version(changes: TableChanges, codes: Ints, before: Ints) -> tuple[Ints, Ints]:
    """One change after the other, for runs in which a row left its key without all its cells.

    Where two rows share a key for a moment, the older one is the one that goes on: a
    statement does not see the rows it has just written.
    """
    previous, origin = np.full(len(codes), _BEFORE), codes.copy()
    versions: dict[int, list[tuple[int, int]]] = {}
    left = (_BEFORE, _BEFORE)
    for number, (code, op, moved) in enumerate(
        zip(codes.tolist(), changes.ops.tolist(), changes.moved.tolist(), strict=True)
    ):
        held = versions.setdefault(code, [(_BEFORE, code)] * int(before[code]))
        if op == DELETE:
            left = held.pop(0) if held else (_BEFORE, code)
        elif op == INSERT:
            held.append((number, code))
        else:
            found = left if moved else held.pop(0) if held else (_BEFORE, code)
            previous[number], origin[number] = found
            held.append((number, found[1]))
    return previous, origin
