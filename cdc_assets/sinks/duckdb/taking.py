"""
One step of the stream, within one transaction: what it does to each table's copy and to its seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property

from ...model import (
    LSN,
    Applied,
    Evolution,
    ReplicaIdentity,
    Table,
    TableChanges,
    TableName,
    TableState,
    evolution,
)
from ...points import Point, reached
from .doubles import Doubles
from .evolve import evolve
from .file import Transaction, named, quoted
from .merge import merge
from .multiset import LOST, MultisetSeed, merge_rows
from .quarantine import Policy, Quarantine, place
from .record import TableRecord
from .refused import Refused, of_one_table
from .seed import Seed, Tenants, refuse_columns
from .state import ChunkCount, State

MOVED = "keys moved in a transaction larger than memory, under REPLICA IDENTITY FULL, while it was seeded"


class Taking:
    def __init__(self, transaction: Transaction, state: State, refused: Refused, *, stops: bool) -> None:
        """`stops`: at a row that is refused."""
        self._transaction, self._state = transaction, state
        self._tables = state.tables()
        self._unseeded: dict[TableName, str] = {}
        self._redefined: dict[TableName, str] = {}
        self._doubles: dict[TableName, Doubles] = {}
        self._quarantines: dict[TableName, Quarantine] = {}
        self._unsaved: dict[TableName, None] = {}
        """Tables whose records have changed."""
        self._refused, self._stops = refused, stops
        self._set_aside(refused.tables)

    @property
    def heard_of(self) -> int:
        """How many tables there are."""
        return len(self._tables)

    @cached_property
    def _there(self) -> set[TableName]:
        """Asked for where something happens only."""
        return self._state.tables_there()

    @cached_property
    def _tenants(self) -> Tenants:
        return Tenants(self._transaction)

    @cached_property
    def _chunks(self) -> Mapping[TableName, ChunkCount]:
        return self._state.chunk_counts()

    def _set_aside(self, refused: Mapping[TableName, str]) -> None:
        """Tables that cannot be written to, and why: what is there stays what it is."""
        for name, reason in refused.items():
            if record := self._tables.get(name):
                self._unseed(record, Evolution(obstacle=reason), in_step=False)

    def take(self, changes: TableChanges) -> None:
        """Changes that are not held yet go into the seed, if one is under way, and into the copy, if it
        follows the stream."""
        for record in self._records(changes.table):
            with of_one_table(record.name):
                self._take(record, changes)

    def _take(self, record: TableRecord, changes: TableChanges) -> None:
        # A partitioned table that is renamed goes on under its old name in a stream that has begun.
        changes = replace(changes, table=replace(changes.table, name=record.name))
        record = self._heard_of(record, changes.table)
        of_copy, of_seed = record.parts_of(changes.table)
        if of_copy and (changes.table.doubt or record.copy != changes.table):
            record = self._redefine_copy(record, changes.table)
        if of_seed and record.seed and (late := changes.after(record.seed_after)):
            if changes.table.doubt or record.seed != changes.table:
                record = self._unseed(record, evolution(record.seed, changes.table))
            elif late.continues and late.moved.any() and changes.table.identity is ReplicaIdentity.FULL:
                # For a moment two rows may have one key, and a seed cannot tell whether they do.
                record = self._unseed(record, Evolution(obstacle=MOVED))
            else:
                seed_of(self._transaction, record).keep(late)
                if late.truncated:
                    record = self._save(replace(record, truncated_at=late.truncated))
        if of_copy and record.live:
            target = named(*record.name)
            if changes.table.key:
                doubles = self._doubles.setdefault(record.name, Doubles(self._transaction))
                merge(self._transaction, target, changes, doubles, self._quarantine(record.name))
            elif not merge_rows(self._transaction, target, changes):
                self._leave_behind(record, Evolution(obstacle=LOST))

    def redefine(self, table: Table) -> None:
        """The source has `table` so now; and it had no other definition since the last change to it."""
        for record in self._records(table):
            with of_one_table(record.name):
                self._redefine(self._heard_of(record, table), table)

    def _redefine(self, record: TableRecord, table: Table) -> None:
        of_copy, of_seed = record.parts_of(table)
        if of_copy:
            record = self._redefine_copy(record, table)
        if of_seed and record.seed:
            way = evolution(record.seed, table)
            if way.obstacle or record.seed != table:
                self._unseed(record, way)
            else:
                self._save(replace(record, seed=table))

    def finish(self, lsn: LSN) -> Applied:
        """Put in place every seed of which the stream, now at `lsn`, has all; what this step did."""
        seeded, incomplete = [], False
        for name in complete(self._tables, lambda: self._chunks, lsn):
            # It is gone if a copy of the same table, under its new name, took its place just now.
            if record := self._tables.get(name):
                with of_one_table(record.name):
                    is_in_place = self._put_in_place(record, lsn)
                if is_in_place:
                    seeded.append(record.name)
                else:
                    incomplete |= self._tables[record.name].seed is not None
        self._state.save(*(self._tables[name] for name in self._unsaved if name in self._tables))
        refused = {name: len(each) for name, each in self._quarantines.items() if each.grew and each}
        return Applied(tuple(seeded), self._unseeded, self._redefined, refused, incomplete)

    def _quarantine(self, name: TableName) -> Quarantine:
        if name not in self._quarantines:
            policy = Policy(judging=name in self._refused.rows, stops=self._stops)
            there = place(name) in self._there
            self._quarantines[name] = Quarantine(self._transaction, name, there=there, policy=policy)
        return self._quarantines[name]

    def _heard_of(self, record: TableRecord, table: Table) -> TableRecord:
        heard = record.heard_of(table)
        same = heard.as_text == record.as_text and heard.copy is record.copy and heard.seed is record.seed
        return record if same else self._save(heard)

    def _records(self, table: Table) -> list[TableRecord]:
        """What is held of a table, which keeps its OID if it is renamed. Its copy can be under the one
        name while a seed of it is under way under the other."""
        of_its_oid = [record for record in self._tables.values() if table.oid in record.oids]
        of_its_name = self._tables.get(table.name)
        return of_its_oid or ([of_its_name] if of_its_name else [])

    def _redefine_copy(self, record: TableRecord, table: Table) -> TableRecord:
        assert record.copy
        way = evolution(record.copy, table)
        if table.name != record.name and table.name in self._tables:
            way = Evolution(obstacle=f"it was renamed to {table.name}, which another table was called")
        if way.obstacle:
            return self._leave_behind(record, way)
        refuse_columns(table)
        if record.name != table.name:
            record = self._rename(record, table)
        evolve(self._transaction, named(*record.name), table, way)
        if quarantine := self._quarantine(record.name):
            evolve(self._transaction, quarantine.rows, table, way)
        if way.said:
            self._redefined[record.name] = way.said
        return self._save(replace(record, copy=table))

    def _leave_behind(self, record: TableRecord, way: Evolution) -> TableRecord:
        """The copy follows the stream no longer; a new one may be on its way."""
        if record.state is TableState.SEEDED:
            return self._unseed(record, way, in_step=False)
        return self._save(replace(frozen(self._state, record), reason=way.obstacle))

    def _rename(self, record: TableRecord, table: Table) -> TableRecord:
        """The copy goes along; a seed that is under way begins anew, under the new name."""
        transaction, source, to = self._transaction, named(*record.name), table.name
        if record.seed:
            record = self._unseed(record, Evolution(obstacle=f"it was renamed to {to}"))
        Seed(transaction, table).refuse_strangers(Tenants(transaction), has_copy=False, has_seed=False)
        if to.schema == record.name.schema:
            transaction.run(f"ALTER TABLE {source} RENAME TO {quoted(to.name)}")
        else:
            transaction.run(f"CREATE SCHEMA IF NOT EXISTS {named(to.schema)}")
            transaction.run(f"CREATE TABLE {named(*to)} AS FROM {source}")
            transaction.run(f"DROP TABLE {source}")
        quarantine = self._quarantine(record.name)
        quarantine.rename(to)
        self._quarantines[to] = self._quarantines.pop(record.name)
        self._state.rename(record.name, to)
        del self._tables[record.name]
        return replace(record, name=to)

    def _unseed(self, record: TableRecord, way: Evolution, *, in_step: bool = True) -> TableRecord:
        self._unseeded[record.name] = reason = way.obstacle or "its definition changed"
        record = unseed(self._transaction, self._state, record, reason, in_step=in_step)
        self._tables[record.name] = record
        return record

    def _save(self, record: TableRecord) -> TableRecord:
        """With all others, at the end."""
        self._unsaved[record.name] = None
        self._tables[record.name] = record
        return record

    def _put_in_place(self, record: TableRecord, lsn: LSN) -> bool:
        seed = seed_of(self._transaction, record)
        seed.drop_outdated(record.truncated_at, self._chunks.get(record.name, ChunkCount()).rows)
        if record.state is TableState.SEEDED:
            seed.merge_into_copy(self._quarantine(record.name))
        else:
            if not seed.is_as_loaded():
                if len(seed.missing()):
                    return False
                if not seed.merge_changes():
                    self._unseed(record, Evolution(obstacle=LOST))
                    return False
            seed.refuse_strangers(self._tenants, has_copy=record.copy is not None, has_seed=True)
            seed.replace_copy()
            self._quarantine(record.name).clear()
            self._drop_copies_under_other_names(record)
            reached(Point.SEED_IN_PLACE)
        self._save(record.seeded(lsn))
        return True

    def _drop_copies_under_other_names(self, record: TableRecord) -> None:
        """Of a table that was renamed, and could not be followed. Where another table has that name
        now, its seed takes the place of the copy."""
        assert record.seed
        for other in list(self._tables.values()):
            if other.name == record.name or not other.copy or other.copy.oid != record.seed.oid:
                continue
            if not other.seed or other.seed.oid == record.seed.oid:
                self._transaction.run(f"DROP TABLE {named(*other.name)}")
                self._quarantine(other.name).clear()
                if other.seed:
                    seed_of(self._transaction, other).drop()
                self._state.forget(other.name)
                del self._tables[other.name]


def seed_of(transaction: Transaction, record: TableRecord) -> Seed:
    assert record.seed is not None
    if not record.seed.key:
        return MultisetSeed(transaction, record.seed, record.snapshot_lsn)
    return Seed(transaction, record.seed)


def complete(
    records: Mapping[TableName, TableRecord], chunks: Callable[[], Mapping[TableName, ChunkCount]], lsn: LSN
) -> list[TableName]:
    """The tables with a seed of which the stream, being at `lsn`, has passed everything it is made of.
    `chunks` is asked only where that may be."""
    under_way = [record for record in records.values() if record.seed]
    passed = [r.name for r in under_way if r.seed_after <= lsn and r.snapshot_lsn <= lsn]
    counts = chunks() if passed else {}
    return [name for name in passed if counts.get(name, ChunkCount()).are_loaded]


def frozen(state: State, record: TableRecord) -> TableRecord:
    """With the copy, if it followed the stream, staying what it is."""
    return replace(record, live=False, lsn=state.lsn()) if record.live else record


def unseed(
    transaction: Transaction, state: State, record: TableRecord, reason: str, *, in_step: bool = False
) -> TableRecord:
    if record.seed:
        seed_of(transaction, record).drop()
    record = (record if in_step else frozen(state, record)).unseeded(reason)
    state.plan_chunks({record.name: []})
    state.save(record)
    return record
