"""
What cannot work is said in one line, with what to do in another, and nothing is half-made.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb
import psycopg
import pytest
from commands import PROGRAM, Commands
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from roles import role

from cdc_assets.testing import PostgresServer

Source = psycopg.Connection[tuple[object, ...]]

CONSUME = """
import sys, time, psycopg
with psycopg.connect(sys.argv[1], replication="database", application_name="somebody else") as connection:
    options = "(proto_version '1', publication_names 'theirs')"
    result = connection.pgconn.exec_(f"START_REPLICATION SLOT cdc_shop LOGICAL 0/0 {options}".encode())
    print(flush=True)
    time.sleep(60)
"""


def made(source: Source) -> list[object]:
    """What there is at the source that a pipeline makes."""
    query = "select pubname from pg_publication union all select slot_name from pg_replication_slots "
    return [name for (name,) in source.execute(query + "where database = current_database()")]


def fails(cdc: Commands, source: Source, *arguments: str) -> tuple[str, str]:
    """`sync`, or another command, fails, and leaves both sides as they were."""
    before, files = made(source), sorted(cdc.folder.rglob("*"))
    said = cdc.fail(*(arguments or ["sync"]))
    assert made(source) == before
    assert sorted(cdc.folder.rglob("*")) == files
    return said


# The way there


@pytest.mark.parametrize("command", ["sync", "status", "check", "teardown"])
def test_no_server(cdc: Commands, shop: Source, command: str) -> None:
    cdc.environment["SHOP_DSN"] = make_conninfo(cdc.environment["SHOP_DSN"], port=1)
    error, hint = fails(cdc, shop, command, *(["--yes"] if command == "teardown" else []))
    assert "cannot connect to the source" in error
    assert "Connection refused" in error
    assert "host and port" in hint


def test_a_host_that_does_not_exist(cdc: Commands, shop: Source) -> None:
    cdc.environment["SHOP_DSN"] = make_conninfo(cdc.environment["SHOP_DSN"], host="nowhere.invalid")
    error, _ = fails(cdc, shop)
    assert "nowhere.invalid" in error


def test_a_wrong_password(cdc: Commands, shop: Source) -> None:
    cdc.environment["SHOP_DSN"] = make_conninfo(cdc.environment["SHOP_DSN"], password="wrong-17")
    error, hint = fails(cdc, shop)
    assert "password authentication failed" in error
    assert "source.conninfo" in hint
    assert "wrong-17" not in error + hint


def test_a_database_that_does_not_exist(cdc: Commands, shop: Source) -> None:
    cdc.environment["SHOP_DSN"] = make_conninfo(cdc.environment["SHOP_DSN"], dbname="nowhere")
    error, hint = fails(cdc, shop)
    assert '"nowhere" does not exist' in error
    assert "database" in hint


def test_a_conninfo_that_is_none(cdc: Commands, shop: Source) -> None:
    cdc.environment["SHOP_DSN"] = "postgres shop secret-17"
    error, hint = fails(cdc, shop)
    assert error == "source.conninfo is not a connection string"
    assert "secret-17" not in hint


@pytest.mark.parametrize(
    ("option", "said", "hinted"),
    [
        ({"sslmode": "nonsense"}, 'invalid sslmode value: "nonsense"', "source.conninfo"),
        ({"sslmode": "require"}, "does not support SSL", "sslmode"),
    ],
)
def test_a_conninfo_that_asks_for_what_is_not_there(
    cdc: Commands, shop: Source, option: dict[str, str], said: str, hinted: str
) -> None:
    cdc.environment["SHOP_DSN"] = make_conninfo(cdc.environment["SHOP_DSN"], **option)
    error, hint = fails(cdc, shop)
    assert said in error
    assert hinted in hint


# What the server allows


def test_a_wal_level_that_is_not_logical(tmp_path: Path) -> None:
    with PostgresServer(settings={"wal_level": "replica"}) as server:
        cdc = Commands(tmp_path, server.dsn)
        with psycopg.connect(server.dsn, autocommit=True) as source:
            source.execute("create table orders (id int primary key)")
            error, hint = fails(cdc, source)
            assert error == "wal_level at the source is not logical"
            assert "ALTER SYSTEM SET wal_level = logical" in hint
            assert "1 problem" in fails(cdc, source, "check")[0]


def test_no_free_slot(tmp_path: Path) -> None:
    with PostgresServer(settings={"max_replication_slots": "1"}) as server:
        cdc = Commands(tmp_path, server.dsn)
        with psycopg.connect(server.dsn, autocommit=True) as source:
            source.execute("create table orders (id int primary key)")
            source.execute("select pg_create_physical_replication_slot('theirs')")
            error, hint = fails(cdc, source)
            assert "every replication slot" in error
            assert "max_replication_slots" in hint


def test_a_role_that_may_not_replicate(cdc: Commands, shop: Source) -> None:
    with role(shop, owner=True) as cdc.environment["SHOP_DSN"]:
        error, hint = fails(cdc, shop)
    user = conninfo_to_dict(cdc.environment["SHOP_DSN"])["user"]
    assert f'role "{user}"' in error
    assert hint == f'ALTER ROLE "{user}" REPLICATION;'


def test_a_role_that_may_not_publish_is_told_what_its_owner_has_to_run(cdc: Commands, shop: Source) -> None:
    with role(shop, "replication") as cdc.environment["SHOP_DSN"]:
        assert "publication cdc_shop: it does not exist" in cdc.run("check").stdout
        _, hint = fails(cdc, shop)
        assert hint.startswith("run as the tables' owner:  CREATE PUBLICATION")
        shop.execute(hint.partition(":")[2].encode())
        assert "3 rows seeded" in cdc.succeed("sync")


def test_a_named_table_that_the_role_may_not_read(cdc: Commands, shop: Source) -> None:
    cdc.configure(source__tables=["public.orders", "public.hidden"])
    with role(shop, "replication", owner=True) as cdc.environment["SHOP_DSN"]:
        shop.execute("create table hidden (id int primary key)")
        error, hint = fails(cdc, shop)
        assert "may not read it" in error
        shop.execute("create publication cdc_shop for table orders, hidden with (publish_via_partition_root)")
        shop.execute(hint.encode())
        assert "3 rows seeded" in cdc.succeed("sync")


def test_a_table_whose_rows_are_hidden_from_the_role_is_set_aside(cdc: Commands, shop: Source) -> None:
    with role(shop, "replication", owner=True) as cdc.environment["SHOP_DSN"]:
        shop.execute("create table hidden (id int primary key); grant select on hidden to public")
        shop.execute("alter table hidden enable row level security")
        assert "3 rows seeded" in cdc.succeed("sync")
        assert "BYPASSRLS" in cdc.succeed("check")


# Tables


def test_a_table_that_does_not_exist(cdc: Commands, shop: Source) -> None:
    cdc.configure(source__tables=["public.ordrs"])
    error, hint = fails(cdc, shop)
    assert error == "table public.ordrs does not exist at the source"
    assert "did you mean public.orders?" in hint


def test_a_pattern_that_matches_nothing(cdc: Commands, shop: Source) -> None:
    cdc.configure(source__tables=["public.*", "audit.*"])
    error, _ = fails(cdc, shop)
    assert error == 'the pattern "audit.*" in source.tables matches no table'


def test_a_pattern_that_is_none(cdc: Commands, shop: Source) -> None:
    cdc.configure(source__tables=["orders"])
    error, hint = fails(cdc, shop)
    assert error == 'source.tables has "orders", which is not a table'
    assert "public.orders" in hint


def test_exclusions_alone(cdc: Commands, shop: Source) -> None:
    cdc.configure(source__tables=["-public.orders"])
    assert fails(cdc, shop)[0] == "source.tables only excludes tables"


def test_a_named_table_without_a_key(cdc: Commands, shop: Source) -> None:
    shop.execute("create table events (at timestamptz)")
    cdc.configure(source__tables=["public.orders", "public.events"])
    error, hint = fails(cdc, shop)
    assert "public.events" in error
    assert "no key" in error
    assert hint.startswith("ALTER TABLE public.events ADD PRIMARY KEY (...);")
    assert hint.endswith("ALTER TABLE public.events REPLICA IDENTITY FULL;")


def test_a_named_table_whose_key_is_not_its_replica_identity(cdc: Commands, shop: Source) -> None:
    shop.execute("alter table orders replica identity nothing")
    cdc.configure(source__tables=["public.orders"])
    error, hint = fails(cdc, shop)
    assert "no key" in error
    assert hint.startswith("ALTER TABLE public.orders REPLICA IDENTITY DEFAULT;")


def test_a_partition_without_a_key_whose_changes_would_not_name_whole_rows(
    cdc: Commands, shop: Source
) -> None:
    """A partition has a replica identity of its own, and that is what decides."""
    shop.execute("create table events (at date) partition by range (at)")
    shop.execute("alter table events replica identity full")
    shop.execute("create table events_now partition of events default")
    cdc.configure(source__tables=["public.events"])
    error, hint = fails(cdc, shop)
    assert "its partition public.events_now is not FULL" in error
    assert hint == "ALTER TABLE public.events_now REPLICA IDENTITY FULL;"


def test_a_table_without_columns(cdc: Commands, shop: Source) -> None:
    shop.execute("create table events ()")
    shop.execute("alter table events replica identity full")
    cdc.configure(source__tables=["public.events"])
    assert "no columns" in fails(cdc, shop)[0]


def test_a_table_without_a_key_that_a_wildcard_matches_is_set_aside_and_shown(
    cdc: Commands, shop: Source
) -> None:
    shop.execute("create table events (at timestamptz)")
    assert "3 rows seeded" in cdc.succeed("sync")
    assert "ALTER TABLE public.events" in cdc.succeed("check")
    assert "set_aside" in cdc.succeed("status")


def test_a_view_called_by_name(cdc: Commands, shop: Source) -> None:
    shop.execute("create view seen as select * from orders")
    cdc.configure(source__tables=["public.seen"])
    error, _ = fails(cdc, shop)
    assert "a view" in error


def test_options_for_a_table_that_is_not_selected(cdc: Commands, shop: Source) -> None:
    cdc.configure(source__tables=["public.*", "-public.orders"], tables={"public.orders": {}})
    assert "tables has options for public.orders" in fails(cdc, shop)[0]


def test_options_for_a_table_that_does_not_exist(cdc: Commands, shop: Source) -> None:
    cdc.configure(tables={"public.order": {}})
    error, hint = fails(cdc, shop)
    assert "public.order does not exist" in error
    assert "public.orders" in hint


@pytest.mark.parametrize(
    ("columns", "said", "hinted"),
    [
        ({"exclude": ["stats"]}, "names column stats of public.orders", "did you mean status?"),
        ({"exclude": ["id"]}, "excludes column id of public.orders, which its key needs", "hash"),
    ],
)
def test_columns_that_cannot_be_treated_so(
    cdc: Commands, shop: Source, columns: dict[str, object], said: str, hinted: str
) -> None:
    cdc.configure(tables={"public.orders": {"columns": columns}})
    error, hint = fails(cdc, shop)
    assert said in error
    assert hinted in hint
    assert "1 problem" in fails(cdc, shop, "check")[0]


# The configuration


@pytest.mark.parametrize(
    ("settings", "unknown", "nearest"),
    [
        ({"destinatoin": 1}, "destinatoin", "destination"),
        ({"source__table": ["public.*"]}, "table", "tables"),
        ({"destination__pth": "x"}, "pth", "path"),
        ({"lag__warning": "1GiB"}, "warning", "warn"),
        ({"tables": {"public.orders": {"mod": "mirror"}}}, "mod", "mode"),
        ({"tables": {"public.orders": {"columns": {"exclud": []}}}}, "exclud", "exclude"),
    ],
)
def test_an_unknown_key(
    cdc: Commands, shop: Source, settings: dict[str, object], unknown: str, nearest: str
) -> None:
    cdc.configure(**settings)
    error, _ = fails(cdc, shop)
    assert f'unknown key "{unknown}"; the nearest known one is "{nearest}"' in error


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"name": "My Shop"}, "name"),
        ({"source__tables": "public.*"}, "source.tables"),
        ({"source__tables": []}, "source.tables"),
        ({"batch__max_bytes": "many"}, "batch.max_bytes"),
        ({"batch__max_delay": "soon"}, "batch.max_delay"),
        ({"seed__readers": 0}, "seed.readers"),
        ({"lag__growth": "fast"}, "lag.growth"),
        ({"destination__type": "oracle"}, "destination"),
        ({"tables": {"public.orders": {"columns": {"exclude": ["a"], "hash": ["a"]}}}}, "column a is in"),
        ({"destination__memory_limit": "lots"}, "destination.memory_limit"),
        ({"mode": "history"}, "mode history is not built yet"),
        ({"destination": {"type": "delta", "uri": "s3://lake"}}, "destination type delta is not built yet"),
    ],
)
def test_a_value_that_is_wrong(cdc: Commands, shop: Source, settings: dict[str, object], said: str) -> None:
    cdc.configure(**settings)
    assert said in fails(cdc, shop)[0]


@pytest.mark.parametrize("text", ["", "just words", "- a\n- b\n", "name: [", "name: shop\n"])
def test_a_file_that_is_no_configuration(cdc: Commands, shop: Source, text: str) -> None:
    cdc.write(text)
    assert "cdc.yaml" in fails(cdc, shop)[0]


def test_a_configuration_that_is_not_there(cdc: Commands, shop: Source) -> None:
    error, hint = fails(cdc, shop, "sync", "--config", "other.yaml")
    assert error == "cannot read other.yaml: No such file or directory"
    assert "--config" in hint


def test_a_variable_that_is_not_set(cdc: Commands, shop: Source) -> None:
    del cdc.environment["SHOP_DSN"]
    error, hint = fails(cdc, shop)
    assert error == "environment variable SHOP_DSN is not set"
    assert "export SHOP_DSN=" in hint


# The destination


def test_a_file_that_is_no_text(cdc: Commands, shop: Source) -> None:
    (cdc.folder / "cdc.yaml").write_bytes(b"\xff\xfe\x00")
    assert fails(cdc, shop)[0] == "cdc.yaml: not YAML: not text in UTF-8"


@pytest.mark.parametrize("command", ["sync", "check"])
def test_a_folder_that_is_not_there(cdc: Commands, shop: Source, command: str) -> None:
    cdc.configure(destination__path="missing/copy.duckdb")
    error, hint = fails(cdc, shop, command)
    assert error.endswith("missing/copy.duckdb: No such file or directory")
    assert hint.startswith("make the folder:  mkdir -p ")


def test_a_folder_that_cannot_be_written_to(cdc: Commands, shop: Source) -> None:
    cdc.configure(destination__path="/proc/copy.duckdb")
    error, hint = fails(cdc, shop)
    assert error.startswith("cannot make /proc/copy.duckdb: ")
    assert "folder may be written to" in hint


def test_a_file_that_is_not_a_duckdb_database(cdc: Commands, shop: Source) -> None:
    cdc.copy.write_bytes(b"a diary " * 1000)
    error, hint = fails(cdc, shop)
    assert "not a valid DuckDB database" in error
    assert "destination.path" in hint
    assert cdc.copy.read_bytes() == b"a diary " * 1000


def test_a_path_that_is_a_folder(cdc: Commands, shop: Source) -> None:
    cdc.copy.mkdir()
    error, _ = fails(cdc, shop)
    assert "copy.duckdb" in error


def test_a_table_of_the_name_that_is_not_ours(cdc: Commands, shop: Source) -> None:
    with duckdb.connect(cdc.copy) as copy:
        copy.execute("create schema public; create table public.orders as select 'mine' as whose")
    error, hint = cdc.fail("sync")
    assert "public.orders" in error
    assert "rename it" in hint
    with duckdb.connect(cdc.copy, read_only=True) as copy:
        assert copy.sql("select whose from public.orders").fetchall() == [("mine",)]


def test_a_file_that_someone_holds_for_too_long(cdc: Commands, shop: Source) -> None:
    cdc.configure(destination__lock_timeout=0.2)
    hold = "import duckdb, sys; copy = duckdb.connect(sys.argv[1]); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", hold, str(cdc.copy)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        error, _ = fails(cdc, shop)
        holder.communicate()
    assert f"PID {holder.pid}" in error


# The slot


def test_a_slot_that_somebody_else_reads(cdc: Commands, shop: Source) -> None:
    cdc.succeed("sync")
    shop.execute("create publication theirs for all tables")
    command = [sys.executable, "-c", CONSUME, cdc.environment["SHOP_DSN"]]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as consumer:
        assert consumer.stdout
        consumer.stdout.readline()
        try:
            (pid,) = shop.execute("select active_pid from pg_replication_slots where active").fetchone() or ()
            for arguments in (["sync"], ["teardown", "--yes"]):
                error, hint = fails(cdc, shop, *arguments)
                assert f"slot cdc_shop is in use by pid {pid}, somebody else" in error
                assert "stop the other consumer" in hint
        finally:
            consumer.kill()


def test_a_slot_of_another_kind(cdc: Commands, shop: Source) -> None:
    shop.execute("select pg_create_physical_replication_slot('cdc_shop')")
    try:
        error, hint = fails(cdc, shop)
        assert "slot cdc_shop is of plugin None" in error
    finally:
        shop.execute(hint[hint.index("SELECT") :].encode())


# The call


def test_what_there_is_no_copy_of_cannot_be_copied_again(cdc: Commands, shop: Source) -> None:
    cdc.succeed("sync")
    assert "there is no copy of public.others" in fails(cdc, shop, "reseed", "public.others")[0]


def test_what_is_not_a_table_cannot_be_copied_again(cdc: Commands, shop: Source) -> None:
    assert fails(cdc, shop, "reseed", "orders")[0] == 'the call has "orders", which is not a table'


def test_teardown_drops_nothing_when_nobody_is_there_to_say_yes(cdc: Commands, shop: Source) -> None:
    cdc.succeed("sync")
    done = cdc.run("teardown")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-2:] == [
        "ERROR:  not confirmed, so nothing is dropped",
        "HINT:  --yes does not ask.",
    ]
    assert len(made(shop)) == 2


@pytest.mark.parametrize("arguments", [["sink"], ["sync", "--now"], ["reseed"], ["demo", "--seconds", "x"]])
def test_a_wrong_call_exits_with_2(arguments: list[str], tmp_path: Path) -> None:
    done = subprocess.run([PROGRAM, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "Usage:" in done.stderr
