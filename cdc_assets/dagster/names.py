"""
What things are called in Dagster: asset keys, jobs, sensors, tags, partitions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256

import dagster as dg

from ..model import Chunk, TableName

STREAM_TAG = "cdc_assets/stream"
"""On runs that stream: the pipeline's name. A concurrency limit of 1 for each value keeps them apart."""
SEED_TAG = "cdc_assets/seed"
"""On runs that seed, which table's seed: `<pipeline>/<table>/<generation>`."""
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
"""Dagster's own: which partitions a run is for.
https://docs.dagster.io/guides/build/partitions-and-backfills/backfilling-data"""

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_]")


@dataclass(frozen=True)
class Names:
    pipeline: str

    @property
    def slot(self) -> dg.AssetKey:
        return dg.AssetKey([self.pipeline, "slot"])

    def source(self, table: TableName) -> dg.AssetKey:
        return dg.AssetKey([self.pipeline, "source", *key_parts(table)])

    def snapshot(self, table: TableName) -> dg.AssetKey:
        return dg.AssetKey([self.pipeline, "snapshot", *key_parts(table)])

    def mirror(self, table: TableName) -> dg.AssetKey:
        return dg.AssetKey([self.pipeline, *key_parts(table)])

    def chunks(self, table: TableName) -> dg.DynamicPartitionsDefinition:
        return dg.DynamicPartitionsDefinition(name=f"cdc__{self.pipeline}__{table}")

    def seed_tag(self, table: TableName, generation: int) -> dict[str, str]:
        return {SEED_TAG: f"{self.pipeline}/{table}/{generation}"}

    def snapshot_op(self, table: TableName) -> str:
        return f"snapshot_{self.pipeline}_{'_'.join(key_parts(table))}"

    @property
    def stream_op(self) -> str:
        """Not what the job is called: their names must differ."""
        return f"stream_{self.pipeline}"

    @property
    def stream_job(self) -> str:
        return f"{self.pipeline}_stream"

    @property
    def stream_tags(self) -> dict[str, str]:
        # An op that is retried cannot be stopped, and the supervisor starts a new run anyway.
        return {STREAM_TAG: self.pipeline, "dagster/max_retries": "0"}

    @property
    def verify_op(self) -> str:
        return f"{self.pipeline}_verify"

    @property
    def supervisor(self) -> str:
        return f"{self.pipeline}_supervisor"

    @property
    def planner(self) -> str:
        return f"{self.pipeline}_snapshot_planner"


def key_parts(table: TableName) -> tuple[str, str]:
    """A table's part of an asset key. Of these Dagster makes names of inputs and outputs, in which there are
    only letters and digits of ASCII; a name with others is told from the like by its hash."""
    return _part(table.schema), _part(table.name)


def _part(name: str) -> str:
    plain = _NOT_IN_A_NAME.sub("_", name)
    return plain if plain == name else f"{plain}_{sha256(name.encode()).hexdigest()[:8]}"


def partition_key(generation: int, chunk: Chunk) -> str:
    """Sorts by seed, then in the order in which chunks are read."""
    return f"{generation:04}-{chunk.key}"
