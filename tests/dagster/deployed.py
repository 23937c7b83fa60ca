"""
A pipeline as Dagster has it: its definitions, its instance, and what a daemon does with them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from cdc_assets import build_cdc_definitions, engine
from cdc_assets.config import CdcConfig, parse
from cdc_assets.dagster.names import Names
from cdc_assets.model import TableName
from cdc_assets.pipeline import Pipeline, build

NAMES = Names("shop")
ORDERS = TableName("public", "orders")
ITEMS = TableName("public", "items")
SEEDS = NAMES.snapshot(ORDERS)
MIRROR = NAMES.mirror(ORDERS)


def configured(folder: Path, conninfo: Any, **settings: Any) -> CdcConfig:
    """A pipeline called shop: `stream={...}` and the like are sections of its configuration."""
    data: dict[str, Any] = {
        "name": "shop",
        "source": {"conninfo": conninfo, "tables": ["public.orders", "public.*"], "takeover_wait": 1},
        "destination": {"type": "duckdb", "path": "copy.duckdb"},
        "batch": {"max_delay": 0.05},
    }
    return parse(data | settings, folder)


def make_home(folder: Path) -> Path:
    """A DAGSTER_HOME, whose instance keeps everything there."""
    home = folder / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return home


class Deployed:
    def __init__(self, config: CdcConfig, instance: dg.DagsterInstance) -> None:
        self.config, self.instance = config, instance

    @property
    def defs(self) -> dg.Definitions:
        """As they are when the code location is loaded now."""
        return build_cdc_definitions(self.config)

    @property
    def pipeline(self) -> Pipeline:
        return build(self.config)

    def tick(self, sensor: str) -> dg.SensorResult:
        """What the sensor says; the partitions it asks for are there afterwards."""
        defs = self.defs
        context = dg.build_sensor_context(instance=self.instance, definitions=defs)
        result = defs.resolve_sensor_def(sensor)(context)
        assert isinstance(result, dg.SensorResult)
        for request in result.dynamic_partitions_requests or ():
            if isinstance(request, dg.AddDynamicPartitionsRequest):
                self.instance.add_dynamic_partitions(request.partitions_def_name, request.partition_keys)
            else:
                for key in request.partition_keys:
                    self.instance.delete_dynamic_partition(request.partitions_def_name, key)
        return result

    def plan(self) -> dg.SensorResult:
        return self.tick(NAMES.planner)

    def supervise(self) -> dg.SensorResult:
        return self.tick(NAMES.supervisor)

    def run(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        """Here and now, what a sensor asked for."""
        return self.materialize(*request.asset_selection or (), tags=request.tags)

    def materialize(self, *keys: dg.AssetKey, **more: Any) -> dg.ExecuteInProcessResult:
        """By hand, or by whatever `tags` say."""
        job = self.defs.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=self.instance, asset_selection=list(keys), raise_on_error=False, **more
        )

    def stream(self) -> dg.ExecuteInProcessResult:
        """The stream's own job, until it ends."""
        job = self.defs.resolve_job_def(NAMES.stream_job)
        return job.execute_in_process(instance=self.instance, raise_on_error=False)

    def seed(self) -> None:
        """Everything planned, loaded and in step, without a run."""
        self.plan()
        pipeline = self.pipeline
        list(engine.catch_up(pipeline.capture, pipeline.sink))

    def ended(self, tags: Mapping[str, str], status: str, *, began: float, ended: float = 0) -> str:
        """A run that began and ended so many seconds ago: FAILURE, SUCCESS or CANCELED; its id."""
        run_id = self.started(tags, began=began)
        self._report(run_id, f"PIPELINE_{status}", ended)
        return run_id

    def observed(self, metadata: Mapping[str, str]) -> None:
        """Of the slot, just now."""
        self.instance.report_runless_asset_event(dg.AssetObservation(NAMES.slot, metadata=metadata))

    def started(self, tags: Mapping[str, str], *, began: float) -> str:
        """A run of the stream's job, said to be running since so many seconds; its id."""
        job = self.defs.resolve_job_def(NAMES.stream_job)
        run = self.instance.create_run_for_job(job, tags=tags)
        self._report(run.run_id, "PIPELINE_START", began)
        return run.run_id

    def _report(self, run_id: str, event: str, ago: float) -> None:
        said = dg.DagsterEvent(event, NAMES.stream_job, message=event)
        self.instance.report_dagster_event(said, run_id, timestamp=time.time() - ago)

    def status(self, run_id: str) -> dg.DagsterRunStatus:
        run = self.instance.get_run_by_id(run_id)
        assert run
        return run.status

    @property
    def mirrors(self) -> list[dg.AssetKey]:
        return [NAMES.mirror(table) for table in self.pipeline.capture.select().tables]

    def partitions(self, table: TableName = ORDERS) -> list[str]:
        return list(self.instance.get_dynamic_partitions(NAMES.chunks(table).name or ""))

    def materializations(self, key: dg.AssetKey) -> list[dg.AssetMaterialization]:
        """Oldest first."""
        records = self.instance.fetch_materializations(key, limit=1000).records
        found = [record.asset_materialization for record in records if record.asset_materialization]
        return found[::-1]

    def loaded(self, table: TableName = ORDERS) -> list[str | None]:
        """The partitions that were reported as loaded, in that order."""
        return [event.partition for event in self.materializations(NAMES.snapshot(table))]

    def observations(self) -> list[dg.AssetObservation]:
        records = self.instance.fetch_observations(NAMES.slot, limit=1000).records
        return [record.asset_observation for record in records if record.asset_observation][::-1]

    def by_hand(self, statement: str) -> None:
        """What somebody does in the file, in which `destination` is what it is called."""
        # Only here: that definitions load without it is tested from this module, too.
        from cdc_assets.sinks.duckdb.sink import DuckDBSink

        sink = self.pipeline.sink
        assert isinstance(sink, DuckDBSink)
        with sink.file.writing() as transaction:
            transaction.run(statement)

    def held(self, table: TableName = ORDERS) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.pipeline.sink.read(table).to_pylist()
        return sorted(rows, key=lambda row: row["id"])


def values(event: dg.AssetMaterialization | dg.AssetObservation) -> dict[str, Any]:
    return {name: value.value for name, value in event.metadata.items()}


def said(result: dg.ExecuteInProcessResult) -> str:
    """Why a run failed."""
    errors = [event.step_failure_data.error for event in result.all_events if event.is_step_failure]
    failures = [
        event.step_failure_data.user_failure_data for event in result.all_events if event.is_step_failure
    ]
    return " ".join(
        [failure.description or "" for failure in failures if failure] + [str(error) for error in errors]
    )
