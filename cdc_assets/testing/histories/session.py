"""
A session of a history: statements that PostgreSQL refuses do not count, whatever it then holds is right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import psycopg

from .differences import Connection
from .history import Step

_ATTEMPTS = 10
_SETTINGS = "set lock_timeout = '2s'; set deadlock_timeout = '100ms'; set client_min_messages = 'error'"


@contextmanager
def connected(dsn: str) -> Iterator[Connection]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(_SETTINGS)
        yield connection


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
