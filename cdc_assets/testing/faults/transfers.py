"""
Two tables of accounts, and transfers between them: the sum of both stays what it is.
"""

from __future__ import annotations

from random import Random

import psycopg

from ...model import TableName
from ..histories.differences import Connection
from ..histories.session import connected
from .beside import Beside

SCHEMA = "bank"
TABLES = ("account_a", "account_b")
NAMES = {TableName(SCHEMA, table) for table in TABLES}
_EACH, _BALANCE = 60, 1000
ACCOUNTS, SUM = 2 * _EACH, 2 * _EACH * _BALANCE

_SETUP = f"""
create schema bank;
create table bank.account_a (id integer primary key, balance integer not null, holder text not null);
create table bank.account_b (id integer primary key, balance integer not null, holder text not null);
insert into bank.account_a select i, {_BALANCE}, repeat('holder ', 250) from generate_series(1, {_EACH}) i;
insert into bank.account_b
select i, {_BALANCE}, repeat('holder ', 250) from generate_series({_EACH + 1}, {ACCOUNTS}) i;
"""
_PAY = """
with payer as (update bank.{from_} set balance = balance - {amount}
               where id = (select id from bank.{from_} order by id < {first}, id limit 1)
                 and exists (select from bank.{to}) returning id)
update bank.{to} set balance = balance + {amount} * (select count(*) from payer)
where id = (select id from bank.{to} order by id < {second}, id limit 1)
"""
_MOVE = """
with moved as (delete from bank.{from_} where id = {first} returning *)
insert into bank.{to} select * from moved
"""
_REWRITE = "alter table bank.{to} alter balance type {type}"
_PAUSE = 0.05
"""Seconds between transfers."""


def set_up(source: Connection) -> None:
    source.execute(_SETUP.encode())


class Transfers(Beside):
    """Whatever becomes of the connection."""

    def __init__(self, dsn: str, seed: int) -> None:
        super().__init__()
        self._dsn = dsn
        self._chance = Random(f"transfers {seed}")

    def _run(self) -> None:
        while not self._ended.wait(_PAUSE):
            try:
                with connected(self._dsn) as source:
                    while not self._ended.wait(_PAUSE):
                        self._transfer(source)
            except psycopg.OperationalError:
                continue

    def _transfer(self, source: Connection) -> None:
        kind = self._chance.random()
        if kind < 0.002:
            # Each is written anew, and has to be copied again.
            self._run_one(source, _REWRITE)
        elif kind < 0.1:
            with source.transaction():
                for _ in range(self._chance.randint(2, 40)):
                    self._run_one(source, self._chance.choice((_PAY, _MOVE)))
        else:
            self._run_one(source, _MOVE if kind < 0.3 else _PAY)

    def _run_one(self, source: Connection, statement: str) -> None:
        from_, to = self._chance.sample(TABLES, 2)
        text = statement.format(
            from_=from_,
            to=to,
            amount=self._chance.randint(1, 100),
            first=self._chance.randint(1, ACCOUNTS),
            second=self._chance.randint(1, ACCOUNTS),
            type=self._chance.choice(("integer", "bigint")),
        )
        source.execute(text.encode())
