"""
Waiting for one's turn with a DuckDB file.

One process at a time can hold a file for writing, and while it does no other can
read; and whoever is refused is not told when to come back.
https://duckdb.org/docs/current/connect/concurrency
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import duckdb

from ...errors import SinkBusy

_Opened = TypeVar("_Opened")

_HOLDER = re.compile(r"Conflicting lock is held in (.+?)\. See also|Conflicting lock is held in (.+)")
_LOCKED = "Could not set lock on file"
_RETRY = 0.02
"""Seconds between attempts, about."""


def in_turn(path: Path, attempt: Callable[[], _Opened], timeout: float) -> _Opened:
    """What `attempt` opens, tried until nobody else holds the file; `SinkBusy` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            return attempt()
        except (duckdb.IOException, duckdb.ResourceInUseException) as error:
            if isinstance(error, duckdb.IOException) and _LOCKED not in str(error):
                raise
            if time.monotonic() > deadline:
                raise _busy(path, error, timeout) from error
        time.sleep(_RETRY * random.uniform(0.5, 1.5))


def _busy(path: Path, error: duckdb.Error, timeout: float) -> SinkBusy:
    match = _HOLDER.search(str(error))
    holder = (match[1] or match[2]) if match else "this process"
    return SinkBusy(
        f"{path} was held by {holder} for {timeout:.0f} s",
        hint="close the connection there; DuckDB lets one process at a time hold a file.",
    )


def open_duckdb(path: str | Path, timeout: float = 60.0) -> duckdb.DuckDBPyConnection:
    """The file of a running pipeline, to read from; waits up to `timeout` seconds for its turn.

    The stream waits for as long as the connection is open: close it, best by `with`.

        with open_duckdb("data/shop.duckdb") as copy:
            orders = copy.sql("select * from public.orders").df()

    Raises `SinkBusy` if others hold the file all the time, `duckdb.Error` for what else goes wrong.
    """
    return in_turn(Path(path), lambda: duckdb.connect(path, read_only=True), timeout)
