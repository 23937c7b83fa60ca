"""
The reference sink: tables in dictionaries, one change after the other.

Slow and plain; what the contract of a sink means, and what the others are
tested against. A key holds a list of rows because a statement that shifts keys
lets two rows have one key for a moment; the older one is the one that goes on. Where
a table has no key, all that a row holds is its key, and equal rows are a list of rows.
It refuses nothing by itself, but what it is told to.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import pyarrow as pa

from ...errors import CopyReplaced, RowRefused, SeedOutdated, SinkError, TableRefused
from ...model import (
    LSN,
    Applied,
    Audit,
    ChangeBatch,
    Chunk,
    Evolution,
    Held,
    Part,
    Position,
    Quarantined,
    Retried,
    Sink,
    Table,
    TableChanges,
    TableName,
    TableState,
    evolution,
)
from .audit import MemoryAudit
from .replay import LOST, Left, Seed, Truncation, each, incomplete, play, replayed
from .rows import Key, Row, Rows, evolve, key_of, keys_of

_Arguments = ParamSpec("_Arguments")
_Answer = TypeVar("_Answer")
_Method = Callable[Concatenate["MemorySink", _Arguments], _Answer]


def _alone(method: _Method[_Arguments, _Answer]) -> _Method[_Arguments, _Answer]:
    """One thread at a time: a seed and the stream may be in two."""

    @wraps(method)
    def locked(self: MemorySink, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Answer:
        with self._lock:
            return method(self, *args, **kwargs)

    return locked


class MemorySink(Sink):
    def __init__(self, *, stops_at_refused_rows: bool = False) -> None:
        self.refuse: Callable[[TableName, Row], str | None] = lambda table, row: None
        """Why a row is refused, if it is."""
        self._stops = stops_at_refused_rows
        self._refused: dict[TableName, Rows] = {}
        self._reasons: dict[TableName, dict[Key, tuple[str, datetime]]] = {}
        self._lock = threading.RLock()
        self.copies: dict[TableName, Rows] = {}
        self._position: Position | None = None
        self._held: dict[TableName, Held] = {}
        self._tables: dict[TableName, Table] = {}
        self._live: set[TableName] = set()
        self._chunks: dict[TableName, dict[Chunk, LSN | None]] = {}
        self._seeds: dict[TableName, Seed] = {}

    @_alone
    def rows(self, table: TableName) -> dict[Key, Row]:
        """What a reader sees, by key."""
        return {key: row for key, [(_, row)] in self.copies.get(table, {}).items()}

    def _rows(self, table: TableName) -> list[Row]:
        """What a reader sees."""
        return [row for versions in self.copies.get(table, {}).values() for _, row in versions]

    def position(self) -> Position | None:
        return self._position

    @_alone
    def adopt(self, position: Position) -> None:
        for name in self._held:
            self.mark_unseeded(name, "the stream started anew")
        self._position = position.with_seeds_in_place()

    @_alone
    def doubt(self, reason: str) -> None:
        assert self._position
        self._position = replace(self._position, doubt=reason)

    @_alone
    def tables(self, *, counted: bool = False) -> Mapping[TableName, Held]:
        return {name: self._with_progress(name, held, counted) for name, held in self._held.items()}

    def _with_progress(self, name: TableName, held: Held, counted: bool) -> Held:
        chunks = self._chunks.get(name, {})
        loaded = sum(lsn is not None for lsn in chunks.values())
        rows = len(self._rows(name)) if counted and name in self.copies else None
        lsn = self._position.lsn if self._position and name in self._live else held.lsn
        return replace(
            held,
            lsn=lsn,
            rows=rows,
            quarantined=len(self._refused.get(name, {})) if counted else 0,
            chunks=len(chunks),
            chunks_loaded=loaded,
        )

    @_alone
    def read(self, table: TableName) -> pa.Table:
        if table not in self.copies:
            raise SinkError(f"there is no copy of {table}", hint="cdc-assets sync makes one.")
        return pa.Table.from_pylist(self._rows(table), self._tables[table].schema)

    @contextmanager
    def audit(self, table: Table) -> Iterator[Audit]:
        yield MemoryAudit(partial(self._as_compared, table), table)

    @_alone
    def _as_compared(self, table: Table) -> Rows:
        """The copy, if it is one of `table` that is kept in step."""
        if not self.is_seeded(table.name) or self._tables[table.name] != table:
            raise CopyReplaced(
                f"the copy of {table.name} is not of the table that was read", hint="compare it again."
            )
        return dict(self.copies[table.name])

    @_alone
    def remove(self, table: TableName, keys: pa.Table, *, at: LSN) -> None:
        copy = dict(self.copies[table])
        for row in keys.to_pylist():
            key = key_of(self._tables[table], row)
            left = [version for version in copy.pop(key, []) if version[0] > at]
            if left:
                copy[key] = left
        self.copies[table] = copy

    @_alone
    def mark_unseeded(self, table: TableName, reason: str, *, in_step: bool = False) -> None:
        self._seeds.pop(table, None)
        self._chunks.pop(table, None)
        if not in_step:
            self._freeze(table)
        held = self._held.get(table, Held(TableState.UNSEEDED))
        self._held[table] = replace(held, state=TableState.UNSEEDED, seed=None, reason=reason)

    def _freeze(self, table: TableName) -> None:
        """Have the copy, if it followed the stream, stay what it is."""
        if table in self._live and self._position:
            self._live.discard(table)
            self._held[table] = replace(self._held[table], lsn=self._position.lsn)

    @_alone
    def begin_seeds(
        self, planned: Sequence[tuple[Table, Sequence[Chunk]]], *, after: LSN
    ) -> Mapping[TableName, TableRefused]:
        for table, chunks in planned:
            self._begin(table, chunks, after)
        return {}

    def _begin(self, table: Table, chunks: Sequence[Chunk], after: LSN) -> None:
        seed = self._seeds.get(table.name)
        if seed and not seed.in_place and seed.table == table:
            return
        if not table.key and len(chunks) > 1:
            raise SinkError(f"table {table.name} has no key, and was cut", hint="plan it as one chunk.")
        self._seeds[table.name] = Seed(table, after)
        self._chunks[table.name] = dict.fromkeys(chunks)
        held = self._held.get(table.name, Held(TableState.UNSEEDED))
        self._held[table.name] = replace(
            held, state=TableState.SEEDING, generation=held.generation + 1, seed=table
        )
        self._hear_of(table.name, table)

    @_alone
    def begin_reload(self, table: TableName, chunks: Sequence[Chunk]) -> None:
        if table not in self._seeds:
            if not self.is_seeded(table):
                raise SinkError(f"table {table} is not seeded", hint="seed it first.")
            if not self._tables[table].key:
                raise SinkError(
                    f"table {table} has no key, so none of its chunks can be loaded again alone",
                    hint=f"copy it again as a whole:  cdc-assets reseed {table}",
                )
            assert self._position
            self._seeds[table] = Seed(self._tables[table], self._position.lsn, in_place=True)
        self._chunks[table] |= dict.fromkeys(chunks)

    @_alone
    def chunks(self, table: TableName) -> Mapping[Chunk, LSN | None]:
        return dict(self._chunks.get(table, {}))

    @_alone
    def unloaded(self) -> Mapping[TableName, Sequence[Chunk]]:
        left = {
            name: [c for c, lsn in chunks.items() if lsn is None] for name, chunks in self._chunks.items()
        }
        return {name: chunks for name, chunks in left.items() if chunks}

    @_alone
    def load_together(self, parts: Sequence[Part], *, at: LSN) -> Sequence[int]:
        for table, chunk, _ in parts:
            self._seed_of(table, at)
            if chunk not in self._chunks[table.name]:
                raise _outdated(table)
        rows = [list(part.rows) for part in parts]
        return [self._load(part, of_part, at) for part, of_part in zip(parts, rows, strict=True)]

    def _load(self, part: Part, rows: list[pa.RecordBatch], at: LSN) -> int:
        seed = self._seed_of(part.table, at)
        if not part.table.key:
            seed.loaded.clear()
            seed.snapshots.clear()
        self._chunks[part.table.name][part.chunk] = at
        return self._add(seed, rows, at)

    @_alone
    def missing(self) -> Mapping[TableName, pa.RecordBatch]:
        missing = {
            name: (seed.table, incomplete(seed.table, replayed(seed) or {}))
            for name, seed in self._seeds.items()
            if self._is_complete(name) and not seed.in_place
        }
        return {name: keys_of(table, keys) for name, (table, keys) in missing.items() if keys}

    @_alone
    def repair(self, table: Table, keys: pa.RecordBatch, rows: Iterable[pa.RecordBatch], *, at: LSN) -> None:
        seed = self._seed_of(table, at)
        self._add(seed, rows, at)
        for row in keys.to_pylist():
            seed.read_again[key_of(seed.table, row)] = at

    def _seed_of(self, table: Table, at: LSN) -> Seed:
        seed = self._seeds.get(table.name)
        if seed is None or seed.table != table or at < seed.after:
            raise _outdated(table)
        return seed

    def _add(self, seed: Seed, rows: Iterable[pa.RecordBatch], at: LSN) -> int:
        count = 0
        for row in (row for batch in rows for row in batch.to_pylist()):
            key = key_of(seed.table, row)
            if not seed.table.key:
                seed.loaded.setdefault(key, []).append((at, row))
            elif key not in seed.loaded or seed.loaded[key][0][0] <= at:
                seed.loaded[key] = [(at, row)]
            count += 1
        seed.snapshots.add(at)
        return count

    @_alone
    def apply(self, batch: ChangeBatch) -> Applied:
        if self._position is None or batch.since > self._position.lsn:
            raise SinkError(f"a batch starts at {batch.since}, later than what is held", hint="start again.")
        before = self._as_it_is() if self._stops else {}
        try:
            return self._apply(batch, self._position)
        except RowRefused:
            vars(self).update(before)
            raise

    def _apply(self, batch: ChangeBatch, position: Position) -> Applied:
        step, last = Step(), LSN(0)
        for changes in batch.changes:
            if unseen := changes.after(position.lsn):
                last = max(last, unseen.last)
                for name in self._names_of(unseen.table):
                    self._take(name, unseen, step)
        self._position = position.after(batch, last)
        return self._finished(step)

    def _as_it_is(self) -> dict[str, Any]:
        """Everything that a batch changes."""
        return {name: deepcopy(held) for name, held in vars(self).items() if name not in ("_lock", "refuse")}

    @_alone
    def redefine(self, tables: Iterable[Table]) -> Applied:
        step = Step()
        for table in tables:
            for name in self._names_of(table):
                self._redefine(name, table, step)
        return self._finished(step)

    def _redefine(self, name: TableName, table: Table, step: Step) -> None:
        self._hear_of(name, table)
        of_copy, of_seed = self._parts_of(name, table)
        if of_copy:
            name = self._redefine_copy(name, table, step)
        if of_seed and (seed := self._seeds.get(name)):
            way = evolution(seed.table, table)
            if way.obstacle or seed.table != table:
                self._unseed(name, way, step)
            else:
                seed.table = table

    def _finished(self, step: Step) -> Applied:
        assert self._position
        under_way = list(self._seeds)
        seeded = [
            name for name in under_way if name in self._seeds and self._finish(name, self._position.lsn, step)
        ]
        if seeded:
            self._position = self._position.with_seeds_in_place()
        refused = {name: len(self._refused[name]) for name in step.refused if self._refused.get(name)}
        return Applied(tuple(seeded), step.unseeded, step.redefined, refused, bool(self.missing()))

    def _take(self, name: TableName, changes: TableChanges, step: Step) -> None:
        self._hear_of(name, changes.table)
        of_copy, of_seed = self._parts_of(name, changes.table)
        # A partitioned table that is renamed goes on under its old name in a stream that has begun.
        table = replace(changes.table, name=name)
        if of_copy and (table.doubt or table != self._tables[name]):
            name = self._redefine_copy(name, table, step)
        if of_seed and (seed := self._seeds.get(name)) and (late := changes.after(seed.after)):
            if table.doubt or table != seed.table:
                self._unseed(name, evolution(seed.table, table), step)
            else:
                seed.log += [Truncation(late.truncated)] if late.truncated else []
                seed.log += each(late)
        if of_copy and name in self._live:
            held = {} if changes.truncated else self.copies[name] | self._refused.get(name, {})
            left = Left()
            found = [play(change, held, left) for change in each(changes)]
            if not table.key and not all(found):
                self._leave_behind(name, Evolution(obstacle=LOST), step)
            elif not table.key and any(self._refuses(name, held).values()):
                self._leave_behind(name, Evolution(obstacle=f"rows of {name} are refused"), step)
            else:
                self._write(name, held, step)

    def _write(self, name: TableName, held: Rows, step: Step) -> None:
        """Have `held` in the copy, and in quarantine what the copy refuses of what is new."""
        copy, before = self.copies[name], self._refused.get(name, {})
        new = {key: rows for key, rows in held.items() if rows not in (copy.get(key), before.get(key))}
        reasons = {key: said for key, said in self._refuses(name, new).items() if said}
        if reasons and self._stops:
            (key, said), *_ = reasons.items()
            at = new[key][-1][0]
            raise RowRefused(f"a row of {name} at {at} was refused ({said})", hint="do not refuse it.")
        kept = {key: rows for key, rows in before.items() if held.get(key) == rows}
        self._refused[name] = kept | {key: held[key] for key in reasons}
        self._reasons.setdefault(name, {}).update(
            {key: (said, datetime.now(UTC)) for key, said in reasons.items()}
        )
        self.copies[name] = {key: rows for key, rows in held.items() if key not in self._refused[name]}
        if reasons:
            step.refused.add(name)

    def _refuses(self, name: TableName, rows: Rows) -> dict[Key, str | None]:
        return {key: self.refuse(name, versions[-1][1]) for key, versions in rows.items()}

    @_alone
    def quarantined(self) -> Sequence[Quarantined]:
        return [
            Quarantined(
                name,
                dict(zip(self._tables[name].key, key, strict=True)),
                versions[-1][0],
                *self._reasons[name][key],
            )
            for name, rows in sorted(self._refused.items())
            for key, versions in sorted(rows.items(), key=lambda item: item[1][-1][0])
        ]

    @_alone
    def retry(self, table: TableName) -> Retried:
        rows = self._refused.pop(table, {})
        stops, self._stops = self._stops, False
        if rows:
            self._write(table, self.copies[table] | rows, Step())
        self._stops = stops
        refused = len(self._refused.get(table, {}))
        return Retried(len(rows) - refused, refused)

    def _names_of(self, table: Table) -> list[TableName]:
        """What a table is called here, which keeps its OID if it is renamed: its copy, and a seed."""
        of_its_oid = [name for name in self._held if table.oid in self._oids(name)]
        return of_its_oid or [table.name]

    def _parts_of(self, name: TableName, table: Table) -> tuple[bool, bool]:
        """Whether the copy, and whether the seed, has to follow what happens to `table`."""
        copy, seed = self._oids(name)
        if table.oid not in (copy, seed):
            return copy is not None, seed is not None
        return copy == table.oid, seed == table.oid

    def _oids(self, name: TableName) -> tuple[int | None, int | None]:
        """Of what the copy, if it follows the stream, and the seed are."""
        seed = self._seeds.get(name)
        return self._tables[name].oid if name in self._live else None, seed.table.oid if seed else None

    def _hear_of(self, name: TableName, table: Table) -> None:
        """Remember what is to be remembered of a definition, whatever comes of it."""
        if name in self._tables:
            self._tables[name] = self._tables[name].hearing(table)
        if seed := self._seeds.get(name):
            seed.table = seed.table.hearing(table)
        if held := self._held.get(name):
            self._held[name] = replace(
                held,
                as_text=held.as_text | table.as_text,
                definition=held.definition and held.definition.hearing(table),
                seed=held.seed and held.seed.hearing(table),
            )

    def _redefine_copy(self, name: TableName, table: Table, step: Step) -> TableName:
        """What the copy is called afterwards."""
        way = evolution(self._tables[name], table)
        if table.name != name and table.name in self._held:
            way = Evolution(obstacle=f"it was renamed to {table.name}, which another table was called")
        if way.obstacle:
            self._leave_behind(name, way, step)
            return name
        if name != table.name:
            if name in self._seeds:
                self._unseed(name, Evolution(obstacle=f"it was renamed to {table.name}"), step)
            self.copies[table.name] = self.copies.pop(name)
            self._refused[table.name] = self._refused.pop(name, {})
            self._reasons[table.name] = self._reasons.pop(name, {})
            self._held[table.name] = self._held.pop(name)
            self._tables[table.name] = self._tables.pop(name)
            self._chunks[table.name] = self._chunks.pop(name)
            self._live = self._live - {name} | {table.name}
        evolve(self.copies[table.name], table, way)
        refused, reasons = self._refused.get(table.name, {}), self._reasons.get(table.name, {})
        said = [reasons[key] for key in refused]
        evolve(refused, table, way)
        self._reasons[table.name] = dict(zip(refused, said, strict=True))
        self._tables[table.name] = table
        self._held[table.name] = replace(self._held[table.name], definition=table)
        if way.said:
            step.redefined[table.name] = way.said
        return table.name

    def _leave_behind(self, name: TableName, way: Evolution, step: Step) -> None:
        """Have the copy follow the stream no longer; a new one may be on its way."""
        self._freeze(name)
        if self.is_seeded(name):
            self._unseed(name, way, step)
        else:
            self._held[name] = replace(self._held[name], reason=way.obstacle)

    def _unseed(self, name: TableName, way: Evolution, step: Step) -> None:
        step.unseeded[name] = reason = way.obstacle or "its definition changed"
        self.mark_unseeded(name, reason, in_step=True)

    def _is_complete(self, name: TableName) -> bool:
        """Whether the stream has passed everything that the seed is made of."""
        seed, chunks = self._seeds[name], self._chunks[name]
        assert self._position
        return None not in chunks.values() and max({seed.after} | seed.snapshots) <= self._position.lsn

    def _finish(self, name: TableName, position: LSN, step: Step) -> bool:
        if not self._is_complete(name):
            return False
        seed = self._seeds[name]
        copy = replayed(seed)
        if copy is None:
            self._unseed(name, Evolution(obstacle=LOST), step)
            return False
        if seed.in_place:
            # A row that changed since it was read is what the copy, which followed the stream, has.
            as_read = {key: rows for key, rows in seed.loaded.items() if copy.get(key) == rows}
            self._write(name, self.copies[name] | self._refused.get(name, {}) | as_read, step)
        elif incomplete(seed.table, copy):
            return False
        else:
            self.copies[name] = copy
            self._refused.pop(name, None)
        self._tables[name] = seed.table
        del self._seeds[name]
        self._live.add(name)
        # Of a table that was renamed, and could not be followed.
        for other in [other for other, table in self._tables.items() if table.oid == seed.table.oid]:
            _, oid = self._oids(other)
            if other != name and oid in (None, seed.table.oid):
                del self.copies[other], self._tables[other], self._held[other]
                self._refused.pop(other, None)
                self._live.discard(other)
                self._chunks.pop(other, None)
                self._seeds.pop(other, None)
        self._held[name] = replace(
            self._held[name],
            state=TableState.SEEDED,
            lsn=position,
            reason=None,
            definition=seed.table,
            seed=None,
        )
        return True


@dataclass
class Step:
    """What a batch, or a look at the catalog, brings about."""

    unseeded: dict[TableName, str] = field(default_factory=dict)
    redefined: dict[TableName, str] = field(default_factory=dict)
    refused: set[TableName] = field(default_factory=set)


def _outdated(table: Table) -> SeedOutdated:
    return SeedOutdated(
        f"table {table.name} is not being seeded as it was planned",
        hint="plan its seed again.",
    )
