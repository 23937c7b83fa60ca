"""
What somebody may do by hand to a table of the DuckDB file, and which of its rows are refused then.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from changes import ITEMS, batch, commit, delete, insert, record_batch, table, update
from changes import truncate as truncation

from cdc_assets.errors import RowRefused, TableRefused
from cdc_assets.model import LSN, Applied, Chunk, Column, Position, Table, TableChanges, TableName, TableState
from cdc_assets.sinks.duckdb.sink import DuckDBSink

NAME = ITEMS.name
COPY = "destination.public.items"
WHOLE = Chunk("1", "all pages")


@pytest.fixture
def sink(path: Path) -> DuckDBSink:
    """Holds 1 and 2."""
    sink = DuckDBSink(path, "shop")
    seed(sink, ITEMS, (1, "a", "10"), (2, "b", "20"))
    return sink


def seed(sink: DuckDBSink, of: Table, *rows: tuple[Any, ...]) -> None:
    if not sink.position():
        sink.adopt(Position(LSN(100), system="7", database="shop", slot="cdc_shop"))
    sink.begin_seed(of, [WHOLE], after=LSN(100))
    load(sink, of, *rows, at=200)
    apply(sink, upto=200)


def load(sink: DuckDBSink, of: Table, *rows: tuple[Any, ...], at: int) -> None:
    sink.load(of, WHOLE, [record_batch(of, rows)], at=LSN(at))


def by_hand(sink: DuckDBSink, *statements: str) -> None:
    with sink.file.writing() as transaction:
        for statement in statements:
            transaction.run(statement)


def apply(sink: DuckDBSink, *commits: Any, upto: int | None = None) -> Applied:
    position = sink.position()
    assert position
    return sink.apply(batch(*commits, since=position.lsn, lsn=upto))


def tables_there(sink: DuckDBSink) -> set[str]:
    with sink.file.reading() as transaction:
        assert transaction
        found = transaction.rows(
            "SELECT schema_name || '.' || table_name FROM duckdb_tables() WHERE database_name = 'destination'"
        )
        return {name for (name,) in found}


def copy(sink: DuckDBSink, of: TableName = NAME) -> dict[Any, Any]:
    return {row["id"]: row["name"] for row in sink.read(of).to_pylist()}


def refused(sink: DuckDBSink) -> dict[Any, str]:
    return {each.key["id"]: each.reason for each in sink.quarantined()}


NARROW = f"ALTER TABLE {COPY} ALTER body TYPE SMALLINT"
BAD_ROWS = {
    "a unique index": (
        f"CREATE UNIQUE INDEX one_name ON {COPY} (name)",
        [insert(3, "a", ""), insert(4, "d", ""), insert(5, "d", ""), insert(6, None, ""), insert(7, None)],
        {3: "Constraint error: UNIQUE INDEX one_name", 5: "Constraint error: UNIQUE INDEX one_name"},
    ),
    "a unique index of an expression": (
        f'CREATE UNIQUE INDEX "one Name" ON {COPY} (lower(name), body)',
        [insert(3, "A", "10"), insert(4, "A", "20"), insert(5, "a", "20")],
        {3: "Constraint error: UNIQUE INDEX one Name", 5: "Constraint error: UNIQUE INDEX one Name"},
    ),
    "a primary key": (
        f"ALTER TABLE {COPY} ADD PRIMARY KEY (name)",
        [insert(3, "b", "0"), insert(4, "d", "0"), insert(5, None, "0")],
        {3: "Constraint error: PRIMARY KEY items_name_pkey", 5: "Constraint error: column name is NOT NULL"},
    ),
    "not null": (
        f"ALTER TABLE {COPY} ALTER name SET NOT NULL",
        [insert(3, None, "0"), insert(4, "d", "0"), update(2, None, "0")],
        {3: "Constraint error: column name is NOT NULL", 2: "Constraint error: column name is NOT NULL"},
    ),
    "a narrower type": (
        NARROW,
        [insert(3, "c", "40000"), insert(4, "d", "40"), insert(5, "e", "secret"), insert(6, "f", None)],
        {3: "Conversion error: column body is SMALLINT", 5: "Conversion error: column body is SMALLINT"},
    ),
    "a narrower key": (
        f"ALTER TABLE {COPY} ALTER id TYPE TINYINT",
        [insert(3, "c", "0"), insert(300, "d", "0"), insert(-129, "e", "0")],
        {300: "Conversion error: column id is TINYINT", -129: "Conversion error: column id is TINYINT"},
    ),
    "a check": (
        f"CREATE OR REPLACE TABLE {COPY} (id BIGINT, name VARCHAR CONSTRAINT short CHECK (length(name) < 3), "
        "body VARCHAR, _cdc_lsn UBIGINT)",
        [insert(3, "ccc", "0"), insert(4, "d", "0"), insert(5, None, "0")],
        {3: "Constraint error: CHECK items_name_check"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("statement", "changes", "reasons"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_of_a_batch_those_rows_are_refused_that_do_not_fit(sink, statement, changes, reasons):
    by_hand(sink, statement)
    before = copy(sink)

    applied = apply(sink, commit(300, *changes))

    rows = dict(each.entries[0].row[:2] for each in changes)
    assert refused(sink) == reasons
    assert copy(sink) == {key: name for key, name in (before | rows).items() if key not in reasons}
    assert applied.quarantined == {NAME: len(reasons)}
    assert applied.unseeded == {}


def test_rows_are_the_same_or_not_as_the_table_has_them(sink):
    by_hand(sink, NARROW, f"CREATE UNIQUE INDEX one_body ON {COPY} (body)")

    apply(sink, commit(300, insert(3, "c", "+10"), insert(4, "d", "040"), insert(5, "e", "40")))

    assert list(refused(sink)) == [3, 5]
    assert copy(sink) == {1: "a", 2: "b", 4: "d"}


def test_where_nothing_is_refused_any_more_nothing_of_it_is_left(sink):
    before = tables_there(sink)
    by_hand(sink, NARROW)
    apply(sink, commit(300, insert(3, "c", "x")))
    assert tables_there(sink) - before == {"_cdc.quarantine public.items"}

    apply(sink, commit(310, update(3, "c", "30")))

    assert tables_there(sink) == before


def test_what_is_refused_for_another_row_is_taken_when_that_is_gone(sink):
    by_hand(sink, f"CREATE UNIQUE INDEX one_name ON {COPY} (name)")
    apply(sink, commit(300, insert(3, "a", "30"), insert(4, "a", "40")))
    assert list(refused(sink)) == [3, 4]

    apply(sink, commit(310, delete(1)))

    assert sink.retry(NAME) == (1, 1)
    assert copy(sink) == {2: "b", 3: "a"}
    assert list(refused(sink)) == [4]


def test_names_swapped_under_a_unique_index_are_not_refused(sink):
    by_hand(sink, f"CREATE UNIQUE INDEX one_name ON {COPY} (name)")
    apply(sink, commit(300, insert(3, "a", "30")))

    apply(sink, commit(310, update(1, "b", "10"), update(2, "a", "20"), update(3, "c", "30")))

    assert copy(sink) == {1: "b", 2: "a", 3: "c"}
    assert refused(sink) == {}


def test_tables_are_judged_each_for_itself(sink):
    other = table("others", oid=16_385)
    seed(sink, other, (1, "a", ""))
    by_hand(sink, NARROW, "ALTER TABLE destination.public.others ALTER name SET NOT NULL")

    applied = apply(
        sink,
        commit(300, insert(3, None, "x"), insert(2, None, "x", into=other), insert(3, "c", "x", into=other)),
    )

    assert [(each.table, each.key["id"]) for each in sink.quarantined()] == [(NAME, 3), (other.name, 2)]
    assert copy(sink, other.name) == {1: "a", 3: "c"}
    assert applied.quarantined == {NAME: 1, other.name: 1}


def test_a_table_with_too_many_refused_rows_is_out_of_step_and_gets_a_new_copy(sink):
    by_hand(sink, NARROW)
    apply(sink, commit(300, *(insert(number, "", "x") for number in range(10, 1010))))
    assert sink.tables(counted=True)[NAME].quarantined == 1000

    applied = apply(sink, commit(310, insert(1010, "", "x"), insert(1011, "", "1")))

    assert list(applied.unseeded) == [NAME]
    assert "more than 1,000 rows of public.items (Conversion error: column body" in applied.unseeded[NAME]
    assert sink.tables(counted=True)[NAME].quarantined == 1000, "those of the copy as it stays"
    sink.begin_seed(ITEMS, [WHOLE], after=LSN(310))
    sink.load(ITEMS, WHOLE, [], at=LSN(320))
    apply(sink, commit(330, insert(1, "a", "x")))
    assert sink.tables()[NAME].state is TableState.SEEDED
    assert copy(sink) == {1: "a"}
    assert refused(sink) == {}


@pytest.mark.parametrize(
    "statement",
    [
        f"ALTER TABLE {COPY} DROP COLUMN body",
        f"CREATE OR REPLACE TABLE {COPY} AS SELECT *, 1 AS more FROM {COPY}; "
        f"ALTER TABLE {COPY} ALTER more SET NOT NULL",
        f"DROP TABLE {COPY}; CREATE VIEW {COPY} AS SELECT 1 AS id",
    ],
    ids=["a column less", "a column more that must have a value", "a view"],
)  # fmt: skip
def test_what_refuses_every_row_leaves_the_table_behind(sink, statement):
    by_hand(sink, *statement.split("; "))

    applied = apply(sink, commit(300, insert(3, "c", "30")))

    assert list(applied.unseeded) == [NAME]
    assert sink.quarantined() == []


def test_what_refuses_every_row_stops_what_is_to_stop_at_refused_rows_too(path):
    """Here DuckDB says no more than that it is for a row."""
    sink = DuckDBSink(path, "shop", stops_at_refused_rows=True)
    people = table("people", "id", "name", key=(), oid=16_390)
    seed(sink, people, ("1", "a"))
    by_hand(sink, "ALTER TABLE destination.public.people ALTER name SET NOT NULL")

    with pytest.raises(
        RowRefused, match=r"public\.people \(Constraint error\), at or before 0/12C"
    ) as caught:
        apply(sink, commit(300, insert("2", None, into=people)))

    position = sink.position()
    assert position
    assert position.lsn == 200
    assert "NOT NULL constraint failed" not in "".join(traceback.format_exception(caught.value))


def test_what_is_in_quarantine_goes_into_a_copy_that_was_mended_by_hand(sink):
    """Whoever wrote a row there under the same key did not write the source's."""
    by_hand(sink, NARROW)
    apply(sink, commit(300, insert(3, "c", "x")))
    by_hand(
        sink, f"ALTER TABLE {COPY} ALTER body TYPE VARCHAR", f"INSERT INTO {COPY} VALUES (3, 'mine', '', 1)"
    )

    assert sink.retry(NAME) == (1, 0)
    assert copy(sink) == {1: "a", 2: "b", 3: "c"}
    assert sink.read(NAME).num_rows == 3


def test_a_table_that_is_not_there_to_try_again_keeps_its_quarantine(sink):
    by_hand(sink, NARROW)
    apply(sink, commit(300, insert(3, "c", "x")))
    by_hand(sink, f"ALTER TABLE {COPY} RENAME TO moved")

    with pytest.raises(TableRefused) as caught:
        sink.retry(NAME)

    assert caught.value.hint
    assert list(refused(sink)) == [3]


@dataclass
class Failing:
    """Changes, after which whoever reads them fails."""

    changes: Iterable[TableChanges]

    def __iter__(self) -> Iterator[TableChanges]:
        yield from self.changes
        raise ZeroDivisionError


def test_a_write_that_fails_leaves_no_row_in_quarantine(sink):
    by_hand(sink, NARROW)
    whole = batch(commit(300, insert(3, "c", "x"), insert(4, "d", "40")), since=200)

    with pytest.raises(ZeroDivisionError):
        sink.apply(replace(whole, changes=Failing(whole.changes)))

    assert (refused(sink), copy(sink)) == ({}, {1: "a", 2: "b"})
    sink.apply(whole)
    assert (list(refused(sink)), copy(sink)) == ([3], {1: "a", 2: "b", 4: "d"})


def test_an_emptied_table_has_nothing_in_quarantine(sink):
    by_hand(sink, NARROW)
    apply(sink, commit(300, insert(3, "c", "x"), truncation(), insert(4, "d", "y"), insert(5, "e", "5")))

    assert list(refused(sink)) == [4]
    assert copy(sink) == {5: "e"}


def test_what_is_done_by_hand_is_gone_with_the_copy_that_it_was_done_to(sink):
    by_hand(sink, NARROW, f"CREATE UNIQUE INDEX one_name ON {COPY} (name)")
    apply(sink, commit(300, insert(3, "a", "30")))

    sink.mark_unseeded(NAME, "asked for", in_step=True)
    sink.begin_seed(ITEMS, [WHOLE], after=LSN(300))
    load(sink, ITEMS, (1, "a", "x"), (3, "a", "x"), at=310)
    apply(sink, commit(320, insert(4, "a", "y")))

    assert copy(sink) == {1: "a", 3: "a", 4: "a"}
    assert refused(sink) == {}


def test_a_chunk_that_does_not_fit_what_was_narrowed_by_hand_is_loaded_again_all_the_same(sink):
    by_hand(sink, NARROW)
    sink.begin_reload(NAME, [WHOLE])
    load(sink, ITEMS, (1, "A", "1"), (2, "B", "x"), (3, "C", "3"), at=300)

    applied = apply(sink, upto=310)

    assert applied.quarantined == {NAME: 1}
    assert copy(sink) == {1: "A", 3: "C"}
    assert refused(sink) == {2: "Conversion error: column body is SMALLINT"}


VALUES: dict[str, tuple[pa.DataType, Any]] = {
    "double": (pa.float64(), -0.0),
    "not a number": (pa.float64(), math.nan),
    "decimal": (pa.decimal128(38, 20), Decimal("123456789012345678.00000000000000000001")),
    "bytes": (pa.large_binary(), b"\x00\xff'"),
    "date": (pa.date32(), date(1, 1, 1)),
    "time": (pa.time64("us"), time(23, 59, 59, 999_999)),
    "timestamp": (pa.timestamp("us"), datetime(9999, 12, 31, 23, 59, 59, 999_999)),  # noqa: DTZ001
    "timestamptz": (pa.timestamp("us", "UTC"), datetime(1800, 1, 1, tzinfo=UTC)),
    "interval": (pa.month_day_nano_interval(), pa.MonthDayNano([13, -1, 1000])),
    "uuid": (pa.uuid(), UUID(int=7)),
    "text": (pa.string_view(), "\u0000 ' \" \\ €"),
}  # fmt: skip


@pytest.mark.parametrize(("type_", "value"), VALUES.values(), ids=VALUES)
def test_nothing_of_a_row_is_lost_in_quarantine(path, type_, value):
    things = Table(
        16_400,
        TableName("public", "things"),
        (
            Column("id", 20, -1, "bigint", 20, pa.int64(), number=1),
            Column("name", 25, -1, "text", 25, pa.string_view(), number=2),
            Column("thing", 0, -1, "", 0, type_, number=3),
        ),
        ("id",),
    )
    sink = DuckDBSink(path, "shop")
    seed(sink, things, (1, "a", value))
    (before,) = sink.read(things.name)["thing"].to_pylist()
    by_hand(sink, "ALTER TABLE destination.public.things ALTER name SET NOT NULL")
    apply(sink, commit(300, update(1, None, value, of=things)))
    assert sink.read(things.name).num_rows == 0
    by_hand(sink, "ALTER TABLE destination.public.things ALTER name DROP NOT NULL")

    sink.retry(things.name)

    (after,) = sink.read(things.name)["thing"].to_pylist()
    assert repr(after) == repr(before)
