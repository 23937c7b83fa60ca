"""
What is sent while it is in progress comes to the same as what is sent after its commit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import pytest
from recording import (
    as_text,
    begin_to_record,
    commit_ends,
    each,
    frames,
    in_progress,
    keepalive,
    log_data,
    logged,
    recorded,
)

from cdc_assets.model import Ack, ChangeBatch
from cdc_assets.pgoutput.assembler import Assembler
from cdc_assets.pgoutput.frames import Frames
from cdc_assets.pgoutput.progress import InProgress

TABLES = [
    "create table one (id int primary key, note text)",
    "create table two (id int primary key, note text)",
    "create table three (id int primary key, note text)",
    "create table parts (id int primary key, note text) partition by range (id)",
    "create table part partition of parts default",
]
MANY = "select n, repeat('n', 100) from generate_series({}, {}) n"
WORK = [
    # Rolled back parts, one of which is the first to speak of a table; and one within another.
    "begin; insert into one "
    + MANY.format(1, 2000)
    + "; savepoint s; insert into two "
    + MANY.format(1, 2000)
    + "; insert into one "
    + MANY.format(2001, 4000)
    + "; rollback to s; insert into one "
    + MANY.format(4001, 6000)
    + "; insert into two "
    + MANY.format(4001, 4010)
    + "; savepoint t; truncate three; "
    "insert into three " + MANY.format(1, 1500) + "; savepoint u; delete from one; rollback to t; "
    "update one set note = 'last' where id <= 10; commit",
    "insert into one values (-1)",
    "begin; insert into three " + MANY.format(1, 3000) + "; rollback",
    "begin; insert into parts "
    + MANY.format(1, 3000)
    + "; truncate one; insert into one values (-2); commit",
    # A table that is another one for a while.
    "begin; insert into two "
    + MANY.format(9000, 9999)
    + "; savepoint v; alter table two add more int default 3; "
    "insert into two "
    + MANY.format(10_000, 11_000)
    + "; rollback to v; insert into two "
    + MANY.format(12_000, 13_000)
    + "; commit",
]


@pytest.fixture
def both(newest_source, newest_dsn) -> tuple[list[bytes], list[bytes]]:
    """The same, as it comes after each commit, and as it comes in progress."""
    begin_to_record(newest_source, TABLES)
    during = in_progress(newest_dsn, newest_source, WORK)
    return recorded(newest_source), during


def whole(pieces: Iterable[Frames]) -> list[ChangeBatch]:
    assembler, found = Assembler(lambda relation, before: as_text(relation)), []
    for piece in pieces:
        assembler.feed(piece)
        if assembler.has_batch:
            found.append(assembler.take(lambda lsn: Ack()))
    return found


def one_by_one(messages: Iterable[bytes]) -> list[Frames]:
    return [logged([message]) for message in messages]


def ended(pieces: Sequence[Frames]) -> list[Frames]:
    progress = InProgress()
    return [piece for received in pieces for piece in progress.ended(received)]


def said(batches: Iterable[ChangeBatch]) -> list[object]:
    return [(batch.lsn, batch.committed_at, len(batch.commits), list(each(batch))) for batch in batches]


def test_it_is_what_is_sent_once_it_has_ended(both):
    after, during = both
    assert during != after
    assert Counter(bytes(message[:1]) for message in during)[b"S"] > 5, "nothing was sent in progress"
    assert Counter(bytes(message[:1]) for message in during)[b"A"] > 2, "nothing was rolled back in progress"

    assert said(whole(ended(one_by_one(during)))) == said(whole(one_by_one(after)))


@pytest.mark.parametrize("together", [1, 7, 1000, 1_000_000])
def test_it_does_not_matter_in_what_pieces_it_comes(both, together):
    after, during = both
    pieces = [logged(during[at : at + together]) for at in range(0, len(during), together)]

    one = [change for batch in whole(ended(pieces)) for change in each(batch)]

    assert Counter(one) == Counter(change for batch in whole(one_by_one(after)) for change in each(batch))


def test_what_was_rolled_back_makes_no_table_a_partition(both):
    """A description that stays of it is followed by changes to another table."""
    _, during = both

    batches = whole(ended([logged(during)]))

    partitions = {
        run.table.name.name: {file.oid for file in run.table.evidence.files}
        for batch in batches
        for run in batch.changes
        if run.table.evidence.files
    }
    assert set(partitions) == {"parts"}


def test_a_keepalive_within_a_block_is_left_out(both):
    """Nothing is said of what is being sent."""
    _, during = both
    start = next(number for number, message in enumerate(during) if message[:1] == b"S")
    with_one = [*map(log_data, during[: start + 2]), keepalive(1 << 40), *map(log_data, during[start + 2 :])]

    batches = whole(ended([frames(message) for message in with_one]))

    assert [batch.lsn for batch in batches] == commit_ends(both[0])


def test_the_keepalives_between_blocks_go_through(both):
    _, during = both
    stop = next(number for number, message in enumerate(during) if message[:1] == b"E")

    batches = whole(ended([logged(during[: stop + 1]), frames(keepalive(7))]))

    assert [(batch.lsn, len(batch.commits)) for batch in batches] == [(7, 0)]
