"""
What DuckDB refuses of one table, told from what would stop every write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import duckdb

from ...errors import RowRefused, TableRefused
from ...model import LSN, TableName

_Done = TypeVar("_Done")

_FOR_ITS_ROWS = (duckdb.ConstraintException, duckdb.ConversionException, duckdb.OutOfRangeException)
"""Others of its rows may be taken."""
_OF_ITS_OWN = (
    *_FOR_ITS_ROWS,
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.DependencyException,
    duckdb.InvalidInputException,
)
"""There is something else in the table's place, or it was altered by hand. No disk, no memory, no lock."""


class _ForItsRows(TableRefused):
    pass


@dataclass
class Refused:
    """What is known of the refusals of a write, when it is done again."""

    tables: dict[TableName, str] = field(default_factory=dict)
    """Those that are not to be written to, and why."""
    rows: set[TableName] = field(default_factory=set)
    """Those of which each row is to be looked at before it is written."""


@contextmanager
def of_one_table(table: TableName) -> Iterator[None]:
    """What fails in this block is about `table`; said without DuckDB's message, which may quote a value,
    not even as the cause."""
    try:
        yield
    except TableRefused as error:
        raise TableRefused(str(error), table=table, hint=error.hint) from error
    except _OF_ITS_OWN as error:
        kind = type(error).__name__.removesuffix("Exception")
        made = _ForItsRows if isinstance(error, _FOR_ITS_ROWS) else TableRefused
        raise made(
            f"DuckDB refused a write to {table} ({kind} error)",
            table=table,
            hint=f"was it changed by hand there?  cdc-assets reseed {table} copies it anew.",
        ) from None


def without_refused(write: Callable[[Refused], _Done], *, stops_at: LSN | None = None) -> _Done:
    """Do `write` without what is refused, which it is told of.

    If rows are not to be left out, a refusal that only rows can be the reason of is an error; `stops_at` is
    where what is written ends.

    A transaction in which DuckDB refused something is over, so each refusal has it done again.
    """
    refused = Refused()
    while True:
        try:
            return write(refused)
        except TableRefused as error:
            table = TableName(*error.table)
            if table in refused.tables:
                raise
            if not isinstance(error, _ForItsRows):
                refused.tables[table] = str(error)
            elif table not in refused.rows:
                refused.rows.add(table)
            elif stops_at:
                raise RowRefused(f"{error}, at or before {stops_at}", hint=error.hint) from error
            else:
                refused.tables[table] = str(error)
