"""
Rows by key, the newest last.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from ...model import LSN, Evolution, Table

Key = tuple[Any, ...]
Row = dict[str, Any]
Rows = dict[Key, list[tuple[LSN, Row]]]


def key_of(table: Table, row: Row) -> Key:
    if not table.key:
        return content(table, row)
    return tuple(row[name] for name in table.key)


def keys_of(table: Table, keys: list[Key]) -> pa.RecordBatch:
    rows = [dict(zip(table.key, key, strict=True)) for key in keys]
    return pa.RecordBatch.from_pylist(rows, pa.schema([table.schema.field(name) for name in table.key]))


def content(table: Table, row: Row) -> Key:
    """As text, a zero with a sign is not one without, and not-a-number is itself."""
    return tuple(repr(row.get(name)) for name in table.names)


def evolve(copy: Rows, table: Table, way: Evolution) -> None:
    for versions in copy.values():
        for number, (lsn, row) in enumerate(versions):
            kept = {
                way.renamed.get(name, name): cell for name, cell in row.items() if name not in way.dropped
            }
            new = {name: value[0].as_py() if value else None for name, value in way.added.items()}
            as_text = {name: f"{kept[name]:f}" for name in way.retyped if _becomes_text(table, kept, name)}
            versions[number] = lsn, kept | new | as_text
    rows = [version for versions in copy.values() for version in versions]
    copy.clear()
    for version in rows:
        copy.setdefault(key_of(table, version[1]), []).append(version)


def _becomes_text(table: Table, row: Row, name: str) -> bool:
    return row[name] is not None and pa.types.is_string_view(table.schema.field(name).type)
