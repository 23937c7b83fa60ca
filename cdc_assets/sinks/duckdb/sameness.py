"""
When two rows are the same, in SQL.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

from .file import quoted


def same_key(left: str, right: str, key: Iterable[str]) -> str:
    return " AND ".join(f"{left}.{quoted(name)} = {right}.{quoted(name)}" for name in key)


def told_apart_by(columns: Iterable[pa.Field], alias: str) -> Iterator[str]:
    """What is equal for two rows if, and only if, they are the same to PostgreSQL's log."""
    for column in columns:
        cell = f"{alias}.{quoted(column.name)}"
        # A month is equal to 30 days, but is not the same.
        yield f"CAST({cell} AS VARCHAR)" if pa.types.is_interval(column.type) else cell
        if pa.types.is_floating(column.type):
            yield f"({cell} = 0 AND signbit({cell}))"


def same_to_the_log(columns: Iterable[pa.Field], left: str, right: str) -> str:
    """Whether two rows, none of whose `columns` is null, are the same by `told_apart_by`."""
    both = zip(told_apart_by(columns, left), told_apart_by(columns, right), strict=True)
    return " AND ".join(f"{one} = {other}" for one, other in both)
