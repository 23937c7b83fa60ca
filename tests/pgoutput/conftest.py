"""
A connection for what no version of the server does differently.
"""

from collections.abc import Iterator

import psycopg
import pytest


@pytest.fixture
def newest_source(newest_dsn: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(newest_dsn, autocommit=True) as connection:
        yield connection
