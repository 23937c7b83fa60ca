"""
Mirrors in a DuckDB file: every table under its own name, our memory in schema `_cdc`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa

from ...errors import SeedOutdated, SinkError, TableRefused
from ...model import (
    LSN,
    Applied,
    Audit,
    ChangeBatch,
    Chunk,
    Held,
    Part,
    Position,
    Quarantined,
    Retried,
    Sink,
    Table,
    TableName,
    TableState,
)
from ...points import Point, reached
from .audit import DuckDBAudit
from .beginning import Beginning
from .file import DuckDBFile, Transaction, named, quoted
from .quarantine import Policy, Quarantine, count, entries, place
from .record import TableRecord
from .refused import Refused, of_one_table, without_refused
from .seed import gathered
from .state import LSN_COLUMN, ChunkCount, State
from .taking import Taking, complete, seed_of, unseed

_MANY = 300
"""Tables. To open a file of 200 and to close it after a write took 16 ms, for one of 1,000 it took 120."""


class DuckDBSink(Sink):
    def __init__(
        self,
        path: Path,
        pipeline: str,
        *,
        lock_timeout: float = 60.0,
        memory_limit: str = "1GiB",
        stops_at_refused_rows: bool = False,
    ) -> None:
        """`lock_timeout`: seconds to wait for another process that holds the file."""
        self.file = DuckDBFile(path, lock_timeout=lock_timeout, memory_limit=memory_limit)
        self._pipeline = pipeline
        self._stops = stops_at_refused_rows

    @contextmanager
    def _writing(self) -> Iterator[tuple[Transaction, State]]:
        with self.file.writing() as transaction:
            yield transaction, State(transaction, self._pipeline)

    @contextmanager
    def _reading(self) -> Iterator[tuple[Transaction, State] | None]:
        with self.file.reading() as transaction:
            state = State(transaction, self._pipeline) if transaction else None
            yield (transaction, state) if transaction and state and state.exists() else None

    def see_that_it_can_be_written(self) -> None:
        self.file.see_that_it_can_be_written()

    def position(self) -> Position | None:
        with self._reading() as found:
            return found[1].position() if found else None

    def adopt(self, position: Position) -> None:
        with self._writing() as (transaction, state):
            state.create()
            for record in state.tables().values():
                unseed(transaction, state, record, "the stream started anew")
            state.adopt(position.with_seeds_in_place())

    def doubt(self, reason: str) -> None:
        with self._writing() as (_, state):
            state.doubt(reason)

    def tables(self, *, counted: bool = False) -> Mapping[TableName, Held]:
        with self._reading() as found:
            if not found:
                return {}
            transaction, state = found
            position, chunks, there = state.position(), state.chunk_counts(), state.tables_there()
            held = {}
            for name, record in state.tables().items():
                planned, loaded, _ = chunks.get(name, ChunkCount())
                rows = None
                if counted and record.copy and name in there:
                    ((rows,),) = transaction.rows(f"SELECT count(*) FROM {named(*name)}")
                held[name] = Held(
                    state=record.state,
                    generation=record.generation,
                    lsn=position.lsn if position and record.live else record.lsn,
                    rows=rows,
                    quarantined=count(transaction, name) if counted and place(name) in there else 0,
                    chunks=planned,
                    chunks_loaded=loaded,
                    reason=record.reason,
                    definition=record.copy,
                    seed=record.seed,
                    as_text=record.as_text,
                )
            return held

    def read(self, table: TableName) -> pa.Table:
        with self._reading() as found:
            copy = found[1].table(table).copy if found else None
            if not found or copy is None:
                raise SinkError(f"there is no copy of {table}", hint="cdc-assets sync makes one.")
            columns = ", ".join(map(quoted, copy.names))
            return found[0].arrow(f"SELECT {columns} FROM {named(*table)}")

    @contextmanager
    def audit(self, table: Table) -> Iterator[Audit]:
        audit = DuckDBAudit(self.file, self._pipeline, table)
        try:
            yield audit
        finally:
            audit.drop()

    def remove(self, table: TableName, keys: pa.Table, *, at: LSN) -> None:
        target, names = named(*table), keys.schema.names
        with self._writing() as (transaction, _), transaction.handing("wanted", keys):
            columns = ", ".join(map(quoted, names))
            transaction.run(f"CREATE OR REPLACE TEMP TABLE going AS SELECT {columns} FROM {target} LIMIT 0")
            transaction.run("INSERT INTO going BY NAME FROM wanted")
            equal = " AND ".join(f"t.{quoted(name)} IS NOT DISTINCT FROM g.{quoted(name)}" for name in names)
            transaction.run(
                f"DELETE FROM {target} t USING going g WHERE {equal} "
                f"AND coalesce(t.{LSN_COLUMN}, 0) <= {int(at)}"
            )

    def mark_unseeded(self, table: TableName, reason: str, *, in_step: bool = False) -> None:
        with self._writing() as (transaction, state):
            unseed(transaction, state, state.table(table), reason, in_step=in_step)

    def begin_seeds(
        self, planned: Sequence[tuple[Table, Sequence[Chunk]]], *, after: LSN
    ) -> Mapping[TableName, TableRefused]:
        refused: dict[TableName, TableRefused] = {}
        while True:
            wanted = [(table, chunks) for table, chunks in planned if table.name not in refused]
            try:
                with self._writing() as (transaction, state):
                    begun = Beginning(transaction, state, after)
                    for table, chunks in wanted:
                        if begun.is_under_way(table):
                            continue
                        if obstacle := begun.obstacle(table):
                            refused[table.name] = obstacle
                            continue
                        with of_one_table(table.name):
                            begun.begin(table, chunks)
                    begun.finish()
                return refused
            except TableRefused as error:
                # What DuckDB refuses ends the transaction, so the others are begun once more.
                refused[TableName(*error.table)] = error

    def begin_reload(self, table: TableName, chunks: Sequence[Chunk]) -> None:
        with self._writing() as (transaction, state):
            record = state.table(table)
            if record.state is TableState.UNSEEDED:
                raise SinkError(f"table {table} is not seeded", hint="seed it first.")
            if record.seed is None:
                if record.copy and not record.copy.key:
                    raise SinkError(
                        f"table {table} has no key, so none of its chunks can be loaded again alone",
                        hint=f"copy it again as a whole:  cdc-assets reseed {table}",
                    )
                record = record.reloading(state.lsn())
                seed_of(transaction, record).create()
                state.save(record)
            state.unload_chunks(table, chunks)

    def chunks(self, table: TableName) -> Mapping[Chunk, LSN | None]:
        with self._reading() as found:
            return found[1].chunks(table) if found else {}

    def unloaded(self) -> Mapping[TableName, Sequence[Chunk]]:
        with self._reading() as found:
            return found[1].unloaded() if found else {}

    def load_together(self, parts: Sequence[Part], *, at: LSN) -> Sequence[int]:
        with ExitStack() as stack:
            readers = [stack.enter_context(gathered(part.table, part.rows)) for part in parts]
            transaction, state = stack.enter_context(self._writing())
            records, planned = state.tables(), state.chunks_of({part.table.name for part in parts})
            counts = []
            for (table, chunk, _), reader in zip(parts, readers, strict=True):
                record = _under_way(records.get(table.name), table, at)
                if chunk not in planned[table.name]:
                    raise _outdated(table)
                with of_one_table(table.name):
                    counts.append(seed_of(transaction, record).load(reader, at))
                last = max(record.snapshot_lsn, at) if table.key else at
                records[table.name] = replace(record, snapshot_lsn=last)
            state.chunks_loaded(
                [(part.table.name, part.chunk, rows) for part, rows in zip(parts, counts, strict=True)], at
            )
            state.save(*(records[name] for name in planned))
            reached(Point.CHUNK_WRITTEN)
        return counts

    def repair(self, table: Table, keys: pa.RecordBatch, rows: Iterable[pa.RecordBatch], *, at: LSN) -> None:
        with gathered(table, rows) as reader, self._writing() as (transaction, state):
            record = _under_way(state.table(table.name), table, at)
            seed_of(transaction, record).repair(keys, reader, at)
            state.save(replace(record, snapshot_lsn=max(record.snapshot_lsn, at)))

    def missing(self) -> Mapping[TableName, pa.RecordBatch]:
        with self._reading() as found:
            if not found:
                return {}
            transaction, state = found
            records = state.tables()
            keys = {
                name: seed_of(transaction, records[name]).missing()
                for name in complete(records, state.chunk_counts, state.lsn())
                if records[name].state is TableState.SEEDING
            }
            return {
                name: table.combine_chunks().to_batches()[0] for name, table in keys.items() if len(table)
            }

    def apply(self, batch: ChangeBatch) -> Applied:
        return without_refused(partial(self._apply, batch), stops_at=batch.lsn if self._stops else None)

    def _apply(self, batch: ChangeBatch, refused: Refused) -> Applied:
        with self._writing() as (transaction, state):
            position = state.position()
            if position is None or batch.since > position.lsn:
                raise SinkError(
                    f"a batch starts at {batch.since}, but the destination is at "
                    f"{position.lsn if position else 'no position'}",
                    hint="another process wrote to the destination, or it was replaced: start again.",
                )
            taking, last = Taking(transaction, state, refused, stops=self._stops), LSN(0)
            self.file.has_many_tables = taking.heard_of > _MANY
            for changes in batch.changes:
                if unseen := changes.after(position.lsn):
                    taking.take(unseen)
                    last = max(last, unseen.last)
            position = position.after(batch, last)
            state.advance(position, batch.committed_at)
            applied = _finished(taking, state, position)
            reached(Point.BATCH_WRITTEN)
            return applied

    def redefine(self, tables: Iterable[Table]) -> Applied:
        return without_refused(partial(self._redefine, list(tables)))

    def _redefine(self, tables: Iterable[Table], refused: Refused) -> Applied:
        with self._writing() as (transaction, state):
            taking = Taking(transaction, state, refused, stops=self._stops)
            for table in tables:
                taking.redefine(table)
            position = state.position()
            return _finished(taking, state, position) if position else Applied()

    def quarantined(self) -> Sequence[Quarantined]:
        with self._reading() as found:
            if not found:
                return []
            transaction, state = found
            there = state.tables_there()
            return [
                each
                for name, record in state.tables().items()
                if record.copy and place(name) in there
                for each in entries(transaction, record.copy)
            ]

    def retry(self, table: TableName) -> Retried:
        with self._writing() as (transaction, state), of_one_table(table):
            copy, there = state.table(table).copy, place(table) in state.tables_there()
            quarantine = Quarantine(transaction, table, there=there, policy=Policy(judging=True))
            taken = quarantine.retry(copy) if copy else 0
            return Retried(taken, len(quarantine))

    def close(self) -> None:
        self.file.close()


def _finished(taking: Taking, state: State, position: Position) -> Applied:
    applied = taking.finish(position.lsn)
    if applied.seeded:
        state.advance(position.with_seeds_in_place(), None)
    return applied


def _under_way(record: TableRecord | None, table: Table, at: LSN) -> TableRecord:
    """The record, if it is of a table whose seed takes rows read at `at`."""
    if record is None or record.seed != table or at < record.seed_after:
        raise _outdated(table)
    return record


def _outdated(table: Table) -> SeedOutdated:
    return SeedOutdated(
        f"table {table.name} is not being seeded as it was planned",
        hint="plan its seed again.",
    )
