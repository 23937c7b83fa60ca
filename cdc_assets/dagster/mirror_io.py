"""
How an asset reads a mirrored table: as its argument.

    @dg.asset(ins={"orders": dg.AssetIn(key=["shop", "public", "orders"])})
    def revenue(orders: pd.DataFrame) -> ...

The annotation says in what form: a pandas DataFrame, or an Arrow table.
"""

from __future__ import annotations

from typing import Any

import dagster as dg
import pyarrow as pa

from ..config import CdcConfig
from ..model import TableName
from ..pipeline import build
from .names import key_parts


class MirrorIOManager(dg.IOManager):
    """Reads from the destination, waiting for its turn; writes nothing, for the stream does that."""

    def __init__(self, config: CdcConfig) -> None:
        self._config = config

    def load_input(self, context: dg.InputContext) -> Any:
        sink = build(self._config).sink
        *_, schema, name = context.asset_key.path
        named = {key_parts(table): table for table in sink.tables()}
        rows = sink.read(named.get((schema, name), TableName(schema, name)))
        return rows if context.dagster_type.typing_type is pa.Table else rows.to_pandas()

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        raise dg.DagsterInvariantViolationError("mirrored tables are written by the stream alone")
