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
    name = f"cdc_{next(_numbers)}"
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        yield make_conninfo(server.dsn, dbname=name)
        slots = "from pg_replication_slots where database = %s"
        # A reader that was told to go is not gone yet.
        while connection.execute(
            f"select pg_terminate_backend(active_pid) {slots} and active", [name]
        ).fetchone():
            time.sleep(0.01)
        connection.execute(f"select pg_drop_replication_slot(slot_name) {slots}", [name])
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
