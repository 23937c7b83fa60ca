"""
What the DuckDB sink remembers, in schema `_cdc` of the same file as the data.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ...model import LSN, Chunk, Commit, Position, Table, TableName, TableState, TextColumn
from .file import ALIAS, Transaction, named

SCHEMA = "_cdc"
LSN_COLUMN = "_cdc_lsn"
"""Of each row: the commit that wrote it, or the snapshot it was read from."""

_CREATE = f"""
CREATE SCHEMA IF NOT EXISTS {named(SCHEMA)};
CREATE TABLE IF NOT EXISTS {named(SCHEMA, "stream")} (
    pipeline VARCHAR, system VARCHAR, source_database VARCHAR, slot VARCHAR,
    lsn UBIGINT, committed_at TIMESTAMPTZ, applied_at TIMESTAMPTZ,
    commit_lsn UBIGINT, commit_time BIGINT, doubt VARCHAR);
CREATE TABLE IF NOT EXISTS {named(SCHEMA, "tables")} (
    pipeline VARCHAR, source_schema VARCHAR, source_table VARCHAR, state VARCHAR, generation INTEGER,
    lsn UBIGINT, live BOOLEAN, reason VARCHAR, definition VARCHAR, seed VARCHAR, as_text VARCHAR,
    seed_after UBIGINT, snapshot_lsn UBIGINT, truncated_at UBIGINT);
CREATE TABLE IF NOT EXISTS {named(SCHEMA, "chunks")} (
    pipeline VARCHAR, source_schema VARCHAR, source_table VARCHAR, key VARCHAR, bounds VARCHAR,
    lsn UBIGINT, rows BIGINT, loaded_at TIMESTAMPTZ);
"""


@dataclass(frozen=True)
class TableRecord:
    """A row of `_cdc.tables`."""

    name: TableName
    state: TableState = TableState.UNSEEDED
    generation: int = 0
    lsn: LSN | None = None
    live: bool = False
    """The copy follows the stream, also while it is being seeded again."""
    reason: str | None = None
    copy: Table | None = None
    """The definition of the copy that is readable; None while there is none."""
    seed: Table | None = None
    """The definition of the seed that is under way; None if none is."""
    as_text: frozenset[TextColumn] = frozenset()
    """The columns that are kept as text, in every copy from now on."""
    seed_after: LSN = LSN(0)
    """Changes up to here are in the seed's snapshot."""
    snapshot_lsn: LSN = LSN(0)
    """The last snapshot that rows of the seed were read from."""
    truncated_at: LSN = LSN(0)
    """The last commit that emptied the table since the seed began."""

    @property
    def oids(self) -> tuple[int | None, int | None]:
        """Of what the copy, if it follows the stream, and the seed are."""
        copy = self.copy if self.live else None
        return copy.oid if copy else None, self.seed.oid if self.seed else None

    def parts_of(self, table: Table) -> tuple[bool, bool]:
        """Whether the copy, and whether the seed, has to follow what happens to `table`: those that are
        of it, or both if it is another one of the same name."""
        copy, seed = self.oids
        if table.oid not in (copy, seed):
            return copy is not None, seed is not None
        return copy == table.oid, seed == table.oid

    def heard_of(self, table: Table) -> TableRecord:
        """With what is to be remembered of a definition, whatever comes of it."""
        return replace(
            self,
            as_text=self.as_text | table.as_text,
            copy=self.copy and self.copy.hearing(table),
            seed=self.seed and self.seed.hearing(table),
        )

    def seeding(self, table: Table, after: LSN) -> TableRecord:
        """With a new seed under way."""
        begun = replace(self, state=TableState.SEEDING, generation=self.generation + 1)
        return begun._with_seed(table, after).heard_of(table)

    def reloading(self, after: LSN) -> TableRecord:
        """With chunks being loaded into the copy there is."""
        return self._with_seed(self.copy, after)

    def _with_seed(self, definition: Table | None, after: LSN) -> TableRecord:
        return replace(self, seed=definition, seed_after=after, snapshot_lsn=LSN(0), truncated_at=LSN(0))

    def seeded(self, lsn: LSN) -> TableRecord:
        """With the seed as the copy."""
        return replace(
            self,
            state=TableState.SEEDED,
            lsn=lsn,
            live=True,
            reason=None,
            copy=self.seed,
            seed=None,
        )

    def unseeded(self, reason: str) -> TableRecord:
        return replace(self, state=TableState.UNSEEDED, seed=None, reason=reason)


class State:
    """The memory of one pipeline, within one transaction."""

    def __init__(self, transaction: Transaction, pipeline: str) -> None:
        self._transaction, self._pipeline = transaction, pipeline

    def create(self) -> None:
        self._transaction.run(_CREATE)

    def exists(self) -> bool:
        query = "SELECT 1 FROM duckdb_tables() WHERE database_name = ? AND schema_name = ?"
        return bool(self._transaction.rows(query, ALIAS, SCHEMA))

    def position(self) -> Position | None:
        query = (
            "SELECT lsn, system, source_database, slot, doubt, commit_lsn, commit_time "
            f"FROM {named(SCHEMA, 'stream')} WHERE pipeline = ?"
        )
        for lsn, system, database, slot, doubt, at, time in self._transaction.rows(query, self._pipeline):
            return Position(LSN(lsn), system, database, slot, Commit(LSN(at), time), doubt)
        return None

    def lsn(self) -> LSN:
        position = self.position()
        return position.lsn if position else LSN(0)

    def adopt(self, position: Position) -> None:
        table, commit = named(SCHEMA, "stream"), position.commit
        self._transaction.run(f"DELETE FROM {table} WHERE pipeline = ?", self._pipeline)
        self._transaction.run(
            f"INSERT INTO {table} VALUES (?, ?, ?, ?, ?, NULL, now(), ?, ?, NULL)",
            self._pipeline,
            position.system,
            position.database,
            position.slot,
            int(position.lsn),
            *_stored(commit),
        )

    def advance(self, position: Position, committed_at: datetime | None) -> None:
        self._transaction.run(
            f"UPDATE {named(SCHEMA, 'stream')} SET lsn = ?, commit_lsn = ?, commit_time = ?, "
            "applied_at = now(), committed_at = coalesce(?, committed_at) WHERE pipeline = ?",
            int(position.lsn),
            *_stored(position.commit),
            committed_at,
            self._pipeline,
        )

    def doubt(self, reason: str) -> None:
        self._transaction.run(
            f"UPDATE {named(SCHEMA, 'stream')} SET doubt = ? WHERE pipeline = ?", reason, self._pipeline
        )

    def tables(self) -> dict[TableName, TableRecord]:
        query = (
            "SELECT source_schema, source_table, state, generation, lsn, live, reason, definition, seed, "
            f"as_text, seed_after, snapshot_lsn, truncated_at FROM {named(SCHEMA, 'tables')} "
            "WHERE pipeline = ? ORDER BY 1, 2"
        )
        records = (
            TableRecord(
                TableName(schema, table),
                TableState(state),
                generation,
                None if lsn is None else LSN(lsn),
                live,
                reason,
                copy and Table.from_json(copy),
                seed and Table.from_json(seed),
                frozenset(TextColumn(*column) for column in json.loads(as_text)),
                *map(LSN, lsns),
            )
            for schema, table, state, generation, lsn, live, reason, copy, seed, as_text, *lsns in (
                self._transaction.rows(query, self._pipeline)
            )
        )
        return {record.name: record for record in records}

    def tables_there(self) -> set[TableName]:
        """In the file; a copy that somebody dropped is not."""
        query = "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = ?"
        return {TableName(*names) for names in self._transaction.rows(query, ALIAS)}

    def table(self, name: TableName) -> TableRecord:
        return self.tables().get(name, TableRecord(name))

    def save(self, record: TableRecord) -> None:
        table = named(SCHEMA, "tables")
        self._transaction.run(f"DELETE FROM {table} WHERE {_OF_TABLE}", self._pipeline, *record.name)
        self._transaction.run(
            f"INSERT INTO {table} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            self._pipeline,
            *record.name,
            record.state.value,
            record.generation,
            None if record.lsn is None else int(record.lsn),
            record.live,
            record.reason,
            record.copy and record.copy.to_json(),
            record.seed and record.seed.to_json(),
            json.dumps(sorted(record.as_text)),
            int(record.seed_after),
            int(record.snapshot_lsn),
            int(record.truncated_at),
        )

    def rename(self, name: TableName, to: TableName) -> None:
        for table in (named(SCHEMA, "tables"), named(SCHEMA, "chunks")):
            self._transaction.run(
                f"UPDATE {table} SET source_schema = ?, source_table = ? WHERE {_OF_TABLE}",
                *to,
                self._pipeline,
                *name,
            )

    def forget(self, name: TableName) -> None:
        for table in (named(SCHEMA, "tables"), named(SCHEMA, "chunks")):
            self._transaction.run(f"DELETE FROM {table} WHERE {_OF_TABLE}", self._pipeline, *name)

    def chunks(self, name: TableName) -> dict[Chunk, LSN | None]:
        query = f"SELECT key, bounds, lsn FROM {named(SCHEMA, 'chunks')} WHERE {_OF_TABLE} ORDER BY key"
        found = self._transaction.rows(query, self._pipeline, *name)
        return {Chunk(key, bounds): None if lsn is None else LSN(lsn) for key, bounds, lsn in found}

    def chunk_counts(self) -> dict[TableName, tuple[int, int]]:
        """Of each table: how many chunks, how many of them loaded."""
        query = (
            "SELECT source_schema, source_table, count(*), count(lsn) "
            f"FROM {named(SCHEMA, 'chunks')} WHERE pipeline = ? GROUP BY ALL"
        )
        found = self._transaction.rows(query, self._pipeline)
        return {TableName(schema, table): (total, loaded) for schema, table, total, loaded in found}

    def plan_chunks(self, name: TableName, chunks: Sequence[Chunk]) -> None:
        """Replace the plan of a table."""
        table = named(SCHEMA, "chunks")
        self._transaction.run(f"DELETE FROM {table} WHERE {_OF_TABLE}", self._pipeline, *name)
        self._transaction.run(
            f"INSERT INTO {table} SELECT ?, ?, ?, unnest(?::VARCHAR[]), unnest(?::VARCHAR[]), "
            "NULL, NULL, NULL",
            self._pipeline,
            *name,
            [chunk.key for chunk in chunks],
            [chunk.bounds for chunk in chunks],
        )

    def unload_chunks(self, name: TableName, chunks: Sequence[Chunk]) -> None:
        """Have some chunks of the plan loaded again."""
        self._transaction.run(
            f"UPDATE {named(SCHEMA, 'chunks')} SET lsn = NULL WHERE {_OF_TABLE} AND list_contains(?, key)",
            self._pipeline,
            *name,
            [chunk.key for chunk in chunks],
        )

    def rows_loaded(self, name: TableName) -> int:
        """How many rows the chunks of a table had, each when it was loaded last."""
        query = f"SELECT coalesce(sum(rows), 0)::BIGINT FROM {named(SCHEMA, 'chunks')} WHERE {_OF_TABLE}"
        ((rows,),) = self._transaction.rows(query, self._pipeline, *name)
        return int(rows)

    def chunk_loaded(self, name: TableName, chunk: Chunk, at: LSN, rows: int) -> None:
        self._transaction.run(
            f"UPDATE {named(SCHEMA, 'chunks')} SET lsn = ?, rows = ?, loaded_at = now() "
            f"WHERE {_OF_TABLE} AND key = ?",
            int(at),
            rows,
            self._pipeline,
            *name,
            chunk.key,
        )


def _stored(commit: Commit | None) -> tuple[int | None, int | None]:
    return (int(commit.lsn), commit.time) if commit else (None, None)


_OF_TABLE = "pipeline = ? AND source_schema = ? AND source_table = ?"
