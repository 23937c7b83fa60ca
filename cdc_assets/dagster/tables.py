"""
Which tables there are assets for.

Definitions load without a database: what was found at the source the last time it
was looked at is kept in a file beside the configuration, and only where there is no
such file is the source asked. The planner sensor keeps the file up to date; what is
new in it shows once the code location is reloaded. It says nothing of the stream's
state, and can be put under version control.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import CdcError
from ..model import Table, TableName
from ..pipeline import Pipeline

_log = logging.getLogger("cdc_assets")


@dataclass(frozen=True)
class KnownColumn:
    name: str
    type: str
    """As PostgreSQL writes it."""
    nullable: bool


@dataclass(frozen=True)
class KnownTable:
    name: TableName
    columns: tuple[KnownColumn, ...]
    key: tuple[str, ...]

    @classmethod
    def of(cls, table: Table) -> KnownTable:
        columns = (KnownColumn(column.name, column.type, column.nullable) for column in table.columns)
        return cls(table.name, tuple(columns), table.key)


def known_tables(pipeline: Pipeline) -> list[KnownTable]:
    """The tables of the last look, or of a first one."""
    file = _file(pipeline)
    if file.exists():
        return _read(file)
    try:
        return remember(pipeline, pipeline.capture.select().tables)
    except CdcError as error:
        _log.warning("the source could not be looked at, so only tables called by name show: %s", error)
        return [KnownTable(name, (), ()) for name in pipeline.capture.patterns.named]


def remember(pipeline: Pipeline, tables: Mapping[TableName, Table]) -> list[KnownTable]:
    """Keep what was found, if it is something new."""
    found = [KnownTable.of(table) for table in tables.values()]
    file = _file(pipeline)
    if not file.exists() or _read(file) != found:
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_suffix(".new")
        beside.write_text(_text(found))
        beside.replace(file)
    return found


def _file(pipeline: Pipeline) -> Path:
    return pipeline.config.folder / ".cdc_assets" / f"{pipeline.config.name}.tables.json"


def _text(tables: list[KnownTable]) -> str:
    rows = [
        {
            "table": [*table.name],
            "columns": [[column.name, column.type, column.nullable] for column in table.columns],
            "key": [*table.key],
        }
        for table in tables
    ]
    return json.dumps(rows, indent=1)


def _read(file: Path) -> list[KnownTable]:
    return [
        KnownTable(
            TableName(*row["table"]),
            tuple(KnownColumn(*column) for column in row["columns"]),
            tuple(row["key"]),
        )
        for row in json.loads(file.read_text())
    ]
