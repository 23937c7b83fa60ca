"""
Types are read also where there is nothing to read, as in a truncation that no row follows.
"""

import numpy as np
import pytest

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
NONE = np.zeros(0, np.int64)


@pytest.mark.parametrize("type_", OIDS)
def test_of_no_cells_there_are_no_values(type_):
    oid = OIDS[type_]
    column = Column("v", oid, -1, type_, oid, arrow_type(oid, -1))
    table = TableName("public", "t")
    cells = Cells(np.frombuffer(b"of other columns" + PADDING, np.uint8), NONE, NONE, np.zeros(0, bool))

    assert len(from_text(column, cells, table)) == 0
    assert not has_binary(column) or len(from_binary(column, cells, table)) == 0
