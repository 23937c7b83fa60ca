"""
Connections to the source, of both kinds, with the settings that values depend on.

How PostgreSQL writes a value depends on settings that a role or a database can
change. Snapshot and stream must write the same value the same way, so every
connection pins them. Options in the start-up packet win over what ALTER ROLE and
ALTER DATABASE set: https://www.postgresql.org/docs/current/config-setting.html
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from ..errors import CaptureError, CdcError, ConfigError, ServerUnreachable

Connection = psycopg.Connection[TupleRow]

_PINNED = {
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "lc_monetary": "C",
    "search_path": "pg_catalog",
    "xmlbinary": "base64",
    # A policy that hides rows from us would leave them out of a snapshot without a word.
    "row_security": "off",
    "default_transaction_read_only": "off",
    # It takes longer over a question to the catalog than the answer does.
    "jit": "off",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}
_TIMEOUTS = {
    "connect_timeout": 10,
    # Where a network swallows packets, nobody says that a connection is broken, and the
    # operating system would wait for hours.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
"""Seconds, the last in milliseconds, unless the conninfo says otherwise."""


def pinned(conninfo: str, application_name: str = "cdc_assets") -> str:
    """`conninfo` with our settings; those it brings itself stay, unless values depend on them."""
    try:
        given = conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError as error:
        raise ConfigError(
            "source.conninfo is not a connection string",
            hint="write it as host=... dbname=... user=..., or as postgresql://user@host/dbname.",
        ) from error
    settings = " ".join(f"-c {name}={value}" for name, value in _PINNED.items())
    return make_conninfo(
        conninfo,
        options=f"{given.get('options') or ''} {settings}".strip(),
        **{name: given.get(name) or ours for name, ours in _TIMEOUTS.items()},
        application_name=given.get("application_name") or application_name,
        # The two names of this setting must not contradict each other.
        client_encoding="UTF8",
    )


def connect(conninfo: str, **more: Any) -> Connection:
    """Open a connection in autocommit mode."""
    try:
        return psycopg.connect(make_conninfo(pinned(conninfo), **more), autocommit=True)
    except psycopg.OperationalError as error:
        raise _refused(error, conninfo) from error


@contextmanager
def session(conninfo: str, **more: Any) -> Iterator[Connection]:
    """A connection; what the server refuses on it comes as our own errors."""
    with server_errors(), connect(conninfo, **more) as connection:
        yield connection


@contextmanager
def server_errors() -> Iterator[None]:
    """Translate what PostgreSQL refuses, keeping its words, which name no value of a row."""
    try:
        yield
    except psycopg.OperationalError as error:
        raise ServerUnreachable(
            f"the connection to the source broke: {first_line(error)}",
            hint="see the server's log; the work can be started again.",
        ) from error
    except psycopg.Error as error:
        hint = error.diag.message_hint or "cdc-assets check looks for what is missing at the source."
        raise CaptureError(first_line(error), hint=hint) from error


def first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__


def _refused(error: psycopg.OperationalError, conninfo: str) -> CdcError:
    """One line for a connection that could not be made, which may have been tried at many addresses."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    said = lines[0].removeprefix("connection failed: ").removeprefix("connection is bad: ")
    for words, hint in _REMEDIES.items():
        if words in str(error):
            return CaptureError(f"cannot connect to the source: {said}", hint=hint)
    return ServerUnreachable(
        f"cannot connect to the source: {said}",
        hint="see that the server is running, and that source.conninfo names its host and port.",
    )


_REMEDIES = {
    "password authentication failed": "see that the password in source.conninfo is right.",
    "no password supplied": "put a password into source.conninfo, or into a password file.",
    "pg_hba.conf": "add a line to the server's pg_hba.conf for this role, database and address; "
    "database connections are enough, replication=database counts as one.",
    "does not support SSL": "turn ssl on at the server, or ask for less with sslmode in source.conninfo.",
    "root certificate file": "name the file in source.conninfo: sslrootcert=...; or sslrootcert=system.",
    "certificate verify failed": "see that sslrootcert in source.conninfo is of the server's authority.",
    "is not permitted to log in": "ALTER ROLE <role> LOGIN;",
    "permission denied for database": "GRANT CONNECT ON DATABASE ... TO <role>;",
    "invalid ": "correct it in source.conninfo.",
    "does not exist": "see that source.conninfo names the right database and role.",
    "must be superuser or replication role": "ALTER ROLE <role> REPLICATION;",
    "permission denied to start WAL sender": "ALTER ROLE <role> REPLICATION;",
    "number of requested standby connections exceeds": "raise max_wal_senders at the source and restart it.",
}
"""What to do, by words of the server's refusal; none of these goes away by trying again."""
