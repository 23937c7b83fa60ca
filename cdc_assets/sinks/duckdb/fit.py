"""
Which of some rows a table of the DuckDB file takes, by what its catalog says of the table.

DuckDB ends the transaction at the first row that it refuses, and names that one alone. What somebody
may have done to a table by hand (a type, NOT NULL, a key, a unique index, a CHECK) is all in the
catalog; so all rows that it refuses are found at once, each with its reason. What else there is, DuckDB
still refuses when the others are written.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...model import TableName
from .file import ALIAS, Transaction, named, quoted
from .state import LSN_COLUMN

JUDGED = "judged"
"""A temporary table."""
REASON = "_cdc_reason"


def judge(transaction: Transaction, name: TableName, rows: str) -> None:
    """Put `rows` into `JUDGED`, and beside each why table `name` refuses it; null if it does not."""
    theirs = {column: type_ for column, type_, *_ in transaction.rows(f"DESCRIBE FROM {rows}")}
    described = [each[:3] for each in transaction.rows(f"DESCRIBE {named(*name)}") if each[0] in theirs]
    other_types = {column: type_ for column, type_, _ in described if theirs[column] != type_}
    cases = [
        *(_does_not_fit(column, type_) for column, type_ in other_types.items()),
        *(_is_null(column) for column, _, null in described if null == "NO"),
        *_checks(transaction, name),
    ]
    whens = " ".join(f"WHEN {condition} THEN ?" for condition, _ in cases)
    reason = f"CASE {whens} END" if cases else "NULL"
    transaction.run(
        f"CREATE OR REPLACE TEMP TABLE {JUDGED} AS SELECT *, CAST({reason} AS VARCHAR) AS {REASON} "
        f"FROM {rows}",
        *(said for _, said in cases),
    )
    casts = ", ".join(f"{_cast(column, type_)} AS {quoted(column)}" for column, type_ in other_types.items())
    cells = f"* REPLACE ({casts})" if casts else "*"
    for expressions, said in _unique(transaction, name):
        transaction.run(
            f"UPDATE {JUDGED} SET {REASON} = ? WHERE rowid IN ({_second(name, cells, expressions)})", said
        )


def _cast(column: str, type_: str) -> str:
    return f"TRY_CAST({quoted(column)} AS {type_})"


def _does_not_fit(column: str, type_: str) -> tuple[str, str]:
    """When a cell does not, and what is said of it."""
    condition = f"{quoted(column)} IS NOT NULL AND {_cast(column, type_)} IS NULL"
    return condition, f"Conversion error: column {column} is {type_}"


def _is_null(column: str) -> tuple[str, str]:
    return f"{quoted(column)} IS NULL", f"Constraint error: column {column} is NOT NULL"


def _checks(transaction: Transaction, name: TableName) -> Iterator[tuple[str, str]]:
    for constraint, expression in transaction.rows(
        "SELECT constraint_name, expression FROM duckdb_constraints() "
        f"WHERE constraint_type = 'CHECK' AND {_OF_TABLE}",
        *(ALIAS, *name),
    ):
        yield f"NOT ({expression})", f"Constraint error: CHECK {constraint}"


def _unique(transaction: Transaction, name: TableName) -> Iterator[tuple[list[str], str]]:
    """What no two rows may have in common, and what is said of the second."""
    place = (ALIAS, *name)
    for kind, constraint, columns in transaction.rows(
        "SELECT constraint_type, constraint_name, constraint_column_names FROM duckdb_constraints() "
        f"WHERE constraint_type IN ('PRIMARY KEY', 'UNIQUE') AND {_OF_TABLE} ORDER BY 2",
        *place,
    ):
        yield [quoted(column) for column in columns], f"Constraint error: {kind} {constraint}"
    for index, expressions in transaction.rows(
        "SELECT index_name, CAST(expressions AS VARCHAR[]) FROM duckdb_indexes() "
        f"WHERE is_unique AND {_OF_TABLE} ORDER BY 1",
        *place,
    ):
        yield expressions, f"Constraint error: UNIQUE INDEX {index}"


_OF_TABLE = "database_name = ? AND schema_name = ? AND table_name = ?"


def _second(name: TableName, cells: str, expressions: list[str]) -> str:
    """Rows that fit, but for another one that has the same `expressions`: in the table, or before them.
    A null is not the same as another. `cells` are those of the rows, as the table has them."""
    parts = [f"_cdc_{number}" for number in range(len(expressions))]
    values = ", ".join(f"{expression} AS {part}" for expression, part in zip(expressions, parts, strict=True))
    known = " AND ".join(f"{part} IS NOT NULL" for part in parts)
    same = " AND ".join(f"h.{part} = n.{part}" for part in parts)
    fitting = f"(SELECT rowid AS _cdc_row, {cells} FROM {JUDGED} WHERE {REASON} IS NULL)"
    numbered = (
        f"(SELECT *, row_number() OVER (PARTITION BY {', '.join(parts)} ORDER BY _cdc_at, _cdc_row) "
        f"AS _cdc_nth FROM (SELECT _cdc_row, {LSN_COLUMN} AS _cdc_at, {values} FROM {fitting}) WHERE {known})"
    )
    return (
        f"SELECT _cdc_row FROM {numbered} WHERE _cdc_nth > 1 UNION ALL "
        f"SELECT n._cdc_row FROM {numbered} n JOIN (SELECT {values} FROM {named(*name)}) h ON {same}"
    )
