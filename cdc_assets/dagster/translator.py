"""
From a table to its asset specs. Override `get_asset_spec` to change what they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import dagster as dg

from .names import Names
from .tables import KnownTable


class Role(Enum):
    SOURCE = "source"
    """The table in PostgreSQL; an external asset."""
    SNAPSHOT = "snapshot"
    """The seed, chunk by chunk."""
    MIRROR = "mirror"
    """The copy that is kept in step."""
    SLOT = "slot"
    """The replication slot, which is only observed."""


@dataclass(frozen=True)
class CdcAssetProps:
    """What is known of an asset."""

    names: Names
    role: Role
    storage: str
    """Kind of the destination: duckdb."""
    database: str
    """What the destination's database is called there."""
    table: KnownTable | None = None
    """None for the slot."""


class CdcTranslator:
    """Gives every asset of a pipeline its spec; everything but the key may be changed."""

    def get_asset_spec(self, props: CdcAssetProps) -> dg.AssetSpec:
        make = {
            Role.SOURCE: _source,
            Role.SNAPSHOT: _snapshot,
            Role.MIRROR: _mirror,
            Role.SLOT: _slot,
        }
        return make[props.role](props)


def _source(props: CdcAssetProps) -> dg.AssetSpec:
    table = _table(props)
    return dg.AssetSpec(
        props.names.source(table.name),
        description=f"Table {table.name} at the source.",
        group_name=props.names.pipeline,
        kinds={"postgres", "table"},
        metadata={"dagster/table_name": str(table.name), "dagster/column_schema": column_schema(table)},
    )


def _snapshot(props: CdcAssetProps) -> dg.AssetSpec:
    table = _table(props)
    return dg.AssetSpec(
        props.names.snapshot(table.name),
        deps=[props.names.source(table.name)],
        description=(
            f"The first copy of {table.name}, read chunk by chunk. A partition is a chunk; materializing "
            "one by hand reads it again, which the stream's newer changes survive."
        ),
        group_name=props.names.pipeline,
        kinds={"postgres", props.storage, "snapshot"},
        partitions_def=props.names.chunks(table.name),
        skippable=True,
    )


def _mirror(props: CdcAssetProps) -> dg.AssetSpec:
    table, names = _table(props), props.names
    lineage = {
        column.name: [dg.TableColumnDep(asset_key=names.source(table.name), column_name=column.name)]
        for column in table.columns
    }
    return dg.AssetSpec(
        names.mirror(table.name),
        deps=[names.source(table.name), names.snapshot(table.name), names.slot],
        description=f"{table.name}, kept in step with the source.",
        group_name=names.pipeline,
        kinds={"postgres", props.storage, "table"},
        skippable=True,
        metadata={
            "dagster/table_name": f"{props.database}.{table.name}",
            "dagster/storage_kind": props.storage,
            "dagster/column_schema": column_schema(table),
            "dagster/column_lineage": dg.TableColumnLineage(lineage),
            "dagster/io_manager_key": io_manager_key(names),
        },
    )


def _slot(props: CdcAssetProps) -> dg.AssetSpec:
    return dg.AssetSpec(
        props.names.slot,
        description=(
            "The replication slot: what the source keeps for us. Its lag is how far what we have "
            "confirmed trails the server."
        ),
        group_name=props.names.pipeline,
        kinds={"postgres"},
    )


def io_manager_key(names: Names) -> str:
    return f"{names.pipeline}_mirror"


def column_schema(table: KnownTable) -> dg.TableSchema:
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=column.name,
                type=column.type,
                constraints=dg.TableColumnConstraints(
                    nullable=column.nullable, unique=table.key == (column.name,)
                ),
            )
            for column in table.columns
        ],
        constraints=dg.TableConstraints(other=[f"PRIMARY KEY ({', '.join(table.key)})"] if table.key else []),
    )


def _table(props: CdcAssetProps) -> KnownTable:
    assert props.table is not None
    return props.table
