"""
What the README says is so.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import psycopg
import pytest
import yaml
from psycopg.conninfo import make_conninfo
from pydantic import BaseModel

from cdc_assets.config import CdcConfig, TableOptions, parse
from cdc_assets.engine import catch_up
from cdc_assets.model import TableName, TableState
from cdc_assets.pipeline import build

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
LEAST = {
    "name": "shop",
    "source": {"conninfo": "host=nowhere", "tables": ["public.*"]},
    "destination": {"type": "duckdb", "path": "shop.duckdb"},
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(title: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def defaults() -> dict[str, str]:
    return {key.strip("`"): default.strip("`") for key, default, _ in rows("Configuration")}


def keys(model: type[BaseModel]) -> set[str]:
    found = set()
    for name, field in model.model_fields.items():
        inner = getattr(field.annotation, "model_fields", None)
        found |= {f"{name}.{key}" for key in inner} if inner else {name}
    return found


def test_the_table_has_every_key_of_the_configuration() -> None:
    destination = {f"destination.{key}" for key in ("type", "path", "lock_timeout", "memory_limit")}
    of_a_table = {f"tables.<schema.table>.{key}" for key in keys(TableOptions)}
    expected = (keys(CdcConfig) - {"destination", "tables"}) | destination | of_a_table
    assert set(defaults()) == expected


@pytest.mark.parametrize(("key", "default"), [item for item in defaults().items() if item[1]])
def test_a_default_is_what_the_table_says(key: str, default: str) -> None:
    data = {name: dict(value) if isinstance(value, dict) else value for name, value in LEAST.items()}
    part, _, name = key.partition(".")
    if name:
        data.setdefault(part, {})[name] = default
    else:
        data[part] = default
    assert parse(data).model_dump() == parse(LEAST).model_dump()


def test_the_table_has_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["demo"]]
    wanted += project["dependency-groups"]["dev"]
    said = " ".join(cell for row in rows("Dependencies") for cell in row)
    for requirement in wanted:
        name = re.split(r"[\[<>=]", requirement)[0]
        stands_for = "stubs" if name.startswith("types-") or name.endswith("-stubs") else name
        assert stands_for in said, f"{name} is not in the README"


def test_the_roles_privileges_are_enough(newest_dsn: str, path: Path) -> None:
    make_role, publish = blocks("sql")
    (configuration,) = blocks("yaml")
    with psycopg.connect(newest_dsn, autocommit=True) as owner:
        for name in ("orders", "customers"):
            owner.execute(f"create table {name} (id int primary key, status text)".encode())
            owner.execute(f"insert into {name} values (1, 'new')".encode())
        owner.execute("drop role if exists cdc")
        owner.execute(make_role.encode())
        publish = publish.replace("_root = true", "_root = true, publish_generated_columns = stored")
        owner.execute(publish.encode())
        data = yaml.safe_load(configuration)
        data["source"]["conninfo"] = make_conninfo(newest_dsn, user="cdc", password="choose one")
        data["destination"]["path"] = str(path)
        pipeline = build(parse(data))
        try:
            assert [found for found in pipeline.capture.findings() if found.is_problem] == []
            list(catch_up(pipeline.capture, pipeline.sink))
            held = pipeline.sink.tables()
            assert {name: held[name].state for name in held} == {
                TableName("public", "orders"): TableState.SEEDED,
                TableName("public", "customers"): TableState.SEEDED,
            }
        finally:
            owner.execute("select pg_drop_replication_slot('cdc_shop')")
            owner.execute("drop owned by cdc; drop role cdc")


@pytest.mark.parametrize("code", blocks("python"))
def test_python_in_the_readme_is_python(code: str) -> None:
    assert compile(code, "README.md", "exec").co_names
