"""
Between NumPy and Arrow, without pandas: pyarrow's own conversions import it, which takes
a third of a second and 50 MB of every process that never needs it.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Bools = npt.NDArray[np.bool_]


def from_numpy(values: npt.NDArray[Any], valid: Bools | None = None) -> pa.Array:
    """The same numbers or booleans in Arrow, null where not `valid`."""
    validity = None if valid is None or valid.all() else bits(valid)
    data = bits(values) if values.dtype == bool else pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [validity, data])


def bits(values: Bools) -> pa.Buffer:
    return pa.py_buffer(np.packbits(values, bitorder="little"))


def to_numpy(array: pa.Array) -> npt.NDArray[Any]:
    """The same numbers or booleans in NumPy; where the array is null, anything."""
    data, begin, end = array.buffers()[1], array.offset, array.offset + len(array)
    if pa.types.is_boolean(array.type):
        unpacked = np.unpackbits(np.frombuffer(data, np.uint8), count=end, bitorder="little")
        return unpacked[begin:].astype(bool)
    return np.frombuffer(data, array.type.to_pandas_dtype())[begin:end]


def is_valid(array: pa.Array) -> Bools:
    """Where the array is not null."""
    return to_numpy(array.is_valid())


def take(array: pa.Array, indices: npt.NDArray[np.int64], valid: Bools | None = None) -> pa.Array:
    """The values at `indices`, null where not `valid`. Also of string views, for which Arrow has
    no such function: the views are copied, the strings stay where they are."""
    if isinstance(array, pa.ExtensionArray):
        return pa.ExtensionArray.from_storage(array.type, take(array.storage, indices, valid))
    if not pa.types.is_string_view(array.type):
        return array.take(from_numpy(indices, valid))
    present = is_valid(array)[indices]
    if valid is not None:
        present &= valid
    _, views, *strings = array.buffers()
    sixteen = np.frombuffer(views, "V16")[array.offset :][indices]
    validity = None if present.all() else bits(present)
    return pa.Array.from_buffers(array.type, len(indices), [validity, pa.py_buffer(sixteen), *strings])


def differ(left: pa.Array, right: pa.Array) -> Bools:
    """Where two arrays without nulls have not the very same value: a zero with a sign is another
    than one without, not-a-number is itself."""
    if isinstance(left, pa.ExtensionArray):
        return differ(left.storage, right.storage)
    if (plain := _COMPARED_AS.get(left.type)) is not None:
        left, right = left.view(plain), right.view(plain)
    return to_numpy(pc.not_equal(left, right))


_COMPARED_AS = {
    pa.float32(): pa.int32(),
    pa.float64(): pa.int64(),
    pa.month_day_nano_interval(): pa.binary(16),
}


def take_rows(batch: pa.RecordBatch, indices: npt.NDArray[np.int64]) -> pa.RecordBatch:
    columns = [take(column, indices) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def type_named(text: str) -> pa.DataType:
    """The type that `str` calls `text`: one of those that batches carry."""
    if match := _DECIMAL.match(text):
        return pa.decimal128(int(match[1]), int(match[2]))
    return _TYPES[text]


_DECIMAL = re.compile(r"decimal128\((\d+), (-?\d+)\)\Z")
_TYPES = {
    str(type_): type_
    for type_ in (
        pa.bool_(),
        pa.int16(),
        pa.int32(),
        pa.int64(),
        pa.uint32(),
        pa.float32(),
        pa.float64(),
        pa.string_view(),
        pa.large_binary(),
        pa.date32(),
        pa.time64("us"),
        pa.timestamp("us"),
        pa.timestamp("us", "UTC"),
        pa.month_day_nano_interval(),
        pa.uuid(),
        pa.json_(pa.string_view()),
    )
}
