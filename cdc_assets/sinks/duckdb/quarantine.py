"""
Rows that the copy of a table does not take, kept beside it until it does.

They are in `_cdc."quarantine <table>"`, which is there as long as there are any, in columns of the
types that the source's have for DuckDB: so nothing of a row is lost. It and the copy together are
what the source has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...errors import RowRefused, TableRefused
from ...model import LSN, Quarantined, Table, TableName
from .file import Transaction, named, quoted
from .fit import JUDGED, REASON, judge
from .sameness import same_key
from .state import LSN_COLUMN, SCHEMA

_MOST = 1_000
"""Rows of one table. Where there are more, it is the table that is wrong, not they."""


@dataclass(frozen=True)
class Policy:
    """How rows are written to a copy."""

    judging: bool = False
    """Each row is looked at: one was refused."""
    stops: bool = False
    """A row that is refused is an error."""


class Quarantine:
    """Of one table, within one transaction on the file."""

    def __init__(
        self, transaction: Transaction, name: TableName, *, there: bool, policy: Policy = Policy()
    ) -> None:
        self._transaction, self._name, self._policy = transaction, name, policy
        self._there = there
        self._copy, self.rows = named(*name), named(*place(name))
        self.grew = False
        """Whether rows were refused in this transaction."""

    def __bool__(self) -> bool:
        """Whether there are rows in it."""
        return self._there

    def __len__(self) -> int:
        return count(self._transaction, self._name) if self._there else 0

    def held(self, table: Table) -> str:
        """What the source has: the copy, and these rows."""
        if not self:
            return self._copy
        columns = ", ".join(map(quoted, (*table.names, LSN_COLUMN)))
        return f"(SELECT {columns} FROM {self._copy} UNION ALL SELECT {columns} FROM {self.rows})"

    def insert(self, rows: str) -> None:
        """Write `rows`, none of whose keys is held, to the copy, or here."""
        run, columns = self._transaction.run, f"* EXCLUDE ({REASON})"
        if not self._policy.judging:
            run(f"INSERT INTO {self._copy} BY NAME FROM {rows}")
            return
        judge(self._transaction, self._name, rows)
        run(f"INSERT INTO {self._copy} BY NAME SELECT {columns} FROM {JUDGED} WHERE {REASON} IS NULL")
        refused = f"{JUDGED} WHERE {REASON} IS NOT NULL"
        worst = self._transaction.rows(f"SELECT {LSN_COLUMN}, {REASON} FROM {refused} ORDER BY 1 LIMIT 1")
        if not worst:
            return
        ((lsn, reason),) = worst
        if self._policy.stops:
            raise RowRefused(f"DuckDB refused a row of {self._name} at {LSN(lsn)} ({reason})", hint=_REMEDY)
        run(f"CREATE TABLE IF NOT EXISTS {self.rows} AS SELECT *, now() AS _cdc_at FROM {JUDGED} LIMIT 0")
        run(f"INSERT INTO {self.rows} BY NAME SELECT *, now() AS _cdc_at FROM {refused}")
        self._there = self.grew = True
        if len(self) > _MOST:
            raise TableRefused(
                f"DuckDB refused more than {_MOST:,} rows of {self._name} ({reason})",
                table=self._name,
                hint=f"was it changed by hand there?  cdc-assets reseed {self._name} copies it anew.",
            )

    def forget(self, rows: str, table: Table) -> None:
        """Take out every row whose key is among those of `rows`."""
        if self:
            self._transaction.run(
                f"DELETE FROM {self.rows} q USING {rows} r WHERE {same_key('q', 'r', table.key)}"
            )
            if not len(self):
                self.clear()

    def clear(self) -> None:
        if self:
            self._transaction.run(f"DROP TABLE {self.rows}")
            self._there = False

    def rename(self, to: TableName) -> None:
        if self:
            self._transaction.run(f"ALTER TABLE {self.rows} RENAME TO {quoted(place(to).name)}")
        self._name, self._copy, self.rows = to, named(*to), named(*place(to))

    def retry(self, table: Table) -> int:
        """Write every row again; how many were taken."""
        before = len(self)
        if before:
            run = self._transaction.run
            run(
                "CREATE OR REPLACE TEMP TABLE retried AS "
                f"SELECT * EXCLUDE ({REASON}, _cdc_at) FROM {self.rows}"
            )
            self.clear()
            # What somebody put there by hand under these keys is not the source's.
            run(f"DELETE FROM {self._copy} t USING retried r WHERE {same_key('t', 'r', table.key)}")
            self.insert("retried")
        return before - len(self)


_REMEDY = (
    "see what was done to the table there by hand, and undo it; or set on_row_refused: quarantine, and go on."
)


def place(name: TableName) -> TableName:
    return TableName(SCHEMA, f"quarantine {name}")


def count(transaction: Transaction, name: TableName) -> int:
    ((rows,),) = transaction.rows(f"SELECT count(*) FROM {named(*place(name))}")
    return int(rows)


def entries(transaction: Transaction, table: Table) -> Iterator[Quarantined]:
    """What may be said of the rows that are there."""
    names = [*table.key, LSN_COLUMN, REASON, "_cdc_at"]
    found = transaction.arrow(
        f"SELECT {', '.join(map(quoted, names))} FROM {named(*place(table.name))} ORDER BY {LSN_COLUMN}, 1"
    )
    for row in found.to_pylist():
        lsn, reason, at = (row.pop(name) for name in names[-3:])
        yield Quarantined(table.name, row, LSN(lsn), reason, at)
