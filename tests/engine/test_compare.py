"""
Whether the copy is what the source is: every difference is counted, and none is made up.
"""

from __future__ import annotations

from changes import ITEMS, record_batch

from cdc_assets import engine
from cdc_assets.model import Differences


def compare(capture, sink):
    (comparison,) = engine.compare(capture, sink, capture.tables)
    return comparison


def test_a_copy_in_step_has_no_differences(capture, sink):
    list(engine.catch_up(capture, sink))

    comparison = compare(capture, sink)

    assert (comparison.table, comparison.rows) == (ITEMS.name, 2)
    assert not comparison.differences


def test_rows_on_one_side_only_are_counted_by_side_and_a_row_that_differs_on_both(capture, sink):
    list(engine.catch_up(capture, sink))
    capture.rows[ITEMS.name] = [record_batch(ITEMS, [(2, "not b", ""), (3, "c", ""), (4, "d", "")])]

    comparison = compare(capture, sink)

    assert comparison.rows == 3
    assert comparison.differences == Differences(source_only=3, copy_only=2)


def test_a_comparison_says_at_which_lsn_the_source_was_read(capture, sink):
    list(engine.catch_up(capture, sink))

    assert compare(capture, sink).lsn == capture.head()
