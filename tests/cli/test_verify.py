"""
`verify`: rows that somebody changed in the file are found by their keys, and mended.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import psycopg
from commands import Commands
from test_commands import following, held, wait_for

Source = psycopg.Connection[tuple[object, ...]]

DAMAGE = """
update public.orders set status = 'forged' where id = 2;
delete from public.orders where id = 3;
insert into public.orders (id, status) values (1, 'new'), (7, 'planted');
"""
FOUND = [
    "public.orders: 3 rows, 4 differ",
    "    missing: id = 3",
    "    changed: id = 1",
    "    changed: id = 2",
    "    extra: id = 7",
]
RIGHT = [(1, "new"), (2, "paid"), (3, "sent")]


@contextmanager
def by_hand(cdc: Commands) -> Iterator[duckdb.DuckDBPyConnection]:
    """The file, written to by somebody who should not; in turn with a stream, if there is one."""
    while True:
        try:
            connection = duckdb.connect(str(cdc.copy))
            break
        except duckdb.IOException:
            time.sleep(0.01)
    with connection:
        yield connection


def test_a_copy_is_brought_to_where_it_is_compared_and_is_equal(cdc: Commands, shop: Source) -> None:
    cdc.succeed("sync")
    shop.execute("update orders set status = 'lost' where id = 2; insert into orders values (4, 'new')")

    table, total = cdc.succeed("verify").splitlines()

    assert table == "public.orders: 4 rows, equal"
    assert total.startswith("4 rows in 1 chunks compared at 0/")


def test_rows_that_differ_are_named_by_key_and_by_nothing_else(cdc: Commands) -> None:
    cdc.succeed("sync")
    with by_hand(cdc) as copy:
        copy.execute(DAMAGE)

    done = cdc.run("verify")

    assert done.returncode == 1
    assert done.stdout.splitlines()[:-1] == FOUND
    assert "HINT:  cdc-assets verify --repair public.orders" in done.stderr
    assert not any(value in done.stdout + done.stderr for value in ("forged", "planted", "paid", "sent"))


def test_rows_are_found_and_mended_while_another_process_streams(cdc: Commands, shop: Source) -> None:
    cdc.succeed("sync")
    with following(cdc):
        wait_for(lambda: shop.execute("select from pg_replication_slots where active").rowcount == 1)
        with by_hand(cdc) as copy:
            copy.execute(DAMAGE)

        said = cdc.succeed("verify", "--repair").splitlines()

    assert said[0].startswith("another process streams")
    assert [line for line in said if line in FOUND] == FOUND
    assert "reading 1 of 1 chunks of public.orders again" in said
    assert "took 1 rows out of the copy of public.orders that the source has not got" in said
    assert said[-2] == "public.orders: 3 rows, equal"
    assert held(cdc) == RIGHT


def test_without_a_key_rows_are_counted_and_hashed_keys_are_shown_as_they_are_copied(
    cdc: Commands, shop: Source
) -> None:
    shop.execute("create table events (id int, what float8)")
    shop.execute("alter table events replica identity full")
    shop.execute("insert into events values (1, 'nan'), (1, 'nan'), (2, 0), (3, null)")
    shop.execute("create table people (email text primary key, name text)")
    shop.execute("insert into people select 'p' || i || '@example.com', 'a' from generate_series(1, 30) i")
    cdc.configure(tables={"public.people": {"columns": {"hash": ["email"]}}})
    cdc.succeed("sync")
    with by_hand(cdc) as copy:
        copy.execute("delete from public.events where id = 2")
        copy.execute("insert into public.events values (2, '-0', 1)")
        copy.execute("delete from public.people")

    said = cdc.succeed("verify", "--repair").splitlines()

    assert said[:4] == [
        "public.events: 4 rows, 2 differ",
        "    missing: 1 rows of a table without a key",
        "    extra: 1 rows of a table without a key",
        "public.orders: 3 rows, equal",
    ]
    assert said[4] == "public.people: 30 rows, 30 differ"
    assert all(line.startswith('    missing: email = "') for line in said[5:15])
    assert said[15] == "    missing: and 20 more"
    assert "example.com" not in str(said)
    assert "copying public.events again as a whole" in said
    assert said[-3:-1] == ["public.events: 4 rows, equal", "public.people: 30 rows, equal"]


def test_a_table_that_is_not_seeded_is_said_to_be_so(cdc: Commands) -> None:
    done = cdc.run("verify")

    assert "public.orders was not compared: it is not seeded" in done.stdout
    assert done.returncode == 1


def test_a_table_that_is_not_copied_is_an_error(cdc: Commands) -> None:
    error, _ = cdc.fail("verify", "public.nothing")

    assert error == "table public.nothing is not one that is copied"
