"""
Sinks that are given every batch in the smallest parts there are.
"""

from __future__ import annotations

from changes import divided

from cdc_assets.model import Applied, ChangeBatch
from cdc_assets.sinks.duckdb.sink import DuckDBSink
from cdc_assets.sinks.memory import MemorySink


class MemoryInParts(MemorySink):
    def apply(self, batch: ChangeBatch) -> Applied:
        return super().apply(divided(batch))


class DuckDBInParts(DuckDBSink):
    def apply(self, batch: ChangeBatch) -> Applied:
        return super().apply(divided(batch))
