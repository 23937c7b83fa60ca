"""
What a sink holds, as text.
"""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Any

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
        columns: dict[TableName, dict[str, str]] = {}
        for schema, table, column, type_ in connection.execute(
            "select table_schema, table_name, column_name, data_type from information_schema.columns"
        ).fetchall():
            if not column.startswith("_cdc_"):
                columns.setdefault(TableName(schema, table), {})[column] = type_
        found = {}
        for name in held:
            shown = ", ".join(_SHOWN.get(t, _OTHER).format(quoted(c)) for c, t in columns[name].items())
            rows = connection.execute(f"select {shown} from {quoted(*name)}").fetchall()
            found[name] = CopiedTable(list(columns[name]), rows)
        return found


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
