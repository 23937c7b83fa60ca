"""
What a configuration comes to in Dagster, and what it takes to load it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import dagster as dg
import pytest
from deployed import ITEMS, MIRROR, NAMES, ORDERS, SEEDS, configured

from cdc_assets import CdcTranslator, build_cdc_definitions

ROOT = Path(__file__).parents[2]
NOWHERE = "host=127.0.0.1 port=1 connect_timeout=2"
PROGRAMS = Path(sysconfig.get_path("scripts"))
PASSWORD = "hunter2-and-more"


@pytest.fixture
def defs(deployed) -> dg.Definitions:
    return deployed.defs


@pytest.fixture
def specs(defs) -> dict[dg.AssetKey, dg.AssetSpec]:
    return {spec.key: spec for spec in defs.resolve_all_asset_specs()}


def keys(defs: dg.Definitions) -> set[str]:
    return {key.to_user_string() for key in defs.resolve_all_asset_keys()}


def test_a_table_is_three_assets_and_the_slot_is_one(defs):
    assert keys(defs) == {
        "shop/slot",
        *(
            f"shop/{role}public/{name}"
            for role in ("source/", "snapshot/", "")
            for name in ("orders", "items")
        ),
    }
    dg.Definitions.validate_loadable(defs)


def test_the_graph_goes_from_the_source_by_the_seed_and_the_slot_to_the_copy(specs):
    assert {dep.asset_key for dep in specs[MIRROR].deps} == {NAMES.source(ORDERS), SEEDS, NAMES.slot}
    assert [dep.asset_key for dep in specs[SEEDS].deps] == [NAMES.source(ORDERS)]
    assert not list(specs[NAMES.slot].deps)


def test_source_and_slot_are_only_observed(defs):
    graph = defs.resolve_asset_graph()

    assert graph.external_asset_keys == {NAMES.slot, NAMES.source(ORDERS), NAMES.source(ITEMS)}


def test_kinds_say_from_where_to_where(specs):
    assert specs[MIRROR].kinds == {"postgres", "duckdb", "table"}
    assert specs[SEEDS].kinds == {"postgres", "duckdb", "snapshot"}
    assert specs[NAMES.source(ORDERS)].kinds == {"postgres", "table"}


def test_a_copy_says_where_it_is_and_what_it_is(specs):
    metadata = specs[MIRROR].metadata

    assert metadata["dagster/table_name"] == "copy.public.orders"
    assert metadata["dagster/storage_kind"] == "duckdb"
    schema = metadata["dagster/column_schema"]
    assert [(column.name, column.type) for column in schema.columns] == [
        ("id", "integer"),
        ("status", "text"),
        ("total", "numeric(12,2)"),
    ]
    assert [(column.constraints.nullable, column.constraints.unique) for column in schema.columns] == [
        (False, True),
        (True, False),
        (True, False),
    ]
    assert schema.constraints.other == ["PRIMARY KEY (id)"]


def test_each_column_comes_from_the_same_one_at_the_source(specs):
    lineage = specs[MIRROR].metadata["dagster/column_lineage"].deps_by_column

    assert {name: [(dep.asset_key, dep.column_name) for dep in deps] for name, deps in lineage.items()} == {
        name: [(NAMES.source(ORDERS), name)] for name in ("id", "status", "total")
    }


def test_the_stream_is_a_job_of_its_own_that_dagster_does_not_retry(defs):
    job = defs.resolve_job_def(NAMES.stream_job)

    assert job.tags["cdc_assets/stream"] == "shop"
    assert job.tags["dagster/max_retries"] == "0"
    assert job.executor_def is dg.in_process_executor
    assert [node.name for node in job.nodes] == [NAMES.stream_op]


def test_sensors_are_off_until_they_are_asked_for(deployed):
    def on(defs: dg.Definitions) -> set[str]:
        sensors = [defs.resolve_sensor_def(name) for name in (NAMES.planner, NAMES.supervisor)]
        running = dg.DefaultSensorStatus.RUNNING
        return {sensor.name for sensor in sensors if sensor.default_status is running}

    assert on(deployed.defs) == set()
    assert on(build_cdc_definitions(deployed.config, start_sensors=True)) == {NAMES.planner, NAMES.supervisor}


class Owned(CdcTranslator):
    def get_asset_spec(self, props):
        return (
            super()
            .get_asset_spec(props)
            .replace_attributes(owners=["team:shop"], group_name=props.role.value)
        )


def test_a_translator_has_the_last_word_on_every_asset(deployed):
    defs = build_cdc_definitions(deployed.config, translator=Owned())

    found = {spec.key: (spec.group_name, spec.owners) for spec in defs.resolve_all_asset_specs()}
    assert len(found) == 7
    assert found[MIRROR] == ("mirror", ["team:shop"])
    assert found[SEEDS] == ("snapshot", ["team:shop"])
    assert found[NAMES.slot] == ("slot", ["team:shop"])
    assert found[NAMES.source(ORDERS)] == ("source", ["team:shop"])


def test_two_pipelines_can_be_merged(tmp_path, newest_dsn, deployed):
    other = build_cdc_definitions(configured(tmp_path, newest_dsn, name="other"))

    merged = dg.Definitions.merge(deployed.defs, other)

    dg.Definitions.validate_loadable(merged)
    assert keys(merged) == keys(deployed.defs) | keys(other)
    assert keys(deployed.defs).isdisjoint(keys(other))


# Loading


def test_tables_seen_once_are_known_without_a_database(tmp_path, deployed):
    before = keys(deployed.defs)
    gone = configured(tmp_path, NOWHERE)
    began = time.monotonic()

    assert keys(build_cdc_definitions(gone)) == before
    assert time.monotonic() - began < 1


def test_with_no_database_and_nothing_remembered_tables_called_by_name_are_there(tmp_path):
    assert keys(build_cdc_definitions(configured(tmp_path, NOWHERE))) == {
        "shop/slot",
        "shop/source/public/orders",
        "shop/snapshot/public/orders",
        "shop/public/orders",
    }


def test_with_no_database_and_only_patterns_the_planner_is_there(tmp_path):
    config = configured(tmp_path, NOWHERE, source={"conninfo": NOWHERE, "tables": ["public.*"]})
    defs = build_cdc_definitions(config)

    assert keys(defs) == {"shop/slot"}
    assert defs.resolve_sensor_def(NAMES.planner)
    dg.Definitions.validate_loadable(defs)


def test_the_destination_is_looked_for_where_runs_are(tmp_path):
    destination = {"type": "duckdb", "path": {"env": "NOT_SET_WHERE_DEFINITIONS_ARE_LOADED"}}
    config = configured(tmp_path, NOWHERE, destination=destination)

    defs = build_cdc_definitions(config)

    dg.Definitions.validate_loadable(defs)
    assert "shop/public/orders" in keys(defs)


def test_what_was_seen_is_remembered_without_values_or_secrets(tmp_path, deployed):
    assert deployed.defs
    remembered = (tmp_path / ".cdc_assets" / "shop.tables.json").read_text()

    assert {tuple(row["table"]) for row in json.loads(remembered)} == {ORDERS, ITEMS}
    assert "password" not in remembered


def test_loading_imports_neither_pandas_nor_a_destinations_library(tmp_path):
    """They are a good part of the second a run's worker takes to start."""
    look = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from deployed import configured
from cdc_assets import build_cdc_definitions
build_cdc_definitions(configured(Path({str(tmp_path)!r}), "host=127.0.0.1 port=1"))
print(sorted({{"pandas", "duckdb"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def example(folder: Path) -> dict[str, str]:
    """The example at the top of the repository, in a folder of its own; its environment."""
    for name in ("definitions.py", "cdc.yaml", "workspace.yaml"):
        shutil.copy(ROOT / name, folder)
    home = folder / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    dsn = f"{NOWHERE} password={PASSWORD}"
    return {**os.environ, "DAGSTER_HOME": str(home), "SHOP_DSN": dsn, "PYTHONWARNINGS": "ignore"}


def test_the_example_is_valid_without_a_database(tmp_path):
    command = [PROGRAMS / "dagster", "definitions", "validate", "-w", "workspace.yaml"]
    done = subprocess.run(command, cwd=tmp_path, env=example(tmp_path), capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
    assert PASSWORD not in done.stdout + done.stderr


EVERYTHING = """{ repositoriesOrError { ... on RepositoryConnection { nodes {
  allTopLevelResourceDetails { name description configuredValues { key value } }
  pipelines { name description tags { key value } }
  sensors { name description }
  assetNodes { assetKey { path } description opNames
    metadataEntries { label description ... on TextMetadataEntry { text } } }
} } } }"""


def test_no_secret_is_shown_whether_it_is_a_variable_or_written_down(tmp_path):
    """What the UI asks for: resources and their values, jobs and their tags, assets and their metadata."""
    environment = example(tmp_path)
    definitions = (
        (tmp_path / "definitions.py").read_text()
        + f"""
from cdc_assets.config import parse
written = dict(name="written", destination=dict(type="duckdb", path="w.duckdb"),
               source=dict(conninfo="{NOWHERE} password={PASSWORD}", tables=["public.orders"]))
defs = dg.Definitions.merge(defs, build_cdc_definitions(parse(written)))
"""
    )
    (tmp_path / "definitions.py").write_text(definitions)
    command = [PROGRAMS / "dagster-graphql", "-w", "workspace.yaml", "-t", EVERYTHING, "-o", "answer"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    answer = (tmp_path / "answer").read_text()
    (repository,) = json.loads(answer)["data"]["repositoriesOrError"]["nodes"]
    resources = {found["name"] for found in repository["allTopLevelResourceDetails"]}
    assert {"shop_mirror", "written_mirror"} <= resources
    assert PASSWORD not in answer + done.stdout + done.stderr
