"""
Rows of a binary COPY to columns, many rows at a time, as `rows` does it.

A row is the number of its columns and its cells, each a length and its bytes.
https://www.postgresql.org/docs/current/sql-copy.html (Binary Format)
"""

from __future__ import annotations

from struct import Struct

import numpy as np
import pyarrow as pa

from ..model import Table
from . import types
from .cells import Cells, uint32_at
from .frames import Frames

_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_HEADER = len(_SIGNATURE) + 8
"""Bytes before the first row; the two numbers after the signature are 0."""
_COUNT = Struct(">h").pack
_NULL = 0xFFFFFFFF


def begins_with(table: Table) -> bytes:
    """What every row begins with."""
    return _COUNT(len(table.columns))


def decode(frames: Frames, table: Table) -> pa.RecordBatch:
    """The rows among `frames`; a column is binary if `types.has_binary` says so, else text."""
    data, start = frames.data, frames.start
    if len(frames) and frames[0].startswith(_SIGNATURE):
        start = np.append(start[0] + _HEADER, start[1:])
    at = start[data[start] != 0xFF] + 2
    arrays = []
    for column in table.columns:
        length = uint32_at(data, at)
        valid = length != _NULL
        if not valid.all():
            length = np.where(valid, length, 0)
        cells = Cells(data, at + 4, length, valid)
        read = types.from_binary if types.has_binary(column) else types.from_text
        arrays.append(read(column, cells, table.name))
        at = at + 4 + length
    return pa.RecordBatch.from_arrays(arrays, schema=table.schema)
