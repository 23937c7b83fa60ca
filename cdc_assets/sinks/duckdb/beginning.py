"""
Seeds that begin together: their empty tables, their plans, and what is remembered of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import SinkError, TableRefused
from ...model import LSN, Chunk, Table, TableName, TableState
from .file import Transaction, named
from .record import TableRecord
from .seed import Seed, Tenants, refuse_columns
from .state import State
from .taking import seed_of


class Beginning:
    """Within one transaction."""

    def __init__(self, transaction: Transaction, state: State, after: LSN) -> None:
        self._transaction, self._state, self._after = transaction, state, after
        self._records, self._tenants = state.tables(), Tenants(transaction)
        self._schemas: set[str] = set()
        self._plans: dict[TableName, Sequence[Chunk]] = {}

    def is_under_way(self, table: Table) -> bool:
        record = self._record(table)
        return record.state is TableState.SEEDING and record.seed == table

    def obstacle(self, table: Table) -> TableRefused | None:
        record = self._record(table)
        try:
            refuse_columns(table)
            Seed(self._transaction, table).refuse_strangers(
                self._tenants, has_copy=record.copy is not None, has_seed=record.seed is not None
            )
        except TableRefused as error:
            return error
        return None

    def _record(self, table: Table) -> TableRecord:
        return self._records.get(table.name, TableRecord(table.name))

    def begin(self, table: Table, chunks: Sequence[Chunk]) -> None:
        record = self._record(table)
        if not table.key and len(chunks) > 1:
            raise SinkError(f"table {table.name} has no key, and was cut", hint="plan it as one chunk.")
        begun = record.seeding(table, self._after)
        seed = seed_of(self._transaction, begun)
        if table.name.schema not in self._schemas:
            self._transaction.run(f"CREATE SCHEMA IF NOT EXISTS {named(table.name.schema)}")
            self._schemas.add(table.name.schema)
        seed.create()
        self._tenants.made(seed)
        self._records[table.name], self._plans[table.name] = begun, chunks

    def finish(self) -> None:
        self._state.plan_chunks(self._plans)
        self._state.save(*(self._records[name] for name in self._plans))
