"""
Captures of a test's own database, and looks at its slot.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg

from cdc_assets.model import LSN
from cdc_assets.postgres.patterns import Patterns
from cdc_assets.postgres.wal import WalCapture

_Found = TypeVar("_Found")


def capture(dsn: str, *patterns: str, **options: Any) -> WalCapture:
    """Named after the database, so that two tests never meet in a slot."""
    name = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
    return WalCapture(
        name=str(name), conninfo=lambda: dsn, patterns=Patterns.parse(patterns or ("public.*",)), **options
    )


def confirmed(connection: psycopg.Connection[Any], slot: str) -> LSN:
    query = "select (confirmed_flush_lsn - '0/0')::bigint from pg_replication_slots where slot_name = %s"
    row = connection.execute(query, [slot]).fetchone()
    assert row
    return LSN(row[0])


def eventually(look: Callable[[], _Found], within: float = 20.0) -> _Found:
    """What `look` finds, once it finds something."""
    deadline = time.monotonic() + within
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return found
