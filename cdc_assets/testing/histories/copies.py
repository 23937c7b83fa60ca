"""
What a sink holds, as text.
"""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Any

import duckdb
import pyarrow as pa

from ...model import Sink, TableName, TableState
from ...sinks.duckdb.file import quoted
from ...sinks.duckdb.sink import DuckDBSink
from ...sinks.duckdb.turns import open_duckdb
from ...sinks.memory import MemorySink
from .differences import CopiedTable, Copies


def copies(sink: Sink) -> Copies:
    """Of every table that the sink keeps in step."""
    held = [name for name, table in sink.tables().items() if table.state is TableState.SEEDED]
    if isinstance(sink, DuckDBSink):
        return _in_duckdb(sink, held)
    assert isinstance(sink, MemorySink)
    return {name: _in_memory(sink, name) for name in held}


def _in_duckdb(sink: DuckDBSink, held: list[TableName]) -> Copies:
    """As anyone finds it who opens the file."""
    sink.close()
    with open_duckdb(sink.file.path) as connection:
        return {name: shown(connection, quoted(*name)) for name in held}


def shown(connection: duckdb.DuckDBPyConnection, relation: str) -> CopiedTable:
    """What DuckDB has, in a form that PostgreSQL reads."""
    columns = {
        name: type_
        for name, type_, *_ in connection.execute(f"describe from {relation}").fetchall()
        if not name.startswith("_cdc_")
    }
    cells = ", ".join(_SHOWN.get(type_, _OTHER).format(quoted(name)) for name, type_ in columns.items())
    return CopiedTable(list(columns), connection.execute(f"select {cells} from {relation}").fetchall())


_SHOWN = {
    "BLOB": "'\\x' || lower(hex({}))",
    **dict.fromkeys(("DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE"), "replace({}::varchar, '(BC)', 'BC')"),
}
_OTHER = "{}::varchar"


def _in_memory(sink: MemorySink, name: TableName) -> CopiedTable:
    found = sink.read(name)
    return CopiedTable(found.column_names, [[*map(_text, row.values())] for row in found.to_pylist()])


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, pa.MonthDayNano):
        return f"{value.months} mons {value.days} days {value.nanoseconds // 1000} microseconds"
    return str(value)
