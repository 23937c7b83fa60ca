"""
What a seed has loaded, and the changes since: one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ...model import DELETE, INSERT, LSN, Table, TableChanges
from .rows import Key, Row, Rows, key_of


@dataclass
class Change:
    op: int
    key: Key
    row: Row
    lsn: LSN
    moved: bool
    unchanged: frozenset[str]


class Truncation(LSN):
    """The commit that emptied the table."""


@dataclass
class Seed:
    table: Table
    after: LSN
    """Changes up to here are in the snapshot."""
    in_place: bool = False
    loaded: Rows = field(default_factory=dict)
    snapshots: set[LSN] = field(default_factory=set)
    log: list[Change | Truncation] = field(default_factory=list)
    """Everything that happened to the table since the seed began."""
    read_again: dict[Key, LSN] = field(default_factory=dict)
    """Keys that were missing, and the snapshot they were looked for in."""


class Left:
    """The row that the delete half of a moved key took away, for the update half."""

    row: tuple[LSN, Row] | None = None


def each(changes: TableChanges) -> Iterator[Change]:
    for number, row in enumerate(changes.rows.to_pylist()):
        yield Change(
            op=int(changes.ops[number]),
            key=key_of(changes.table, row),
            row=row,
            lsn=LSN(changes.lsns[number]),
            moved=bool(changes.moved[number]),
            unchanged=frozenset(name for name, mask in changes.unchanged.items() if mask[number]),
        )


def replayed(seed: Seed) -> Rows | None:
    """The loaded rows, and after each the changes its snapshot did not contain; None if these
    cannot be changes to those."""
    copy = dict(seed.loaded)
    left = Left()
    for change in seed.log:
        if isinstance(change, Truncation):
            copy = {key: rows for key, rows in seed.loaded.items() if rows[0][0] >= change}
        elif change.lsn > _read_at(seed, change.key):
            if not play(change, copy, left) and not seed.table.key:
                return None
        elif change.op == DELETE and change.moved:
            left.row = None
    return copy


def _read_at(seed: Seed, key: Key) -> int:
    """Up to where changes to a key are in what was loaded."""
    if not seed.table.key:
        return max(seed.snapshots, default=0)
    loaded = seed.loaded[key][0][0] if key in seed.loaded else 0
    return max(loaded, seed.read_again.get(key, 0))


def play(change: Change, copy: Rows, left: Left) -> bool:
    """Make one change. A cell that was not resent, and is nowhere to be found, is left out.

    False if it deletes what is not there, which without a key never is right.
    """
    versions = copy.pop(change.key, [])[:]
    was_there = bool(versions)
    if change.op == DELETE:
        left.row = versions.pop(0) if versions else None
    else:
        before = None
        if change.op != INSERT:
            before = left.row if change.moved else versions.pop(0) if versions else None
        known = before[1] if before else {}
        row = change.row | {name: known.get(name, _NOWHERE) for name in change.unchanged}
        found = {name: value for name, value in row.items() if value is not _NOWHERE}
        versions.append((change.lsn, found))
    if versions:
        copy[change.key] = versions
    return was_there or change.op != DELETE


_NOWHERE = object()
LOST = "rows that were deleted from it are not in the copy"


def incomplete(table: Table, copy: Rows) -> list[Key]:
    """Keys of rows that lack a cell."""
    return sorted(key for key, versions in copy.items() if len(versions[0][1]) < len(table.columns))
