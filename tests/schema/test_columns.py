"""
Columns that the configuration leaves out or hashes: what is carried of them, and what a change of it does.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import psycopg
import pytest
from wal_captures import capture

from cdc_assets.engine import Loaded, catch_up, compare
from cdc_assets.errors import ConfigError
from cdc_assets.model import Differences, Table, TableName
from cdc_assets.postgres.treatment import Treatment
from cdc_assets.postgres.wal import WalCapture
from cdc_assets.sinks.duckdb.sink import DuckDBSink

Source = psycopg.Connection[tuple[object, ...]]
CUSTOMERS = TableName("public", "customers")


@pytest.fixture
def customers(source: Source) -> Source:
    source.execute("create table customers (id int primary key, ssn text, email text, city text)")
    source.execute("insert into customers values (1, 'secret', 'a@b', 'Rome'), (2, 'hidden', null, 'Oslo')")
    return source


@pytest.fixture
def sink(path: Path) -> Iterator[DuckDBSink]:
    sink = DuckDBSink(path, "columns")
    yield sink
    sink.close()


def treating(dsn: str, exclude: str = "", hashes: str = "") -> WalCapture:
    treatment = Treatment(frozenset(exclude.split()), frozenset(hashes.split()))
    return capture(dsn, mentioned={CUSTOMERS: treatment})


def sync(mine: WalCapture, sink: DuckDBSink) -> int:
    """How many rows were read from the table, rather than the stream."""
    return sum(event.rows for event in catch_up(mine, sink) if isinstance(event, Loaded))


def held(sink: DuckDBSink) -> list[dict[str, object]]:
    return sorted(sink.read(CUSTOMERS).to_pylist(), key=lambda row: row["id"])


def hashed(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def is_the_same(mine: WalCapture, sink: DuckDBSink) -> bool:
    return [each.differences for each in compare(mine, sink, mine.select().tables)] == [Differences(0, 0)]


# What is carried


def test_a_column_left_out_is_stepped_over(dsn: str, customers: Source, sink: DuckDBSink) -> None:
    mine = treating(dsn, exclude="ssn")
    sync(mine, sink)
    customers.execute("alter table customers replica identity full")
    customers.execute("insert into customers values (3, null, 'c', 'Bern'), (4, 'gone', 'd', null)")
    customers.execute("update customers set id = 5, ssn = 'other', city = 'Wien' where id = 1")
    customers.execute("delete from customers where id = 2")

    sync(mine, sink)

    assert held(sink) == [
        {"id": 3, "email": "c", "city": "Bern"},
        {"id": 4, "email": "d", "city": None},
        {"id": 5, "email": "a@b", "city": "Wien"},
    ]
    assert is_the_same(mine, sink)


def test_a_hash_is_the_same_through_snapshot_and_stream(
    dsn: str, customers: Source, sink: DuckDBSink
) -> None:
    mine = treating(dsn, hashes="email id")
    sync(mine, sink)
    customers.execute("insert into customers values (3, '', 'a@b', ''), (4, '', null, ''), (5, '', 'ü', '')")

    sync(mine, sink)

    assert {row["id"]: row["email"] for row in sink.read(CUSTOMERS).to_pylist()} == {
        hashed("1"): hashed("a@b"),
        hashed("2"): None,
        hashed("3"): hashed("a@b"),
        hashed("4"): None,
        hashed("5"): hashed("ü"),
    }
    assert is_the_same(mine, sink)


def test_what_is_generated_from_a_column_is_treated_as_it_is(
    dsn: str, customers: Source, sink: DuckDBSink
) -> None:
    customers.execute(
        "alter table customers add digits text generated always as (left(ssn, 2)) stored, "
        "add host text generated always as (split_part(email, '@', 2)) stored"
    )
    mine = treating(dsn, exclude="ssn", hashes="email")
    sync(mine, sink)
    customers.execute("insert into customers values (3, 'secret', 'c@b', 'Bern')")
    sync(mine, sink)

    of_b, of_null = {"host": hashed("b")}, {"host": None}
    assert held(sink) == [
        {"id": 1, "email": hashed("a@b"), "city": "Rome", **of_b},
        {"id": 2, "email": None, "city": "Oslo", **of_null},
        {"id": 3, "email": hashed("c@b"), "city": "Bern", **of_b},
    ]


def test_a_hashed_key_moves_and_is_deleted(dsn: str, customers: Source, sink: DuckDBSink) -> None:
    mine = treating(dsn, exclude="ssn email", hashes="id")
    sync(mine, sink)
    customers.execute("update customers set id = 7 where id = 1; delete from customers where id = 2")

    assert sync(mine, sink) == 0
    assert sink.read(CUSTOMERS).to_pylist() == [{"id": hashed("7"), "city": "Rome"}]


def test_values_of_any_type_are_hashed_as_their_text(dsn: str, customers: Source, sink: DuckDBSink) -> None:
    customers.execute(
        "alter table customers add n numeric default 1.50, add t timestamptz default '2024-01-01Z', "
        "add b bool default true, add j jsonb default '{\"a\": 1}', add y bytea default '\\x00ff'"
    )
    mine = treating(dsn, exclude="ssn email city", hashes="n t b j y")
    sync(mine, sink)
    customers.execute("insert into customers (id) values (3)")
    sync(mine, sink)

    texts = {"n": "1.50", "t": "2024-01-01 00:00:00+00", "b": "t", "j": '{"a": 1}', "y": r"\x00ff"}
    assert held(sink) == [
        {"id": number, **{name: hashed(text) for name, text in texts.items()}} for number in (1, 2, 3)
    ]


def test_a_hash_that_was_not_sent_again_stays(dsn: str, customers: Source, sink: DuckDBSink) -> None:
    customers.execute("alter table customers alter email set storage external")
    customers.execute("update customers set email = repeat('x', 5000), ssn = repeat('y', 5000)")
    mine = treating(dsn, exclude="ssn", hashes="email")
    sync(mine, sink)
    customers.execute("update customers set city = 'Bonn'")

    assert sync(mine, sink) == 0
    assert {(row["email"], row["city"]) for row in held(sink)} == {(hashed("x" * 5000), "Bonn")}


def test_rows_are_read_again_by_a_hashed_key(dsn: str, customers: Source) -> None:
    mine = treating(dsn, exclude="ssn", hashes="id")
    mine.prepare(mine.select().tables)
    table = mine.select().tables[CUSTOMERS]
    with mine.snapshot([table]) as snapshot:
        (rows,) = [batch for chunk in mine.plan([table])[table.name] for batch in snapshot.read(table, chunk)]
        (again,) = snapshot.read_keys(table, rows.select(["id"]).slice(1))
    assert again.to_pylist() == rows.slice(1).to_pylist()


# What is done to the table


def test_a_hashed_column_is_added_with_a_default(dsn: str, customers: Source, sink: DuckDBSink) -> None:
    sync(treating(dsn, exclude="ssn email"), sink)
    customers.execute("alter table customers add phone int default 17")
    customers.execute("insert into customers values (3, '', '', '', 18)")

    assert sync(treating(dsn, exclude="ssn email", hashes="phone"), sink) == 0
    assert [row["phone"] for row in held(sink)] == [hashed("17"), hashed("17"), hashed("18")]


def test_columns_come_and_go_beside_one_that_is_left_out(
    dsn: str, customers: Source, sink: DuckDBSink
) -> None:
    mine = treating(dsn, exclude="ssn")
    sync(mine, sink)
    customers.execute("alter table customers add note text default 'n'")
    customers.execute("insert into customers values (3, 'secret', 'c', 'Bern', 'x')")
    assert sync(mine, sink) == 0
    customers.execute("alter table customers drop email")
    customers.execute("alter table customers rename city to town")
    customers.execute("update customers set town = 'Nice' where id = 1")

    assert sync(mine, sink) == 0
    assert held(sink) == [
        {"id": 1, "town": "Nice", "note": "n"},
        {"id": 2, "town": "Oslo", "note": "n"},
        {"id": 3, "town": "Bern", "note": "x"},
    ]


def test_a_column_that_is_left_out_is_dropped_and_added_while_rows_change(
    dsn: str, customers: Source, sink: DuckDBSink
) -> None:
    """Only the cells that are stepped over are others then, not the columns."""
    mine = treating(dsn, exclude="ssn")
    sync(mine, sink)
    for statement in ("drop ssn", "add ssn int default 9"):
        customers.execute("insert into customers (id, city) select max(id) + 1, 'x' from customers")
        customers.execute(f"alter table customers {statement}".encode())
    customers.execute("update customers set city = 'Bari' where id = 1")

    assert sync(mine, sink) == 0
    assert [(row["id"], row["city"]) for row in held(sink)] == [(1, "Bari"), (2, "Oslo"), (3, "x"), (4, "x")]
    assert is_the_same(mine, sink)


@pytest.mark.parametrize("name", ["ssn", "email"])
def test_a_column_that_is_renamed_is_not_carried_as_it_is(
    dsn: str, customers: Source, sink: DuckDBSink, name: str
) -> None:
    mine = treating(dsn, exclude="ssn", hashes="email")
    sync(mine, sink)
    customers.execute(f"alter table customers rename {name} to other".encode())
    customers.execute("update customers set city = 'Bari'")

    with pytest.raises(ConfigError, match=rf"column {name} of public\.customers"):
        sync(mine, sink)
    with pytest.raises(ConfigError):
        list(catch_up(mine, sink, seed=False))
    assert "other" not in sink.read(CUSTOMERS).column_names


def test_a_table_that_is_renamed_is_not_carried_as_it_is(
    dsn: str, customers: Source, sink: DuckDBSink
) -> None:
    mine = treating(dsn, exclude="ssn")
    sync(mine, sink)
    customers.execute("alter table customers rename to clients")

    with pytest.raises(ConfigError, match=r"table public\.customers does not exist"):
        sync(mine, sink)


# What is done to the configuration


def test_leaving_out_a_column_later_drops_it_in_place(dsn: str, customers: Source, sink: DuckDBSink) -> None:
    sync(treating(dsn), sink)
    customers.execute("insert into customers values (3, 'secret', 'c', 'Bern')")

    assert sync(treating(dsn, exclude="ssn"), sink) == 0
    assert held(sink)[2] == {"id": 3, "email": "c", "city": "Bern"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"exclude": "ssn"}, {}),
        ({}, {"hashes": "email"}),
        ({"hashes": "email"}, {}),
        ({"exclude": "ssn"}, {"hashes": "ssn"}),
    ],
)
def test_what_the_copy_has_not_got_is_read_again(
    dsn: str, customers: Source, sink: DuckDBSink, before: dict[str, str], after: dict[str, str]
) -> None:
    sync(treating(dsn, **before), sink)
    customers.execute("insert into customers values (3, 'secret', 'c', 'Bern')")
    mine = treating(dsn, **after)

    assert sync(mine, sink) == 3
    assert is_the_same(mine, sink)


def test_a_column_added_while_it_was_left_out_is_read_again(
    dsn: str, customers: Source, sink: DuckDBSink
) -> None:
    """The log has said its values since, to nobody."""
    mine = treating(dsn, exclude="note")
    sync(treating(dsn), sink)
    customers.execute("alter table customers add note text default 'n'")
    customers.execute("insert into customers values (3, 'secret', 'c', 'Bern', 'x')")
    until = mine.head()
    for batch in mine.live(until=until, held=definitions(sink)):
        sink.apply(batch)
        batch.ack.confirm()

    assert sync(treating(dsn), sink) == 3
    assert held(sink)[2]["note"] == "x"


def definitions(sink: DuckDBSink) -> dict[int, Table]:
    return {held.definition.oid: held.definition for held in sink.tables().values() if held.definition}


# What cannot be


@pytest.mark.parametrize(
    ("treatment", "said", "hint"),
    [
        ({"exclude": "snn"}, "names column snn of public.customers, which does not exist", "mean ssn?"),
        ({"hashes": "Email"}, "names column Email of public.customers, which does not exist", "mean email?"),
        ({"exclude": "id"}, "excludes column id of public.customers, which its key needs", "hash"),
    ],
)
def test_a_treatment_that_does_not_fit(
    dsn: str, customers: Source, sink: DuckDBSink, treatment: dict[str, str], said: str, hint: str
) -> None:
    mine = treating(dsn, **treatment)
    with pytest.raises(ConfigError, match=said) as raised:
        sync(mine, sink)
    assert hint in raised.value.hint
    assert any(said in finding.message for finding in mine.findings())
    assert mine.captured() == set()


def test_a_column_left_out_that_becomes_part_of_the_key(
    dsn: str, customers: Source, sink: DuckDBSink
) -> None:
    mine = treating(dsn, exclude="ssn")
    sync(mine, sink)
    customers.execute("alter table customers drop constraint customers_pkey, add primary key (id, ssn)")
    customers.execute("insert into customers values (1, 'other', 'c', 'Bern')")
    before = held(sink)

    with pytest.raises(ConfigError, match="excludes column ssn"):
        sync(mine, sink)
    for batch in mine.live(until=mine.head(), held=definitions(sink)):
        applied = sink.apply(batch)
        assert set(applied.unseeded.values()) <= {"a column that is left out became part of its key"}
    assert not sink.is_seeded(CUSTOMERS)
    assert held(sink) == before


def test_a_partition_is_treated_as_its_root_is(dsn: str, source: Source) -> None:
    source.execute("create table parted (id int primary key, ssn text) partition by list (id)")
    source.execute("create table customers partition of parted default")
    with pytest.raises(ConfigError, match="a partition that is copied as part of its root"):
        treating(dsn, exclude="ssn").select()
