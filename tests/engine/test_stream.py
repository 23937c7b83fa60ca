"""
Apply, then confirm: what a failure in between means, and what comes twice.
"""

from __future__ import annotations

import pytest
from changes import ITEMS, batch, commit, delete, insert, update
from journals import copied

from cdc_assets import engine
from cdc_assets.errors import CaptureError, ContinuityLost, SinkError
from cdc_assets.model import LSN

FIRST = batch(commit(300, insert(3, "c", "")), since=1)
SECOND = batch(commit(310, update(3, "d", "")), commit(320, delete(1)), since=300)


@pytest.fixture
def streaming(capture, sink):
    """The table is seeded, and two batches are on their way."""
    list(engine.catch_up(capture, sink))
    capture.batches += [FIRST, SECOND]
    capture.steps.clear()
    return sink


def stream(capture, sink):
    return list(engine.stream(capture, sink, until=capture.head()))


def test_a_batch_is_confirmed_after_it_is_applied(capture, streaming):
    stream(capture, streaming)

    assert capture.steps == ["live", "apply 0/12C", "confirm 0/12C", "apply 0/140", "confirm 0/140"]


def test_a_step_says_what_a_batch_brought_about(capture, streaming):
    first, second = stream(capture, streaming)

    assert (first.batch.size, len(first.batch.commits)) == (1, 1)
    assert (second.batch.lsn, second.applied.unseeded) == (320, {})


def test_what_the_sink_could_not_write_is_never_confirmed(capture, streaming):
    capture.fail_at("apply 0/140", SinkError("the disk is full"))

    with pytest.raises(SinkError, match="disk"):
        stream(capture, streaming)

    assert capture.confirmed == 300


def test_a_batch_whose_confirmation_was_lost_is_applied_once(capture, streaming):
    capture.fail_at("confirm 0/12C")
    with pytest.raises(CaptureError, match="told to fail"):
        stream(capture, streaming)

    stream(capture, streaming)

    assert copied(streaming, ITEMS) == {2: "b", 3: "d"}
    assert capture.steps.count("apply 0/12C") == 2


def test_a_batch_that_says_nothing_new_is_neither_applied_nor_confirmed(capture, streaming):
    """It is there to let a caller look around, once a second or so."""
    stream(capture, streaming)
    capture.steps.clear()

    steps = engine.stream(capture, streaming)
    assert next(steps).batch.size == 0
    steps.close()

    assert capture.steps == ["live"]


def test_a_quiet_stretch_is_written_down_and_confirmed(capture, streaming):
    list(engine.stream(capture, streaming, until=LSN(900)))

    assert capture.confirmed == 900
    assert streaming.position().lsn == 900


def test_without_a_slot_there_is_no_stream(capture, streaming):
    capture.confirmed = None

    with pytest.raises(ContinuityLost):
        stream(capture, streaming)
