"""
From a configuration to everything Dagster needs: assets, jobs, sensors, checks.
"""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from ..config import CdcConfig, DuckDBDestination, resolve
from ..errors import ConfigError
from ..pipeline import build
from .checks import slot_checks
from .mirror_io import MirrorIOManager
from .names import Names
from .planner import planner
from .snapshot import snapshot_assets
from .stream import stream_assets
from .supervisor import supervisor
from .tables import KnownTable, known_tables
from .translator import CdcAssetProps, CdcTranslator, Role, io_manager_key
from .verified import verified_checks


def build_cdc_definitions(
    config: CdcConfig,
    *,
    translator: CdcTranslator | None = None,
    start_sensors: bool = False,
) -> dg.Definitions:
    """The definitions of one pipeline, to be merged with your own.

    Loads without a database, but for the first time: see `cdc_assets.dagster.tables`.
    `start_sensors` turns the planner and the supervisor on as soon as they are deployed;
    otherwise that is done in the UI.
    """
    names = Names(config.name)
    tables = known_tables(build(config))
    specs = _Specs(config, names, translator or CdcTranslator())
    status = dg.DefaultSensorStatus.RUNNING if start_sensors else dg.DefaultSensorStatus.STOPPED
    slot, chunk_planner = specs.of(Role.SLOT), planner(config, [table.name for table in tables], status)
    common = dg.Definitions(assets=[slot], asset_checks=[slot_checks(config)], sensors=[chunk_planner])
    if not tables:
        return common  # until the planner has seen the source, and the location is reloaded
    stream = stream_assets(config, [specs.of(Role.MIRROR, table) for table in tables])
    job = dg.define_asset_job(
        names.stream_job,
        selection=dg.AssetSelection.assets(*stream.keys).without_checks(),
        description=f"Streams for {config.stream.max_run_seconds / 60:.0f} minutes; then the next run does.",
        tags=names.stream_tags,
        # With a process for each step, a killed run leaves its step streaming.
        executor_def=dg.in_process_executor,
    )
    pipeline = dg.Definitions(
        assets=[
            *(specs.of(Role.SOURCE, table) for table in tables),
            *(snapshot_assets(config, table.name, specs.of(Role.SNAPSHOT, table)) for table in tables),
            stream,
        ],
        asset_checks=[verified_checks(config, [table.name for table in tables])],
        jobs=[job],
        sensors=[supervisor(config, status)],
        resources={io_manager_key(names): MirrorIOManager(config)},
    )
    return dg.Definitions.merge(common, pipeline)


class _Specs:
    def __init__(self, config: CdcConfig, names: Names, translator: CdcTranslator) -> None:
        self._names, self._translator = names, translator
        self._storage = config.destination.type
        self._database = _database(config)

    def of(self, role: Role, table: KnownTable | None = None) -> dg.AssetSpec:
        props = CdcAssetProps(self._names, role, self._storage, self._database, table)
        return self._translator.get_asset_spec(props)


def _database(config: CdcConfig) -> str:
    """What the destination is called in table names: a DuckDB file by its name."""
    destination = config.destination
    if not isinstance(destination, DuckDBDestination):
        return config.name
    try:
        return Path(resolve(destination.path)).stem
    except ConfigError:
        return config.name  # the variable is set only where runs are
