"""
The check of each copy against its source.
"""

from __future__ import annotations

from typing import Any

import dagster as dg
import duckdb
from deployed import ITEMS, MIRROR, NAMES, ORDERS, Deployed, values


def execute(deployed: Deployed, *tables: Any) -> dict[Any, dg.AssetCheckEvaluation]:
    """In a run of its own; what was said of each table."""
    keys = [dg.AssetCheckKey(NAMES.mirror(table), "verified") for table in tables]
    job = dg.define_asset_job("nightly", selection=dg.AssetSelection.checks(*keys))
    defs = dg.Definitions.merge(deployed.defs, dg.Definitions(jobs=[job]))
    result = defs.resolve_job_def("nightly").execute_in_process(instance=deployed.instance)
    return {found.asset_key: found for found in result.get_asset_check_evaluations()}


def test_copies_that_are_equal_pass_and_say_how_many_rows_there_are_and_where(deployed):
    deployed.seed()

    found = execute(deployed, ORDERS, ITEMS)

    assert {key: (each.passed, each.blocking) for key, each in found.items()} == {
        NAMES.mirror(ORDERS): (True, False),
        NAMES.mirror(ITEMS): (True, False),
    }
    said = values(found[MIRROR])
    assert (said["cdc/rows"], said["cdc/rows_that_differ"], said["cdc/chunks"]) == (3, 0, 1)
    assert said["cdc/rows_per_second"] >= 0
    assert "/" in said["cdc/lsn"]


def test_a_row_that_differs_is_counted_and_never_shown(deployed):
    deployed.seed()
    with duckdb.connect(str(deployed.config.folder / "copy.duckdb")) as copy:
        copy.execute("update public.orders set status = 'forged' where id = 2")
        copy.execute("insert into public.orders (id, status) values (987654, 'planted')")

    found = execute(deployed, ORDERS)[MIRROR]

    assert not found.passed
    assert values(found)["cdc/rows_that_differ"] == 2
    assert "cdc-assets verify public.orders" in (found.description or "")
    assert not any(word in str(found) for word in ("forged", "paid", "planted", "987654"))


def test_a_table_that_is_not_seeded_does_not_pass_and_says_so(deployed):
    found = execute(deployed, ORDERS)[MIRROR]

    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "not seeded" in (found.description or "")


def test_a_run_that_materializes_tables_does_not_read_them_all_again(deployed):
    deployed.seed()

    result = deployed.materialize(*deployed.mirrors)

    assert result.success
    assert not result.get_asset_check_evaluations()


def test_the_stream_leaves_the_check_out(deployed):
    job = deployed.defs.resolve_job_def(NAMES.stream_job)

    assert [node.name for node in job.nodes] == [NAMES.stream_op]
