"""
Hashes in place of values: which values are equal can still be told, and nothing else of them is carried.

A hash is of the value's text as PostgreSQL writes it, so it depends on neither the way a value came nor
the type that it would be carried as.
"""

from __future__ import annotations

import hashlib

import pyarrow as pa
import pyarrow.compute as pc

from .cells import Cells


def sha256(cells: Cells, to: pa.DataType) -> pa.Array:
    """The SHA-256 of each cell, in hexadecimal digits."""
    encoded = pc.dictionary_encode(cells.bytes)
    # Neither Arrow nor NumPy has such a function, so here a Python statement runs once per distinct
    # value: about a microsecond each.
    digests = [hashlib.sha256(value).hexdigest() for value in encoded.dictionary.to_pylist()]
    return pc.cast(pa.array(digests, pa.large_string()).take(encoded.indices), to)
