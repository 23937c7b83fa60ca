"""
Before anything is read: what is done in which order, and what a crash in between leaves.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from changes import ITEMS, batch, commit, insert, table
from journals import JournalSink

from cdc_assets import engine
from cdc_assets.errors import CaptureError, ContinuityLost
from cdc_assets.model import LSN, Position, TableName, TableState
from cdc_assets.testing import ReplayCapture

OTHERS = table("others", oid=16_385)


def states(sink: JournalSink) -> dict[str, TableState]:
    return {name.name: held.state for name, held in sink.tables().items()}


@pytest.fixture
def seeded(capture: ReplayCapture, sink: JournalSink) -> JournalSink:
    """A destination that holds both tables of the source, the stream at 0/C8."""
    capture.tables[OTHERS.name] = OTHERS
    capture.snapshot_lsn = LSN(200)
    list(engine.catch_up(capture, sink))
    capture.steps.clear()
    return sink


def test_publication_slot_snapshot_and_stream_come_in_this_order(capture, sink):
    list(engine.catch_up(capture, sink))

    assert [step for step in capture.steps if " " not in step] == [
        "publication",
        "slot",
        "adopt",
        "snapshot",
        "live",
    ]


def test_a_seed_begins_before_its_snapshot_is_taken(capture, sink):
    """From the mark on, changes to the table are kept; the snapshot holds those before it."""
    list(engine.catch_up(capture, sink))

    assert capture.steps.index("begin public.items") < capture.steps.index("snapshot")


def test_to_prepare_again_changes_nothing(capture, seeded):
    before = seeded.tables(), seeded.position(), capture.confirmed

    engine.prepare(capture, seeded)

    assert (seeded.tables(), seeded.position(), capture.confirmed) == before
    assert capture.steps == ["publication", "slot"]


def test_a_table_with_a_gap_is_marked_before_the_publication_hides_it(capture, seeded):
    capture.published.discard(OTHERS.name)

    engine.prepare(capture, seeded)

    assert capture.steps == ["mark public.others", "publication", "slot"]
    assert states(seeded) == {"items": TableState.SEEDED, "others": TableState.UNSEEDED}


def test_a_table_whose_changes_were_not_captured_under_its_new_name_has_a_gap(capture, seeded):
    capture.published.discard(OTHERS.name)
    renamed = replace(capture.tables.pop(OTHERS.name), name=TableName("public", "renamed"))
    capture.tables[renamed.name] = renamed

    engine.prepare(capture, seeded)

    assert capture.steps == ["mark public.others", "publication", "slot"]


def test_a_table_that_is_captured_under_its_new_name_goes_on(capture, seeded):
    renamed = replace(capture.tables.pop(OTHERS.name), name=TableName("public", "renamed"))
    capture.tables[renamed.name] = renamed
    capture.published.add(renamed.name)

    engine.prepare(capture, seeded)

    assert states(seeded) == {"items": TableState.SEEDED, "others": TableState.SEEDED}


def test_a_table_that_came_since_is_captured_before_its_seed_begins(capture, seeded):
    """Or what is written to it until it is would be in no snapshot and in no stream."""
    new = table("new", oid=16_390)
    capture.tables[new.name] = new

    engine.plan(capture, seeded, {})

    assert capture.steps == ["publication", "slot", "begin public.new"]


@pytest.mark.parametrize("crash", ["mark public.others", "publication", "slot"])
def test_a_crash_between_any_two_steps_leads_to_the_same_decision(capture, seeded, crash):
    capture.published.discard(OTHERS.name)
    capture.fail_at(crash)

    with pytest.raises(CaptureError, match="told to fail"):
        engine.prepare(capture, seeded)
    engine.prepare(capture, seeded)

    assert states(seeded) == {"items": TableState.SEEDED, "others": TableState.UNSEEDED}
    assert capture.published == {ITEMS.name, OTHERS.name}


@pytest.mark.parametrize("crash", ["publication", "slot", "adopt"])
def test_a_crash_at_the_first_start_leads_to_the_same_start(capture, sink, crash):
    capture.fail_at(crash)

    with pytest.raises(CaptureError, match="told to fail"):
        engine.prepare(capture, sink)
    engine.prepare(capture, sink)

    assert sink.position() == Position(LSN(1), "replay", "replay", "cdc_replay")


def test_a_table_that_is_not_selected_any_more_is_out_of_step(capture, seeded):
    """Its changes are left out of the stream; selected again, it would have a gap that nobody sees."""
    left_out = capture.tables.pop(OTHERS.name)
    engine.prepare(capture, seeded)
    assert states(seeded)["others"] is TableState.UNSEEDED

    capture.tables[OTHERS.name], capture.snapshot_lsn = left_out, LSN(400)
    list(engine.catch_up(capture, seeded))

    assert seeded.tables()[OTHERS.name].generation == 2


def test_lost_continuity_stops_everything_before_anything_is_changed(capture, seeded):
    capture.broken = "slot cdc_replay does not exist"

    with pytest.raises(ContinuityLost, match=r"changes after 0/C8 are gone: slot cdc_replay") as caught:
        engine.prepare(capture, seeded)

    assert capture.steps == []
    assert "cdc-assets reseed" in caught.value.hint


def test_continuity_matters_only_when_something_is_seeded(capture, sink):
    """A first copy that was cut short begins anew, from where the stream can begin."""
    engine.prepare(capture, sink)
    engine.plan(capture, sink, {})
    capture.broken, capture.confirmed = "slot cdc_replay was moved", LSN(50)

    engine.prepare(capture, sink)

    position = sink.position()
    assert position
    assert position.lsn == 50
    assert states(sink) == {"items": TableState.UNSEEDED}


def test_a_stream_that_moves_on_while_it_is_looked_at_is_no_lost_continuity(capture, seeded):
    """Position and slot are read one after the other, and another process may stream."""

    class Streaming(ReplayCapture):
        def continuity(self, position: Position) -> str | None:
            if position.lsn < 300:
                seeded.apply(batch(commit(300, insert(3, "c", "")), since=200))
                return "slot cdc_replay was moved to 0/12C"
            return None

    streaming = Streaming([ITEMS, OTHERS], start=LSN(300))
    streaming.published = {ITEMS.name, OTHERS.name}

    engine.prepare(streaming, seeded)

    assert states(seeded) == {"items": TableState.SEEDED, "others": TableState.SEEDED}
