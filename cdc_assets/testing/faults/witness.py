"""
What has to be so at any moment, looked at from outside again and again.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import duckdb
import psycopg

from ...errors import SinkBusy
from ...model import LSN
from ...sinks.duckdb.turns import open_duckdb
from ..histories.differences import Connection
from .beside import Beside
from .transfers import ACCOUNTS, SCHEMA, SUM, TABLES

_REST = 0.02
"""Seconds between looks."""
_TURN = 1.0
"""Seconds to wait for the file: who holds it may be stopped."""

_CONFIRMED = """
select (confirmed_flush_lsn - '0/0')::bigint, pg_postmaster_start_time()::text
from pg_replication_slots where slot_name = %s and confirmed_flush_lsn is not null
"""
_POSITION = "select lsn from _cdc.stream"
_IN_STEP = f"""
select count(*) from _cdc.tables
where source_schema = '{SCHEMA}' and source_table in {TABLES} and state = 'seeded' and live
"""
_ACCOUNTS = f"""
select count(*), sum(balance)::bigint
from ({" union all ".join(f"select balance from {SCHEMA}.{table}" for table in TABLES)})
"""


class Seen(NamedTuple):
    """By any reader of the destination, in one look."""

    position: LSN | None
    accounts: tuple[int, ...] | None
    """How many there are, and the sum of their balances; None while one of the two tables is copied."""


class Witness(Beside):
    """Sees that nothing is confirmed that the destination does not hold, that what is
    confirmed never moves back, and that whoever reads the destination finds every transfer whole."""

    def __init__(self, dsn: str, slot: str, path: Path) -> None:
        super().__init__()
        self._dsn, self._slot, self._path = dsn, slot, path
        self.looks: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._highest, self._life = LSN(0), ""

    def _run(self) -> None:
        try:
            self._watch()
        except Exception as error:
            self.wrong.append(f"the witness stopped looking: {type(error).__name__}: {error}")

    def _watch(self) -> None:
        while not self._ended.wait(_REST):
            with (
                suppress(psycopg.OperationalError),
                psycopg.connect(self._dsn, autocommit=True, connect_timeout=2) as source,
            ):
                while not self._ended.wait(_REST):
                    self._look(source)

    def _look(self, source: Connection) -> None:
        # In this order: what the destination holds afterwards is at least what it held then.
        confirmed = self._confirmed(source)
        seen = self._seen()
        if seen is None:
            return
        if confirmed is not None and seen.position is not None:
            self.looks["positions"] += 1
            if confirmed > seen.position:
                self.wrong.append(f"{confirmed} is confirmed, and the destination is at {seen.position}")
        if seen.accounts:
            self.looks["sums"] += 1
            if seen.accounts != (ACCOUNTS, SUM):
                self.wrong.append(
                    f"at {seen.position} a reader finds {seen.accounts[0]} accounts with {seen.accounts[1]}, "
                    f"where there are always {ACCOUNTS} with {SUM}"
                )

    def _confirmed(self, source: Connection) -> LSN | None:
        row = source.execute(_CONFIRMED, [self._slot]).fetchone()
        if row is None:
            return None
        confirmed, life = LSN(row[0]), row[1]
        if life != self._life:
            # A server that crashes knows of a slot what it had written down at its last checkpoint.
            self._highest, self._life = LSN(0), life
        if confirmed < self._highest:
            self.wrong.append(f"{self._highest} was confirmed, and now it is {confirmed}")
        self._highest = max(self._highest, confirmed)
        return confirmed

    def _seen(self) -> Seen | None:
        """None if it cannot be seen now."""
        try:
            with open_duckdb(self._path, _TURN) as copy:
                copy.execute("begin")
                position = copy.execute(_POSITION).fetchone()
                in_step = copy.execute(_IN_STEP).fetchone() == (len(TABLES),)
                accounts = copy.execute(_ACCOUNTS).fetchone() if in_step else None
                return Seen(LSN(position[0]) if position else None, accounts)
        except SinkBusy:
            self.looks["file held by others"] += 1
        except duckdb.CatalogException:
            self.looks["nothing there yet"] += 1
        except duckdb.Error as error:
            self.looks["nothing there yet" if not self._path.exists() else str(error).split("\n")[0]] += 1
        return None
