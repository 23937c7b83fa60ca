"""
Keys that several rows have where a transaction is merged in parts.

A statement that shifts keys (`id = id + 1`, deferrable) lets two rows have one key for a
moment, and a part can end at such a moment. The older row is the one that goes on, with all
its cells in the log; so the copy holds the newer one, and of the others their number is enough.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from ...model import NetChanges, TableChanges, arrow
from ...model.changes import Ints
from .file import Transaction
from .sameness import same_to_the_log


class Doubles:
    """Of one table, within one transaction on the file."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._keys: pa.Table | None = None
        """And beside each, in `_cdc_beside`, how many rows have it that the copy does not hold."""

    def __bool__(self) -> bool:
        return self._keys is not None

    def clear(self) -> None:
        self._keys = None

    def beside(self, keys: pa.RecordBatch) -> Ints:
        """How many rows each of `keys` has that the copy does not hold."""
        numbered = keys.append_column("_cdc_number", arrow.from_numpy(np.arange(keys.num_rows)))
        counts = np.zeros(keys.num_rows, np.int64)
        transaction = self._transaction
        with transaction.handing("keys", pa.table(numbered)), transaction.handing("doubles", self._keys):
            for number, count in transaction.rows(
                "SELECT k._cdc_number, d._cdc_beside FROM keys k JOIN doubles d "
                f"ON {same_to_the_log(keys.schema, 'k', 'd')}"
            ):
                counts[number] = count
        return counts

    def follow(self, effect: NetChanges, changes: TableChanges) -> None:
        """What is so after `changes`, whose effect this is."""
        if not changes.continues:
            self.clear()
        elif self or effect.beside.any():
            keys = effect.rows.select(list(changes.table.key))
            now = keys.append_column("_cdc_beside", arrow.from_numpy(effect.beside))
            several = arrow.take_rows(now, np.flatnonzero(effect.beside))
            kept = [pa.table(several)]
            if self._keys is not None:
                with (
                    self._transaction.handing("now", pa.table(now)),
                    self._transaction.handing("doubles", self._keys),
                ):
                    same = same_to_the_log(keys.schema, "n", "d")
                    kept.append(
                        self._transaction.arrow(
                            f"FROM doubles d WHERE NOT EXISTS (SELECT 1 FROM now n WHERE {same})"
                        ).cast(several.schema)
                    )
            self._keys = pa.concat_tables(kept)
            if not len(self._keys):
                self.clear()
