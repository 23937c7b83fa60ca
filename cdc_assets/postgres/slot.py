"""
The replication slot: the server's memory of what we have confirmed.

https://www.postgresql.org/docs/current/logicaldecoding-explanation.html#LOGICALDECODING-REPLICATION-SLOTS
"""

from __future__ import annotations

import time
from typing import NamedTuple

from psycopg import errors, sql
from psycopg.rows import class_row

from ..errors import CaptureError, SlotInUse
from ..model import LSN
from ..points import Point, reached
from .session import Connection

PLUGIN = "pgoutput"

_STATE = """
select slot_name as name, plugin, database, database = current_database() as is_here,
       (confirmed_flush_lsn - '0/0')::bigint as confirmed,
       (restart_lsn - '0/0')::bigint as restart,
       wal_status, safe_wal_size, active_pid,
       (pg_current_wal_lsn() - '0/0')::bigint as written
from pg_replication_slots where slot_name = %s
"""
_MAY_BE_MADE = """
select current_setting('wal_level') = 'logical', rolreplication or rolsuper,
       (select count(*) from pg_replication_slots) < current_setting('max_replication_slots')::int
from pg_roles where rolname = current_user
"""
_WRITERS = """
select 'pid ' || pid || ' (' || concat_ws(', ', usename, nullif(application_name, ''),
       'for ' || date_trunc('second', now() - xact_start)) || ')'
from pg_stat_activity where backend_xid is not null and pid <> pg_backend_pid()
union all
select 'prepared transaction ' || quote_literal(gid) from pg_prepared_xacts
"""
_HOLDER = """
select concat_ws(', ', 'pid ' || s.active_pid, nullif(a.application_name, ''), a.usename,
                 host(a.client_addr))
from pg_replication_slots s left join pg_stat_activity a on a.pid = s.active_pid
where s.slot_name = %s and s.active_pid is not null
"""
_OPEN = """
select coalesce(array_agg(transactionid::text), '{}') from pg_locks
where locktype = 'transactionid' and mode = 'ExclusiveLock' and granted
"""
_LOOK = 0.02
"""Seconds between looks."""


class SlotState(NamedTuple):
    """The slot's row in pg_replication_slots."""

    name: str
    plugin: str | None
    database: str | None
    is_here: bool | None
    confirmed: int | None
    restart: int | None
    wal_status: str | None
    safe_wal_size: int | None
    active_pid: int | None
    written: int
    """The end of the server's log at the same moment."""

    @property
    def is_ours(self) -> bool:
        return self.plugin == PLUGIN and bool(self.is_here)

    @property
    def is_lost(self) -> bool:
        """For good, whatever is done at the server."""
        return self.wal_status == "lost"

    def obstacle(self) -> str | None:
        """Why the slot cannot be streamed from, whatever we hold; None if it can."""
        if not self.is_ours:
            return (
                f"slot {self.name} is of plugin {self.plugin} in database {self.database}, "
                f"not of {PLUGIN} in this one"
            )
        if self.is_lost or self.confirmed is None:
            return f"slot {self.name} has lost its log (wal_status {self.wal_status})"
        return None


class Slot:
    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self.name = name

    def state(self) -> SlotState | None:
        with self._connection.cursor(row_factory=class_row(SlotState)) as cursor:
            return cursor.execute(_STATE, [self.name]).fetchone()

    def see_that_it_can_be_made(self) -> None:
        """Raise what `ensure` would, as far as it can be known before: the publication is made first."""
        if state := self.state():
            if not (state.is_ours and state.is_lost):
                _see_that_it_serves(state)
            return
        row = self._connection.execute(_MAY_BE_MADE).fetchone()
        assert row is not None
        log_is_enough, is_allowed, there_is_room = row
        if not log_is_enough:
            raise wal_level_too_low()
        if not is_allowed:
            raise not_allowed(self._connection)
        if not there_is_room:
            raise no_free_slot()

    def has_lost_its_log(self) -> bool:
        state = self.state()
        return state is not None and state.is_lost

    def ensure(self, *, wait: float) -> LSN:
        """Create the slot if it is missing; where it starts.

        The server waits for every transaction that writes at this moment to end: at most
        `wait` seconds, then the ones that are waited for are named.
        """
        if (state := self.state()) is None:
            deadline = time.monotonic() + wait
            if self._create(wait):
                reached(Point.SLOT_MADE)
                self._skip_what_began_before(deadline, wait)
            state = self.state()
            assert state is not None
        _see_that_it_serves(state)
        assert state.confirmed is not None
        return LSN(state.confirmed)

    def _create(self, wait: float) -> bool:
        """False if another process did the same at the same moment."""
        try:
            with self._connection.transaction():
                self._connection.execute(f"set local statement_timeout = {int(wait * 1000)}")
                self._connection.execute(
                    "select pg_create_logical_replication_slot(%s, %s)", [self.name, PLUGIN]
                )
        except errors.QueryCanceled as error:
            raise waited_for_writers(self._connection, self.name, wait) from error
        except errors.DuplicateObject:
            return False
        except errors.ConfigurationLimitExceeded as error:
            raise no_free_slot() from error
        except errors.InsufficientPrivilege as error:
            raise not_allowed(self._connection) from error
        except errors.ObjectNotInPrerequisiteState as error:
            raise wal_level_too_low() from error
        return True

    def _skip_what_began_before(self, deadline: float, wait: float) -> None:
        """Have the slot start after the transactions that were open when it was made.

        Their snapshot of the catalog may lack commits from while it was made. Where one of these
        truncated or altered a table, the server fails at every attempt to decode them ("could not
        map filenode"). They are as old as the slot, so any seed's snapshot contains them.
        """
        began = self._open_transactions()
        while began & self._open_transactions():
            if time.monotonic() > deadline:
                error = waited_for_writers(self._connection, self.name, wait)
                self.drop()
                raise error
            time.sleep(_LOOK)
        self._connection.execute(
            "select pg_replication_slot_advance(%s, pg_current_wal_flush_lsn())", [self.name]
        )

    def _open_transactions(self) -> set[str]:
        """Those that write; prepared ones too."""
        (found,) = self._connection.execute(_OPEN).fetchone() or ([],)
        return set(found)

    def holder(self) -> str | None:
        """Who streams from the slot, in words."""
        row = self._connection.execute(_HOLDER, [self.name]).fetchone()
        return row[0] if row else None

    def drop(self) -> None:
        """Drop the slot if it exists; `SlotInUse` if something streams from it."""
        if self.state() is None:
            return
        try:
            self._connection.execute("select pg_drop_replication_slot(%s)", [self.name])
        except errors.ObjectInUse as error:
            raise in_use(self.name, self.holder()) from error
        reached(Point.SLOT_DROPPED)


def _see_that_it_serves(state: SlotState) -> None:
    if obstacle := state.obstacle():
        raise CaptureError(obstacle, hint=f"drop it, or choose another name:  {drop_statement(state.name)}")


def drop_statement(name: str) -> str:
    return sql.SQL("SELECT pg_drop_replication_slot({});").format(sql.Literal(name)).as_string(None)


def in_use(name: str, holder: str | None) -> SlotInUse:
    return SlotInUse(
        f"slot {name} is in use by {holder or 'another process'}",
        hint="stop the other consumer; a slot has one. What it has confirmed is not lost.",
    )


def waited_for_writers(connection: Connection, name: str, wait: float) -> CaptureError:
    writers = [row[0] for row in connection.execute(_WRITERS)]
    return CaptureError(
        f"slot {name} could not be made within {wait:.0f} s: it waits for {', '.join(writers) or 'a writer'}",
        hint="let these transactions end, or end them with pg_terminate_backend(pid), and start again.",
    )


def wal_level_too_low() -> CaptureError:
    return CaptureError(
        "wal_level at the source is not logical",
        hint="ALTER SYSTEM SET wal_level = logical;  then restart the server.",
    )


def no_free_slot() -> CaptureError:
    return CaptureError(
        "every replication slot of the source is taken",
        hint="raise max_replication_slots (a pipeline needs two: one of its own, one while it seeds) "
        "and restart the server, or drop an unused slot.",
    )


def not_allowed(connection: Connection) -> CaptureError:
    role = sql.Identifier(connection.info.user).as_string(connection)
    return CaptureError(f"role {role} may not use replication slots", hint=f"ALTER ROLE {role} REPLICATION;")
