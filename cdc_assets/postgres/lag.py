"""
How far the slot trails the server, sampled on a connection of its own.

Bytes are in the slot's row. How old the oldest unconfirmed transaction is stands
nowhere, but decoding tells: a temporary copy of the slot is streamed from until
the first transaction begins, or the end of the log comes. It costs the server at
most `_PROBE` seconds of decoding a sample, and never touches the slot itself.
"""

from __future__ import annotations

import select
import time
import uuid
from contextlib import closing
from struct import Struct

from psycopg import Error, pq, sql

from ..errors import CdcError
from ..model import LSN, Lag
from ..pgoutput.envelope import HEAD, LOG_DATA
from ..pgoutput.messages import BEGIN
from .session import Connection, connect, session
from .slot import Slot, SlotState

_PROBE = 1.0
"""Seconds."""
_BEGIN_TIME = Struct(f">{HEAD}xxQq").unpack_from
_KEEPALIVE_END = Struct(">xQ").unpack_from
_STATUS = Struct(">cQQQQB").pack
_POSTGRES_EPOCH = 946_684_800

_HELD_BACK = """
select 'pid ' || a.pid || ' (' || concat_ws(', ', a.usename, nullif(a.application_name, ''),
       'transaction open for ' || date_trunc('second', now() - a.xact_start)) || ')'
from pg_stat_activity a
where a.backend_xid is not null and a.xact_start < now() - interval '1 minute'
union all
select 'prepared transaction ' || quote_literal(gid) || ' (' || owner || ', since '
       || date_trunc('second', prepared) || ')'
from pg_prepared_xacts where database = current_database() and prepared < now() - interval '1 minute'
limit 1
"""


def sample(conninfo: str, slot_name: str, publication: str) -> Lag | None:
    """None if there is no slot yet."""
    with session(conninfo) as connection:
        state = Slot(connection, slot_name).state()
        if state is None or state.confirmed is None:
            return None
        held_back = connection.execute(_HELD_BACK).fetchone()
    behind = max(0, state.written - state.confirmed)
    return Lag(
        confirmed=LSN(state.confirmed),
        bytes=behind,
        seconds=_seconds(conninfo, state, publication) if behind else 0.0,
        retained_bytes=max(0, state.written - (state.restart or state.written)),
        safe_wal_size=state.safe_wal_size,
        wal_status=state.wal_status,
        active_pid=state.active_pid,
        held_back_by=held_back[0] if held_back else None,
    )


def _seconds(conninfo: str, state: SlotState, publication: str) -> float | None:
    """Age of the first transaction after the confirmed LSN; 0.0 if there is none."""
    try:
        with closing(connect(conninfo, replication="database")) as connection:
            copy = f"{state.name[:40]}_lag_{uuid.uuid4().hex[:12]}"
            command = sql.SQL("SELECT pg_copy_logical_replication_slot({}, {}, true)")
            connection.execute(command.format(sql.Literal(state.name), sql.Literal(copy)))
            return _first_begin(connection, copy, publication, state.written)
    except (CdcError, Error):
        return None  # no free slot, or the slot is going away: lag in bytes is still known


def _first_begin(connection: Connection, slot_name: str, publication: str, end: int) -> float | None:
    command = sql.SQL("START_REPLICATION SLOT {} LOGICAL 0/0 (proto_version '1', publication_names {})")
    names = sql.Literal(sql.Identifier(publication).as_string(connection))
    pg = connection.pgconn
    result = pg.exec_(command.format(sql.Identifier(slot_name), names).as_bytes(connection))
    if result.status != pq.ExecStatus.COPY_BOTH:
        return None
    deadline = time.monotonic() + _PROBE
    # Asking for a reply makes the server say how far it is once there is nothing to send.
    pg.put_copy_data(_STATUS(b"r", 1, 0, 0, 0, 1))
    pg.flush()
    while (left := deadline - time.monotonic()) > 0:
        count, message = pg.get_copy_data(1)
        if count < 0:
            return None
        if count == 0:
            select.select([pg.socket], [], [], left)
            pg.consume_input()
        elif message[0] == LOG_DATA:
            if message[HEAD] == BEGIN:
                committed: int = _BEGIN_TIME(message)[1]
                return max(0.0, time.time() - _POSTGRES_EPOCH - committed / 1e6)
        elif LSN(*_KEEPALIVE_END(message)) >= end:
            return 0.0
        else:
            pg.put_copy_data(_STATUS(b"r", 1, 0, 0, 0, 1))
            pg.flush()
    return None
