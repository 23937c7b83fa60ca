"""
Writers that do what makes copying hard, all at once, for as long as a block lasts.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

from cdc_assets.model import TableName

Connection = psycopg.Connection[Any]

TABLES = [TableName("public", name) for name in ("items", "Shifting", "parted", "emptied")]
KEYS = 600

SETUP = f"""
create table items (id int primary key, version int not null, body text, note text);
alter table items alter body set storage external;
insert into items select i, 0, case when i % 3 = 0 then repeat(md5(i::text), 100) end, 'seed'
from generate_series(1, {KEYS}) i;

create table "Shifting" (id int primary key deferrable initially immediate, name text);
alter table "Shifting" replica identity full;
insert into "Shifting" select i * 10, i::text from generate_series(1, 300) i;

create table parted (id int, part int, body text, primary key (part, id)) partition by list (part);
create table parted_0 partition of parted for values in (0);
create table parted_1 (body text, part int not null, id int not null);
alter table parted attach partition parted_1 for values in (1);
insert into parted select i, i % 2, 'seed' from generate_series(1, 400) i;

create table emptied (id int generated always as identity primary key, body text);
insert into emptied (body) select 'seed' from generate_series(1, 200);
"""


def set_up(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(SETUP)


@contextmanager
def writing(dsn: str, seed: int = 7) -> Iterator[None]:
    """Every kind of writer, each on a connection of its own, until the block ends."""
    ended = threading.Event()
    failures: list[BaseException] = []

    def run(write: Callable[[Connection, random.Random], None], number: int) -> None:
        chance = random.Random(seed * 100 + number)
        try:
            with psycopg.connect(dsn, autocommit=True) as connection:
                while not ended.wait(0.004):
                    with suppress(psycopg.errors.DeadlockDetected, psycopg.errors.UniqueViolation):
                        write(connection, chance)  # two writers that meet: one's transaction does not count
        except BaseException as error:
            if not ended.is_set():
                failures.append(error)

    threads = [threading.Thread(target=run, args=(write, n), daemon=True) for n, write in enumerate(_WRITERS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert not failures, failures


def _change_items(connection: Connection, chance: random.Random) -> None:
    with connection.transaction():
        for _ in range(chance.randint(1, 8)):
            key, other = chance.randint(1, KEYS), chance.randint(1, 3 * KEYS)
            statement = chance.choice(_CHANGES)
            connection.execute(statement, {"key": key, "other": other, "n": chance.randint(0, 9)})
        if chance.random() < 0.1:
            raise psycopg.Rollback


_CHANGES = [
    "insert into items values (%(other)s, 0, repeat('n', 3000), 'new') on conflict do nothing",
    "update items set version = version + 1 where id = %(key)s",
    "update items set version = version + 1, body = repeat(md5(%(n)s::text), 90) where id = %(key)s",
    "update items set id = %(other)s where id = %(key)s "
    "and not exists (select from items where id = %(other)s)",
    "delete from items where id = %(key)s",
]


def _stay_open(connection: Connection, chance: random.Random) -> None:
    """A transaction that lasts, with savepoints, beside many that are short."""
    with connection.transaction():
        connection.execute("update items set note = 'long' where id %% 50 = %s", [chance.randint(0, 49)])
        connection.execute("select pg_sleep(%s)", [chance.uniform(0.05, 0.3)])
        with connection.transaction():
            connection.execute("insert into emptied (body) values ('rolled back')")
            raise psycopg.Rollback
        connection.execute("insert into emptied (body) values ('long')")


def _shift_keys(connection: Connection, chance: random.Random) -> None:
    if chance.random() > 0.02:
        return
    first = chance.randint(1, 290) * 10
    connection.execute(
        'update "Shifting" set id = id + 1 where id between %s and %s', [first, first + chance.randint(0, 60)]
    )


def _move_between_partitions(connection: Connection, chance: random.Random) -> None:
    key = chance.randint(1, 400)
    connection.execute("update parted set part = 1 - part, body = %s where id = %s", [str(key), key])


def _empty(connection: Connection, chance: random.Random) -> None:
    with connection.transaction():
        connection.execute("insert into emptied (body) select 'more' from generate_series(1, 20)")
        if chance.random() < 0.01:
            connection.execute("truncate emptied, parted")
            connection.execute("insert into emptied (body) values ('after')")
            connection.execute("insert into parted select i, i % 2, 'again' from generate_series(1, 300) i")


_WRITERS = [_change_items, _change_items, _stay_open, _shift_keys, _move_between_partitions, _empty]
