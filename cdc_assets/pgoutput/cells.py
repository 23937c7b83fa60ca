"""
Where the cells of a column lie in the bytes they came in.

Cells are never cut out one by one: a column is four vectors (start, length, is
it a value, was it resent), and what is built from it is built by arithmetic on
those. A text column becomes an Arrow string view, sixteen bytes a cell, whatever
the cells' length.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..model import arrow
from ..model.changes import Bools, Bytes, Ints

PADDING = bytes(32)
"""What must follow the last cell, so that a fixed number of bytes can be read at any start."""

_INLINE = 12
"""Bytes a string view holds itself; longer strings it points to.
https://arrow.apache.org/docs/format/Columnar.html#variable-size-binary-view-layout"""

_KEPT = np.array([(1 << 8 * size) - 1 for size in range(9)], np.uint64)
"""By the number of bytes that belong to a string: which bits of eight bytes do, the first the lowest."""


def uint32_at(data: Bytes, at: Ints) -> Ints:
    """The big-endian integers that start at each of `at`."""
    return _overlapping(data, ">u4")[at].astype(np.int64)


def uint64_at(data: Bytes, at: Ints) -> npt.NDArray[np.uint64]:
    return _overlapping(data, ">u8")[at].astype(np.uint64)


def _overlapping(data: Bytes, dtype: str) -> npt.NDArray[Any]:
    """`data` as numbers that start at every byte."""
    size = np.dtype(dtype).itemsize
    return np.ndarray((len(data) - size + 1,), dtype, data, strides=(1,))


class Cells:
    """One column of cells."""

    def __init__(self, data: Bytes, start: Ints, length: Ints, valid: Bools) -> None:
        """`data` ends with `PADDING`; `valid`: neither null nor unchanged."""
        self.data, self.start, self.length, self.valid = data, start, length, valid

    @classmethod
    def of(cls, text: pa.Array) -> Cells:
        """The cells of an Arrow array of strings."""
        plain = text.cast(pa.large_binary())
        offsets = np.frombuffer(plain.buffers()[1], np.int64)[plain.offset :][: len(plain) + 1]
        data = np.frombuffer(bytes(plain.buffers()[2] or b"") + PADDING, np.uint8)
        return cls(data, offsets[:-1], np.diff(offsets), arrow.is_valid(plain))

    def __len__(self) -> int:
        return len(self.start)

    @cached_property
    def text(self) -> pa.Array:
        """The cells as string views: nothing is copied but the short ones."""
        words = _overlapping(self.data, "<u8")
        first = words[self.start] & _KEPT.take(np.minimum(self.length, 4))
        rest = words[self.start + 4] & _KEPT.take(np.clip(self.length - 4, 0, 8))
        views = np.empty((len(self), 2), np.uint64)
        views[:, 0] = self.length.astype(np.uint64) | first << 32
        views[:, 1] = np.where(self.length > _INLINE, self.start.astype(np.uint64) << 32, rest)
        return self.array_of(pa.string_view(), [views, self.data])

    @property
    def bytes(self) -> pa.Array:
        """The cells as bytes, one after the other."""
        return pc.cast(self.text, pa.large_binary())

    def array(self, values: npt.NDArray[np.generic], to: pa.DataType) -> pa.Array:
        """`values`, which have the layout of `to`, null where the cells are."""
        return self.array_of(to, [np.ascontiguousarray(values)])

    def array_of(self, to: pa.DataType, buffers: Sequence[npt.ArrayLike]) -> pa.Array:
        """An array of type `to` made of `buffers`, null where the cells are."""
        validity = None if self.valid.all() else arrow.bits(self.valid)
        return pa.Array.from_buffers(to, len(self), [validity, *map(pa.py_buffer, buffers)])

    def digits(self, offset: int, count: int) -> Ints:
        """The decimal number `count` digits long that starts `offset` bytes into each cell."""
        number = np.zeros(len(self), np.int64)
        for place in range(offset, offset + count):
            number = number * 10 + (self.data[self.start + place] - np.int64(48))
        return number

    def byte(self, offset: int) -> Bytes:
        return self.data[self.start + offset]

    def number(self, dtype: str, offset: int = 0) -> npt.NDArray[Any]:
        """The number in network byte order that starts `offset` bytes into each cell, as the
        machine's own; `dtype` without a byte order."""
        return _overlapping(self.data, f">{dtype}")[self.start + offset].astype(f"={dtype}")

    def at(self, places: Ints) -> Cells:
        """Some of the cells."""
        return Cells(self.data, self.start[places], self.length[places], self.valid[places])

    def after(self, offset: int) -> Cells:
        """The cells without their first bytes."""
        return Cells(self.data, self.start + offset, np.maximum(self.length - offset, 0), self.valid)
