"""
What Dagster's instance knows of the demo's runs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import dagster as dg

from ..dagster.metadata import HEARTBEAT, LATENCIES
from ..dagster.names import Names
from ..engine.latency import Latencies
from ..pipeline import Pipeline

_MOST_EVENTS = 5_000


class Watch:
    """Reads the instance that an environment describes. Say `with`."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        os.environ.update(environment)
        self._instance = dg.DagsterInstance.get()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._instance.dispose()

    def rows_seeded(self, pipeline: Pipeline) -> int:
        """As the partitions' materializations say."""
        names = Names(pipeline.config.name)
        return sum(
            int(metadata["dagster/partition_row_count"])
            for table in pipeline.sink.tables()
            for metadata in self._materializations(names.snapshot(table))
        )

    def changes_streamed(self, pipeline: Pipeline) -> int:
        """As the mirrored tables' materializations say."""
        names = Names(pipeline.config.name)
        return sum(
            int(metadata[f"cdc/{done}"])
            for table in pipeline.sink.tables()
            for metadata in self._materializations(names.mirror(table))
            for done in ("inserted", "updated", "deleted")
        )

    def reported_since(self, pipeline: Pipeline, when: float) -> bool:
        """Whether the stream has said what it did up to `when`, seconds since 1970."""
        return any(said_at > when for said_at, _ in self._signs_of_life(pipeline))

    def latencies(self, pipeline: Pipeline, since: float) -> Latencies:
        """Of the changes that were reported after `since`."""
        latencies = Latencies()
        for said_at, metadata in self._signs_of_life(pipeline):
            if said_at > since:
                latencies += Latencies.parse(metadata[LATENCIES])
        return latencies

    def _signs_of_life(self, pipeline: Pipeline) -> list[tuple[float, dict[str, Any]]]:
        """The stream's observations of its slot, oldest first."""
        slot = Names(pipeline.config.name).slot
        found = [
            (record.timestamp, _values(record.asset_observation.metadata))
            for record in self._instance.fetch_observations(slot, limit=_MOST_EVENTS).records
            if record.asset_observation
        ]
        return [(when, metadata) for when, metadata in reversed(found) if HEARTBEAT in metadata]

    def _materializations(self, key: dg.AssetKey) -> list[dict[str, Any]]:
        records = self._instance.fetch_materializations(key, limit=_MOST_EVENTS).records
        return [
            _values(record.asset_materialization.metadata)
            for record in records
            if record.asset_materialization
        ]


def _values(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.value for name, value in metadata.items()}
