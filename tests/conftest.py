"""
Servers and databases to test against.

One server of each installed version for the session; each test has a database of its
own. A test that takes `source` runs once for every version.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg import sql
from psycopg.conninfo import make_conninfo
from servers import remove_servers, running_server

from cdc_assets.testing import PostgresServer, installations

# The first example pays for what is loaded late, and a recorded stream serves for all of them.
settings.register_profile(
    "ours",
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile("soak", settings.get_profile("ours"), max_examples=10_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ours"))

_numbers = count(1)
_unused: dict[str, list[str]] = {}
"""By server: databases that are empty again."""


def pytest_sessionfinish() -> None:
    remove_servers()


@pytest.fixture(params=installations(), ids=lambda version: f"pg{version}")
def server(request: pytest.FixtureRequest) -> PostgresServer:
    """A running server, once for each version there is."""
    return running_server(request.param)


@pytest.fixture
def newest() -> PostgresServer:
    """A running server of the newest version, for what does not depend on it."""
    return running_server(max(installations()))


@pytest.fixture
def dsn(server: PostgresServer) -> Iterator[str]:
    """A database of the test's own."""
    yield from _database(server)


@pytest.fixture
def newest_dsn(newest: PostgresServer) -> Iterator[str]:
    yield from _database(newest)


@pytest.fixture
def source(dsn: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """An open connection to it."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a destination may be made."""
    return tmp_path / "copy.duckdb"


def _database(server: PostgresServer) -> Iterator[str]:
    """One that another test has had, if there is one: making it anew takes longer than most tests do."""
    unused = _unused.setdefault(server.dsn, [])
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        if unused:
            name = unused.pop()
        else:
            name = f"cdc_{next(_numbers)}"
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        dsn = make_conninfo(server.dsn, dbname=name)
        yield dsn
        slots = "from pg_replication_slots where database = %s"
        # A reader that was told to go is not gone yet.
        while connection.execute(
            f"select pg_terminate_backend(active_pid) {slots} and active", [name]
        ).fetchone():
            time.sleep(0.01)
        connection.execute(f"select pg_drop_replication_slot(slot_name) {slots}", [name])
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name]
        )
    _empty(dsn)
    unused.append(name)


def _empty(dsn: str) -> None:
    """Take everything out that a test has put there, so that the database is as if it had just been made."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for (prepared,) in connection.execute(
            "select gid from pg_prepared_xacts where database = current_database()"
        ).fetchall():
            connection.execute(sql.SQL("rollback prepared {}").format(sql.Literal(prepared)))
        for (publication,) in connection.execute("select pubname from pg_publication").fetchall():
            connection.execute(sql.SQL("drop publication {}").format(sql.Identifier(publication)))
        for (extension,) in connection.execute("select extname from pg_extension where extname <> 'plpgsql'"):
            connection.execute(sql.SQL("drop extension {} cascade").format(sql.Identifier(extension)))
        for (schema,) in connection.execute(
            "select nspname from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'"
        ).fetchall():
            connection.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(schema)))
        connection.execute("create schema public authorization pg_database_owner")
        connection.execute("grant usage on schema public to public")
        name = connection.info.dbname
        connection.execute(sql.SQL("alter database {} reset all").format(sql.Identifier(name)))
