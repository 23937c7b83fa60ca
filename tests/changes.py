"""
Changes made by hand, in the words a test thinks in: what happened, in which commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, groupby
from typing import Any

import numpy as np
import pyarrow as pa

from cdc_assets.model import (
    DELETE,
    INSERT,
    LSN,
    UPDATE,
    ChangeBatch,
    Column,
    Commits,
    ReplicaIdentity,
    Table,
    TableChanges,
    TableName,
)
from cdc_assets.pgoutput.types import arrow_type

UNCHANGED = object()
"""In place of a value: a cell that PostgreSQL did not resend (TOAST)."""
_INT8, _TEXT = 20, 25


def table(
    name: str = "items",
    *columns: str,
    schema: str = "public",
    key: tuple[str, ...] = ("id",),
    oid: int = 16_384,
) -> Table:
    """A table whose key is of numbers and whose other columns are of text."""
    made = []
    for number, column in enumerate(columns or ("id", "name", "body"), 1):
        type_oid, type_ = (_INT8, "bigint") if column in key else (_TEXT, "text")
        made.append(Column(column, type_oid, -1, type_, type_oid, arrow_type(type_oid, -1), number=number))
    return Table(oid, TableName(schema, name), tuple(made), key)


ITEMS = table()


@dataclass(frozen=True)
class Entry:
    op: int
    row: tuple[Any, ...]
    moved: bool = False


@dataclass(frozen=True)
class Event:
    table: Table
    entries: tuple[Entry, ...]
    """What it is in a batch; none for a truncation."""


@dataclass(frozen=True)
class Commit:
    lsn: LSN
    events: tuple[Event, ...]


def insert(*row: Any, into: Table = ITEMS) -> Event:
    return Event(into, (Entry(INSERT, row),))


def update(*row: Any, of: Table = ITEMS) -> Event:
    return Event(of, (Entry(UPDATE, row),))


def delete(*key: Any, of: Table = ITEMS) -> Event:
    return Event(of, (Entry(DELETE, key),))


def move(key: int, *row: Any, of: Table = ITEMS) -> Event:
    """An update that changes the key, which is `row`'s first value afterwards."""
    return Event(of, (Entry(DELETE, (key,), moved=True), Entry(UPDATE, row, moved=True)))


def become(old: tuple[Any, ...], new: tuple[Any, ...], *, of: Table) -> Event:
    """An update of a row that has no key."""
    return Event(of, (Entry(DELETE, old, moved=True), Entry(UPDATE, new, moved=True)))


def truncate(table: Table = ITEMS) -> Event:
    return Event(table, ())


def commit(lsn: int, *events: Event) -> Commit:
    return Commit(LSN(lsn), events)


def batch(*commits: Commit, since: int, lsn: int | None = None, time: int = 0) -> ChangeBatch:
    """The commits as one batch: by table, cut where a table is truncated or redefined."""
    end = lsn if lsn is not None else commits[-1].lsn if commits else since
    runs: dict[TableName, list[_Run]] = {}
    for each in commits:
        for event in each.events:
            of_table = runs.setdefault(event.table.name, [])
            if not event.entries:
                of_table.append(_Run(event.table, each.lsn, []))
            elif not of_table or of_table[-1].table != event.table:
                of_table.append(_Run(event.table, None, []))
            of_table[-1].entries += [(each.lsn, entry) for entry in event.entries]
    changes = (run.changes() for of_table in runs.values() for run in of_table)
    ends = np.array([each.lsn for each in commits], np.uint64)
    times = np.full(len(commits), time, np.int64)
    return ChangeBatch(tuple(changes), LSN(since), LSN(end), Commits(ends, times))


def divided(whole: ChangeBatch) -> ChangeBatch:
    """The same, as a transaction that is too large to be held is delivered: in runs of one change."""
    return replace(whole, changes=[part for run in whole.changes for part in _parts(run)])


def _parts(run: TableChanges) -> Iterator[TableChanges]:
    # The two of a moved key come in one message.
    begins = [n for n in range(len(run)) if not (run.moved[n] and run.ops[n] == UPDATE)]
    if not begins:
        yield run
        return
    if run.table.key and _shifts_keys(run):
        run = replace(run, table=replace(run.table, identity=ReplicaIdentity.FULL))
    for begin, end in zip(begins, [*begins[1:], len(run)], strict=True):
        some = slice(begin, end)
        yield replace(
            run,
            rows=run.rows.slice(begin, end - begin),
            ops=run.ops[some],
            lsns=run.lsns[some],
            ordinals=run.ordinals[some],
            times=run.times[some],
            moved=run.moved[some],
            unchanged={name: mask[some] for name, mask in run.unchanged.items() if mask[some].any()},
            truncated=None if begin else run.truncated,
            continues=end < len(run),
        )


def _shifts_keys(run: TableChanges) -> bool:
    """Whether a row takes the key of one that leaves it only later: such a statement takes replica
    identity FULL, which resends all."""
    resent = ~np.any([np.zeros(len(run), bool), *run.unchanged.values()], axis=0)
    taken = set()
    for number, row in enumerate(run.rows.to_pylist()):
        key = tuple(row[name] for name in run.table.key)
        if run.moved[number] and run.ops[number] == UPDATE and resent[number]:
            taken.add(key)
        elif run.moved[number] and key in taken:
            return True
    return False


@dataclass
class _Run:
    table: Table
    truncated: LSN | None
    entries: list[tuple[LSN, Entry]]

    def changes(self) -> TableChanges:
        rows = [entry.row for _, entry in self.entries]
        masks = {
            column.name: np.array([len(row) > place and row[place] is UNCHANGED for row in rows], bool)
            for place, column in enumerate(self.table.columns)
        }
        return TableChanges(
            table=self.table,
            rows=record_batch(self.table, rows),
            ops=np.array([entry.op for _, entry in self.entries], np.uint8),
            lsns=np.array([lsn for lsn, _ in self.entries], np.uint64),
            ordinals=np.fromiter(chain.from_iterable(_ordinals(self.entries)), np.int64),
            times=np.zeros(len(rows), np.int64),
            moved=np.array([entry.moved for _, entry in self.entries], bool),
            unchanged={name: mask for name, mask in masks.items() if mask.any()},
            truncated=self.truncated,
        )


def _ordinals(entries: list[tuple[LSN, Entry]]) -> Iterator[range]:
    for _, of_commit in groupby(entries, key=lambda pair: pair[0]):
        yield range(len(list(of_commit)))


def record_batch(table: Table, rows: Iterable[tuple[Any, ...]]) -> pa.RecordBatch:
    """Rows as a batch carries them; what a short one leaves out is null."""
    names = [column.name for column in table.columns]
    dicts = [
        {name: None if value is UNCHANGED else value for name, value in zip(names, row, strict=False)}
        for row in rows
    ]
    return pa.RecordBatch.from_pylist(dicts, schema=table.schema)
