"""
Values of generated columns that the log leaves out, computed by the source itself.

An expression may use nothing but columns of its row and what never changes, so what it gives
for a row of the log is what it gave when the row was written.
https://www.postgresql.org/docs/current/ddl-generated-columns.html
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa
from psycopg import Error as PostgresError
from psycopg import OperationalError, RawCursor, sql

from ..model import Column
from ..pgoutput.cells import Cells
from ..pgoutput.rows import Compute
from .session import session

_NUMBER = sql.Identifier("_cdc_number")


def computing(conninfo: Callable[[], str]) -> Compute:
    """Asks the source, on a connection of its own each time."""

    def compute(column: Column, inputs: Sequence[tuple[str, str, Cells]], rows: int) -> pa.Array | None:
        if not (column.generated and column.generated.expression):
            return None
        given = [cells.text.to_pylist() for _, _, cells in inputs] or [[None] * rows]
        with session(conninfo()) as connection:
            # A raw cursor: a name or an expression may have a percent sign in it.
            cursor = RawCursor(connection)
            try:
                cursor.execute(_query(column, [(name, type_) for name, type_, _ in inputs]), given)
            except OperationalError:
                raise
            except PostgresError:
                return None
            found = cursor.pgresult
            assert found is not None
            # As it came: what psycopg would make of it is of no use.
            values = [found.get_value(row, 0) for row in range(found.ntuples)]
        return pa.array([None if value is None else value.decode() for value in values], pa.large_string())

    return compute


def _query(column: Column, inputs: Sequence[tuple[str, str]]) -> sql.Composed:
    assert column.generated
    cells = [sql.Identifier(f"_cdc_{place}") for place in range(max(len(inputs), 1))]
    named = [
        sql.SQL("{}::{} AS {}").format(cell, sql.SQL(type_), sql.Identifier(name))
        for cell, (name, type_) in zip(cells, inputs, strict=False)
    ]
    return sql.SQL(
        "SELECT {expression} FROM (SELECT {columns} FROM unnest({given}) WITH ORDINALITY AS g({cells})) AS r "
        "ORDER BY {number}"
    ).format(
        expression=sql.SQL(column.generated.expression),
        columns=sql.SQL(", ").join([*named, _NUMBER]),
        given=sql.SQL(", ").join(sql.SQL(f"${place}::text[]") for place in range(1, len(cells) + 1)),
        cells=sql.SQL(", ").join([*cells, _NUMBER]),
        number=_NUMBER,
    )
