"""
A table on its way in: what chunks brought, what the stream brought, and the two made one.

Chunks are appended to `_cdc_seed_<table>`, beside the table in its schema because
DuckDB renames within one only. Changes that stream in meanwhile are kept in
`_cdc."delta ..."`, the newest of each key, deletes included: they are the
tombstones that keep an old chunk from bringing a row back. Joined at the end, the
newest LSN of each key wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain

import numpy as np
import pyarrow as pa

from ...errors import TableRefused
from ...model import LSN, Table, TableChanges, net
from ...model.changes import Bools
from .file import ALIAS, Transaction, named, quoted
from .merge import filled_cells, net_table, open_columns
from .quarantine import Quarantine
from .sameness import same_key
from .state import LSN_COLUMN, SCHEMA

_OURS = "_cdc_"
_TABLE = "BASE TABLE"
SEED = f"{_OURS}seed_"


class Seed:
    def __init__(self, transaction: Transaction, table: Table) -> None:
        self._transaction, self._table = transaction, table
        self.name = table.name
        self.target = named(*table.name)
        self.loaded = named(table.name.schema, SEED + table.name.name)
        self.delta = named(SCHEMA, f"delta {table.name}")

    def create(self) -> None:
        """Make the two tables, empty, in a schema that is there."""
        self.drop()
        no_rows = pa.RecordBatchReader.from_batches(self._table.schema, [])
        with self._transaction.handing("no_rows", no_rows):
            self._transaction.run(
                f"CREATE TABLE {self.loaded} AS SELECT *, 0::UBIGINT AS {LSN_COLUMN} FROM no_rows"
            )
        self._transaction.run(
            f"CREATE TABLE {self.delta} AS SELECT *, false AS _cdc_gone, []::VARCHAR[] AS _cdc_missing, "
            f"false AS _cdc_lost FROM {self.loaded}"
        )

    def drop(self) -> None:
        self._transaction.run(f"DROP TABLE IF EXISTS {self.loaded}")
        self._transaction.run(f"DROP TABLE IF EXISTS {self.delta}")

    def load(self, rows: pa.RecordBatchReader, at: LSN) -> int:
        with self._transaction.handing("chunk", rows):
            return self._transaction.run(
                f"INSERT INTO {self.loaded} BY NAME SELECT *, {int(at)}::UBIGINT AS {LSN_COLUMN} FROM chunk"
            )

    def keep(self, changes: TableChanges) -> None:
        """Take changes into the delta."""
        transaction, table = self._transaction, self._table
        if changes.truncated:
            transaction.run(f"DELETE FROM {self.delta}")
        if not len(changes):
            return
        unsure: list[pa.RecordBatch] = []

        def ask_later(keys: pa.RecordBatch) -> Bools:
            unsure.append(keys)
            return np.zeros(keys.num_rows, bool)

        effect = net(changes, ask_later)
        asked = pa.Table.from_batches(unsure, schema=effect.origin.schema)
        # What neither the run nor the delta knows of a row, a chunk will, unless the row
        # came from another key.
        known = f"d.{LSN_COLUMN} IS NOT NULL AND NOT d._cdc_gone"
        unknown = [
            f"CASE WHEN n.{quoted(f'_cdc_no_{name}')} AND NOT "
            f"({known} AND NOT list_contains(d._cdc_missing, {_text(name)})) THEN {_text(name)} END"
            for name in open_columns(effect)
        ]
        missing = f"list_filter([{', '.join(unknown)}]::VARCHAR[], lambda x: x IS NOT NULL)"
        # A key that was asked for may have been there; that matters only where the run leaves none.
        lost = (
            f"n._cdc_gone AND a.{quoted(table.key[0])} IS NOT NULL "
            f"OR len({missing}) > 0 AND (n._cdc_relocated OR coalesce(d._cdc_lost, false))"
        )
        origin = " AND ".join(f"d.{quoted(name)} = n.{quoted(f'_cdc_from_{name}')}" for name in table.key)
        with transaction.handing("net", net_table(effect)), transaction.handing("asked", asked):
            transaction.run(
                f"CREATE OR REPLACE TEMP TABLE kept AS SELECT {filled_cells(table, effect, 'd')}, "
                f"n.{LSN_COLUMN}, n._cdc_gone, {missing} AS _cdc_missing, {lost} AS _cdc_lost "
                f"FROM net n LEFT JOIN {self.delta} d ON {origin} "
                f"LEFT JOIN asked a ON {same_key('a', 'n', table.key)}"
            )
            transaction.run(f"DELETE FROM {self.delta} d USING net n WHERE {same_key('d', 'n', table.key)}")
            transaction.run(f"INSERT INTO {self.delta} BY NAME FROM kept")

    def repair(self, keys: pa.RecordBatch, rows: pa.RecordBatchReader, at: LSN) -> int:
        """Rows read again, for keys that were missing; one that has no row now is gone."""
        with self._transaction.handing("repaired", pa.Table.from_batches([keys])):
            self._transaction.run(
                f"UPDATE {self.delta} AS d SET _cdc_gone = true, _cdc_lost = false, _cdc_missing = [] "
                f"FROM repaired r WHERE {same_key('d', 'r', self._table.key)} "
                f"AND d.{LSN_COLUMN} <= {int(at)}"
            )
        return self.load(rows, at)

    def missing(self) -> pa.Table:
        """Keys whose newest row neither chunks nor changes have whole."""
        keys, columns = (", ".join(f"{of}{quoted(name)}" for name in self._table.key) for of in ("", "d."))
        return self._transaction.arrow(
            f"WITH unsure AS (FROM {self.delta} "
            "WHERE _cdc_lost OR NOT _cdc_gone AND len(_cdc_missing) > 0), "
            f"newest AS (SELECT {keys}, max({LSN_COLUMN}) AS {LSN_COLUMN} FROM {self.loaded} l "
            f"SEMI JOIN unsure u ON {same_key('l', 'u', self._table.key)} GROUP BY ALL) "
            f"SELECT {columns} FROM unsure d LEFT JOIN newest n ON {same_key('d', 'n', self._table.key)} "
            f"WHERE coalesce(n.{LSN_COLUMN}, 0) < d.{LSN_COLUMN} "
            f"AND (d._cdc_lost OR n.{LSN_COLUMN} IS NULL)"
        )

    def drop_outdated(self, truncated_at: LSN, chunk_rows: int) -> None:
        """Leave of the loaded rows those read after the last truncation, and of each key the newest.

        From one snapshot, and no more rows than its chunks have, none can be there twice.
        """
        transaction, keys = self._transaction, ", ".join(map(quoted, self._table.key))
        ((rows, snapshots),) = transaction.rows(
            f"SELECT count(*), count(DISTINCT {LSN_COLUMN}) FROM {self.loaded}"
        )
        if truncated_at:
            transaction.run(f"DELETE FROM {self.loaded} WHERE {LSN_COLUMN} < {int(truncated_at)}")
        if snapshots > 1 or rows > chunk_rows:
            transaction.run(
                f"DELETE FROM {self.loaded} WHERE rowid NOT IN "
                f"(SELECT arg_max(rowid, {LSN_COLUMN}) FROM {self.loaded} GROUP BY {keys})"
            )

    def is_as_loaded(self) -> bool:
        """Whether nothing happened to the table since the seed began."""
        return not self._transaction.rows(f"SELECT 1 FROM {self.delta} LIMIT 1")

    def merge_changes(self) -> bool:
        """Leave in the loaded rows what wins: of each key the newest, changes included. False if
        changes and rows do not go together."""
        transaction, key = self._transaction, self._table.key
        cells = ", ".join(
            f"CASE WHEN list_contains(d._cdc_missing, {_text(name)}) THEN l.{quoted(name)} "
            f"ELSE d.{quoted(name)} END AS {quoted(name)}"
            for name in self._table.names
        )
        transaction.run(
            f"CREATE OR REPLACE TEMP TABLE winners AS SELECT {cells}, d.{LSN_COLUMN}, d._cdc_gone "
            f"FROM {self.delta} d LEFT JOIN {self.loaded} l ON {same_key('d', 'l', key)} "
            f"WHERE coalesce(l.{LSN_COLUMN}, 0) < d.{LSN_COLUMN}"
        )
        transaction.run(f"DELETE FROM {self.loaded} l USING winners w WHERE {same_key('l', 'w', key)}")
        transaction.run(
            f"INSERT INTO {self.loaded} BY NAME SELECT * EXCLUDE (_cdc_gone) FROM winners WHERE NOT _cdc_gone"
        )
        return True

    def replace_copy(self) -> None:
        """Put the loaded rows in the place of the copy, in one step."""
        self._transaction.run(f"DROP TABLE IF EXISTS {self.target}")
        self._transaction.run(f"ALTER TABLE {self.loaded} RENAME TO {quoted(self._table.name.name)}")
        self.drop()

    def merge_into_copy(self, quarantine: Quarantine) -> None:
        """Put the loaded rows into the copy, which followed the stream, unless it has newer ones."""
        transaction, equal = self._transaction, same_key("t", "l", self._table.key)
        transaction.run(
            f"DELETE FROM {self.loaded} l USING {self.delta} d "
            f"WHERE {same_key('l', 'd', self._table.key)} AND l.{LSN_COLUMN} < d.{LSN_COLUMN}"
        )
        # What changed, or was refused, since the reload began is in the delta.
        transaction.run(f"DELETE FROM {self.target} t USING {self.loaded} l WHERE {equal}")
        quarantine.forget(self.loaded, self._table)
        quarantine.insert(self.loaded)
        self.drop()

    def refuse_strangers(self, there: Tenants, *, has_copy: bool, has_seed: bool) -> None:
        """A table of our names that is not ours must not be replaced."""
        schema, name = self._table.name
        if there.stranger(schema, name, expected=has_copy) or there.stranger(
            schema, SEED + name, expected=has_seed
        ):
            raise TableRefused(
                f"the destination has a {self._table.name} already, which is not a copy of the source's "
                "(DuckDB does not tell upper from lower case)",
                table=self._table.name,
                hint="rename it, or leave the source's table out.",
            )


class Tenants:
    """What is in the file under which names, as DuckDB tells these apart, when it was looked up."""

    def __init__(self, transaction: Transaction) -> None:
        query = (
            "SELECT table_schema, table_name, table_type FROM information_schema.tables "
            "WHERE table_catalog = ?"
        )
        self._kinds = {
            (_folded(schema), _folded(name)): kind for schema, name, kind in transaction.rows(query, ALIAS)
        }

    def stranger(self, schema: str, name: str, *, expected: bool) -> bool:
        """Whether there is something else than the table of that name that is `expected` to be."""
        kind = self._kinds.get((_folded(schema), _folded(name)))
        return kind is not None and not (expected and kind == _TABLE)

    def made(self, seed: Seed) -> None:
        """Its tables are there now."""
        schema, name = seed.name
        self._kinds[_folded(schema), _folded(SEED + name)] = _TABLE


def refuse_columns(table: Table) -> None:
    """DuckDB would take two columns for one, or one of the source's for one of ours."""
    there: dict[str, str] = {}
    for name in (column.name for column in table.columns):
        if _folded(name).startswith(_OURS):
            said = f"column {name} of {table.name} has a name that starts with {_OURS}, as ours do"
        elif (other := there.setdefault(_folded(name), name)) != name:
            said = f"columns {other} and {name} of {table.name} differ only in case, which DuckDB ignores"
        else:
            continue
        raise TableRefused(said, table=table.name, hint="rename the column, or leave the table out.")


def _folded(name: str) -> str:
    """As DuckDB compares names: it takes only ASCII letters for the same in upper and lower case."""
    return name.encode().lower().decode()


@contextmanager
def gathered(table: Table, rows: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatchReader]:
    """`rows`, the first of them already read: so that the file is not held while the source is waited for.

    What goes wrong while the rest is read comes out as what it is: DuckDB, which does the
    reading, would make an error of its own of it.
    """
    iterator = iter(rows)
    first: list[pa.RecordBatch] = []
    size = 0
    for batch in iterator:
        first.append(batch)
        size += batch.get_total_buffer_size()
        if size > _GATHERED:
            break
    failures: list[BaseException] = []

    def rest() -> Iterator[pa.RecordBatch]:
        try:
            yield from iterator
        except BaseException as error:
            failures.append(error)
            raise

    try:
        yield pa.RecordBatchReader.from_batches(table.schema, chain(first, rest()))
    except BaseException:
        if failures:
            raise failures[0] from None
        raise


_GATHERED = 128 << 20
"""Bytes."""


def _text(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"
