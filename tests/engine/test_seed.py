"""
First copies: what is read, what is not read again, and what is planned again.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from changes import ITEMS, UNCHANGED, batch, commit, insert, record_batch, table, update
from journals import copied

from cdc_assets import engine
from cdc_assets.errors import CaptureError, SinkError, TableRefused
from cdc_assets.model import LSN, TableName, TableState

NAME = ITEMS.name
OTHERS = table("others", oid=16_385)
WIDER = table("items", "id", "name", "body", "note")


def reads(capture):
    return [step for step in capture.steps if step.startswith("read ")]


def state(sink, name: TableName = NAME) -> TableState:
    return sink.tables()[name].state


@pytest.fixture
def planned(capture, sink):
    engine.prepare(capture, sink)
    engine.plan(capture, sink, {})
    return sink


def load(capture, sink):
    return list(engine.load(capture, sink, capture.tables, sink.unloaded()))


def test_every_chunk_is_reported_once_it_is_durable(capture, planned):
    loaded = []
    for chunk in engine.load(capture, planned, capture.tables, planned.unloaded()):
        assert f"loaded public.items {chunk.chunk.key}" in capture.steps
        loaded.append((chunk.chunk.key, chunk.rows, chunk.lsn))

    assert sorted(loaded) == [("0000", 1, LSN(2)), ("0001", 1, LSN(2))]


def test_all_chunks_are_read_from_one_snapshot(capture, planned):
    load(capture, planned)

    assert capture.steps.count("snapshot") == 1


def test_a_chunk_that_is_refused_keeps_none_back_that_would_become_durable_with_it(
    capture, sink, monkeypatch
):
    capture.tables[OTHERS.name] = OTHERS
    engine.prepare(capture, sink)
    engine.plan(capture, sink, {})
    ours = sink.load_together

    def refusing(parts, *, at):
        if OTHERS.name in {part.table.name for part in parts}:
            raise TableRefused("it is narrower", table=OTHERS.name)
        return ours(parts, at=at)

    monkeypatch.setattr(sink, "load_together", refusing)
    aside = {}
    chunks = sink.unloaded()
    loaded = list(engine.load(capture, sink, capture.tables, chunks, readers=1, aside=aside))

    assert [event.table for event in loaded] == [NAME, NAME]
    assert list(aside) == [OTHERS.name]


def test_no_snapshot_is_asked_for_when_there_is_nothing_to_read(capture, planned):
    load(capture, planned)
    capture.steps.clear()

    assert load(capture, planned) == []
    assert capture.steps == []


def test_a_seed_that_is_resumed_does_not_read_again_what_is_loaded(capture, sink):
    capture.fail_at("read public.items 0001")
    with pytest.raises(CaptureError, match="told to fail"):
        list(engine.catch_up(capture, sink, readers=1))
    assert reads(capture) == ["read public.items 0000"]

    list(engine.catch_up(capture, sink))

    assert reads(capture) == ["read public.items 0000", "read public.items 0001"]
    assert copied(sink, ITEMS) == {1: "a", 2: "b"}


def test_a_chunk_that_the_sink_could_not_write_is_read_again(capture, sink):
    capture.fail_at("loaded public.items 0000", SinkError("the disk is full"))
    with pytest.raises(SinkError, match="disk"):
        list(engine.catch_up(capture, sink))

    list(engine.catch_up(capture, sink))

    assert copied(sink, ITEMS) == {1: "a", 2: "b"}


def test_a_plan_that_is_there_is_kept(capture, planned):
    capture.rows[NAME] = [record_batch(ITEMS, [])]

    engine.plan(capture, planned, {})

    assert len(planned.chunks(NAME)) == 2


def test_a_table_that_was_rewritten_since_it_was_planned_is_planned_again(capture, planned):
    capture.rewrite(NAME)

    assert load(capture, planned) == []
    assert "rewritten" in (planned.tables()[NAME].reason or "")

    list(engine.catch_up(capture, planned))
    assert (state(planned), planned.tables()[NAME].generation) == (TableState.SEEDED, 2)


def test_a_table_that_was_altered_since_it_was_planned_is_planned_again(capture, planned):
    capture.tables[NAME] = WIDER
    capture.rows[NAME] = [record_batch(WIDER, [(1, "a", "", "new")])]

    assert load(capture, planned) == []
    assert state(planned) is TableState.UNSEEDED

    list(engine.catch_up(capture, planned))
    assert planned.rows(NAME) == {(1,): {"id": 1, "name": "a", "body": "", "note": "new"}}


def test_a_chunk_that_another_process_was_done_with_does_not_have_a_finished_seed_planned_again(
    capture, planned
):
    """Two processes that read the same chunks, and one of them is late."""
    chunks = planned.unloaded()
    list(engine.catch_up(capture, planned))

    assert list(engine.load(capture, planned, capture.tables, chunks)) == []
    assert (state(planned), planned.tables()[NAME].generation) == (TableState.SEEDED, 1)


def test_a_copy_stays_in_step_while_its_new_seed_turns_out_to_be_outdated(capture, sink):
    list(engine.catch_up(capture, sink))
    sink.mark_unseeded(NAME, "asked for", in_step=True)
    engine.plan(capture, sink, {})
    capture.rewrite(NAME)
    load(capture, sink)
    capture.batches.append(batch(commit(300, insert(3, "c", "")), since=1))

    list(engine.stream(capture, sink, until=LSN(300)))

    assert copied(sink, ITEMS) == {1: "a", 2: "b", 3: "c"}


@pytest.fixture
def incomplete(capture, planned):
    """A seed that lacks a cell: its row came to this key after the snapshot, without it.

    The chunks are there, and the stream has passed them.
    """
    capture.snapshot_lsn = LSN(200)
    load(capture, planned)
    arrival = update(4, "moved here", UNCHANGED)
    capture.batches.append(batch(commit(300, arrival), since=1))
    for step in engine.stream(capture, planned, until=LSN(300)):
        assert step.applied.incomplete
    capture.snapshot_lsn = LSN(400)
    capture.rows[NAME] = [*capture.rows[NAME], record_batch(ITEMS, [(4, "moved here", "large")])]
    return planned


def test_a_row_that_a_seed_lacks_is_read_again(capture, incomplete):
    assert engine.repair(capture, incomplete, capture.tables)
    list(engine.stream(capture, incomplete, until=LSN(400)))

    assert incomplete.rows(NAME)[(4,)] == {"id": 4, "name": "moved here", "body": "large"}


def test_a_row_of_a_table_that_is_gone_is_not_read_again(capture, incomplete):
    capture.tables.clear()

    assert engine.repair(capture, incomplete, capture.tables)
    assert "read again public.items" not in capture.steps


def test_a_table_that_was_altered_before_it_was_repaired_is_planned_again(capture, incomplete):
    capture.tables[NAME] = WIDER
    capture.rows[NAME] = [record_batch(WIDER, [(4, "moved here", "large", "new")])]

    assert not engine.repair(capture, incomplete, capture.tables)
    assert state(incomplete) is TableState.UNSEEDED

    list(engine.catch_up(capture, incomplete))
    assert state(incomplete) is TableState.SEEDED


def test_rows_that_another_process_has_read_again_do_not_have_a_finished_seed_planned_again(
    capture, incomplete, monkeypatch
):
    """It gets there between the look for what is missing and the snapshot."""
    ours = capture.snapshot

    def late(tables):
        monkeypatch.undo()
        list(engine.catch_up(capture, incomplete))
        return ours(tables)

    monkeypatch.setattr(capture, "snapshot", late)
    engine.repair(capture, incomplete, capture.tables)

    assert (state(incomplete), incomplete.tables()[NAME].generation) == (TableState.SEEDED, 1)


def test_a_table_of_the_same_name_that_is_another_is_seeded_anew(capture, planned):
    capture.tables[NAME] = replace(ITEMS, oid=99_999)

    list(engine.catch_up(capture, planned))

    assert planned.tables()[NAME].generation == 2
