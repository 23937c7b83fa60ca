"""
What a column has that is excluded or hashed is nowhere: not in the copy, nor in what is printed or kept.
"""

from __future__ import annotations

from hashlib import sha256

import psycopg
from commands import Commands

from cdc_assets import open_duckdb

Source = psycopg.Connection[tuple[object, ...]]

SECRETS = ["excluded-seed-17", "hashed-seed-17", "excluded-stream-17", "hashed-stream-17", "longer-" * 40]


def everything(cdc: Commands) -> bytes:
    """Every byte of every file there is."""
    return b"".join(path.read_bytes() for path in cdc.folder.rglob("*") if path.is_file())


def test_an_excluded_and_a_hashed_value_are_nowhere(cdc: Commands, shop: Source) -> None:
    shop.execute("create table customers (id int primary key, ssn text, email text, city text)")
    shop.execute("insert into customers values (1, 'excluded-seed-17', 'hashed-seed-17', 'Rome')")
    cdc.configure(tables={"public.customers": {"columns": {"exclude": ["ssn"], "hash": ["email"]}}})
    printed = cdc.succeed("check") + cdc.succeed("sync")
    shop.execute("insert into customers values (2, 'excluded-stream-17', 'hashed-stream-17', 'Oslo')")
    shop.execute("insert into customers values (3, repeat('longer-', 40), repeat('longer-', 40), 'Bern')")
    shop.execute("update customers set ssn = 'excluded-stream-17', email = 'hashed-stream-17' where id = 1")
    printed += cdc.succeed("sync") + cdc.succeed("status", "--json") + cdc.succeed("status")

    assert [secret for secret in SECRETS if secret.encode() in everything(cdc) + printed.encode()] == []
    with open_duckdb(cdc.copy) as copy:
        rows = copy.sql("select * exclude _cdc_lsn from public.customers order by id").fetchall()
    streamed, longer = (sha256(text.encode()).hexdigest() for text in ("hashed-stream-17", "longer-" * 40))
    assert rows == [(1, streamed, "Rome"), (2, streamed, "Oslo"), (3, longer, "Bern")]


def test_what_is_not_hidden_is_found_by_the_same_look(cdc: Commands, shop: Source) -> None:
    """Or the test above would be one of its own blindness."""
    shop.execute("update orders set status = 'plain-17' where id = 1")
    cdc.succeed("sync")

    assert b"plain-17" in everything(cdc)
