"""
How an asset of the user's reads a mirrored table.
"""

from __future__ import annotations

from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa
import pytest
from deployed import MIRROR, Deployed

READ = dg.AssetIn(key=MIRROR)
FOUND: dict[str, Any] = {}


@dg.asset(ins={"orders": READ})
def as_pandas(orders: pd.DataFrame) -> None:
    FOUND["pandas"] = orders


@dg.asset(ins={"orders": READ})
def as_arrow(orders: pa.Table) -> None:
    FOUND["arrow"] = orders


@dg.asset(ins={"orders": READ})
def unannotated(orders) -> None:
    FOUND["unannotated"] = orders


@pytest.fixture
def downstream(deployed: Deployed) -> dg.ExecuteInProcessResult:
    """Every asset above, materialized from a seeded table."""
    deployed.seed()
    assets = dg.Definitions(assets=[as_pandas, as_arrow, unannotated])
    job = dg.Definitions.merge(deployed.defs, assets).resolve_implicit_global_asset_job_def()
    return job.execute_in_process(
        instance=deployed.instance, asset_selection=[asset.key for asset in assets.assets or ()]
    )


def test_a_mirrored_table_comes_in_the_form_that_the_annotation_says(downstream):
    assert downstream.success
    assert {name: type(found) for name, found in FOUND.items()} == {
        "pandas": pd.DataFrame,
        "arrow": pa.Table,
        "unannotated": pd.DataFrame,
    }


def test_it_has_the_sources_columns_and_rows_and_nothing_of_ours(downstream):
    assert FOUND["arrow"].schema.names == ["id", "status", "total"]
    assert sorted(FOUND["pandas"]["id"]) == [1, 2, 3]
