"""
The role of the README does all that there is to do, whoever makes the publication.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import duckdb
import pytest
from commands import Commands
from roles import Source, role

SET_UP = """
create table notes (id int primary key, body text, size int generated always as (length(body)) stored);
alter table notes alter body set storage external;
create table loose (name text);
alter table loose replica identity full;
insert into notes select n, repeat('n', 3000) from generate_series(1, 20) n;
insert into loose values ('a'), ('a'), ('b');
"""
WORK = """
insert into orders values (4, 'new');
update orders set id = 5, status = 'paid' where id = 1;
delete from orders where id = 2;
alter table orders add price numeric(8, 2) default 1.50;
update orders set price = 2 where id = 3;
update notes set id = id + 100 where id < 5;
insert into notes values (21, 'short');
delete from loose where ctid = (select min(ctid) from loose);
begin; truncate loose; insert into loose values ('c'); commit
"""


@pytest.fixture(params=["the tables' owner publishes them", "the role owns them, and publishes them"])
def limited(request: pytest.FixtureRequest, cdc: Commands, shop: Source) -> Iterator[Commands]:
    shop.execute(SET_UP)
    owner = "the role owns" in request.param
    with role(shop, "replication", owner=owner) as cdc.environment["SHOP_DSN"]:
        if not owner:
            shop.execute(published_by(cdc).encode())
        yield cdc
        cdc.run("teardown", "--yes")
        shop.execute("drop publication if exists cdc_shop")


def published_by(cdc: Commands) -> str:
    """The statement that `check` has the owner run."""
    found = cdc.run("check").stdout
    return " ".join(found[found.index("CREATE PUBLICATION") :].split(";")[0].split())


def rows(cdc: Commands) -> dict[str, int]:
    tables = json.loads(cdc.succeed("status", "--json"))["tables"]
    return {name: table["rows"] for name, table in tables.items()}


def test_it_copies_streams_verifies_and_copies_again(limited: Commands, shop: Source) -> None:
    limited.succeed("check")
    limited.succeed("sync")
    for statement in WORK.split(";\n"):
        shop.execute(statement.encode())
    limited.succeed("sync")
    limited.succeed("verify")
    with duckdb.connect(str(limited.copy)) as copy:
        copy.execute("delete from public.orders where id = 3")
        copy.execute("update public.notes set body = 'x' where id = 7")
    limited.run("verify", "--repair")
    limited.succeed("verify")
    limited.succeed("reseed", "public.notes")
    limited.succeed("sync")

    assert rows(limited) == {"public.loose": 1, "public.notes": 21, "public.orders": 3}
    limited.succeed("verify")


def test_a_table_that_it_may_not_publish_keeps_no_other_back(limited: Commands, shop: Source) -> None:
    limited.succeed("sync")
    shop.execute("create table theirs as select 1 as id; alter table theirs add primary key (id)")
    shop.execute("grant select on theirs to public; insert into orders values (9, 'new')")
    limited.succeed("sync")

    found = json.loads(limited.succeed("status", "--json"))["tables"]
    assert (found["public.theirs"]["state"], found["public.orders"]["rows"]) == ("set_aside", 4)
    reason = found["public.theirs"]["reason"]
    shop.execute(reason[reason.index("ALTER PUBLICATION") : reason.index(";")].encode())
    limited.succeed("sync")
    assert rows(limited)["public.theirs"] == 1
    limited.succeed("verify")
