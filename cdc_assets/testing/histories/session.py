"""
A session of a history: statements that PostgreSQL refuses do not count, whatever it then holds is right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from .differences import Connection
from .history import Step

_STREAMING_IMMEDIATE_SINCE = 16_00_00
_ATTEMPTS = 10
_SETTINGS = "set lock_timeout = '2s'; set deadlock_timeout = '100ms'; set client_min_messages = 'error'"


@contextmanager
def connected(dsn: str) -> Iterator[Connection]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(_SETTINGS)
        yield connection


def sending_in_progress(dsn: str) -> str:
    """For a stream that is sent every transaction while it is in progress, as far as the server can be
    made to. https://www.postgresql.org/docs/current/runtime-config-developer.html"""
    with psycopg.connect(dsn) as connection:
        may_be_told = connection.info.server_version >= _STREAMING_IMMEDIATE_SINCE
    small, at_once = "logical_decoding_work_mem=64kB", "debug_logical_replication_streaming=immediate"
    given = conninfo_to_dict(dsn).get("options") or ""
    return make_conninfo(dsn, options=f"{given} -c {at_once if may_be_told else small}".strip())


def run(source: Connection, steps: Sequence[Step]) -> None:
    """Raises what ends the session, and nothing else."""
    for step in steps:
        for _ in range(_ATTEMPTS if step.defines else 1):
            refused = _done(source, step)
            if not any(isinstance(error, _MEETINGS) for error in refused):
                break


def _done(source: Connection, step: Step) -> list[psycopg.Error]:
    """What PostgreSQL refused."""
    refused = []
    for statement in step.statements:
        try:
            source.execute(statement.encode())
        except psycopg.errors.SyntaxError:
            raise
        except psycopg.Error as error:
            if source.closed:
                raise
            refused.append(error)
    with suppress(psycopg.Error):
        source.execute("rollback" if source.info.transaction_status else "select")
    return refused


_MEETINGS = (psycopg.errors.DeadlockDetected, psycopg.errors.LockNotAvailable)
"""Of two writers."""


def shared(steps: Sequence[Step], writers: int) -> list[list[Step]]:
    """Dealt out in turn; but what later steps rely on is done by one, in order."""
    shares: list[list[Step]] = [[] for _ in range(writers)]
    for number, step in enumerate(steps):
        shares[0 if step.defines else number % writers].append(step)
    return shares
