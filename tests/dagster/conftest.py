"""
A shop's tables, and a Dagster instance of the test's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from deployed import Deployed, configured, make_home

Source = psycopg.Connection[tuple[object, ...]]


@pytest.fixture
def shop(newest_dsn: str) -> Iterator[Source]:
    """A database with a table of three rows, and one of two."""
    with psycopg.connect(newest_dsn, autocommit=True) as connection:
        connection.execute("create table orders (id int primary key, status text, total numeric(12, 2))")
        connection.execute("insert into orders values (1, 'new', 5), (2, 'paid', 6), (3, 'sent', 7)")
        connection.execute("create table items (id bigint primary key, name varchar(20) not null)")
        connection.execute("insert into items values (1, 'chair'), (2, 'table')")
        yield connection


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def lasting(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance that other processes and threads have a part in."""
    with dg.DagsterInstance.from_config(str(make_home(tmp_path))) as instance:
        yield instance


@pytest.fixture
def deployed(tmp_path: Path, newest_dsn: str, shop: Source, instance: dg.DagsterInstance) -> Deployed:
    return Deployed(configured(tmp_path, newest_dsn), instance)


@pytest.fixture
def chunked(tmp_path: Path, newest_dsn: str, shop: Source, instance: dg.DagsterInstance) -> Deployed:
    """Orders of six chunks, 40 rows each, read one after the other."""
    shop.execute("insert into orders select i, repeat('x', 150), i from generate_series(4, 240) i")
    return Deployed(configured(tmp_path, newest_dsn, seed={"chunk_bytes": 8192, "readers": 1}), instance)
