"""
Tables of any name, whose assets must have names that Dagster takes.
"""

from __future__ import annotations

import dagster as dg
import pytest
from deployed import NAMES, Deployed, configured
from psycopg import sql

from cdc_assets.dagster.names import key_parts
from cdc_assets.model import TableName

TABLES = [TableName("Other schema", name) for name in ("a b", "a_b", "a-b", "größe", 'x/"y"%', "n" * 63)]


@pytest.fixture
def oddly_named(tmp_path, newest_dsn, shop, instance) -> Deployed:
    shop.execute('create schema "Other schema"')
    for table in TABLES:
        name, value = sql.Identifier(*table), sql.Literal(table.name)
        shop.execute(sql.SQL("create table {} (id int primary key, called text)").format(name))
        shop.execute(sql.SQL("insert into {} values (1, {})").format(name, value))
    source = {"conninfo": newest_dsn, "tables": ["*.*"], "takeover_wait": 1}
    stream = {"max_run_seconds": 2, "emit_every": 1}
    return Deployed(configured(tmp_path, newest_dsn, source=source, stream=stream), instance)


def test_they_are_seeded_streamed_and_read(oddly_named, shop):
    oddly_named.seed()
    for table in TABLES:
        shop.execute(sql.SQL("insert into {0} select 2, called from {0}").format(sql.Identifier(*table)))
    assert oddly_named.stream().success

    found: dict[str, list[str]] = {}

    def reader(number: int, table: TableName) -> dg.AssetsDefinition:
        @dg.asset(name=f"reader_{number}", ins={"rows": dg.AssetIn(key=NAMES.mirror(table))})
        def read(rows) -> None:
            found[table.name] = list(rows["called"])

        return read

    readers = [reader(number, table) for number, table in enumerate(TABLES)]
    defs = dg.Definitions.merge(oddly_named.defs, dg.Definitions(assets=readers))
    job = defs.resolve_implicit_global_asset_job_def()
    job.execute_in_process(instance=oddly_named.instance, asset_selection=[each.key for each in readers])
    assert found == {table.name: [table.name] * 2 for table in TABLES}


def test_no_two_have_the_same_key_and_a_plain_name_is_the_key():
    assert len({key_parts(table) for table in TABLES}) == len(TABLES)
    assert key_parts(TableName("public", "Orders_2")) == ("public", "Orders_2")
