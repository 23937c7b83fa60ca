"""
What the DuckDB sink remembers, in schema `_cdc` of the same file as the data.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

import pyarrow as pa

from ...model import LSN, Chunk, Commit, Position, Table, TableName, TableState, TextColumn
from .file import ALIAS, Transaction, named
from .record import TableRecord

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
        return {record.name: record for record in self._records("pipeline = ?")}

    def table(self, name: TableName) -> TableRecord:
        return next(self._records(_OF_TABLE, *name), TableRecord(name))

    def _records(self, condition: str, *names: str) -> Iterator[TableRecord]:
        query = (
            "SELECT source_schema, source_table, state, generation, lsn, live, reason, definition, seed, "
            f"as_text, seed_after, snapshot_lsn, truncated_at FROM {named(SCHEMA, 'tables')} "
            f"WHERE {condition} ORDER BY 1, 2"
        )
        for (
            schema,
            table,
            state,
            generation,
            lsn,
            live,
            reason,
            copy,
            seed,
            as_text,
            *lsns,
        ) in self._transaction.rows(query, self._pipeline, *names):
            yield TableRecord(
                TableName(schema, table),
                TableState(state),
                generation,
                None if lsn is None else LSN(lsn),
                live,
                reason,
                copy and _definition(copy),
                seed and _definition(seed),
                _columns(as_text),
                *map(LSN, lsns),
            )

    def tables_there(self) -> set[TableName]:
        """In the file; a copy that somebody dropped is not."""
        query = "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = ?"
        return {TableName(*names) for names in self._transaction.rows(query, ALIAS)}

    def save(self, *records: TableRecord) -> None:
        if not records:
            return
        with self._of_tables(record.name for record in records):
            self._transaction.run(f"DELETE FROM {named(SCHEMA, 'tables')} WHERE {_OF_TABLES}", self._pipeline)
        saved = pa.Table.from_pylist(
            [
                {
                    "pipeline": self._pipeline,
                    "source_schema": record.name.schema,
                    "source_table": record.name.name,
                    "state": record.state.value,
                    "generation": record.generation,
                    "lsn": record.lsn,
                    "live": record.live,
                    "reason": record.reason,
                    "definition": record.copy and record.copy.to_json(),
                    "seed": record.seed and record.seed.to_json(),
                    "as_text": json.dumps(sorted(record.as_text)),
                    "seed_after": record.seed_after,
                    "snapshot_lsn": record.snapshot_lsn,
                    "truncated_at": record.truncated_at,
                }
                for record in records
            ],
            _RECORDS,
        )
        with self._transaction.handing("saved", saved):
            self._transaction.run(f"INSERT INTO {named(SCHEMA, 'tables')} BY NAME FROM saved")

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

    def chunks_of(self, names: Iterable[TableName]) -> dict[TableName, set[Chunk]]:
        """Of each of the tables."""
        found: dict[TableName, set[Chunk]] = {name: set() for name in names}
        chunks = named(SCHEMA, "chunks")
        query = f"SELECT source_schema, source_table, key, bounds FROM {chunks} WHERE {_OF_TABLES}"
        with self._of_tables(found):
            for schema, table, *chunk in self._transaction.rows(query, self._pipeline):
                found[TableName(schema, table)].add(Chunk(*chunk))
        return found

    def unloaded(self) -> dict[TableName, list[Chunk]]:
        """The chunks that are planned and not loaded, in order."""
        query = (
            f"SELECT source_schema, source_table, key, bounds FROM {named(SCHEMA, 'chunks')} "
            "WHERE pipeline = ? AND lsn IS NULL ORDER BY ALL"
        )
        found: dict[TableName, list[Chunk]] = {}
        for schema, table, *chunk in self._transaction.rows(query, self._pipeline):
            found.setdefault(TableName(schema, table), []).append(Chunk(*chunk))
        return found

    def chunk_counts(self) -> dict[TableName, ChunkCount]:
        """Of each table that has any."""
        query = (
            "SELECT source_schema, source_table, count(*), count(lsn), coalesce(sum(rows), 0)::BIGINT "
            f"FROM {named(SCHEMA, 'chunks')} WHERE pipeline = ? GROUP BY ALL"
        )
        found = self._transaction.rows(query, self._pipeline)
        return {TableName(schema, table): ChunkCount(*counts) for schema, table, *counts in found}

    def plan_chunks(self, plans: Mapping[TableName, Sequence[Chunk]]) -> None:
        """Replace the plans of tables."""
        table = named(SCHEMA, "chunks")
        with self._of_tables(plans):
            self._transaction.run(f"DELETE FROM {table} WHERE {_OF_TABLES}", self._pipeline)
        planned = [(*name, chunk.key, chunk.bounds) for name, chunks in plans.items() for chunk in chunks]
        if planned:
            with self._transaction.handing("planned", _texts(_CHUNK, planned)):
                self._transaction.run(
                    f"INSERT INTO {table} BY NAME SELECT ? AS pipeline, * FROM planned", self._pipeline
                )

    def unload_chunks(self, name: TableName, chunks: Sequence[Chunk]) -> None:
        """Have some chunks of the plan loaded again."""
        self._transaction.run(
            f"UPDATE {named(SCHEMA, 'chunks')} SET lsn = NULL WHERE {_OF_TABLE} AND list_contains(?, key)",
            self._pipeline,
            *name,
            [chunk.key for chunk in chunks],
        )

    def chunks_loaded(self, loaded: Sequence[tuple[TableName, Chunk, int]], at: LSN) -> None:
        """`loaded`: chunks, and how many rows they had."""
        done = _texts(_CHUNK, [(*name, chunk.key, chunk.bounds) for name, chunk, _ in loaded])
        rows = pa.array([rows for *_, rows in loaded], pa.int64())
        with self._transaction.handing("done", done.append_column("rows", rows)):
            self._transaction.run(
                f"UPDATE {named(SCHEMA, 'chunks')} c SET lsn = ?, rows = done.rows, loaded_at = now() "
                "FROM done WHERE c.pipeline = ? AND c.source_schema = done.source_schema "
                "AND c.source_table = done.source_table AND c.key = done.key",
                int(at),
                self._pipeline,
            )

    @contextmanager
    def _of_tables(self, names: Iterable[TableName]) -> Iterator[None]:
        """Let queries say `_OF_TABLES`."""
        with self._transaction.handing("these", _texts(_CHUNK[:2], [*names])):
            yield


def _stored(commit: Commit | None) -> tuple[int | None, int | None]:
    return (int(commit.lsn), commit.time) if commit else (None, None)


class ChunkCount(NamedTuple):
    """Of the chunks of a table."""

    planned: int = 0
    loaded: int = 0
    rows: int = 0
    """That they had, each when it was loaded last."""

    @property
    def are_loaded(self) -> bool:
        return self.loaded == self.planned


_definition = lru_cache(maxsize=1 << 14)(Table.from_json)
"""They are read in every transaction, and seldom another than the time before."""


@lru_cache(maxsize=1 << 10)
def _columns(text: str) -> frozenset[TextColumn]:
    return frozenset(TextColumn(*column) for column in json.loads(text))


def _texts(names: Sequence[str], rows: Collection[Sequence[str]]) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else ([] for _ in names)
    return pa.table(
        {name: pa.array(column, pa.string()) for name, column in zip(names, columns, strict=True)}
    )


_CHUNK = ("source_schema", "source_table", "key", "bounds")
_RECORDS = pa.schema(
    [
        *((name, pa.string()) for name in ("pipeline", "source_schema", "source_table", "state")),
        ("generation", pa.int32()),
        ("lsn", pa.uint64()),
        ("live", pa.bool_()),
        *((name, pa.string()) for name in ("reason", "definition", "seed", "as_text")),
        *((name, pa.uint64()) for name in ("seed_after", "snapshot_lsn", "truncated_at")),
    ]
)
_OF_TABLE = "pipeline = ? AND source_schema = ? AND source_table = ?"
_OF_TABLES = "pipeline = ? AND (source_schema, source_table) IN (FROM these)"
