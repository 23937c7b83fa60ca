"""
The net effect of a run of changes, into a table of the DuckDB file.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from ...model import NetChanges, Table, TableChanges, arrow, net
from ...model.changes import Bools
from .doubles import Doubles
from .file import Transaction, quoted
from .sameness import same_key, same_to_the_log

LSN_COLUMN = "_cdc_lsn"
"""Of each row: the commit that wrote it, or the snapshot it was read from."""


def merge(transaction: Transaction, target: str, changes: TableChanges, doubles: Doubles) -> None:
    """Apply `changes` to `target`, which holds exactly what was there before them, but for `doubles`."""
    if changes.truncated:
        transaction.run(f"DELETE FROM {target}")
        doubles.clear()
    if not len(changes):
        return
    effect = net(
        changes, lambda keys: present(transaction, target, keys), doubles.beside if doubles else None
    )
    doubles.follow(effect, changes)
    rows, names = "net", ", ".join(map(quoted, changes.table.names))
    with transaction.handing("net", net_table(effect)):
        if open_columns(effect):
            # Set aside before anything is deleted: a row's cells may be under another key.
            origin = " AND ".join(
                f"t.{quoted(name)} = n.{quoted(f'_cdc_from_{name}')}" for name in changes.table.key
            )
            transaction.run(
                f"CREATE OR REPLACE TEMP TABLE filled AS SELECT {filled_cells(changes.table, effect, 't')}, "
                f"n.{LSN_COLUMN}, n._cdc_gone FROM net n LEFT JOIN {target} t ON {origin}"
            )
            rows = "filled"
        if not effect.fresh.all():
            found = same_key("t", "n", changes.table.key)
            transaction.run(f"DELETE FROM {target} t USING net n WHERE NOT n._cdc_fresh AND {found}")
        transaction.run(
            f"INSERT INTO {target} BY NAME SELECT {names}, {LSN_COLUMN} FROM {rows} WHERE NOT _cdc_gone"
        )


def present(transaction: Transaction, target: str, keys: pa.RecordBatch) -> Bools:
    """Which of `keys` the target has a row for; one that is equal to it is not enough."""
    numbered = keys.append_column("_cdc_number", arrow.from_numpy(np.arange(keys.num_rows)))
    found = np.zeros(keys.num_rows, bool)
    with transaction.handing("keys", pa.Table.from_batches([numbered])):
        for (number,) in transaction.rows(
            f"SELECT DISTINCT k._cdc_number FROM keys k JOIN {target} t "
            f"ON {same_to_the_log(keys.schema, 't', 'k')}"
        ):
            found[number] = True
    return found


def net_table(effect: NetChanges) -> pa.Table:
    """What SQL needs of the effect: its rows, and beside them `_cdc_lsn`, `_cdc_gone`, `_cdc_fresh`,
    `_cdc_relocated`, `_cdc_no_<column>` and `_cdc_from_<key column>`."""
    table = pa.Table.from_batches([effect.rows])
    beside: dict[str, Any] = {
        LSN_COLUMN: effect.lsns,
        "_cdc_gone": effect.gone,
        "_cdc_fresh": effect.fresh,
        "_cdc_relocated": effect.relocated,
    }
    beside |= {f"_cdc_no_{name}": mask for name, mask in effect.unchanged.items()}
    beside |= {f"_cdc_from_{name}": effect.origin[name] for name in effect.origin.schema.names}
    for name, values in beside.items():
        table = table.append_column(
            name, values if isinstance(values, pa.Array) else arrow.from_numpy(values)
        )
    return table


def open_columns(effect: NetChanges) -> list[str]:
    """Columns with cells that were not resent, and that the run itself does not know."""
    return [name for name, mask in effect.unchanged.items() if mask.any()]


def filled_cells(table: Table, effect: NetChanges, held: str) -> str:
    """A select list of the columns of `n`, with what it does not know taken from `held`."""
    open_ = open_columns(effect)
    return ", ".join(
        f"CASE WHEN n.{quoted(f'_cdc_no_{name}')} THEN {held}.{quoted(name)} "
        f"ELSE n.{quoted(name)} END AS {quoted(name)}"
        if name in open_
        else f"n.{quoted(name)}"
        for name in table.names
    )
