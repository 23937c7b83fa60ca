"""
What DuckDB refuses of one table, told from what would stop every write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import duckdb

from ...errors import TableRefused
from ...model import TableName

_Done = TypeVar("_Done")

_OF_ITS_OWN = (
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.ConstraintException,
    duckdb.ConversionException,
    duckdb.DependencyException,
    duckdb.InvalidInputException,
    duckdb.OutOfRangeException,
)
"""There is something else in the table's place, or it was altered by hand. No disk, no memory, no lock."""


@contextmanager
def of_one_table(table: TableName) -> Iterator[None]:
    """What fails in this block is about `table`; said without DuckDB's message, which may quote a value."""
    try:
        yield
    except TableRefused as error:
        raise TableRefused(str(error), table=table, hint=error.hint) from error
    except _OF_ITS_OWN as error:
        kind = type(error).__name__.removesuffix("Exception")
        raise TableRefused(
            f"DuckDB refused a write to {table} ({kind} error)",
            table=table,
            hint=f"was it changed by hand there?  cdc-assets reseed {table} copies it anew.",
        ) from error


def without_refused(write: Callable[[dict[TableName, str]], _Done]) -> _Done:
    """Do `write` without the tables that are refused, which it is told of with the reasons.

    A transaction in which DuckDB refused something is over, so each refusal has it done again.
    """
    refused: dict[TableName, str] = {}
    while True:
        try:
            return write(refused)
        except TableRefused as error:
            table = TableName(*error.table)
            if table in refused:
                raise
            refused[table] = str(error)
