"""
A table of the DuckDB file gets the columns its source has now, its rows staying where they are.
"""

from __future__ import annotations

import pyarrow as pa

from ...model import Evolution, Table
from .file import Transaction, quoted

_ON_THE_WAY = "_cdc_renamed_"


def evolve(transaction: Transaction, target: str, table: Table, way: Evolution) -> None:
    """Go `way`, at the end of which `target` has the columns of `table`."""

    def alter(action: str) -> None:
        transaction.run(f"ALTER TABLE {target} {action}")

    for name in way.dropped:
        alter(f"DROP COLUMN {quoted(name)}")
    # By way of names that nothing else has: two columns may swap theirs.
    for number, name in enumerate(way.renamed):
        alter(f"RENAME COLUMN {quoted(name)} TO {_ON_THE_WAY}{number}")
    for number, name in enumerate(way.renamed.values()):
        alter(f"RENAME COLUMN {_ON_THE_WAY}{number} TO {quoted(name)}")
    types = _types(transaction, table) if way.retyped or way.added else {}
    for name in way.retyped:
        alter(f"ALTER COLUMN {quoted(name)} TYPE {types[name]}")
    for name, value in way.added.items():
        alter(f"ADD COLUMN {quoted(name)} {types[name]}")
        if value is not None:
            with transaction.handing("missing", pa.table({"value": value})):
                transaction.run(f"UPDATE {target} SET {quoted(name)} = (SELECT value FROM missing)")


def _types(transaction: Transaction, table: Table) -> dict[str, str]:
    """What DuckDB makes of the types of `table`, by column."""
    with transaction.handing("no_rows", pa.RecordBatchReader.from_batches(table.schema, [])):
        return {name: type_ for name, type_, *_ in transaction.rows("DESCRIBE FROM no_rows")}
