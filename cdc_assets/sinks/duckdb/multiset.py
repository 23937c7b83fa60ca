"""
Changes to a table without a key: rows come and go that only all they hold tells apart.

A run of changes comes to a number for each distinct row, of copies to add or to take
away; which of several equal rows goes makes no difference. So the order of changes
counts for nothing but for what empties the table, and a seed keeps them as they come.
"""

from __future__ import annotations

import pyarrow as pa

from ...model import DELETE, LSN, Table, TableChanges, arrow
from .file import Transaction, quoted
from .merge import LSN_COLUMN
from .sameness import told_apart_by
from .seed import Seed

LOST = "rows that were deleted from it are not in the copy"


def merge_rows(transaction: Transaction, target: str, changes: TableChanges) -> bool:
    """Apply `changes` to `target`, which holds exactly what was there before them; False if it
    shows that it did not."""
    if changes.truncated:
        transaction.run(f"DELETE FROM {target}")
    with transaction.handing("changes", _with_fate(changes)):
        return _settle(transaction, target, changes.table, "changes")


class MultisetSeed(Seed):
    """The rows of one snapshot, and every change to them since the seed began."""

    def __init__(self, transaction: Transaction, table: Table, snapshot: LSN) -> None:
        super().__init__(transaction, table)
        self._snapshot = snapshot

    def load(self, rows: pa.RecordBatchReader, at: LSN) -> int:
        self._transaction.run(f"DELETE FROM {self.loaded}")
        return super().load(rows, at)

    def keep(self, changes: TableChanges) -> None:
        if changes.truncated:
            self._transaction.run(f"DELETE FROM {self.delta}")
        with self._transaction.handing("changes", _with_fate(changes)):
            self._transaction.run(f"INSERT INTO {self.delta} BY NAME FROM changes")

    def missing(self) -> pa.Table:
        """None: a whole row is sent for each change."""
        return pa.table({})

    def drop_outdated(self, truncated_at: LSN, chunk_rows: int) -> None:
        self._transaction.run(f"DELETE FROM {self.loaded} WHERE {LSN_COLUMN} < {int(truncated_at)}")

    def merge_changes(self) -> bool:
        later = f"(FROM {self.delta} WHERE {LSN_COLUMN} > {int(self._snapshot)})"
        return _settle(self._transaction, self.loaded, self._table, later)


def _with_fate(changes: TableChanges) -> pa.Table:
    rows = pa.Table.from_batches([changes.rows])
    rows = rows.append_column(LSN_COLUMN, arrow.from_numpy(changes.lsns))
    return rows.append_column("_cdc_gone", arrow.from_numpy(changes.ops == DELETE))


def _settle(transaction: Transaction, target: str, table: Table, changes: str) -> bool:
    """Add to `target` the rows that `changes` comes to, and take away those that go; but nothing,
    and False, if there are less than have to go."""
    names = ", ".join(map(quoted, (*table.names, LSN_COLUMN)))
    if transaction.rows(f"SELECT 1 FROM {changes} c WHERE _cdc_gone LIMIT 1"):
        alike = ", ".join(told_apart_by(table.schema, "c"))
        transaction.run(
            f"CREATE OR REPLACE TEMP TABLE sums AS SELECT {names}, _cdc_gone, "
            f"sum(CASE WHEN _cdc_gone THEN -1 ELSE 1 END) OVER (PARTITION BY {alike}) AS _cdc_copies, "
            f"row_number() OVER (PARTITION BY {alike}, _cdc_gone ORDER BY {LSN_COLUMN} DESC) AS _cdc_nth "
            f"FROM {changes} c"
        )
        if not _take_away(transaction, target, table):
            return False
        changes = "(FROM sums WHERE _cdc_nth <= _cdc_copies)"
    transaction.run(f"INSERT INTO {target} BY NAME SELECT {names} FROM {changes} c WHERE NOT _cdc_gone")
    return True


def _take_away(transaction: Transaction, target: str, table: Table) -> bool:
    """Delete from `target` the rows that `sums` has more deletes than inserts of, if all are there."""
    going = "(SELECT *, rowid AS _cdc_number FROM sums WHERE _cdc_gone AND _cdc_nth = 1 AND _cdc_copies < 0)"
    both = zip(told_apart_by(table.schema, "t"), told_apart_by(table.schema, "s"), strict=True)
    transaction.run(
        "CREATE OR REPLACE TEMP TABLE going AS SELECT found FROM ("
        "SELECT t.rowid AS found, s._cdc_copies AS copies, "
        f"row_number() OVER (PARTITION BY s._cdc_number ORDER BY t.{LSN_COLUMN}) AS nth "
        f"FROM {target} t JOIN {going} s "
        f"ON {' AND '.join(f'{left} IS NOT DISTINCT FROM {right}' for left, right in both)}"
        ") WHERE nth <= -copies"
    )
    ((wanted, found),) = transaction.rows(
        f"SELECT (SELECT coalesce(-sum(_cdc_copies), 0) FROM {going}), (SELECT count(*) FROM going)"
    )
    if wanted == found:
        transaction.run(f"DELETE FROM {target} WHERE rowid IN (SELECT found FROM going)")
    return bool(wanted == found)
