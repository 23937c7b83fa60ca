"""
After a crash the stream begins again before the position; what it says then has to be what it said.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from changes import ITEMS, Commit, batch, commit, insert, table, truncate, update
from journals import copied

from cdc_assets import engine
from cdc_assets.errors import ContinuityInDoubt, ContinuityLost
from cdc_assets.model import LSN, TableName

OTHERS = table("others", oid=16_385)
CONFIRMED = 250
TOLD = [commit(300, insert(3, "c", "")), commit(310, update(3, "d", ""))]
NEW = commit(400, insert(4, "e", ""))
AT, TIME = LSN(350), 7


@pytest.fixture
def ahead(capture, sink):
    """The sink is at `AT`, and holds what was told; what was confirmed of that is lost."""
    capture.snapshot_lsn = LSN(200)
    list(engine.catch_up(capture, sink))
    capture.batches = [batch(since=200, lsn=CONFIRMED), batch(*TOLD, since=CONFIRMED, lsn=AT, time=TIME)]
    list(engine.stream(capture, sink, until=AT))
    capture.confirmed = LSN(CONFIRMED)
    return sink


def stream(capture, sink, *commits: Commit, time: int = TIME) -> None:
    """The last of them is in a batch of its own."""
    *told, new = commits
    capture.batches = [
        batch(*told, since=CONFIRMED, lsn=AT, time=time),
        batch(new, since=AT, lsn=new.lsn, time=time),
    ]
    list(engine.stream(capture, sink, until=LSN(new.lsn)))


def test_what_was_told_before_is_gone_on_from(capture, ahead):
    stream(capture, ahead, *TOLD, NEW)

    assert copied(ahead, ITEMS) == {1: "a", 2: "b", 3: "d", 4: "e"}


@pytest.mark.parametrize(
    "told",
    [
        pytest.param([TOLD[0]], id="a commit is missing"),
        pytest.param([TOLD[0], commit(311, *TOLD[1].events)], id="a commit ends elsewhere"),
        pytest.param([*TOLD, commit(340, insert(9, "x", ""))], id="a commit is new"),
        pytest.param([*TOLD, commit(350, truncate())], id="the table was emptied"),
    ],
)
def test_another_story_is_not_gone_on_from(capture, ahead, told: Sequence[Commit]):
    before = copied(ahead, ITEMS)

    with pytest.raises(ContinuityInDoubt, match="restored from an older state, and written to since"):
        stream(capture, ahead, *told, NEW)

    assert copied(ahead, ITEMS) == before
    assert capture.confirmed == CONFIRMED


def test_a_commit_of_another_time_is_another(capture, ahead):
    """What is written in place of something else can be as long."""
    with pytest.raises(ContinuityInDoubt, match="another log at 0/136"):
        stream(capture, ahead, *TOLD, NEW, time=TIME + 1)


def test_after_that_every_start_says_so_until_everything_is_copied_again(capture, ahead):
    with pytest.raises(ContinuityInDoubt):
        stream(capture, ahead, TOLD[0], NEW)

    for _ in range(2):
        with pytest.raises(ContinuityLost, match="changes after 0/15E are gone: the server has another log"):
            list(engine.catch_up(capture, ahead))
    capture.snapshot_lsn = None
    anew, *_ = engine.catch_up(capture, ahead, start_anew=True)

    assert isinstance(anew, engine.StartedAnew)
    assert ahead.tables()[ITEMS.name].generation == 2
    assert not any(isinstance(event, engine.StartedAnew) for event in engine.catch_up(capture, ahead))


def test_of_a_table_that_is_not_copied_yet_nobody_knew_anything(capture, ahead):
    capture.tables[OTHERS.name] = OTHERS
    engine.prepare(capture, ahead)
    engine.plan(capture, ahead, {})

    stream(capture, ahead, *TOLD, commit(345, insert(1, "x", "", into=OTHERS)), NEW)

    assert copied(ahead, ITEMS)[4] == "e"


def test_a_table_that_was_copied_later_has_changes_that_nobody_knew(capture, ahead):
    """Its rows had them already."""
    capture.tables[OTHERS.name], capture.snapshot_lsn = OTHERS, AT
    list(engine.catch_up(capture, ahead))
    assert ahead.is_seeded(TableName("public", "others"))
    capture.confirmed = LSN(CONFIRMED)

    stream(capture, ahead, *TOLD, commit(345, insert(1, "x", "", into=OTHERS)), NEW)

    assert copied(ahead, ITEMS)[4] == "e"
