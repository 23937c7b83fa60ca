"""
Capture from the write-ahead log, by logical replication.
"""

from __future__ import annotations

import contextlib
import difflib
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType

from psycopg import errors

from ..errors import ConfigError, ContinuityInDoubt, SlotInUse, UnusableTable
from ..model import (
    LSN,
    Ack,
    ChangeBatch,
    ChangeCapture,
    Chunk,
    Held,
    Lag,
    Position,
    Selection,
    Snapshot,
    Table,
    TableName,
)
from ..pgoutput.assembler import Assembler
from ..points import Point, reached
from . import chunks, continuity, lag, snapshot
from .catalog import Catalog
from .definitions import Definitions
from .entries import entries
from .generated import computing
from .patterns import Patterns
from .preflight import Finding, findings
from .publication import Publication, Published
from .receiver import NotInProgress, Receiver
from .session import Connection, connect, session
from .slot import Slot, in_use
from .treatment import AS_IT_IS, Treatment

_TICK = 1.0
"""Seconds to wait for something to come before saying that nothing did."""
_IDLE = 2.0
"""Seconds after which a stretch without changes is worth writing down, so that the slot can advance."""
_MARK = "select (pg_logical_emit_message(true, 'cdc_assets', '') - '0/0')::bigint"


@dataclass(frozen=True)
class WalCapture(ChangeCapture):
    name: str
    """Slot and publication are called by it."""
    conninfo: Callable[[], str]
    """Asked for each connection, so that a secret is held no longer than it takes to connect."""
    patterns: Patterns
    mentioned: Mapping[TableName, Treatment] = field(default_factory=dict)
    """Tables that the configuration says more of, elsewhere: they have to be there too."""
    batch_bytes: int = 32 << 20
    """Log received that makes a batch, whether or not `batch_delay` is over."""
    batch_delay: float = 0.1
    """Seconds a change waits for others to share its batch."""
    held_bytes: int = 8 << 20
    """Log of one transaction that is held in memory, and decoded at once; what is more goes to disk."""
    chunk_bytes: int = 64 << 20
    slot_wait: float = 60.0
    """Seconds to wait for the writers that a new slot, or a snapshot, has to outlast."""
    takeover_wait: float = 10.0
    """Seconds to wait for a slot that a consumer just killed has not let go of yet."""

    @property
    def slot(self) -> str:
        return f"cdc_{self.name}"

    publication = slot

    def select(self, known: Mapping[TableName, Held] = MappingProxyType({})) -> Selection:
        with session(self.conninfo()) as connection:
            catalog = self._catalog(connection)
            as_text = frozenset(column for held in known.values() for column in held.as_text)
            found = {entry.table_name: entry for entry in entries(connection)}
            self._see_that_all_match(found, known)
            tables, set_aside = {}, {}
            for name, entry in found.items():
                if not self.patterns.match(name):
                    continue
                named = name in self.patterns.named
                if entry.is_partition and not named:
                    self._refuse_treatment_of_a_partition(name)
                    continue  # its root stands for it
                try:
                    tables[name] = catalog.table(entry).keeping_as_text(as_text)
                except UnusableTable as error:
                    if named:
                        raise
                    if entry.kind in "rp":
                        set_aside[name] = f"{entry.obstacle() or error} ({error.hint})"
            for name, reason in self._out_of_reach(connection, tables.keys() - catalog.published, tables):
                del tables[name]
                set_aside[name] = reason
            return Selection(tables, set_aside)

    def _out_of_reach(
        self, connection: Connection, missing: Collection[TableName], tables: Mapping[TableName, Table]
    ) -> list[tuple[TableName, str]]:
        """Of the tables that are not published, those that happen to match a pattern, and whose changes
        only their owner can have captured; and what is said of each."""
        publication = Publication(connection, self.publication)
        matched = {name: tables[name].oid for name in missing if name not in self.patterns.named}
        if not matched or not publication.exists():
            return []  # before there is one, they are all waited for, and `prepare` says so
        return [
            (
                name,
                f"publication {publication.name} lacks it, and this role may not add to that (run as the "
                f"table's owner:  {publication.statement([name])};)",
            )
            for name in publication.out_of_reach(matched)
        ]

    def _catalog(self, connection: Connection, oid: int | None = None) -> Catalog:
        """For all tables, or for one."""
        return Catalog(connection, Publication(connection, self.publication).tables(oid), self.mentioned)

    def _see_that_all_match(self, found: Collection[TableName], known: Collection[TableName]) -> None:
        # A table that is there no more may have been renamed; its columns would then be carried as they are.
        treated = {name for name, treatment in self.mentioned.items() if treatment != AS_IT_IS}
        for name in (*self.patterns.named, *self.mentioned):
            if name not in found and (name not in known or name in treated):
                near = difflib.get_close_matches(str(name), map(str, found), n=1)
                meant = f"did you mean {near[0]}? " if near else ""
                raise ConfigError(
                    f"table {name} does not exist at the source",
                    hint=f"{meant}Names are taken as written, upper case included.",
                )
        for name in self.mentioned:
            if not self.patterns.match(name):
                raise ConfigError(
                    f"tables has options for {name}, which source.tables does not select",
                    hint=f'add "{name}" to source.tables, or take its options out.',
                )
        for pattern in self.patterns.unmatched({*found, *known}):
            raise ConfigError(
                f'the pattern "{pattern}" in source.tables matches no table',
                hint="see that the role may use the schema:  GRANT USAGE ON SCHEMA ... TO ...;",
            )

    def _refuse_treatment_of_a_partition(self, name: TableName) -> None:
        if self.mentioned.get(name, AS_IT_IS) != AS_IT_IS:
            raise ConfigError(
                f"tables has columns for {name}, a partition that is copied as part of its root",
                hint="write them for the root.",
            )

    def captured(self) -> set[TableName]:
        with session(self.conninfo()) as connection:
            return set(Publication(connection, self.publication).tables())

    def prepare(self, tables: Mapping[TableName, Table]) -> Position:
        with session(self.conninfo()) as connection:
            slot, publication = Slot(connection, self.slot), Publication(connection, self.publication)
            slot.see_that_it_can_be_made()
            # The publication is looked up as it was when a change was written: a slot that is older
            # fails at every change, or since PostgreSQL 18 leaves it out.
            if slot.has_lost_its_log() or not publication.exists():
                slot.drop()
            publication.ensure({name: table.oid for name, table in tables.items()})
            reached(Point.PUBLISHED)
            start = slot.ensure(wait=self.slot_wait)
        here = self._here()
        return Position(start, here.system, here.database, here.slot)

    def continuity(self, position: Position) -> str | None:
        with session(self.conninfo()) as connection:
            state = Slot(connection, self.slot).state()
            is_published = Publication(connection, self.publication).exists()
        reason = continuity.broken(position, self._here(), state)
        return reason or (None if is_published else f"publication {self.publication} does not exist")

    def _here(self) -> Position:
        """https://www.postgresql.org/docs/current/protocol-replication.html (IDENTIFY_SYSTEM)"""
        with session(self.conninfo(), replication="database") as connection:
            row = connection.execute("IDENTIFY_SYSTEM").fetchone()
        assert row is not None
        system, _timeline, written, database = row
        return Position(LSN.parse(written), system, database, self.slot)

    def head(self) -> LSN:
        """Written to the log itself, as an empty message: the server's own idea of its end can be
        in the middle of a record, where the stream gets only when more is written."""
        refused = (errors.ReadOnlySqlTransaction, errors.InsufficientPrivilege)
        with session(self.conninfo()) as connection, contextlib.suppress(*refused):
            row = connection.execute(_MARK).fetchone()
            assert row is not None
            return LSN(row[0])
        return self._here().lsn

    def plan(self, tables: Sequence[Table]) -> Mapping[TableName, Sequence[Chunk]]:
        with session(self.conninfo()) as connection:
            leaves = chunks.leaves(connection, [table.oid for table in tables])
        return {
            table.name: chunks.cut(leaves[table.oid], self.chunk_bytes)
            if table.key
            else chunks.whole(leaves[table.oid])
            for table in tables
            if table.oid in leaves
        }

    def snapshot(self, tables: Sequence[Table]) -> AbstractContextManager[Snapshot]:
        return snapshot.opened(self.conninfo(), self.slot, self._published(), wait=self.slot_wait)

    def _published(self) -> dict[TableName, Published]:
        with session(self.conninfo()) as connection:
            return Publication(connection, self.publication).tables()

    def lag(self) -> Lag | None:
        return lag.sample(self.conninfo(), self.slot, self.publication)

    def findings(self) -> list[Finding]:
        """What stands in the way, or is good to know."""
        with session(self.conninfo()) as connection:
            return list(findings(connection, self.name, self.patterns, self.mentioned))

    def teardown(self) -> None:
        """Drop the slot, then the publication."""
        with session(self.conninfo()) as connection:
            Slot(connection, self.slot).drop()
            Publication(connection, self.publication).drop()

    def live(
        self, *, until: LSN | None = None, held: Mapping[int, Table] = MappingProxyType({})
    ) -> Generator[ChangeBatch, None, None]:
        try:
            yield from self._live(until, held, in_progress=True)
            return
        except NotInProgress:
            pass
        # Again from what is confirmed; the sink knows what it has.
        yield from self._live(until, held, in_progress=False)

    def _live(
        self, until: LSN | None, held: Mapping[int, Table], *, in_progress: bool
    ) -> Generator[ChangeBatch, None, None]:
        receiver, start = self._stream(in_progress)
        with closing(receiver):
            definitions = Definitions(self.conninfo, self._catalog, self.patterns, held)
            compute = computing(self.conninfo)
            assembler = Assembler(definitions.describe, start, compute, definitions.as_text)
            yield from self._batches(receiver, assembler, definitions, until)

    def _batches(
        self, receiver: Receiver, assembler: Assembler, definitions: Definitions, until: LSN | None
    ) -> Iterator[ChangeBatch]:
        """Batches that are full, or whose first change has waited long enough; empty ones now and then."""
        delivered = said = asked = time.monotonic()
        due: float | None = None
        while True:
            now = time.monotonic()
            patience = _TICK / 20 if until else _TICK
            if due is None:
                assembler.feed(receiver.take(patience))
            else:
                assembler.feed(receiver.take(min(due - now, patience), self.batch_bytes))
            is_large = assembler.open_size >= self.held_bytes
            if is_large and not assembler.has_batch:
                definitions.forget()
                assembler.set_aside(self.held_bytes)
            now = time.monotonic()
            if due is None and assembler.has_changes:
                due = now + self.batch_delay
            reached = until is not None and assembler.position >= until
            ready = assembler.has_changes and (assembler.size >= self.batch_bytes or now >= (due or now))
            # What came before a large transaction has to be out of the way.
            ready |= is_large and assembler.has_batch
            idle = assembler.has_batch and not assembler.has_changes and now - delivered >= _IDLE
            if ready or idle or (reached and assembler.has_batch):
                definitions.forget()
                yield assembler.take(lambda lsn: Ack(partial(receiver.confirm, lsn)))
                delivered = said = time.monotonic()
                due = None
            elif now - said >= _TICK or reached:
                yield ChangeBatch((), assembler.taken, assembler.taken)
                said = time.monotonic()
            if reached:
                return
            if until and not assembler.has_changes and now - asked >= patience:
                receiver.ask()
                asked = now

    def _stream(self, in_progress: bool) -> tuple[Receiver, LSN]:
        """Start to stream, waiting a while for a slot that is in use."""
        deadline = time.monotonic() + self.takeover_wait
        while True:
            self._confirmed()  # which says better than the stream would what is wrong with the slot
            connection = connect(self.conninfo(), replication="database")
            receiver = Receiver(connection, self.slot, self.publication, in_progress=in_progress)
            try:
                receiver.start()
                # Asked only now that nobody else can confirm anything.
                return receiver, self._confirmed()
            except SlotInUse:
                receiver.close()
                if time.monotonic() > deadline:
                    raise in_use(self.slot, self._holder()) from None
                time.sleep(0.2)
            except BaseException:
                receiver.close()
                raise

    def _confirmed(self) -> LSN:
        with session(self.conninfo()) as connection:
            state = Slot(connection, self.slot).state()
        if state is None:
            raise ContinuityInDoubt(f"slot {self.slot} does not exist")
        if obstacle := state.obstacle():
            raise ContinuityInDoubt(obstacle)
        return LSN(state.confirmed or 0)

    def _holder(self) -> str | None:
        with session(self.conninfo()) as connection:
            return Slot(connection, self.slot).holder()
