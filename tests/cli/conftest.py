"""
The command line on a database of the test's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from commands import Commands

Source = psycopg.Connection[tuple[object, ...]]


@pytest.fixture
def shop(newest_dsn: str) -> Iterator[Source]:
    """A database with a table of three rows."""
    with psycopg.connect(newest_dsn, autocommit=True) as connection:
        connection.execute("create table orders (id int primary key, status text)")
        connection.execute("insert into orders values (1, 'new'), (2, 'paid'), (3, 'sent')")
        yield connection


@pytest.fixture
def cdc(tmp_path: Path, newest_dsn: str, shop: Source) -> Commands:
    return Commands(tmp_path, newest_dsn)
