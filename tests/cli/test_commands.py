"""
What each command does, and what it prints.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import duckdb
import psycopg
import pytest
from commands import Commands

from cdc_assets import open_duckdb

Source = psycopg.Connection[tuple[object, ...]]


def held(cdc: Commands, table: str = "orders") -> list[tuple[object, ...]]:
    with open_duckdb(cdc.copy) as copy:
        return copy.sql(f"select * exclude _cdc_lsn from public.{table} order by id").fetchall()


def status(cdc: Commands) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cdc.succeed("status", "--json"))
    return found


def wait_for(condition: Callable[[], bool], within: float = 30) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@contextmanager
def following(cdc: Commands) -> Iterator[subprocess.Popen[str]]:
    process = cdc.start("sync", "--follow")
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


# sync


def test_sync_seeds_and_then_streams(cdc: Commands, shop: Source) -> None:
    assert "3 rows seeded, 0 changes streamed" in cdc.succeed("sync")
    shop.execute("update orders set status = 'lost' where id = 2; delete from orders where id = 1")
    assert "0 rows seeded, 2 changes streamed" in cdc.succeed("sync")
    assert held(cdc) == [(2, "lost"), (3, "sent")]
    assert "0 rows seeded, 0 changes streamed" in cdc.succeed("sync")


def test_sync_can_leave_seeds_to_others(cdc: Commands, shop: Source) -> None:
    cdc.succeed("sync")
    shop.execute("create table items (id int primary key)")
    assert "0 rows seeded" in cdc.succeed("sync", "--skip-seed")
    assert status(cdc)["tables"]["public.items"]["state"] == "unseeded"
    cdc.succeed("sync")
    assert status(cdc)["tables"]["public.items"]["state"] == "seeded"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_following_goes_on_until_a_signal_and_then_ends_well(
    cdc: Commands, shop: Source, number: signal.Signals
) -> None:
    with following(cdc) as process:
        wait_for(lambda: cdc.copy.exists() and status(cdc)["tables"]["public.orders"]["state"] == "seeded")
        shop.execute("insert into orders values (4, 'new')")
        wait_for(lambda: len(held(cdc)) == 4)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert "3 rows seeded, 1 changes streamed" in out


def test_progress_that_nobody_looks_at_is_plain_lines(cdc: Commands) -> None:
    printed = cdc.succeed("sync")
    assert "seeded public.orders chunk 1/1: 3 rows at " in printed
    assert "\x1b" not in printed
    assert "\r" not in printed


# status


STATE = {"state", "rows", "quarantined", "lsn", "chunks", "chunks_loaded", "reason"}


def test_status_of_what_is_not_there_yet(cdc: Commands) -> None:
    found = status(cdc)
    assert found["slot"]["exists"] is False
    assert found["lag"]["bytes"] is None
    table = found["tables"]["public.orders"]
    assert (table["state"], table["rows"], table["lsn"]) == ("unseeded", 0, "0/0")
    assert "slot cdc_shop: not made yet" in cdc.succeed("status")
    assert not cdc.copy.exists()


def test_status_of_what_is_in_step(cdc: Commands, shop: Source) -> None:
    shop.execute("create table keyless (a int)")
    cdc.succeed("sync")
    found = status(cdc)
    assert found["slot"]["name"] == "cdc_shop"
    assert found["slot"]["active"] is False
    assert found["lag"]["seconds"] == 0.0
    assert isinstance(found["lag"]["bytes"], int)
    table = found["tables"]["public.orders"]
    assert (table["state"], table["rows"]) == ("seeded", 3)
    assert table["lsn"] == found["slot"]["confirmed_lsn"]
    assert found["tables"]["public.keyless"]["state"] == "set_aside"
    assert all(set(table) == STATE for table in found["tables"].values())


def test_a_table_without_a_key_is_mirrored_if_its_replica_identity_is_full(
    cdc: Commands, shop: Source
) -> None:
    shop.execute("create table events (what text)")
    shop.execute("alter table events replica identity full")
    shop.execute("insert into events values ('a'), ('a'), (null)")
    assert "6 rows seeded" in cdc.succeed("sync")
    shop.execute("delete from events where ctid = (select min(ctid) from events)")
    cdc.succeed("sync")
    table = status(cdc)["tables"]["public.events"]
    assert (table["state"], table["rows"]) == ("seeded", 2)
    assert "public.events" not in cdc.succeed("check")


def test_status_while_a_stream_runs(cdc: Commands) -> None:
    cdc.succeed("sync")
    with following(cdc):
        wait_for(lambda: status(cdc)["slot"]["active"])
        found = status(cdc)
    assert isinstance(found["slot"]["active_pid"], int)


# check


def test_check_finds_nothing_where_nothing_is(cdc: Commands, shop: Source) -> None:
    assert cdc.succeed("check").endswith("nothing stands in the way\n")
    (made,) = shop.execute("select count(*) from pg_publication").fetchone() or ()
    assert made == 0


def test_a_remedy_that_check_prints_is_one(cdc: Commands, shop: Source) -> None:
    shop.execute("create unlogged table events (id int primary key)")
    cdc.configure(source__tables=["public.events"])
    done = cdc.run("check")
    assert done.returncode == 1
    problem, remedy = done.stdout.splitlines()[-2:]
    assert problem.startswith("problem: public.events: it is unlogged")
    shop.execute(remedy.encode())
    cdc.succeed("check")


# reseed


def test_a_table_is_copied_again(cdc: Commands, shop: Source) -> None:
    cdc.succeed("sync")
    with duckdb.connect(cdc.copy) as copy:
        copy.execute("update public.orders set status = 'wrong'")
    assert "3 rows seeded" in cdc.succeed("reseed", "public.orders")
    assert held(cdc) == [(1, "new"), (2, "paid"), (3, "sent")]


def test_every_table_is_copied_again_after_the_slot_was_lost(cdc: Commands, shop: Source) -> None:
    cdc.succeed("sync")
    shop.execute("select pg_drop_replication_slot('cdc_shop')")
    shop.execute("delete from orders where id = 1")
    error, hint = cdc.fail("sync")
    assert "are gone" in error
    assert hint.endswith("cdc-assets reseed --all")
    assert len(held(cdc)) == 3, "the old copy is readable"
    cdc.succeed("reseed", "--all")
    assert held(cdc) == [(2, "paid"), (3, "sent")]


def test_every_table_is_copied_again_without_being_asked_if_that_is_configured(
    cdc: Commands, shop: Source
) -> None:
    cdc.succeed("sync")
    shop.execute("select pg_drop_replication_slot('cdc_shop')")
    shop.execute("delete from orders where id = 1")
    cdc.configure(on_continuity_lost="reseed")
    assert "slot cdc_shop does not exist; everything is copied again\n" in cdc.succeed("sync")
    assert held(cdc) == [(2, "paid"), (3, "sent")]


def test_a_table_is_copied_again_while_another_process_streams(cdc: Commands, shop: Source) -> None:
    cdc.succeed("sync")
    with duckdb.connect(cdc.copy) as copy:
        copy.execute("update public.orders set status = 'wrong'")
    with following(cdc):
        wait_for(lambda: status(cdc)["slot"]["active"])
        assert "another process streams" in cdc.succeed("reseed", "public.orders")
    assert held(cdc) == [(1, "new"), (2, "paid"), (3, "sent")]


# teardown


def test_teardown_leaves_nothing_at_the_source_and_the_copy_alone(cdc: Commands, shop: Source) -> None:
    cdc.succeed("sync")
    assert cdc.succeed("teardown", "--yes") == "dropped slot cdc_shop and publication cdc_shop\n"
    for things in ("pg_publication", "pg_replication_slots where database = current_database()"):
        assert shop.execute(f"select count(*) from {things}".encode()).fetchone() == (0,)
    assert len(held(cdc)) == 3
    cdc.succeed("teardown", "--yes")


def test_teardown_asks_first(cdc: Commands, shop: Source) -> None:
    cdc.succeed("sync")
    assert cdc.run("teardown").returncode == 1
    assert status(cdc)["slot"]["exists"]


# All of them


def test_the_command_line_does_not_need_dagster(cdc: Commands) -> None:
    look = "import sys, cdc_assets.cli, cdc_assets.pipeline; print('dagster' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_version_is_shown(cdc: Commands) -> None:
    assert cdc.succeed("--version").startswith("cdc-assets, version ")


def test_every_command_is_offered(cdc: Commands) -> None:
    offered = cdc.succeed("--help").split("Commands:")[1].split()
    assert {"demo", "check", "sync", "status", "verify", "reseed", "teardown"} <= set(offered)
