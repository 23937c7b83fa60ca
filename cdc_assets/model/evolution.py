"""
How a copy gets from one definition of its table to the next without being read again, or why it cannot.

Columns are told apart by attribute number: a name says nothing of whether a column was
renamed or replaced. Rows are as they were for as long as the files they are in are the
same ones; what needs more than that is not guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from .table import Column, Table

_VARYING = (25, 1043)
"""OIDs of text and character varying: one writes a value as the other does."""


@dataclass(frozen=True)
class Evolution:
    """What is to be done to a copy, in this order."""

    dropped: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    """From the name before to the name now."""
    retyped: tuple[str, ...] = ()
    """By the name now: the values are cast to what they are carried as now."""
    added: Mapping[str, pa.Array | None] = field(default_factory=dict)
    """By name, what rows have that are there already: a value alone in an array, or None for null."""
    obstacle: str | None = None
    """Why none of this will do, and the rows have to be read again."""
    said: str = ""
    """What became of the definition, in words."""


def evolution(held: Table, now: Table) -> Evolution:
    """From the definition of a copy to one that comes after it."""
    before = {column.number: column for column in held.columns}
    after = {column.number: column for column in now.columns}
    both = [(before[number], after[number]) for number in after if number in before]
    dropped = tuple(column.name for number, column in before.items() if number not in after)
    renamed = {old.name: new.name for old, new in both if old.name != new.name}
    retyped = [(old, new) for old, new in both if _form(old) != _form(new)]
    added = [column for number, column in after.items() if number not in before]
    return Evolution(
        dropped=dropped,
        renamed=renamed,
        retyped=tuple(new.name for old, new in retyped if old.arrow != new.arrow),
        added={column.name: column.missing and column.missing.value for column in added},
        obstacle=_obstacle(held, now, retyped, added),
        said=_said(held, now, dropped, renamed, retyped, added),
    )


def _form(column: Column) -> tuple[object, ...]:
    return column.oid, column.typmod, column.type, column.arrow, column.hashed


def _obstacle(
    held: Table, now: Table, retyped: list[tuple[Column, Column]], added: list[Column]
) -> str | None:
    if held.oid != now.oid:
        return "it was dropped and made again"
    if now.doubt:
        return now.doubt
    if not now.columns:
        return "it has no columns any more"
    if not held.key and now.key:
        return "it had no key before"
    if held.key and not now.key:
        return "it has no key any more"
    rewritten = now.rewritten or now.evidence.shows_rewrite_since(held.evidence)
    if rewritten and (added or retyped):
        return "it was written anew when its columns changed"
    for old, new in retyped:
        if new.as_text and not _is_read_alike(old, new):
            return f"column {new.name} has a value of type {new.type} that {old.arrow} cannot hold"
        if not _is_read_alike(old, new):
            return f"column {new.name} was of type {old.type}, and is of type {new.type}"
    for column in added:
        if column.generated:
            return f"column {column.name} is generated, and was not there"
        if column.number <= held.evidence.highest:
            return f"column {column.name} was there, and left out until now"
    return _unseen(held, now, rewritten)


def _is_read_alike(old: Column, new: Column) -> bool:
    """Whether the same bytes, which PostgreSQL did not touch, are the same value here as well."""
    if old.hashed != new.hashed:
        return False
    if old.base != new.base and not (old.base in _VARYING and new.base in _VARYING):
        return False
    if old.arrow == new.arrow:
        return True
    if not pa.types.is_decimal(old.arrow):
        return False
    if pa.types.is_decimal(new.arrow):
        return bool(old.arrow.scale == new.arrow.scale and old.arrow.precision <= new.arrow.precision)
    # A decimal is written with all digits of its scale, here as there.
    return bool(pa.types.is_string_view(new.arrow))


def _unseen(held: Table, now: Table, rewritten: bool) -> str | None:
    """What was done to the rows, or to what they look like, without a word in the log."""
    then, today = held.evidence, now.evidence
    for name, was in then.circumstances.items():
        if today.circumstances.get(name, was) != was:
            return f"the {name} changed"
    for oid, label in then.labels.items():
        if today.labels.get(oid, label) != label:
            return f"the label {label} of an enum was renamed"
    if held.oid not in (file.oid for file in then.files):
        return _partitions(held, now)
    altered = any(today.versions.get(number, version) != version for number, version in then.versions.items())
    return "it was written anew when a column was altered" if rewritten and altered else None


def _partitions(held: Table, now: Table) -> str | None:
    """What became of the leaves of a partitioned table."""
    then = {file.oid: file for file in held.evidence.files}
    today = {file.oid: file for file in now.evidence.files}
    if then.keys() - today.keys():
        return "a partition was detached or dropped"
    looked_at = {oid for oid, file in then.items() if file.filenode}
    if any(file.attached for oid, file in today.items() if oid not in looked_at):
        return "a table was attached as a partition"
    # A table's first file has the number of the table.
    if any((file.filenode or oid) != today[oid].filenode for oid, file in then.items()):
        return "a partition was emptied or written anew"
    return None


def _said(
    held: Table,
    now: Table,
    dropped: tuple[str, ...],
    renamed: Mapping[str, str],
    retyped: list[tuple[Column, Column]],
    added: list[Column],
) -> str:
    parts = [f"renamed from {held.name}"] if held.name != now.name else []
    parts += [f"column {name} dropped" for name in dropped]
    parts += [f"column {old} renamed to {new}" for old, new in renamed.items()]
    parts += [
        f"column {new.name}: {old.type} before, {new.type}{' as text' if new.as_text else ''} now"
        for old, new in retyped
    ]
    parts += [f"column {column.name} {column.type} added" for column in added]
    if held.key != now.key:
        parts.append(f"key ({', '.join(held.key)}) before, ({', '.join(now.key)}) now")
    return "; ".join(parts)
