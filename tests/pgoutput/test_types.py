"""
How values are read at the limits of a type, and where there is nothing to read, as in a truncation
that no row follows.
"""

import numpy as np
import pyarrow as pa
import pytest

from cdc_assets.errors import UnfaithfulValue
from cdc_assets.model import Column, TableName
from cdc_assets.pgoutput.cells import PADDING, Cells
from cdc_assets.pgoutput.types import arrow_type, from_binary, from_text, has_binary

OIDS = {
    "bytea": 17,
    "text": 25,
    "json": 114,
    "date": 1082,
    "timestamptz": 1184,
    "interval": 1186,
    "uuid": 2950,
}
TABLE = TableName("public", "t")
NONE = np.zeros(0, np.int64)


@pytest.mark.parametrize("type_", OIDS)
def test_of_no_cells_there_are_no_values(type_):
    column = of_type(type_)
    cells = Cells(np.frombuffer(b"of other columns" + PADDING, np.uint8), NONE, NONE, np.zeros(0, bool))

    assert len(from_text(column, cells, TABLE)) == 0
    assert not has_binary(column) or len(from_binary(column, cells, TABLE)) == 0


def of_type(type_):
    oid = OIDS[type_]
    return Column("v", oid, -1, type_, oid, arrow_type(oid, -1))


@pytest.mark.parametrize("sign", ["", "-"])
def test_the_longest_interval_is_not_taken_for_another(sign):
    """-2^63 microseconds is a value that PostgreSQL writes, though it does not read it."""
    cells = Cells.of(pa.array([f"{sign}2562047788:00:54.775808"]))

    with pytest.raises(UnfaithfulValue):
        from_text(of_type("interval"), cells, TABLE)


def test_a_timestamp_just_before_infinity_is_not_taken_for_it():
    instant = 2**63 - 1
    text = Cells.of(pa.array(["294247-01-10 04:00:54.775807+00"]))
    since_2000 = (instant - 946_684_800_000_000).to_bytes(8, "big")

    for read, cells in (from_text, text), (from_binary, Cells.of(pa.array([since_2000]))):
        with pytest.raises(UnfaithfulValue):
            read(of_type("timestamptz"), cells, TABLE)
