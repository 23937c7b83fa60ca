"""
The whole job in one process: seeds beside the stream, and how it ends.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from changes import ITEMS, batch, commit, delete, insert, record_batch, table
from journals import copied

from cdc_assets import engine
from cdc_assets.engine import Loaded, Step
from cdc_assets.errors import CaptureError, SinkError, TableRefused, UnusableTable
from cdc_assets.model import TableState
from cdc_assets.testing import ReplayCapture

WIDER = replace(table("items", "id", "name", "body", "note"), rewritten=True)


def follow(capture, sink, *, until, seed=True):
    """What happened until `until` says enough, or a bound is reached."""
    events, looks = [], itertools.count()

    def stopping() -> bool:
        assert next(looks) < 1_000, "it does not get there"
        return until()

    for event in engine.follow(capture, sink, stopping=stopping, seed=seed):
        events.append(event)
    return events


def test_follow_seeds_beside_the_stream(capture, sink):
    capture.batches.append(batch(commit(300, insert(3, "c", "")), since=1))

    events = follow(capture, sink, until=lambda: sink.is_seeded(ITEMS.name) or finish(capture))

    assert {type(event) for event in events} == {Loaded, Step}
    assert copied(sink, ITEMS).keys() >= {1, 2}


def finish(capture) -> bool:
    """Have the stream pass the snapshot, as any server's does sooner or later."""
    if capture.head() > capture.batches[-1].lsn:
        capture.batches.append(batch(since=capture.batches[-1].lsn, lsn=capture.head()))
    return False


def test_follow_streams_only_if_it_is_told_not_to_seed(capture, sink):
    capture.batches.append(batch(since=1, lsn=300))

    follow(capture, sink, until=lambda: capture.confirmed == 300, seed=False)

    assert "snapshot" not in capture.steps


def test_follow_ends_after_the_batch_at_which_it_is_told_to_stop(capture, sink):
    list(engine.catch_up(capture, sink))
    capture.batches += [
        batch(commit(300, insert(3, "c", "")), since=1),
        batch(commit(310, insert(4, "d", "")), since=300),
    ]

    follow(capture, sink, until=lambda: True)

    assert (capture.confirmed, copied(sink, ITEMS)) == (300, {1: "a", 2: "b", 3: "c"})


@pytest.mark.parametrize("error", [CaptureError("no connection"), ZeroDivisionError("a bug")])
def test_what_stops_a_seed_stops_follow(capture, sink, error):
    """Else a table would be missing, and everything look well."""
    capture.fail_at("snapshot", error)

    with pytest.raises(type(error), match=str(error)):
        follow(capture, sink, until=lambda: False)


def test_what_stops_the_stream_stops_follow(capture, sink):
    capture.batches.append(batch(since=1, lsn=300))
    capture.fail_at("apply 0/12C", SinkError("the disk is full"))

    with pytest.raises(SinkError, match="disk"):
        follow(capture, sink, until=lambda: False)


def test_follow_seeds_again_a_table_that_the_stream_redefined(capture, sink):
    list(engine.catch_up(capture, sink))
    capture.tables[ITEMS.name] = WIDER
    capture.rows[ITEMS.name] = [record_batch(WIDER, [(1, "a", "", "new")])]
    capture.batches.append(batch(commit(300, insert(1, "a", "", "new", into=WIDER)), since=1))

    def seeded_again() -> bool:
        held = sink.tables()[ITEMS.name]
        return (held.generation, held.state) == (2, TableState.SEEDED) or finish(capture)

    follow(capture, sink, until=seeded_again)

    assert sink.rows(ITEMS.name) == {(1,): {"id": 1, "name": "a", "body": "", "note": "new"}}


def test_a_table_that_fails_each_time_is_not_read_again_and_again(sink):
    """It is tried at the next look, and then not for a good while."""
    capture = Unreadable([ITEMS], rows={ITEMS.name: [record_batch(ITEMS, [(1, "a", "")])]})
    looks = itertools.count()

    for _ in engine.follow(capture, sink, stopping=lambda: next(looks) > 100, watch_every=0):
        pass

    assert capture.reads == 2


class Unreadable(ReplayCapture):
    reads = 0

    def step(self, name: str) -> None:
        if name.startswith("read"):
            self.reads += 1
            raise UnusableTable("row 7 cannot be read", hint="mend it.")
        super().step(name)


def test_catch_up_ends_with_every_table_seeded_and_everything_confirmed(capture, sink):
    capture.batches.append(batch(commit(300, delete(9)), since=1))

    list(engine.catch_up(capture, sink))

    assert sink.is_seeded(ITEMS.name)
    assert copied(sink, ITEMS) == {1: "a", 2: "b"}
    assert capture.confirmed == capture.head() > 300


def test_catch_up_does_not_seed_if_it_is_told_not_to(capture, sink):
    capture.batches.append(batch(since=1, lsn=300))

    events = list(engine.catch_up(capture, sink, seed=False))

    assert [event.batch.lsn for event in events] == [300]
    assert sink.tables() == {}


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("begin public.items", TableRefused("there is another", table=ITEMS.name)),
        ("read public.items 0000", UnusableTable("permission denied")),
    ],
)
def test_one_table_that_fails_keeps_the_others_not_back_and_is_tried_again(capture, sink, step, error):
    others = table("others", oid=16_385)
    capture.tables[others.name] = others
    capture.fail_at(step, error)

    with pytest.raises(type(error), match=str(error)):
        list(engine.catch_up(capture, sink))

    assert sink.is_seeded(others.name)
    held = sink.tables()[ITEMS.name]
    assert (held.state, held.reason) == (TableState.UNSEEDED, str(error))
    list(engine.catch_up(capture, sink))
    assert copied(sink, ITEMS) == {1: "a", 2: "b"}
