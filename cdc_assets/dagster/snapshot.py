"""
Seeds as partitioned assets: one asset a table, one partition a chunk.

A chunk is reported the moment it is durable. So a run that fails leaves exactly the
finished chunks done, and "retry from failure" runs exactly the rest. Within a run,
chunks are read in parallel under one exported snapshot.
"""

import time
from collections.abc import Iterator, Sequence

import dagster as dg

from .. import engine
from ..config import CdcConfig
from ..errors import CdcError
from ..model import Chunk, TableName, TableState
from ..pipeline import Pipeline, build
from .alive import giving_signs_of_life
from .failure import failure
from .names import Names, partition_key

_MOST_EVENTS = 10_000
"""Dagster gives no more at a time; a table has 2,000 chunks at most."""


def snapshot_assets(config: CdcConfig, table: TableName, spec: dg.AssetSpec) -> dg.AssetsDefinition:
    names = Names(config.name)

    @dg.multi_asset(
        name=names.snapshot_op(table), specs=[spec], backfill_policy=dg.BackfillPolicy.single_run()
    )
    def snapshot(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        try:
            with giving_signs_of_life(context, config.stream.emit_every):
                _load(context, build(config), table)
        except CdcError as error:
            raise failure(error) from error
        yield from ()  # each chunk was reported when it was durable

    return snapshot


def _load(context: dg.AssetExecutionContext, pipeline: Pipeline, table: TableName) -> None:
    names = Names(pipeline.config.name)
    held = pipeline.sink.tables().get(table)
    generation = held.generation if held else 0
    chunks = {partition_key(generation, chunk): chunk for chunk in pipeline.sink.chunks(table)}
    if unknown := [key for key in context.partition_keys if key not in chunks]:
        raise dg.Failure(
            f"{len(unknown)} of these partitions, {unknown[0]} the first, belong to an earlier seed "
            f"of {table}; the present one is number {generation}",
            allow_retries=False,
        )
    wanted = _wanted(context, pipeline, table, chunks)
    _report_what_a_killed_run_loaded(context, pipeline, table, chunks)
    tables = pipeline.capture.select(pipeline.sink.tables()).tables
    keys = {chunk: key for key, chunk in chunks.items()}
    began = time.monotonic()
    for loaded in engine.load(
        pipeline.capture, pipeline.sink, tables, {table: wanted}, readers=pipeline.config.seed.readers
    ):
        context.log_event(
            dg.AssetMaterialization(
                names.snapshot(table),
                partition=keys[loaded.chunk],
                metadata={
                    "dagster/partition_row_count": loaded.rows,
                    "cdc/snapshot_lsn": str(loaded.lsn),
                    "cdc/seconds_into_run": round(time.monotonic() - began, 3),
                },
            )
        )
    after = pipeline.sink.tables()[table]
    if after.state is TableState.UNSEEDED:
        raise dg.Failure(f"{after.reason}; the planner plans it again", allow_retries=False)


def _report_what_a_killed_run_loaded(
    context: dg.AssetExecutionContext, pipeline: Pipeline, table: TableName, chunks: dict[str, Chunk]
) -> None:
    """It was killed after a chunk was durable, and before it could say so."""
    names, loaded = Names(pipeline.config.name), pipeline.sink.chunks(table)
    durable = {key: str(lsn) for key in context.partition_keys if (lsn := loaded[chunks[key]]) is not None}
    for key in unreported(context.instance, names, table, list(durable)):
        context.log_event(
            dg.AssetMaterialization(
                names.snapshot(table), partition=key, metadata={"cdc/snapshot_lsn": durable[key]}
            )
        )


def unreported(
    instance: dg.DagsterInstance, names: Names, table: TableName, partitions: Sequence[str]
) -> list[str]:
    """Those that Dagster knows no materialization of."""
    if not partitions:
        return []
    of_these = dg.AssetRecordsFilter(names.snapshot(table), asset_partitions=partitions)
    found = instance.fetch_materializations(of_these, limit=_MOST_EVENTS).records
    known = {record.partition_key for record in found}
    return [key for key in partitions if key not in known]


def _wanted(
    context: dg.AssetExecutionContext,
    pipeline: Pipeline,
    table: TableName,
    chunks: dict[str, Chunk],
) -> list[Chunk]:
    """The chunks to read: of a seed under way those that are not loaded, of a finished one all."""
    asked = [chunks[key] for key in context.partition_keys]
    if pipeline.sink.is_seeded(table):
        pipeline.sink.begin_reload(table, asked)
        return asked
    loaded = pipeline.sink.chunks(table)
    return [chunk for chunk in asked if loaded[chunk] is None]
