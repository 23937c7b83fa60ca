"""
How PostgreSQL types become Arrow types: one line for each.

The Arrow type is all that a sink sees of a column's type. Where Arrow has no
type that holds every value, or PostgreSQL's values have no form outside
PostgreSQL (arrays of any shape, ranges, composites, network addresses, ...), the
column is kept as PostgreSQL's text, which loses nothing.

The stream sends text, so each type says how text is read. A snapshot reads values
in binary where a type says how that is read; the others it reads as the same text
that the stream would send.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import UnfaithfulValue
from ..model import Column, TableName, arrow
from . import datetimes, hashing
from .cells import Cells

_TEXT = pa.string_view()
_EPOCH_DAYS = np.int32(10_957)
_EPOCH = np.int64(946_684_800_000_000)
"""From 1970 to 2000, where PostgreSQL counts from: days, microseconds."""


class Type(NamedTuple):
    arrow: Callable[[int], pa.DataType]
    """By type modifier."""
    from_text: Callable[[Cells, pa.DataType], pa.Array]
    from_binary: Callable[[Cells, pa.DataType], pa.Array] | None = None
    """From what the type's send function gives."""
    written: Callable[[pa.Array], list[Any]] = pa.Array.to_pylist
    """As PostgreSQL reads them."""


def _always(arrow: pa.DataType) -> Callable[[int], pa.DataType]:
    return lambda typmod: arrow


def _numeric(typmod: int) -> pa.DataType:
    """A decimal if it has a precision, at most 38, and a scale within it; otherwise text.

    https://www.postgresql.org/docs/current/datatype-numeric.html#DATATYPE-NUMERIC-DECIMAL
    """
    precision, scale = (typmod - 4) >> 16 & 0xFFFF, (typmod - 4) & 0x7FF
    if typmod < 0 or precision > 38 or scale > precision:
        return _TEXT
    return pa.decimal128(precision, scale)


def _same(cells: Cells, to: pa.DataType) -> pa.Array:
    return cells.text


def _cast(cells: Cells, to: pa.DataType) -> pa.Array:
    return pc.cast(cells.text, to)


def _bool(cells: Cells, to: pa.DataType) -> pa.Array:
    return arrow.from_numpy(cells.byte(0) == ord("t"), cells.valid)


def _json(cells: Cells, to: pa.DataType) -> pa.Array:
    return pa.ExtensionArray.from_storage(to, cells.text)


def _bytea(cells: Cells, to: pa.DataType) -> pa.Array:
    """From \\x and two hexadecimal digits a byte."""
    hexadecimal = cells.after(2).bytes
    offsets = np.frombuffer(hexadecimal.buffers()[1], np.int64)[: len(cells) + 1] // 2
    return cells.array_of(to, [offsets, _unhexlified(hexadecimal)])


def _uuid(cells: Cells, to: pa.DataType) -> pa.Array:
    """From 32 hexadecimal digits in five groups."""
    digits = pc.replace_substring(cells.bytes.fill_null(b"0" * 32), b"-", b"")
    values = np.frombuffer(_unhexlified(digits), np.uint8)
    return pa.ExtensionArray.from_storage(to, cells.array(values, pa.binary(16)))


def _unhexlified(digits: pa.Array) -> bytes:
    """Of all cells, one after the other. The buffer of an array without cells is not empty."""
    return binascii.unhexlify(digits.buffers()[2] or b"") if len(digits) else b""


def _binary_bool(cells: Cells, to: pa.DataType) -> pa.Array:
    return arrow.from_numpy(cells.byte(0) != 0, cells.valid)


def _binary_number(dtype: str) -> Callable[[Cells, pa.DataType], pa.Array]:
    return lambda cells, to: cells.array(cells.number(dtype), to)


def _binary_bytea(cells: Cells, to: pa.DataType) -> pa.Array:
    return cells.bytes


def _binary_jsonb(cells: Cells, to: pa.DataType) -> pa.Array:
    """A version number before the text."""
    return _json(cells.after(1), to)


def _binary_uuid(cells: Cells, to: pa.DataType) -> pa.Array:
    sixteen = cells.data[cells.start[:, np.newaxis] + np.arange(16)]
    return pa.ExtensionArray.from_storage(to, cells.array(sixteen, pa.binary(16)))


def _binary_date(cells: Cells, to: pa.DataType) -> pa.Array:
    return _since_2000(cells, cells.number("i4"), _EPOCH_DAYS, to)


def _binary_timestamp(cells: Cells, to: pa.DataType) -> pa.Array:
    return _since_2000(cells, cells.number("i8"), _EPOCH, to)


def _since_2000(
    cells: Cells, values: npt.NDArray[np.signedinteger], epoch: np.signedinteger, to: pa.DataType
) -> pa.Array:
    """PostgreSQL keeps infinity at the ends of the range, minus infinity one further out."""
    ends = np.iinfo(values.dtype)
    plus, minus = values == ends.max, values == ends.min
    with np.errstate(over="ignore"):
        moved = values + epoch
    # A value that comes to lie at the very end would be taken for infinity.
    if (((moved < values) | (moved == ends.max)) & ~plus & ~minus & cells.valid).any():
        raise pa.ArrowInvalid("a timestamp is after the year 294246")
    if (plus | minus).any():
        moved = np.where(plus, ends.max, np.where(minus, -ends.max, moved))
    return cells.array(moved, to)


def _binary_numeric(cells: Cells, to: pa.DataType) -> pa.Array:
    """From digits to the base of 10,000: how many, the first one's weight, the sign, the scale.

    https://www.postgresql.org/docs/current/datatype-numeric.html; numeric_send in the source.
    """
    head = np.where(cells.valid, cells.number("u8"), 0)
    count, sign = (head >> 48).astype(np.int64), head >> 16 & 0xFFFF
    weight = (head >> 32).astype(np.int16).astype(np.int64)
    if (sign >= _NOT_A_NUMBER).any():
        raise pa.ArrowInvalid("a numeric is not a number")
    unscaled = np.zeros(len(cells), np.int64)
    highest, lowest = int(weight.max(initial=0)), -to.scale // 4
    for first in range(0, int(count.max(initial=0)), 4):
        four = cells.number("u8", 8 + 2 * first) & _LEADING.take(np.clip(count - first, 0, 4))
        # Shifted by 64 or more, or by less than nothing, which wraps around, they are 0.
        shift = (48 - 16 * (weight - highest - first)).astype(np.uint64)
        for exponent in range(highest, lowest - 1, -1):
            digit = (four >> shift & 0xFFFF).view(np.int64)
            power = to.scale + 4 * exponent
            # Below the scale a digit to the base of 10,000 ends in zeros.
            unscaled += digit * 10**power if power >= 0 else digit // 10**-power
            shift -= 16
    np.negative(unscaled, out=unscaled, where=sign == _MINUS)
    wide = np.stack([unscaled, unscaled >> 63], axis=1)
    return cells.array(wide, to)


_MOST_DIGITS = 18
"""Of a decimal whose digits fit a 64-bit integer."""
_LEADING = np.array([(1 << 64) - (1 << 64 - 16 * digits) for digits in range(5)], np.uint64)
"""The bits of the first 0 to 4 digits of four."""
_MINUS, _NOT_A_NUMBER = 0x4000, 0xC000
_TYPES: dict[int, Type] = {
    16: Type(_always(pa.bool_()), _bool, _binary_bool),
    17: Type(_always(pa.large_binary()), _bytea, _binary_bytea),
    19: Type(_always(_TEXT), _same, _same),  # name
    20: Type(_always(pa.int64()), _cast, _binary_number("i8")),
    21: Type(_always(pa.int16()), _cast, _binary_number("i2")),
    23: Type(_always(pa.int32()), _cast, _binary_number("i4")),
    25: Type(_always(_TEXT), _same, _same),  # text
    26: Type(_always(pa.uint32()), _cast, _binary_number("u4")),  # oid
    114: Type(_always(pa.json_(_TEXT)), _json, _json),
    700: Type(_always(pa.float32()), _cast, _binary_number("f4")),
    701: Type(_always(pa.float64()), _cast, _binary_number("f8")),
    1042: Type(_always(_TEXT), _same, _same),  # character
    1043: Type(_always(_TEXT), _same, _same),  # character varying
    1082: Type(_always(pa.date32()), datetimes.date, _binary_date, datetimes.date_written),
    1083: Type(_always(pa.time64("us")), datetimes.time, _binary_number("i8"), datetimes.time_written),
    1114: Type(
        _always(pa.timestamp("us")), datetimes.timestamp, _binary_timestamp, datetimes.timestamp_written
    ),
    1184: Type(
        _always(pa.timestamp("us", "UTC")),
        datetimes.timestamp,
        _binary_timestamp,
        datetimes.timestamp_written,
    ),
    1186: Type(_always(pa.month_day_nano_interval()), datetimes.interval, written=datetimes.interval_written),
    1700: Type(_numeric, _cast, _binary_numeric),
    2950: Type(_always(pa.uuid()), _uuid, _binary_uuid),
    3802: Type(_always(pa.json_(_TEXT)), _json, _binary_jsonb),  # jsonb
}
"""By OID, which for PostgreSQL's own types never changes."""
_OTHER = Type(_always(_TEXT), _same)
_HASHED = Type(_always(_TEXT), hashing.sha256)
"""Whatever the type: the hash is of the text."""


def hashed(column: Column) -> Column:
    """The column that carries hashes of the values of `column`."""
    return replace(column, type="text (sha256)", arrow=_HASHED.arrow(-1), hashed=True)


def _type(column: Column) -> Type:
    if column.as_text:
        return _OTHER
    return _HASHED if column.hashed else _TYPES.get(column.base, _OTHER)


def arrow_type(base: int, typmod: int) -> pa.DataType:
    """What a column is carried as, whose type (a domain's base type) has this OID."""
    return _TYPES.get(base, _OTHER).arrow(typmod)


def from_text(column: Column, cells: Cells, table: TableName) -> pa.Array:
    """The values of `column`, from PostgreSQL's text form of them."""
    with _unfaithful(column, table):
        return _type(column).from_text(cells, column.arrow)


def has_binary(column: Column) -> bool:
    """Whether a snapshot can read the column in binary, rather than as text."""
    if pa.types.is_decimal(column.arrow):
        return bool(column.arrow.precision <= _MOST_DIGITS)
    return column.base != 1700 and _type(column).from_binary is not None


def from_binary(column: Column, cells: Cells, table: TableName) -> pa.Array:
    """The values of `column`, from the binary form of them."""
    read = _type(column).from_binary
    assert read is not None
    with _unfaithful(column, table):
        return read(cells, column.arrow)


def written(column: Column, values: pa.Array) -> list[Any]:
    """The values of `column`, none of them null, for PostgreSQL to read."""
    return _type(column).written(values)


@contextmanager
def _unfaithful(column: Column, table: TableName) -> Iterator[None]:
    try:
        yield
    except pa.ArrowInvalid as error:
        raise UnfaithfulValue(
            f"column {column.name} of {table} has a value of type {column.type} "
            f"that {column.arrow} cannot hold",
            hint="leave the column out: see tables.<schema.table>.columns.exclude.",
            number=column.number,
            type_oid=column.oid,
        ) from error
