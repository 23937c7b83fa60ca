"""
What is set aside on disk is what would have been held in memory, and nothing of it is left there.
"""

from __future__ import annotations

import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from recording import as_text, commit_ends, each, logged, record

from cdc_assets.errors import SpoolFull
from cdc_assets.model import Ack, ChangeBatch
from cdc_assets.pgoutput.assembler import Assembler
from cdc_assets.pgoutput.frames import Frames

TABLES = ["create table one (id int primary key, note text)", "create table two (id int primary key)"]
WORK = [
    "begin; insert into one values (1); insert into two values (1), (2); insert into one values (3); commit",
    "begin; update one set id = id + 10 where id = 3; insert into two values (4); commit",
    "insert into two values (5)",
]


@pytest.fixture
def messages(newest_source) -> list[bytes]:
    return record(newest_source, *WORK, before=TABLES)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files are."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def assembled(messages: list[bytes], *, aside: bool) -> list[ChangeBatch]:
    """As they come one by one; with `aside`, each is set aside before the next one comes."""
    assembler, found = Assembler(lambda relation, before: as_text(relation)), []
    for message in messages:
        assembler.feed(logged([message]))
        if assembler.has_batch:
            found.append(assembler.take(lambda lsn: Ack()))
        elif aside:
            assembler.set_aside(1)
    return found


def test_a_batch_says_the_same_whether_or_not_it_was_set_aside(messages):
    for whole, spooled in zip(assembled(messages, aside=False), assembled(messages, aside=True), strict=True):
        assert (whole.since, whole.lsn, len(whole.commits), whole.committed_at) == (
            spooled.since,
            spooled.lsn,
            len(spooled.commits),
            spooled.committed_at,
        )
        for name in ("one", "two"):
            assert beside(whole, name) == beside(spooled, name)


def beside(batch: ChangeBatch, table: str) -> list[tuple[object, ...]]:
    return [
        change
        for run in batch.changes
        if run.table.name.name == table
        for change in zip(
            run.rows.to_pylist(), run.ops, run.lsns, run.ordinals, run.times, run.moved, strict=True
        )
    ]


def test_what_was_set_aside_can_be_gone_through_several_times(messages):
    first, *_ = assembled(messages, aside=True)

    assert list(each(first)) == list(each(first)) != []
    assert first.size == 4


def test_nothing_is_set_aside_of_the_transactions_that_follow(messages):
    assembler = Assembler(lambda relation, before: as_text(relation))
    assembler.feed(logged(messages[:3]))
    assembler.set_aside(1)
    assembler.feed(logged(messages[3:]))

    batch = assembler.take(lambda lsn: Ack())

    assert [run.continues for run in batch.changes] == [True, False, False]
    lsns = [lsn for run in batch.changes if run.table.name.name == "two" for lsn in run.lsns.tolist()]
    first, second, third = commit_ends(messages)
    assert lsns == [first, first, second, third]


def test_the_folder_shows_no_file(folder, messages):
    batches = assembled(messages, aside=True)

    assert list(each(batches[0]))
    assert list(folder.iterdir()) == []


@contextmanager
def a_full_disk() -> Iterator[None]:
    """No file can grow beyond a few bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_is_an_error_that_names_the_folder(folder, messages):
    assembler = Assembler(lambda relation, before: as_text(relation))
    assembler.feed(logged(messages[:3]))

    with a_full_disk(), pytest.raises(SpoolFull, match=f"{folder}: File too large") as caught:
        assembler.set_aside(1)

    assert "TMPDIR" in caught.value.hint


def test_pieces_are_all_there_and_of_equal_size(messages):
    frames = logged(messages)

    pieces = list(frames.pieces(100))

    assert [piece[n] for piece in pieces for n in range(len(piece))] == [
        frames[n] for n in range(len(frames))
    ]
    assert all(len(piece.data) < 300 for piece in pieces)
    assert len(list(frames.pieces(1 << 20))) == 1
    assert list(Frames.of([]).pieces(100)) == []
