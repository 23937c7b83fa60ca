"""
Where histories are played: a server, and on it a database for each.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from os import getpid
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from ...model import Sink
from ...sinks.duckdb.sink import DuckDBSink
from ...sinks.memory import MemorySink
from ..server import PostgresServer

SETTINGS = {"fsync": "off", "max_wal_size": "1GB", "autovacuum": "off", "max_prepared_transactions": "50"}
_numbers = count(1)

MakeSink = Callable[[Path], Sink]
SINKS: dict[str, MakeSink] = {
    "duckdb": lambda folder: DuckDBSink(folder / "copy.duckdb", "history"),
    "memory": lambda folder: MemorySink(),
}


def server(version: int) -> PostgresServer:
    """One that allows what histories do; to be started."""
    return PostgresServer(version, SETTINGS)


@contextmanager
def database(server_dsn: str) -> Iterator[str]:
    """The DSN of an empty database, which goes at the end of the block, slots and all."""
    name = f"history_{getpid()}_{next(_numbers)}"
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        admin.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        try:
            yield make_conninfo(server_dsn, dbname=name)
        finally:
            _drop(admin, server_dsn, name)


def _drop(admin: psycopg.Connection[tuple[object, ...]], server_dsn: str, name: str) -> None:
    ours = "from pg_replication_slots where database = %s"
    while admin.execute(
        f"select pg_terminate_backend(active_pid, 5000) {ours} and active", [name]
    ).fetchone():
        pass
    admin.execute(f"select pg_drop_replication_slot(slot_name) {ours}", [name])
    with psycopg.connect(server_dsn, dbname=name, autocommit=True) as inside:
        query = "select gid from pg_prepared_xacts where database = %s"
        for (gid,) in inside.execute(query, [name]).fetchall():
            inside.execute(sql.SQL("rollback prepared {}").format(gid))
    admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@contextmanager
def sink(kind: str) -> Iterator[Sink]:
    """A destination that nothing is left of."""
    with tempfile.TemporaryDirectory(prefix="cdc-history-") as folder:
        made = SINKS[kind](Path(folder))
        try:
            yield made
        finally:
            made.close()
