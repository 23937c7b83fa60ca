"""
Whatever the stream is cut into, its batches say what a decoder of one message after the other says.
"""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import UNCHANGED, Change, changes
from recording import as_text, commit_ends, each, framed, frames, keepalive, log_data, logged, record

from cdc_assets.errors import ProtocolError
from cdc_assets.model import LSN, Ack, ChangeBatch, Column, Table, TableChanges, TextColumn
from cdc_assets.pgoutput.assembler import Assembler
from cdc_assets.pgoutput.frames import split
from cdc_assets.pgoutput.messages import Relation
from cdc_assets.pgoutput.types import arrow_type

TABLES = [
    "create type mood as enum ('low', 'high')",
    "create table plain (id int primary key, note text, feeling mood)",
    "create table pair (a int, note text, b text, primary key (a, b))",
    "create table large (id int primary key, body text, other text, note text)",
    "create table whole (id int primary key, body text, note text)",
    "alter table whole replica identity full",
    "create table coded (id int primary key, code text not null unique, body text)",
    "alter table coded replica identity using index coded_code_key",
    "create table parent (id int primary key, note text)",
    "create table child (id int primary key, parent int references parent)",
    "create table split (id int primary key, part int) partition by range (id)",
    "create table split_low partition of split for values from (0) to (10)",
    "create table split_high partition of split for values from (10) to (100)",
    "create table unwanted (id int primary key, note text)",
    "create table bare (a int, body text)",
    "alter table bare replica identity full, alter body set storage external",
    "alter table large alter body set storage external, alter other set storage external",
    "alter table whole alter body set storage external",
    "alter table coded alter code set storage external, alter body set storage external",
]
WORK = [
    "insert into plain select g, repeat('n', g % 30), 'low' from generate_series(1, 60) g",
    "update plain set note = nullif(note, '') || 'é' where id % 3 = 0",
    "update plain set id = id + 1000 where id % 7 = 0; delete from plain where id % 5 = 0",
    "begin; alter table plain add extra int default 7; insert into plain (id) values (2000);"
    " alter table plain drop note; update plain set feeling = 'high' where id < 9;"
    " alter table plain rename extra to further; insert into unwanted values (1, 'u'); commit",
    "insert into pair select g, null, repeat('b', g) from generate_series(0, 20) g",
    "update pair set a = a + 1 where a > 17; update pair set b = b || 'b', note = '' where a < 3",
    "insert into large select g, repeat(g || 'x', 3000), repeat('y', 4000), 'n' from generate_series(1, 9) g",
    "update large set note = 'changed' where id < 5; update large set id = id + 50 where id in (2, 4, 6)",
    "begin; update large set other = 'short' where id = 1; update large set note = null; truncate large;"
    " insert into large values (1, '', null, ''); commit",
    "insert into whole select g, repeat(g || 'x', 3000), 'n' from generate_series(1, 5) g",
    "update whole set note = null; update whole set id = -id where id > 3; delete from whole where id = 1",
    "insert into coded select g, repeat(chr(96 + g), 2300), repeat('z', 5000) from generate_series(1, 6) g",
    "update coded set id = id + 10 where id < 3; update coded set code = 'short' where id = 3",
    "delete from coded where id > 4; insert into unwanted values (2, 'u')",
    "insert into parent values (1), (2); insert into child values (1, 1), (2, 1)",
    "begin; insert into plain (id) values (3000); truncate parent cascade; insert into parent values (7);"
    " truncate parent cascade; truncate plain, pair; insert into pair values (1, 'after', 'b'); commit",
    "begin; insert into split values (1, 1), (50, 2); savepoint s; insert into split values (2, 2);"
    " rollback to s; update split set id = id + 10 where id = 1; commit",
    "insert into bare select nullif(g / 2, 2), repeat('x', 3000) from generate_series(1, 9) g",
    "update bare set a = 1 where a is null; update bare set body = null where a = 1; update bare set a = a;"
    " delete from bare where a < 3",
    "begin; insert into unwanted values (9, 'u'); commit; begin; select 1; commit",
    "insert into plain (id) select g from generate_series(1, 100) g",
]
KEYS = {"whole": ["id"], "bare": []}
"""The log marks every column of a table with replica identity FULL."""


@pytest.fixture
def recorded(source) -> list[bytes]:
    return record(source, *WORK, before=TABLES)


def describe(relation: Relation, before: Table | None):
    if relation.name.name == "unwanted":
        return None
    return as_text(relation, KEYS.get(relation.name.name))


def priced(relation: Relation, before: Table | None) -> Table:
    """One column, a numeric with a scale."""
    (column,) = relation.columns
    kept_as = arrow_type(column.oid, column.typmod)
    price = Column(column.name, column.oid, column.typmod, "numeric(5,2)", column.oid, kept_as, number=1)
    return Table(relation.oid, relation.name, (price,), (column.name,))


def taken(*pieces) -> ChangeBatch:
    assembler = Assembler(describe)
    for piece in pieces:
        assembler.feed(piece)
    return assembler.take(lambda lsn: Ack())


def with_keepalives(messages: list[bytes], places: set[int]) -> list[bytes]:
    """The stream, heads included, with keepalives after some messages: inside a transaction they
    are of a point beyond its end, between two they are of the point just after the one before."""
    stream, end, inside = [], 0, False
    for place, message in enumerate(messages):
        stream.append(log_data(message))
        inside = message[:1] != b"C"
        end = end if inside else commit_ends([message])[0]
        if place in places:
            stream.append(keepalive(2**40 if inside else end + 1))
    return stream


def batches(data: bytes, cuts: list[int], takes: list[bool], piece: int | None) -> list[ChangeBatch]:
    """The stream assembled as it arrives: a piece up to each cut, a batch after some; with `piece`,
    every transaction that is open at a cut set aside, so many bytes at a time."""
    assembler, rest, found = Assembler(describe), b"", []
    for begin, end, take in zip([0, *cuts], [*cuts, len(data)], takes, strict=True):
        arrived = np.frombuffer(rest + data[begin:end], np.uint8)
        whole, length = split(arrived, b"w", b"k")
        rest = arrived[length:].tobytes()
        assembler.feed(whole)
        is_large = piece is not None and assembler.open_size > 0
        if (take or is_large) and assembler.has_batch:
            found.append(assembler.take(lambda lsn: Ack()))
        if is_large:
            assembler.set_aside(piece)
    if assembler.has_batch:
        found.append(assembler.take(lambda lsn: Ack()))
    return found


def said(run: TableChanges) -> list[tuple]:
    """A run's changes, in the oracle's words: operation, row, the end of the commit, was it a move."""
    rows = [list(row.values()) for row in run.rows.to_pylist()]
    for column, name in enumerate(run.rows.schema.names):
        for number in np.flatnonzero(run.unchanged.get(name, [])):
            rows[number][column] = UNCHANGED
    truncated = [("T", None, run.truncated, False)] if run.truncated else []
    return truncated + [
        (chr(op), tuple(row), lsn, moved)
        for op, row, lsn, moved in zip(run.ops, rows, run.lsns, run.moved, strict=True)
    ]


def meant(change: Change, key: list[int]) -> list[tuple]:
    """What a change amounts to: an update that moves the key is two, as is any without a key, and
    a cell that was not resent is in the old row if that is whole."""
    if change.op != "U" or change.old is None:
        return [(change.op, change.row or change.old, change.lsn, False)]
    row = tuple(
        before if cell is UNCHANGED and before is not None else cell
        for cell, before in zip(change.row, change.old, strict=True)
    )
    if key and all(row[place] == change.old[place] for place in key):
        return [("U", row, change.lsn, False)]
    return [("D", change.old, change.lsn, True), ("U", row, change.lsn, True)]


PIECES = st.none() | st.integers(1, 5000)
PLACES = {"pair": [0, 2], "coded": [1], "bare": []}
"""Where a table's key is among its columns, if that is not first."""


@given(data=st.data())
@settings(max_examples=40)
def test_batches_say_what_the_oracle_says_wherever_the_stream_is_cut(recorded, data):
    places = data.draw(st.sets(st.integers(0, len(recorded) - 1), max_size=9))
    stream = b"".join(map(framed, with_keepalives(recorded, places)))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=9)))
    takes = data.draw(st.lists(st.booleans(), min_size=len(cuts) + 1, max_size=len(cuts) + 1))
    expected: dict[str, list[tuple]] = {}
    for change in changes(recorded):
        name = change.table.removeprefix("public.")
        expected.setdefault(name, []).extend(meant(change, PLACES.get(name, [0])))
    del expected["unwanted"]

    found: dict[str, list[tuple]] = {}
    for batch in batches(stream, cuts, takes, data.draw(PIECES)):
        for run in batch.changes:
            found.setdefault(run.table.name.name, []).extend(said(run))

    assert found == expected


@given(data=st.data())
@settings(max_examples=40)
def test_no_transaction_is_divided_between_batches(recorded, data):
    places = data.draw(st.sets(st.integers(0, len(recorded) - 1), max_size=9))
    stream = b"".join(map(framed, with_keepalives(recorded, places)))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=20)))

    found = batches(stream, cuts, [True] * (len(cuts) + 1), data.draw(PIECES))

    ends = commit_ends(recorded)
    assert [batch.since for batch in found] == [0, *(batch.lsn for batch in found[:-1])]
    assert {batch.lsn for batch in found} <= {*ends, *(end + 1 for end in ends)}
    assert sum(len(batch.commits) for batch in found) == len(ends)
    for batch in found:
        assert all(batch.since < lsn <= batch.lsn for run in batch.changes for lsn in run.lsns)


ONE = "create table one (id int primary key, note text)"
TWO = "create table two (id int primary key)"
UNWANTED = "create table unwanted (id int primary key, note text)"


def test_a_change_knows_its_commit_and_its_place_in_it(newest_source):
    messages = record(
        newest_source,
        "begin; insert into one values (1); insert into two values (1), (2);"
        " insert into one values (3); commit",
        "begin; update one set id = id + 10 where id = 3; insert into two values (4); commit",
        before=[ONE, TWO],
    )
    first, second = commit_ends(messages)

    one, two = taken(logged(messages)).changes

    assert one.ordinals.tolist() == [0, 3, 0, 0]
    assert two.ordinals.tolist() == [1, 2, 1]
    assert one.lsns.tolist() == [first, first, second, second]
    assert two.lsns.tolist() == [first, first, second]


def test_a_commit_has_the_time_of_the_source(newest_source):
    messages = record(newest_source, "insert into one values (1)", before=[ONE])
    (now,) = newest_source.execute("select now()").fetchone()

    batch = taken(logged(messages))

    assert timedelta(0) <= now - batch.committed_at < timedelta(minutes=1)
    assert batch.changes[0].times.tolist() == [round(batch.committed_at.timestamp() * 1e6)]


@pytest.fixture
def two_commits(newest_source) -> list[bytes]:
    return record(newest_source, "insert into one values (1)", "insert into one values (2)", before=[ONE])


def test_a_transaction_is_not_there_before_its_commit(two_commits):
    assembler = Assembler(describe)

    assembler.feed(logged(two_commits[:3]))

    assert not assembler.has_batch
    assert not assembler.has_changes


def test_a_batch_ends_before_a_transaction_that_is_still_open(two_commits):
    first, second = commit_ends(two_commits)
    assembler = Assembler(describe)
    assembler.feed(logged(two_commits[:-1]))

    begun = assembler.take(lambda lsn: Ack())
    assembler.feed(logged(two_commits[-1:]))
    ended = assembler.take(lambda lsn: Ack())

    assert (begun.lsn, list(each(begun))) == (first, [("I", "one", ("1", None))])
    assert (ended.since, ended.lsn, list(each(ended))) == (first, second, [("I", "one", ("2", None))])


def test_a_batch_is_confirmed_up_to_its_own_end(two_commits):
    confirmed = []
    assembler = Assembler(describe)
    assembler.feed(logged(two_commits[:-1]))
    batch = assembler.take(lambda lsn: Ack(lambda: confirmed.append(lsn)))
    assembler.feed(logged(two_commits[-1:]))

    batch.ack.confirm()

    assert confirmed == commit_ends(two_commits)[:1]


def test_a_keepalive_inside_a_transaction_says_nothing(two_commits):
    assembler = Assembler(describe)
    assembler.feed(logged(two_commits[:2]))

    assembler.feed(frames(keepalive(2**40)))

    assert not assembler.has_batch
    assert assembler.position == 0


def test_a_keepalive_between_transactions_brings_the_batch_up_to_it():
    batch = taken(frames(keepalive(100)), frames(keepalive(200)))

    assert batch == ChangeBatch((), LSN(0), LSN(200))


def test_a_position_never_goes_back():
    assembler = Assembler(describe, LSN(300))

    assembler.feed(frames(keepalive(200)))

    assert assembler.position == 300


def test_a_table_that_is_not_wanted_makes_an_empty_batch(newest_source):
    messages = record(
        newest_source, "insert into unwanted values (1, 'u'); truncate unwanted", before=[UNWANTED]
    )

    batch = taken(logged(messages))

    assert batch.changes == ()
    assert [batch.lsn] == commit_ends(messages)


def test_a_redefinition_ends_a_run_and_opens_another(newest_source):
    messages = record(
        newest_source,
        "begin; insert into one values (1, 'n'); alter table one add extra int; insert into one values (2);"
        " alter table one drop note; insert into one values (3); commit",
        before=[ONE],
    )

    runs = taken(logged(messages)).changes

    assert [run.table.schema.names for run in runs] == [
        ["id", "note"],
        ["id", "note", "extra"],
        ["id", "extra"],
    ]
    assert [run.rows["id"].to_pylist() for run in runs] == [["1"], ["2"], ["3"]]
    assert [run.ordinals.tolist() for run in runs] == [[0], [1], [2]]


def test_the_same_definition_again_ends_no_run(newest_source):
    messages = record(
        newest_source,
        "insert into one values (1)",
        "analyze one",
        "insert into one values (2)",
        before=[ONE],
    )
    assert sum(message[:1] == b"R" for message in messages) == 2

    (run,) = taken(logged(messages)).changes

    assert run.rows["id"].to_pylist() == ["1", "2"]


def test_a_definition_outlives_the_batch_it_came_in(newest_source):
    messages = record(newest_source, "insert into one values (1)", "insert into one values (2)", before=[ONE])
    assembler = Assembler(describe)
    assembler.feed(logged(messages[:4]))
    assembler.take(lambda lsn: Ack())

    assembler.feed(logged(messages[4:]))

    assert not any(message[:1] == b"R" for message in messages[4:])
    assert list(each(assembler.take(lambda lsn: Ack()))) == [("I", "one", ("2", None))]


def test_a_column_is_text_from_the_first_value_on_that_its_type_cannot_hold(newest_source):
    messages = record(
        newest_source,
        "insert into priced values (1.5); truncate priced; insert into priced values ('nan'), (2.5);"
        " truncate priced; insert into priced values (3.5)",
        "insert into priced values (4.5)",
        before=["create table priced (price numeric(5, 2) primary key)"],
    )
    as_text: set[TextColumn] = set()
    assembler = Assembler(priced, as_text=as_text)
    assembler.feed(logged(messages[:-3]))
    typed, first, later = assembler.take(lambda lsn: Ack()).changes
    assembler.feed(logged(messages[-3:]))
    (last,) = assembler.take(lambda lsn: Ack()).changes

    assert typed.rows["price"].to_pylist() == [Decimal("1.50")]
    assert [run.rows["price"].to_pylist() for run in (first, later, last)] == [
        ["NaN", "2.50"],
        ["3.50"],
        ["4.50"],
    ]
    assert {run.table.as_text for run in (first, later, last)} == {frozenset(as_text)} != {frozenset()}


def test_what_could_not_be_told_of_a_table_is_looked_at_again(newest_source):
    messages = record(newest_source, "insert into one values (1)", "insert into one values (2)", before=[ONE])
    answers = iter(["it was altered twice", None])
    assembler = Assembler(lambda relation, before: replace(as_text(relation), doubt=next(answers)))
    assembler.feed(logged(messages[:4]))
    (first,) = assembler.take(lambda lsn: Ack()).changes
    assembler.feed(logged(messages[4:]))
    (second,) = assembler.take(lambda lsn: Ack()).changes

    assert (first.table.doubt, second.table.doubt) == ("it was altered twice", None)


def test_the_partitions_that_the_log_speaks_of_are_noted_with_the_changes(newest_source):
    messages = record(
        newest_source,
        "insert into split values (1, 1), (50, 2)",
        "insert into one values (1)",
        before=[
            ONE,
            "create table split (id int primary key, part int) partition by range (id)",
            "create table split_low partition of split for values from (0) to (10)",
            "create table split_high partition of split for values from (10) to (100)",
        ],
    )
    oids = [
        newest_source.execute(f"select 'split_{part}'::regclass::oid::int").fetchone()[0]
        for part in ("low", "high")
    ]

    split, one = taken(logged(messages)).changes

    assert [file.oid for file in split.table.evidence.files] == oids
    assert one.table.evidence.files == ()


def test_a_truncation_ends_a_run_and_is_a_fact_about_the_next(newest_source):
    messages = record(
        newest_source,
        "insert into one values (1); insert into two values (1)",
        "begin; insert into one values (2); truncate one, two; insert into one values (3); commit",
        before=[ONE, TWO],
    )
    _, end = commit_ends(messages)

    runs = taken(logged(messages)).changes

    assert [(run.table.name.name, run.truncated, len(run)) for run in runs] == [
        ("one", None, 2),
        ("one", end, 1),
        ("two", None, 1),
        ("two", end, 0),
    ]


def test_a_table_that_is_made_again_under_its_name_is_another_table(newest_source):
    messages = record(
        newest_source,
        "insert into one values (1)",
        f"begin; drop table one; {ONE}; insert into one values (2); commit",
        before=[ONE],
    )

    before, after = taken(logged(messages)).changes

    assert before.table.name == after.table.name
    assert before.table != after.table


@pytest.mark.parametrize("unknown", [b"M\0", b"S\0", b"?"], ids=["message", "stream start", "nonsense"])
def test_a_message_of_an_unknown_kind_is_refused(two_commits, unknown):
    begin, *rest = two_commits

    with pytest.raises(ProtocolError, match=f"kind {chr(unknown[0])!r}"):
        taken(logged([begin, unknown, *rest]))


def test_what_is_neither_log_data_nor_a_keepalive_is_refused(two_commits):
    with pytest.raises(ProtocolError, match="kind 'p'"):
        taken(logged(two_commits), frames(b"p" + bytes(32)))


def test_a_change_to_a_table_not_defined_before_is_refused(two_commits):
    undefined = [message for message in two_commits if message[:1] != b"R"]

    with pytest.raises(ProtocolError, match="before its definition"):
        taken(logged(undefined))


def test_a_large_key_that_was_not_resent_is_the_one_the_row_had(newest_source):
    """PostgreSQL sends the old key of such a row, though it has not changed."""
    messages = record(
        newest_source,
        "update one set note = 'new'",
        before=[
            "create table one (id text primary key, note text, filler text)",
            "alter table one alter id set storage external",
            "insert into one values (repeat('k', 2500), 'old', repeat('f', 1500))",
        ],
    )
    (sent,) = changes(messages)
    assert sent.row[0] is UNCHANGED

    (run,) = taken(logged(messages)).changes

    assert said(run) == [("U", ("k" * 2500, "new", "f" * 1500), sent.lsn, False)]
