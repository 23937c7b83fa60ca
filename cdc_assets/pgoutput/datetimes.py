"""
Dates and times, from PostgreSQL's ISO text, and written so that it reads them.

The usual form has its digits in fixed places, so a column is read a digit at a
time. Dates before the year 1, after 9999, and infinity do not; they are rare,
and read one by one.

Sessions are pinned to DateStyle ISO, IntervalStyle postgres and TimeZone UTC.
https://www.postgresql.org/docs/current/datatype-datetime.html#DATATYPE-DATETIME-OUTPUT
"""

from __future__ import annotations

import re
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..model import arrow
from ..model.changes import Bools, Ints
from .cells import Cells

_DAY = 86_400_000_000
"""Microseconds."""
_JULIAN = 2_440_588
"""1970-01-01, as a Julian day."""
_INFINITE_DAY = 2**31 - 1
_INFINITE_INSTANT = 2**63 - 1
"""What Arrow has no name for, DuckDB and PostgreSQL both keep at the end of the range; minus
infinity is the negative of it."""
_ODD = re.compile(rb"(\d+)-(\d\d)-(\d\d)(?: (\d\d):(\d\d):(\d\d)(?:\.(\d+))?)?(?:\+00)?( BC)?\Z")
_INTERVAL = (
    r"^(?:(?P<years>[+-]?\d+) years?)? ?(?:(?P<mons>[+-]?\d+) mons?)? ?(?:(?P<days>[+-]?\d+) days?)? ?"
    r"(?:(?P<sign>[+-]?)(?P<hours>\d+):(?P<minutes>\d\d):(?P<seconds>\d\d)\.?(?P<fraction>\d*))?$"
)

_Number = TypeVar("_Number", int, Ints)


def date(cells: Cells, to: pa.DataType) -> pa.Array:
    days = _days(cells.digits(0, 4), cells.digits(5, 2), cells.digits(8, 2))
    usual = (cells.length == 10) & (cells.byte(4) == ord("-"))
    for number in _odd(cells, usual):
        days[number] = _odd_date(_cell(cells, number))
    return cells.array(days.astype(np.int32), to)


def time(cells: Cells, to: pa.DataType) -> pa.Array:
    return cells.array(_microseconds(cells, 0), to)


def timestamp(cells: Cells, to: pa.DataType) -> pa.Array:
    days = _days(cells.digits(0, 4), cells.digits(5, 2), cells.digits(8, 2))
    instants = days * _DAY + _microseconds(cells, 11)
    last = cells.data[cells.start + np.maximum(cells.length, 1) - 1]
    usual = (cells.byte(4) == ord("-")) & (cells.byte(10) == ord(" ")) & (last != ord("C"))
    for number in _odd(cells, usual):
        instants[number] = _odd_timestamp(_cell(cells, number))
    return cells.array(instants, to)


def interval(cells: Cells, to: pa.DataType) -> pa.Array:
    parts = pc.extract_regex(cells.text.cast(pa.string()), _INTERVAL)
    if parts.null_count > len(cells) - cells.valid.sum():
        raise pa.ArrowInvalid("an interval is infinite")
    field = {name: parts.field(index) for index, name in enumerate(parts.type.names)}
    field["fraction"] = pc.utf8_rpad(field["fraction"], 6, "0")
    number = {name: _number(text) for name, text in field.items() if name != "sign"}
    clock = ((number["hours"] * 60 + number["minutes"]) * 60 + number["seconds"]) * 1_000_000
    clock += number["fraction"]
    # PostgreSQL's longest, -2^63 microseconds, has no opposite number and comes out as itself.
    if ((clock > _INFINITE_INSTANT // 1000) | (clock < 0)).any():
        raise pa.ArrowInvalid("an interval is longer than 292 years of hours")
    minus = arrow.to_numpy(pc.equal(field["sign"], "-").fill_null(False))
    packed = np.zeros(len(cells), [("months", "<i4"), ("days", "<i4"), ("nanoseconds", "<i8")])
    packed["months"] = number["years"] * 12 + number["mons"]
    packed["days"] = number["days"]
    packed["nanoseconds"] = np.where(minus, -clock, clock) * 1000
    return cells.array(packed, to)


def date_written(values: pa.Array) -> list[str]:
    """As PostgreSQL reads them, which Python's own dates have not room for; none is null."""
    return [
        _day(days) if abs(days) < _INFINITE_DAY else _infinity(days) for days in _plain(values, pa.int32())
    ]


def time_written(values: pa.Array) -> list[str]:
    return [_clock(microseconds) for microseconds in _plain(values, pa.int64())]


def timestamp_written(values: pa.Array) -> list[str]:
    return [
        f"{_day(instant // _DAY)} {_clock(instant % _DAY)}+00"
        if abs(instant) < _INFINITE_INSTANT
        else _infinity(instant)
        for instant in _plain(values, pa.int64())
    ]


def interval_written(values: pa.Array) -> list[str]:
    return [
        f"{months} mons {days} days {nanoseconds // 1000} microseconds"
        for months, days, nanoseconds in values.to_pylist()
    ]


def _plain(values: pa.Array, to: pa.DataType) -> list[int]:
    numbers: list[int] = values.view(to).to_pylist()
    return numbers


def _infinity(number: int) -> str:
    return "infinity" if number > 0 else "-infinity"


def _day(days: int) -> str:
    return f"J{days + _JULIAN}"


def _clock(microseconds: int) -> str:
    seconds, fraction = divmod(microseconds, 1_000_000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{fraction:06}"


def _number(text: pa.Array) -> Ints:
    unsigned = pc.replace_substring(text, "+", "")
    filled = pc.if_else(pc.equal(unsigned, ""), "0", unsigned).fill_null("0")
    return arrow.to_numpy(filled.cast(pa.int64()))


def _microseconds(cells: Cells, offset: int) -> Ints:
    """Since midnight, from HH:MM:SS and, after a point, up to six digits."""
    seconds = (cells.digits(offset, 2) * 60 + cells.digits(offset + 3, 2)) * 60
    seconds += cells.digits(offset + 6, 2)
    fraction = np.zeros(len(cells), np.int64)
    end = offset + 8
    goes_on = (cells.length > end) & (cells.byte(end) == ord("."))
    for place in range(end + 1, end + 7):
        digit = cells.byte(place) - np.int64(48)
        goes_on = goes_on & (cells.length > place) & (digit >= 0) & (digit <= 9)
        fraction = fraction * 10 + np.where(goes_on, digit, 0)
    return seconds * 1_000_000 + fraction


def _days(year: _Number, month: _Number, day: _Number) -> _Number:
    """Days since 1970-01-01 in the Gregorian calendar; the year before 1 is 0.

    Years are counted from March, so that the day a leap year adds is a year's last.
    """
    since_march = (month + 9) % 12
    year = year - since_march // 10
    of_year = (153 * since_march + 2) // 5 + day - 1
    return year * 365 + year // 4 - year // 100 + year // 400 + of_year - 719_468


def _odd(cells: Cells, usual: Bools) -> list[int]:
    numbers: list[int] = np.flatnonzero(cells.valid & ~usual).tolist()
    return numbers


def _cell(cells: Cells, number: int) -> bytes:
    start, length = int(cells.start[number]), int(cells.length[number])
    return bytes(cells.data[start : start + length])


def _odd_date(text: bytes) -> int:
    if text.endswith(b"infinity"):
        return -_INFINITE_DAY if text.startswith(b"-") else _INFINITE_DAY
    return _odd_fields(text)[0]


def _odd_timestamp(text: bytes) -> int:
    if text.endswith(b"infinity"):
        return -_INFINITE_INSTANT if text.startswith(b"-") else _INFINITE_INSTANT
    days, microseconds = _odd_fields(text)
    instant = days * _DAY + microseconds
    if instant >= _INFINITE_INSTANT:
        raise pa.ArrowInvalid("a timestamp is after the year 294246")
    return instant


def _odd_fields(text: bytes) -> tuple[int, int]:
    """Days since 1970-01-01 and microseconds since midnight."""
    match = _ODD.match(text)
    if match is None:
        raise pa.ArrowInvalid("a date is not in the form DateStyle ISO gives it")
    *fields, fraction, before_christ = match.groups()
    year, month, day, hours, minutes, seconds = (int(field or 0) for field in fields)
    days = _days(1 - year if before_christ else year, month, day)
    microseconds = ((hours * 60 + minutes) * 60 + seconds) * 1_000_000
    return days, microseconds + int((fraction or b"").ljust(6, b"0"))
