"""
`quarantine`: rows that do not fit what somebody did to the copy, listed, and put there after all.
"""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from commands import Commands
from test_commands import following, held, wait_for
from test_verify import by_hand

Source = psycopg.Connection[tuple[object, ...]]

SECRET = "secret-17"


def change(cdc: Commands, *statements: str) -> None:
    with by_hand(cdc) as copy:
        for statement in statements:
            copy.execute(statement)


def listed(cdc: Commands, *options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(cdc.succeed("quarantine", "list", "--json", *options))
    return found


@pytest.fixture
def refusing(cdc: Commands, shop: Source) -> Commands:
    """Has refused two rows: a text for a table made narrower, a second "paid" for a unique index."""
    shop.execute("create table notes (name text primary key, note text)")
    shop.execute("insert into notes values ('first', '1')")
    cdc.succeed("sync")
    change(cdc, "create unique index one_status on public.orders (status)")
    change(cdc, "alter table public.notes alter note type integer")
    shop.execute("insert into orders values (4, 'paid'), (5, 'lost')")
    shop.execute(f"insert into notes values ('{SECRET}', '{SECRET}'), ('second', '2')")
    cdc.succeed("sync")
    return cdc


def test_what_is_refused_is_said_when_it_happens_and_in_status(cdc: Commands, shop: Source) -> None:
    cdc.succeed("sync")
    change(cdc, "create unique index one_status on public.orders (status)")
    shop.execute("insert into orders values (4, 'paid'), (5, 'lost')")

    said = cdc.succeed("sync")

    assert "public.orders has 1 rows in quarantine: cdc-assets quarantine list says why" in said
    assert held(cdc) == [(1, "new"), (2, "paid"), (3, "sent"), (5, "lost")]
    table = json.loads(cdc.succeed("status", "--json"))["tables"]["public.orders"]
    assert (table["state"], table["rows"], table["quarantined"]) == ("seeded", 4, 1)
    assert "1 rows in" in cdc.succeed("status")


def test_rows_are_listed_with_a_hash_in_the_place_of_their_keys(refusing: Commands) -> None:
    notes, orders = listed(refusing)

    assert (notes["table"], orders["table"]) == ("public.notes", "public.orders")
    assert notes["reason"] == "Conversion error: column note is INTEGER"
    assert orders["reason"] == "Constraint error: UNIQUE INDEX one_status"
    assert all(len(each["key"]) == 12 for each in (notes, orders))
    assert notes["key"] != orders["key"]
    assert orders["lsn"] < notes["lsn"]
    lines = refusing.succeed("quarantine", "list").splitlines()
    assert [line.split("  ")[:3] for line in lines] == [
        [each[name] for name in ("table", "key", "lsn")] for each in (notes, orders)
    ]
    assert SECRET not in "".join(lines) + str(notes)


def test_keys_are_shown_to_who_asks_for_them(refusing: Commands) -> None:
    notes, orders = listed(refusing, "--show-keys")

    assert (notes["key"], orders["key"]) == ({"name": SECRET}, {"id": 4})
    first, second = refusing.succeed("quarantine", "list", "--show-keys").splitlines()
    assert first.startswith(f'public.notes  name = "{SECRET}"  ')
    assert second.startswith("public.orders  id = 4  ")


def test_what_is_refused_still_is_an_error(refusing: Commands) -> None:
    error, hint = refusing.fail("quarantine", "retry")

    assert error == "2 rows are refused still"
    assert "cdc-assets quarantine list" in hint
    assert len(listed(refusing)) == 2


def test_what_is_taken_goes_in_and_the_rest_remains(refusing: Commands) -> None:
    change(refusing, "drop index public.one_status")

    done = refusing.run("quarantine", "retry")

    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "public.notes: 0 rows went in, 1 remain",
        "public.orders: 1 rows went in, 0 remain",
    ]
    assert SECRET not in done.stdout + done.stderr
    assert held(refusing) == [(1, "new"), (2, "paid"), (3, "sent"), (4, "paid"), (5, "lost")]
    assert [each["table"] for each in listed(refusing)] == ["public.notes"]


def test_the_rows_of_one_table_are_tried_again(refusing: Commands) -> None:
    change(refusing, "drop index public.one_status")

    said = json.loads(refusing.succeed("quarantine", "retry", "--json", "public.orders"))

    assert said == {"public.orders": {"taken": 1, "refused": 0}}
    assert [each["table"] for each in listed(refusing)] == ["public.notes"]


def test_rows_are_tried_again_while_another_process_streams(refusing: Commands, shop: Source) -> None:
    with following(refusing):
        wait_for(lambda: shop.execute("select from pg_replication_slots where active").rowcount == 1)
        change(refusing, "drop index public.one_status")
        change(refusing, "alter table public.notes alter note type varchar")

        refusing.succeed("quarantine", "retry")

        assert len(held(refusing)) == 5
    assert refusing.succeed("quarantine", "list") == "nothing is in quarantine\n"
    refusing.succeed("verify")


def test_rows_in_quarantine_are_missing_and_are_refused_again_when_they_are_repaired(
    refusing: Commands,
) -> None:
    done = refusing.run("verify", "--repair", "public.orders")

    assert "    missing: id = 4\n    1 rows are in quarantine: cdc-assets quarantine list says" in done.stdout
    assert "public.orders has 1 rows in quarantine" in done.stdout
    assert done.returncode == 1
    assert len(listed(refusing)) == 2
    change(refusing, "drop index public.one_status")
    refusing.succeed("verify", "--repair", "public.orders")
    assert [each["table"] for each in listed(refusing)] == ["public.notes"]


def test_a_new_copy_has_all_rows(refusing: Commands) -> None:
    refusing.succeed("reseed", "--all")

    assert listed(refusing) == []
    refusing.succeed("verify")


def test_a_refused_row_stops_the_stream_if_that_is_what_is_configured(cdc: Commands, shop: Source) -> None:
    cdc.configure(on_row_refused="stop")
    cdc.succeed("sync")
    change(cdc, "alter table public.orders alter status set not null")
    shop.execute("insert into orders values (4, 'paid'), (5, null)")
    before = shop.execute("select confirmed_flush_lsn from pg_replication_slots").fetchall()

    error, hint = cdc.fail("sync")

    assert error.startswith("DuckDB refused a row of public.orders at 0/")
    assert error.endswith("(Constraint error: column status is NOT NULL)")
    assert "on_row_refused: quarantine" in hint
    assert shop.execute("select confirmed_flush_lsn from pg_replication_slots").fetchall() == before
    assert len(held(cdc)) == 3
    assert listed(cdc) == []
    cdc.configure(on_row_refused="quarantine")
    cdc.succeed("sync")
    assert len(held(cdc)) == 4


def test_following_ends_at_a_refused_row_if_that_is_what_is_configured(cdc: Commands, shop: Source) -> None:
    cdc.configure(on_row_refused="stop")
    cdc.succeed("sync")
    change(cdc, "alter table public.orders alter status set not null")
    shop.execute("insert into orders values (5, null)")

    error, _ = cdc.fail("sync", "--follow")

    assert "public.orders" in error


def test_where_nothing_is_refused_there_is_nothing_to_list_or_to_try_again(cdc: Commands) -> None:
    for _ in range(2):
        assert cdc.succeed("quarantine", "list") == "nothing is in quarantine\n"
        assert listed(cdc) == []
        assert cdc.succeed("quarantine", "retry") == "nothing is in quarantine\n"
        cdc.succeed("sync")


def test_a_table_there_is_no_copy_of_cannot_be_tried_again(cdc: Commands) -> None:
    error, _ = cdc.fail("quarantine", "retry", "public.nothing")

    assert error == "there is no copy of public.nothing"
