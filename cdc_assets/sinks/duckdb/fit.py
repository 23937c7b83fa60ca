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
    cases = list(_of_columns(transaction, name, rows)) + list(_checks(transaction, name))
    whens = " ".join(f"WHEN {condition} THEN ?" for condition, _ in cases)
    reason = f"CASE {whens} END" if cases else "NULL"
    transaction.run(
        f"CREATE OR REPLACE TEMP TABLE {JUDGED} AS SELECT *, CAST({reason} AS VARCHAR) AS {REASON} "
        f"FROM {rows}",
        *(said for _, said in cases),
    )
    for expressions, said in _unique(transaction, name):
        transaction.run(
            f"UPDATE {JUDGED} SET {REASON} = ? WHERE rowid IN ({_second(name, expressions)})", said
        )


def _of_columns(transaction: Transaction, name: TableName, rows: str) -> Iterator[tuple[str, str]]:
    """When a cell does not fit, and what is said of it."""
    types = {column: type_ for column, type_, *_ in transaction.rows(f"DESCRIBE FROM {rows}")}
    for column, type_, null, *_ in transaction.rows(f"DESCRIBE {named(*name)}"):
        cell = quoted(column)
        if types.get(column, type_) != type_:
            does_not_fit = f"{cell} IS NOT NULL AND TRY_CAST({cell} AS {type_}) IS NULL"
            yield does_not_fit, f"Conversion error: column {column} is {type_}"
        if column in types and null == "NO":
            yield f"{cell} IS NULL", f"Constraint error: column {column} is NOT NULL"


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
        f"WHERE is_unique AND NOT is_primary AND {_OF_TABLE} ORDER BY 1",
        *place,
    ):
        yield expressions, f"Constraint error: UNIQUE INDEX {index}"


_OF_TABLE = "database_name = ? AND schema_name = ? AND table_name = ?"


def _second(name: TableName, expressions: list[str]) -> str:
    """Rows that fit, but for another one that has the same `expressions`: in the table, or before them.
    A null is not the same as another."""
    parts = [f"_cdc_{number}" for number in range(len(expressions))]
    values = ", ".join(f"{expression} AS {part}" for expression, part in zip(expressions, parts, strict=True))
    known = " AND ".join(f"{part} IS NOT NULL" for part in parts)
    same = " AND ".join(f"h.{part} = n.{part}" for part in parts)
    numbered = (
        f"(SELECT *, row_number() OVER (PARTITION BY {', '.join(parts)} ORDER BY _cdc_at, _cdc_row) "
        f"AS _cdc_nth FROM (SELECT rowid AS _cdc_row, {LSN_COLUMN} AS _cdc_at, {values} FROM {JUDGED} "
        f"WHERE {REASON} IS NULL) WHERE {known})"
    )
    return (
        f"SELECT _cdc_row FROM {numbered} WHERE _cdc_nth > 1 UNION ALL "
        f"SELECT n._cdc_row FROM {numbered} n JOIN (SELECT {values} FROM {named(*name)}) h ON {same}"
    )
