"""
Mirrors in a DuckDB file: every table under its own name, our memory in schema `_cdc`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from ...errors import SeedOutdated, SinkError
from ...model import (
    LSN,
    Applied,
    ChangeBatch,
    Chunk,
    Differences,
    Held,
    Position,
    Sink,
    Table,
    TableChanges,
    TableName,
    TableState,
)
from .file import DuckDBFile, Transaction, named, quoted
from .merge import merge
from .seed import Seed, gathered, refuse_columns
from .state import Columns, State, TableRecord


class DuckDBSink(Sink):
    def __init__(
        self,
        path: Path,
        pipeline: str,
        *,
        lock_timeout: float = 60.0,
        memory_limit: str = "1GiB",
    ) -> None:
        """`lock_timeout`: seconds to wait for another process that holds the file."""
        self.file = DuckDBFile(path, lock_timeout=lock_timeout, memory_limit=memory_limit)
        self._pipeline = pipeline

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
                _unseed(transaction, state, record, "the stream started anew")
            state.adopt(position)

    def tables(self) -> Mapping[TableName, Held]:
        with self._reading() as found:
            if not found:
                return {}
            transaction, state = found
            position, chunks = state.position(), state.chunk_counts()
            held = {}
            for name, record in state.tables().items():
                total, loaded = chunks.get(name, (0, 0))
                rows = None
                if record.definition:
                    ((rows,),) = transaction.rows(f"SELECT count(*) FROM {named(*name)}")
                held[name] = Held(
                    state=record.state,
                    generation=record.generation,
                    lsn=position.lsn if position and record.live else record.lsn,
                    rows=rows,
                    chunks=total,
                    chunks_loaded=loaded,
                    reason=record.reason,
                    definition=record.definition or record.seed,
                )
            return held

    def read(self, table: TableName) -> pa.Table:
        with self._reading() as found:
            definition = found[1].table(table).definition if found else None
            if not found or definition is None:
                raise SinkError(f"there is no copy of {table}", hint="cdc-assets sync makes one.")
            columns = ", ".join(map(quoted, Columns.of(definition).all))
            return found[0].arrow(f"SELECT {columns} FROM {named(*table)}")

    def compare(self, table: Table, rows: Iterable[pa.RecordBatch]) -> Differences:
        columns = ", ".join(quoted(column.name) for column in table.columns)
        copy = f"SELECT {columns} FROM {named(*table.name)}"
        with gathered(table, rows) as reader, self.file.reading() as transaction:
            if transaction is None:
                raise SinkError(f"there is no copy of {table.name}", hint="cdc-assets sync makes one.")
            with transaction.handing("source_rows", reader):
                transaction.run("CREATE OR REPLACE TEMP TABLE source AS FROM source_rows")
            ((source_only, copy_only),) = transaction.rows(
                f"SELECT (SELECT count(*) FROM (FROM source EXCEPT ALL {copy})), "
                f"(SELECT count(*) FROM ({copy} EXCEPT ALL FROM source))"
            )
            transaction.run("DROP TABLE source")
            return Differences(source_only, copy_only)

    def mark_unseeded(self, table: TableName, reason: str, *, in_step: bool = False) -> None:
        with self._writing() as (transaction, state):
            _unseed(transaction, state, state.table(table), reason, in_step=in_step)

    def begin_seed(self, table: Table, chunks: Sequence[Chunk], *, after: LSN) -> None:
        with self._writing() as (transaction, state):
            record = state.table(table.name)
            if record.state is TableState.SEEDING and record.seed == table.to_json():
                return
            begun = record.seeding(table, after)
            seed = _seed(transaction, begun)
            refuse_columns(table)
            seed.refuse_strangers(has_copy=record.definition is not None, has_seed=record.seed is not None)
            seed.create(table)
            state.plan_chunks(table.name, chunks)
            state.save(begun)

    def begin_reload(self, table: TableName, chunks: Sequence[Chunk]) -> None:
        with self._writing() as (transaction, state):
            record = state.table(table)
            if record.state is TableState.UNSEEDED:
                raise SinkError(f"table {table} is not seeded", hint="seed it first.")
            if record.seed is None:
                record = record.reloading(_lsn(state))
                _seed(transaction, record).create_like_copy()
                state.save(record)
            state.unload_chunks(table, chunks)

    def chunks(self, table: TableName) -> Mapping[Chunk, LSN | None]:
        with self._reading() as found:
            return found[1].chunks(table) if found else {}

    def load(self, table: Table, chunk: Chunk, rows: Iterable[pa.RecordBatch], *, at: LSN) -> int:
        with gathered(table, rows) as reader, self._writing() as (transaction, state):
            record = _under_way(state, table, at)
            if chunk not in state.chunks(table.name):
                raise _outdated(table)
            count = _seed(transaction, record).load(reader, at)
            state.chunk_loaded(table.name, chunk, at, count)
            state.save(replace(record, snapshot_lsn=max(record.snapshot_lsn, at)))
            return count

    def repair(self, table: Table, keys: pa.RecordBatch, rows: Iterable[pa.RecordBatch], *, at: LSN) -> None:
        with gathered(table, rows) as reader, self._writing() as (transaction, state):
            record = _under_way(state, table, at)
            _seed(transaction, record).repair(keys, reader, at)
            state.save(replace(record, snapshot_lsn=max(record.snapshot_lsn, at)))

    def missing(self) -> Mapping[TableName, pa.RecordBatch]:
        with self._reading() as found:
            if not found:
                return {}
            transaction, state = found
            lsn = _lsn(state)
            keys = {
                name: _seed(transaction, record).missing()
                for name, record in state.tables().items()
                if record.state is TableState.SEEDING and _is_complete(state, record, lsn)
            }
            return {
                name: table.combine_chunks().to_batches()[0] for name, table in keys.items() if len(table)
            }

    def apply(self, batch: ChangeBatch) -> Applied:
        with self._writing() as (transaction, state):
            position = state.position()
            if position is None or batch.since > position.lsn:
                raise SinkError(
                    f"a batch starts at {batch.since}, but the destination is at "
                    f"{position.lsn if position else 'no position'}",
                    hint="another process wrote to the destination, or it was replaced: start again.",
                )
            tables = state.tables()
            unseeded = []
            for changes in batch.changes:
                record = tables.get(changes.table.name)
                if record and (unseen := changes.after(position.lsn)):
                    tables[record.name] = after = _take(transaction, state, record, unseen)
                    if after.state is TableState.UNSEEDED is not record.state:
                        unseeded.append(record.name)
            lsn = max(position.lsn, batch.lsn)
            state.advance(lsn, batch.committed_at)
            under_way = [record for record in tables.values() if record.seed]
            finished = {record.name: _finish(transaction, state, record, lsn) for record in under_way}
            return Applied(
                seeded=tuple(name for name, outcome in finished.items() if outcome == _DONE),
                unseeded=tuple(unseeded),
                incomplete=_INCOMPLETE in finished.values(),
            )

    def close(self) -> None:
        self.file.close()


_WAITING, _INCOMPLETE, _DONE = "waiting", "incomplete", "done"


def _seed(transaction: Transaction, record: TableRecord) -> Seed:
    assert record.seed is not None
    return Seed(transaction, record.name, Columns.of(record.seed))


def _lsn(state: State) -> LSN:
    position = state.position()
    return position.lsn if position else LSN(0)


def _under_way(state: State, table: Table, at: LSN) -> TableRecord:
    """The record of a table whose seed takes rows read at `at`."""
    record = state.table(table.name)
    if record.seed != table.to_json() or at < record.seed_after:
        raise _outdated(table)
    return record


def _outdated(table: Table) -> SeedOutdated:
    return SeedOutdated(
        f"table {table.name} is not being seeded as it was planned",
        hint="plan its seed again.",
    )


def _frozen(state: State, record: TableRecord) -> TableRecord:
    """With the copy, if it followed the stream, staying what it is."""
    return replace(record, live=False, lsn=_lsn(state)) if record.live else record


def _unseed(
    transaction: Transaction,
    state: State,
    record: TableRecord,
    reason: str,
    *,
    in_step: bool = False,
) -> TableRecord:
    if record.seed:
        _seed(transaction, record).drop()
    record = (record if in_step else _frozen(state, record)).unseeded(reason)
    state.plan_chunks(record.name, [])
    state.save(record)
    return record


def _take(transaction: Transaction, state: State, record: TableRecord, changes: TableChanges) -> TableRecord:
    """Changes to one table go into its seed, if one is under way, and into its copy, if it is live."""
    definition = changes.table.to_json()
    reason = "its definition changed"
    if record.live and definition != record.definition:
        record = replace(_frozen(state, record), reason=reason)
        if record.state is TableState.SEEDED:
            return _unseed(transaction, state, record, reason)
        state.save(record)
    if record.seed and (late := changes.after(record.seed_after)):
        if definition != record.seed:
            return _unseed(transaction, state, record, reason)
        _seed(transaction, record).keep(late)
        if late.truncated:
            record = replace(record, truncated_at=late.truncated)
            state.save(record)
    if record.live:
        merge(transaction, named(*record.name), changes)
    return record


def _is_complete(state: State, record: TableRecord, lsn: LSN) -> bool:
    """Whether the stream, being at `lsn`, has passed everything that a seed is made of."""
    passed = record.seed_after <= lsn and record.snapshot_lsn <= lsn
    return passed and None not in state.chunks(record.name).values()


def _finish(transaction: Transaction, state: State, record: TableRecord, lsn: LSN) -> str:
    """Put a seed in place if all that it is made of is there."""
    if not _is_complete(state, record, lsn):
        return _WAITING
    seed = _seed(transaction, record)
    seed.drop_outdated(record.truncated_at, state.rows_loaded(record.name))
    if record.state is TableState.SEEDED:
        seed.merge_into_copy()
    else:
        if len(seed.missing()):
            return _INCOMPLETE
        seed.merge_changes()
        seed.refuse_strangers(has_copy=record.definition is not None, has_seed=True)
        seed.replace_copy()
    state.save(record.seeded(lsn))
    return _DONE
