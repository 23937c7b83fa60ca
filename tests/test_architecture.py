"""
Which layer may import which. The table is the architecture; everything else follows.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "cdc_assets"

MAY_IMPORT = {
    "errors": set(),
    "points": set(),
    "config": {"errors"},
    "model": {"errors"},
    "pgoutput": {"model", "errors"},
    "postgres": {"pgoutput", "model", "points", "errors"},
    "sinks": {"model", "points", "errors"},
    "engine": {"model", "points", "errors"},
    "pipeline": {"config", "engine", "postgres", "sinks", "model", "errors"},
    "testing": {"engine", "postgres", "sinks", "model", "points", "errors"},
    "cli": {"pipeline", "config", "engine", "postgres", "model", "errors", "demo"},
    "demo": {"pipeline", "config", "engine", "dagster", "testing", "model", "errors"},
    "dagster": {"pipeline", "config", "engine", "postgres", "sinks", "model", "errors"},
}
OUTSIDE = {
    "psycopg": {"postgres", "testing", "demo"},
    "dagster": {"dagster", "demo"},
    "duckdb": {"sinks", "testing"},
    "click": {"cli"},
    "rich": {"cli"},
    "pydantic": {"config", "dagster"},
}


def imports(path: Path) -> Iterator[str]:
    """What a module imports, as absolute dotted names."""
    package = ("cdc_assets", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            above = package[: len(package) - node.level + 1]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from (".".join((*above, name)) for name in names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_a_module_imports_only_what_its_layer_may(path: Path) -> None:
    layer = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if layer == "__init__":
        return
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top == "cdc_assets":
            other = rest.split(".")[0]
            assert other == layer or other in MAY_IMPORT[layer], f"{layer} imports {name}"
        elif top in OUTSIDE:
            assert layer in OUTSIDE[top], f"{layer} imports {name}"


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_only_public_names_of_dagster_are_used(path: Path) -> None:
    for name in imports(path):
        assert not name.startswith("dagster._"), f"{path.name} imports {name}"
