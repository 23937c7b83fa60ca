"""
Whether the copy is what the source is: every difference is found, and none is made up.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from changes import ITEMS, record_batch
from journals import copied

from cdc_assets import engine
from cdc_assets.errors import CaptureError, TableRewritten
from cdc_assets.model import LSN, Differences
from cdc_assets.testing import ReplayCapture


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


# Rows of which a first look says nothing


class Flapping(ReplayCapture):
    """Its rows are deleted and made again between any two snapshots."""

    def snapshot(self, tables):
        self.made = getattr(self, "made", 0) + 1
        self.rows[ITEMS.name] = [record_batch(ITEMS, [(1, "a", ""), (3, f"made {self.made}", "")])]
        return super().snapshot(tables)


def test_a_row_that_the_copy_has_not_is_missing_if_the_source_had_it_all_the_time(capture, sink):
    list(engine.catch_up(capture, sink))
    capture.rows[ITEMS.name] = [record_batch(ITEMS, [(1, "a", ""), (2, "b", ""), (3, "c", "")])]

    (comparison,) = engine.compare(capture, sink)

    assert [keys.to_pylist() for _, keys in comparison.missing] == [[{"id": 3}]]


def test_a_row_that_comes_and_goes_is_not_judged(sink, capture):
    list(engine.catch_up(capture, sink))
    flapping = Flapping([ITEMS])
    flapping.confirmed = capture.confirmed
    flapping.published = capture.published

    (comparison,) = engine.compare(flapping, sink)

    assert comparison.not_judged == 1
    assert comparison.missing == []


def test_a_table_that_is_rewritten_meanwhile_is_read_again(capture, sink):
    list(engine.catch_up(capture, sink))
    capture.fail_at(f"read {ITEMS.name} 0001", TableRewritten("it was rewritten"))

    (comparison,) = engine.compare(capture, sink)

    assert (comparison.rows, comparison.differing) == (2, 0)


def test_a_table_that_is_not_seeded_is_not_compared(capture, sink):
    (comparison,) = engine.verify(capture, sink)

    assert comparison.obstacle == "it is not seeded"
    assert "snapshot" not in capture.steps


class FollowedByOthers(ReplayCapture):
    def lag(self):
        lag = super().lag()
        return lag and replace(lag, active_pid=1)


def test_a_stream_elsewhere_that_stands_still_is_waited_for_only_so_long(capture, sink):
    list(engine.catch_up(capture, sink))
    followed = FollowedByOthers([ITEMS], rows=capture.rows, start=LSN(900))
    followed.confirmed = LSN(900)

    with pytest.raises(CaptureError, match="stand still"):
        list(engine.verify(followed, sink, patience=0.1))

    assert "live" not in followed.steps


# What differs is copied again


def test_only_chunks_with_rows_that_differ_are_read_again_and_others_removed(capture, sink):
    list(engine.catch_up(capture, sink))
    sink.copies[ITEMS.name] = {(2,): [(LSN(1), {"id": 2, "name": "not b", "body": ""})], **planted(7)}
    sink.copies[ITEMS.name] |= planted(1, name="a")
    (found,) = engine.compare(capture, sink)

    chunks = engine.mend(capture, sink, found)
    list(engine.catch_up(capture, sink))

    assert [chunk.key for chunk in chunks or ()] == ["0001"]
    assert copied(sink, ITEMS) == {1: "a", 2: "b"}


def planted(key, name="planted"):
    return {(key,): [(LSN(1), {"id": key, "name": name, "body": ""})]}
