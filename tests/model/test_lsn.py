"""
Log sequence numbers are read and written as PostgreSQL reads and writes them.
"""

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_assets.model import LSN

positions = st.integers(0, 2**64 - 1)


@given(positions)
def test_an_lsn_is_read_as_it_is_written(number):
    assert LSN.parse(str(LSN(number))) == number


def test_an_lsn_is_written_as_postgresql_writes_it(newest):
    numbers = [0, 1, 2**32 - 1, 2**32, 97500059720, 2**63, 2**64 - 1]

    with psycopg.connect(newest.dsn) as source:
        written = source.execute("select ('0/0'::pg_lsn + n)::text from unnest(%s::numeric[]) n", [numbers])
        assert [text for (text,) in written] == [str(LSN(number)) for number in numbers]


@given(positions, positions)
def test_lsns_are_ordered_as_positions(one, other):
    assert (LSN(one) < LSN(other)) == (one < other)


@pytest.mark.parametrize("text", ["", "16", "16/", "/16", "16/XYZ", "16/B3/1", "-1/0", "1/100000000", " 1/0"])
def test_what_is_not_an_lsn_is_refused(text):
    with pytest.raises(ValueError):
        LSN.parse(text)


def test_an_lsn_in_an_error_reads_as_one():
    assert f"{LSN(97500059720)}" == "16/B374D848"
    assert repr(LSN(97500059720)) == "LSN('16/B374D848')"
