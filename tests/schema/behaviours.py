"""
What an application does to its tables, one behaviour each: a table, and then statement after statement.
"""

from __future__ import annotations

from dataclasses import dataclass

ITEMS = (
    "create table items (id int primary key, name text, amount numeric(10, 2)); "
    "insert into items select i, 'name ' || i, i / 4.0 from generate_series(1, 5) i"
)
PARTED = (
    "create table items (id int, part int, name text, primary key (id, part)) partition by list (part); "
    "create table items_0 partition of items for values in (0); "
    "create table items_1 partition of items for values in (1); "
    "insert into items select i, i % 2, 'name ' || i from generate_series(1, 8) i"
)
KEYLESS = (
    "create table items (id int, name text, x float8); alter table items replica identity full; "
    "insert into items values (1, 'a', 0), (1, 'a', 0), (1, 'a', '-0'), (2, null, 'nan'), "
    "(2, null, float8 'inf' - 'inf'), (null, null, null), (null, null, null), "
    "(3, 'c', 1), (3, 'c', 1), (3, 'c', 1)"
)
KEYLESS_PARTED = (
    "create table items (id int, part int, name text) partition by list (part); "
    "create table items_0 partition of items for values in (0); "
    "create table items_1 partition of items for values in (1); "
    "alter table items replica identity full; alter table items_0 replica identity full; "
    "alter table items_1 replica identity full; "
    "insert into items select i / 4, i % 2, 'name' from generate_series(1, 12) i"
)
GENERATED = ITEMS.replace(
    "amount numeric(10, 2)",
    "amount numeric(10, 2), double numeric generated always as (amount * 2) stored, "
    "big text generated always as (upper(name)) stored, fixed int generated always as (7) stored",
).replace("into items", "into items (id, name, amount)")
ONE_OF_THREE = "(select ctid from items where id = 3 limit 1)"


@dataclass(frozen=True)
class Behaviour:
    setup: str
    steps: tuple[str, ...]
    in_place: bool | None = True
    """The rows that are there are not read again, if each step is streamed by itself; None where there
    are none."""


def on(setup: str, *steps: str, in_place: bool | None = True) -> Behaviour:
    return Behaviour(setup, steps, in_place)


INSERT = "insert into items (id, name) values (100, 'later')"
UPDATE = "update items set name = 'changed' where id = 2"

BEHAVIOURS = {
    # Columns
    "add a column": on(
        ITEMS, "alter table items add note text", INSERT, "update items set note = 'x' where id = 1"
    ),
    "add a column with a constant default": on(
        ITEMS, "alter table items add state text not null default 'it''s new'", INSERT, UPDATE
    ),
    "add columns of many types with defaults": on(
        ITEMS,
        "alter table items add a int default 7, add b timestamptz default '2024-02-29 12:00+01', "
        "add c jsonb default '{\"a\": [1]}', add d int[] default '{1,2}', add e bytea default '\\x00ff', "
        "add f boolean default true, add g numeric default 1.50, add h uuid default "
        "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', add i interval default '1 mon -1 day', "
        "add j date default 'infinity'",
        INSERT,
    ),
    "change the default of an added column": on(
        ITEMS,
        "alter table items add state text default 'first'",
        "alter table items alter state set default 'second'",
        INSERT,
    ),
    "add a column with a volatile default": on(
        ITEMS, "alter table items add token text default md5(random()::text)", INSERT, in_place=False
    ),
    "add a column and rewrite the table": on(
        ITEMS, "alter table items add state text default 'new'", "vacuum full items", UPDATE, in_place=False
    ),
    "add a serial column": on(ITEMS, "alter table items add number serial", INSERT, in_place=False),
    "drop a column": on(ITEMS, "alter table items drop amount", UPDATE),
    "drop a column and add another": on(
        ITEMS, "alter table items drop amount", "alter table items add amount2 int", INSERT, UPDATE
    ),
    "replace a column under its name": on(
        ITEMS,
        UPDATE,
        "alter table items drop name, add name text",
        "update items set name = 'anew' where id = 3",
    ),
    "replace a column under its name by another type": on(
        ITEMS, UPDATE, "alter table items drop name", "alter table items add name int default 5"
    ),
    "rename a column": on(
        ITEMS, "alter table items rename name to title", "update items set title = 'x' where id = 1"
    ),
    "rename a column and say nothing more": on(ITEMS, "alter table items rename name to title"),
    "rename a column twice": on(
        ITEMS,
        "alter table items rename name to title",
        "update items set title = 'x' where id = 1",
        "alter table items rename title to label",
        "update items set label = 'y' where id = 2",
    ),
    "swap the names of two columns": on(
        "create table items (id int primary key, a text, b text); "
        "insert into items values (1, 'a', 'b'), (2, 'c', 'd')",
        "begin; alter table items rename a to t; alter table items rename b to a; "
        "alter table items rename t to b; commit",
        "update items set a = 'new a' where id = 1",
    ),
    "rename a key column": on(
        ITEMS, "alter table items rename id to number", "delete from items where number = 2"
    ),
    "rename and add in one transaction with rows between": on(
        ITEMS,
        "begin; insert into items values (10, 'ten', 1); alter table items rename name to title; "
        "insert into items values (11, 'eleven', 2); alter table items add name text default 'd'; "
        "insert into items values (12, 'twelve', 3, 'given'); commit",
        "delete from items where id = 1",
    ),
    "alter and roll back": on(
        ITEMS,
        "begin; alter table items add gone text; insert into items values (10, 'ten', 1, 'gone'); rollback",
        INSERT,
    ),
    "alter in a savepoint that is rolled back": on(
        ITEMS,
        "begin; insert into items values (10, 'ten', 1); savepoint s; alter table items drop name; "
        "insert into items values (11, 2); rollback to s; insert into items values (12, 'twelve', 1); commit",
    ),
    # Types
    "widen varchar": on(
        "create table items (id int primary key, name varchar(10)); insert into items values (1, 'a')",
        "alter table items alter name type varchar(20)",
        INSERT,
        "alter table items alter name type text",
        UPDATE,
    ),
    "widen numeric": on(ITEMS, "alter table items alter amount type numeric(12, 2)", INSERT),
    "lift the bounds of numeric": on(
        ITEMS, "alter table items alter amount type numeric", "insert into items values (9, 'x', 1e50)"
    ),
    "widen int to bigint": on(
        ITEMS,
        "alter table items alter id type bigint",
        "insert into items values (5000000000, 'x')",
        in_place=False,
    ),
    "change a type by an expression": on(
        ITEMS, "alter table items alter amount type text using 'EUR ' || amount", INSERT, in_place=False
    ),
    "change values by a type change to the same type": on(
        ITEMS, "alter table items alter amount type numeric(10, 2) using amount * 2", UPDATE, in_place=False
    ),
    "change the scale": on(
        ITEMS, "alter table items alter amount type numeric(12, 4)", UPDATE, in_place=False
    ),
    "timestamp to timestamptz": on(
        "create table items (id int primary key, name text, t timestamp); "
        "insert into items values (1, 'a', now())",
        "alter table items alter t type timestamptz",
        INSERT,
        in_place=False,
    ),
    # Tables
    "truncate and go on": on(ITEMS, UPDATE, "truncate items", INSERT),
    "truncate and insert in one transaction": on(ITEMS, f"begin; {INSERT}; truncate items; {INSERT}; commit"),
    "vacuum full changes nothing": on(ITEMS, "vacuum full items", UPDATE, "vacuum full items"),
    "drop and create under the same name": on(
        ITEMS, UPDATE, "drop table items", ITEMS.replace("'name '", "'again '"), INSERT, in_place=False
    ),
    "drop and create with other columns": on(
        ITEMS,
        "begin; drop table items; create table items (code text primary key, n int); commit",
        "insert into items values ('a', 1)",
        in_place=None,
    ),
    "rename a table": on(
        ITEMS, "alter table items rename to things", "insert into things values (9, 'x', 1)"
    ),
    "rename a table and a column": on(
        ITEMS, "begin; alter table items rename to things; alter table things rename name to title; commit"
    ),
    "move a table to another schema": on(
        ITEMS,
        "create schema other; alter table items set schema other",
        "insert into other.items values (9, 'x', 1)",
    ),
    "swap the names of two tables": on(
        ITEMS
        + "; create table others (id int primary key, name text); insert into others values (1, 'other')",
        "begin; alter table items rename to t; alter table others rename to items; "
        "alter table t rename to others; commit",
        "insert into items values (2, 'was others')",
        in_place=False,
    ),
    "a new table": on(
        ITEMS,
        "create table more (id int primary key, v text); insert into more values (1, 'a')",
        "insert into more values (2)",
    ),
    # Keys
    "another primary key": on(
        ITEMS,
        "alter table items drop constraint items_pkey, add primary key (name)",
        "update items set id = id + 100",
        "delete from items where name = 'name 2'",
    ),
    "a wider primary key": on(
        ITEMS,
        "alter table items drop constraint items_pkey, add primary key (id, name)",
        "insert into items values (1, 'other', 1)",
        "delete from items where id = 1 and name = 'name 1'",
    ),
    "no key for a while": on(
        ITEMS,
        "alter table items drop constraint items_pkey",
        "insert into items values (200, 'keyless', 1)",
        "alter table items add primary key (id)",
        UPDATE,
        in_place=False,
    ),
    "replica identity using another index": on(
        ITEMS + "; alter table items alter name set not null; create unique index other on items (name)",
        "alter table items replica identity using index other",
        "update items set name = 'moved' where id = 1; delete from items where id = 2",
    ),
    "replica identity full and back": on(
        ITEMS,
        "alter table items replica identity full",
        UPDATE,
        "alter table items replica identity default",
        INSERT,
    ),
    # Without a key
    "equal rows inserted and deleted one by one": on(
        KEYLESS,
        "insert into items values (3, 'c', 1), (4, 'd', 2), (4, 'd', 2)",
        f"delete from items where ctid = {ONE_OF_THREE}",
        f"begin; delete from items where ctid = {ONE_OF_THREE}; insert into items values (5, 'e', 3); "
        "delete from items where id = 5; commit",
        "delete from items where id = 4",
    ),
    "one of several equal rows updated, to be like others": on(
        KEYLESS,
        f"update items set id = 1, name = 'a', x = 0 where ctid = {ONE_OF_THREE}",
        "update items set id = id",
        "update items set id = id + 1",
        "begin; update items set x = x + 1; update items set x = x - 1; commit",
    ),
    "rows with nulls, with not-a-number and with a zero that has a sign": on(
        KEYLESS,
        "delete from items where ctid = (select ctid from items where id is null limit 1)",
        "delete from items where ctid = (select ctid from items where x = 'nan' limit 1)",
        "delete from items where x::text = '-0'",
        "update items set x = -x where ctid = (select ctid from items where id = 1 limit 1)",
    ),
    "rows emptied and filled without a key": on(
        KEYLESS,
        "truncate items",
        "insert into items values (1, 'a', 0), (1, 'a', 0)",
        "begin; insert into items values (9, 'x', 9); truncate items; insert into items values (1, 'a', 0); "
        "commit",
    ),
    "rows of many types without a key": on(
        "create table items (n numeric, d numeric(6, 2), a int[], j jsonb, k json, i interval, "
        "t timestamptz, u uuid, b bytea, r float4, o bool, e date, c char(4)); "
        "alter table items replica identity full; "
        "insert into items values (1.0, 1, '{1,2}', '{\"a\": 1}', '{ }', '1 mon', '2024-02-29 12:00+01', "
        "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '\\x00ff', 1.1, true, 'infinity', 'c'), "
        "(1.00, 1, '[0:1]={1,2}', '{\"a\": 1.0}', '{}', '30 days', '-infinity', null, '', '-0', false, "
        "'0001-01-01 BC', ''), (1.00, 1, '[0:1]={1,2}', '{\"a\": 1.0}', '{}', '1 mon', '-infinity', null, "
        "'', '-0', false, '0001-01-01 BC', '')",
        "update items set o = not o",
        "update items set i = '1 mon' where i::text = '30 days'",
        "delete from items where ctid = (select ctid from items where n::text = '1.00' limit 1)",
        "delete from items",
    ),
    "values kept out of line without a key": on(
        "create table items (id int, body text, note text); "
        "alter table items alter body set storage external; alter table items replica identity full; "
        "insert into items select i / 2, repeat('x', 9000 + i / 2), 'n' from generate_series(1, 6) i",
        "update items set note = 'changed' where id = 1",
        "update items set id = 3, note = 'n' where ctid = (select ctid from items where id = 1 limit 1)",
        "begin; update items set note = 'a'; update items set note = 'b' where id = 2; "
        "delete from items where id = 3; commit",
    ),
    "partitions without a key": on(
        KEYLESS_PARTED,
        "delete from items where tableoid = 'items_0'::regclass and ctid = (select min(ctid) from items_0)",
        "update items set part = 1 - part where id = 2",
        "insert into items select id, part, name from items",
        "truncate items",
    ),
    "a partition without a key emptied": on(KEYLESS_PARTED, "truncate items_1", in_place=False),
    "columns of a table without a key": on(
        KEYLESS,
        "alter table items add note text default 'd'",
        "delete from items where id = 3",
        "alter table items rename name to title",
        "alter table items drop x",
        "update items set id = 7 where title = 'a'",
    ),
    "a table without a key renamed": on(
        KEYLESS, "alter table items rename to things", "delete from things where id = 3"
    ),
    "a table without a key written anew": on(KEYLESS, "vacuum full items", "delete from items where id = 3"),
    "the key dropped under identity full": on(
        ITEMS + "; alter table items replica identity full",
        "alter table items drop constraint items_pkey",
        INSERT.replace("100", "1"),
        "delete from items where id = 1",
        in_place=False,
    ),
    "the key dropped, then identity full": on(
        ITEMS,
        "begin; alter table items drop constraint items_pkey; alter table items replica identity full; "
        "delete from items where id = 3; commit",
        INSERT.replace("100", "1"),
        "update items set name = 'one' where id = 1",
        in_place=False,
    ),
    "a key added": on(
        KEYLESS.replace("x float8", "x float8, number serial"),
        "alter table items add primary key (number)",
        "update items set id = 8 where id = 3",
        "alter table items replica identity default",
        "delete from items where id = 8",
        in_place=False,
    ),
    "identity full for a while": on(
        KEYLESS,
        "alter table items replica identity default",
        "insert into items values (1, 'a', 0)",
        "alter table items replica identity full",
        "delete from items where id = 1",
        in_place=False,
    ),
    # Types users made
    "an enum gets a value": on(
        "create type mood as enum ('sad', 'ok'); create table items (id int primary key, name text, m mood); "
        "insert into items values (1, 'a', 'sad')",
        "alter type mood add value 'happy'",
        "insert into items values (2, 'b', 'happy')",
    ),
    "an enum's value is renamed": on(
        "create type mood as enum ('sad', 'ok'); create table items (id int primary key, name text, m mood); "
        "insert into items values (1, 'a', 'sad'), (2, 'b', 'ok')",
        "alter type mood rename value 'sad' to 'blue'",
        UPDATE,
        in_place=False,
    ),
    "an enum in an array in a domain is renamed": on(
        "create type mood as enum ('sad', 'ok'); create domain moods as mood[]; "
        "create table items (id int primary key, name text, m moods); "
        "insert into items values (1, 'a', '{sad,ok}')",
        "alter type mood rename value 'sad' to 'blue'",
        in_place=False,
    ),
    "a composite type gets an attribute": on(
        "create type pair as (a int, b text); create table items (id int primary key, name text, p pair); "
        "insert into items values (1, 'a', '(1,x)')",
        "alter type pair add attribute c int",
        INSERT,
        in_place=False,
    ),
    # Partitions
    "a new partition": on(
        PARTED,
        "create table items_2 partition of items for values in (2)",
        "insert into items values (20, 2, 'in the new one')",
    ),
    "a filled partition attached": on(
        PARTED,
        "create table items_2 (id int not null, part int not null, name text); "
        "insert into items_2 values (20, 2, 'was there')",
        "alter table items attach partition items_2 for values in (2)",
        "insert into items values (21, 2, 'later')",
        in_place=False,
    ),
    "a filled partition made and attached in one transaction": on(
        PARTED,
        "begin; create table items_2 (id int not null, part int not null, name text); "
        "insert into items_2 values (20, 2, 'was there'); "
        "alter table items attach partition items_2 for values in (2); commit",
        in_place=False,
    ),
    "a filled tree of partitions attached": on(
        PARTED,
        "create table items_2 (id int not null, part int not null, name text) partition by range (id); "
        "create table items_2a partition of items_2 for values from (0) to (100); "
        "insert into items_2 values (20, 2, 'was there')",
        "alter table items attach partition items_2 for values in (2)",
        in_place=False,
    ),
    "partitions of partitions": on(
        "create table items (id int, part int, name text, primary key (id, part)) partition by list (part)",
        "create table items_0 partition of items for values in (0) partition by range (id)",
        "create table items_0a partition of items_0 for values from (0) to (10)",
        "insert into items values (1, 0, 'a')",
        "create table items_0b partition of items_0 for values from (10) to (20)",
        "insert into items values (11, 0, 'b'); update items set id = 12 where id = 1",
        in_place=None,
    ),
    "a partition made, filled and dropped": on(
        PARTED,
        "create table items_2 partition of items for values in (2)",
        "insert into items values (20, 2, 'x'), (21, 0, 'y')",
        "drop table items_2",
        in_place=False,
    ),
    "a partition made, filled and emptied": on(
        PARTED,
        "create table items_2 partition of items for values in (2)",
        "insert into items values (20, 2, 'x'), (21, 0, 'y')",
        "truncate items_2",
        "insert into items values (22, 2, 'z')",
        in_place=False,
    ),
    "a partition attached full, and filled on": on(
        PARTED,
        "create table items_2 (like items including all); insert into items_2 values (20, 2, 'was there'); "
        "alter table items attach partition items_2 for values in (2)",
        "insert into items values (21, 2, 'z')",
        in_place=False,
    ),
    "a partition detached": on(PARTED, "alter table items detach partition items_1", in_place=False),
    "a partition dropped": on(
        PARTED,
        "drop table items_1",
        INSERT.replace("(id, name)", "(id, part, name)").replace("100,", "100, 0,"),
        in_place=False,
    ),
    "a partition emptied": on(PARTED, "truncate items_1", in_place=False),
    "a partitioned table emptied": on(
        PARTED, "truncate items", "insert into items values (1, 1, 'x')", in_place=None
    ),
    "a row moves between partitions": on(PARTED, "update items set part = 1 - part where id < 5"),
    "a column of a partitioned table": on(
        PARTED, "alter table items add note text default 'd'", "insert into items values (30, 0, 'x', 'y')"
    ),
    # Values that a type of DuckDB's cannot hold
    "not a number": on(
        ITEMS,
        "insert into items values (20, 'x', 'nan')",
        "update items set amount = 1.50 where id = 20; delete from items where id = 1",
        "insert into items values (21, 'y', 'nan')",
    ),
    "not a number before the first copy": on(
        ITEMS + "; insert into items values (20, 'x', 'nan')",
        UPDATE,
        "insert into items values (21, 'y', 'nan')",
    ),
    "not a number in a key": on(
        "create table items (id numeric(5, 1) primary key, name text); insert into items values (1.5, 'a')",
        "insert into items values ('nan', 'b')",
        "update items set name = 'c' where id = 'nan'; delete from items where id = 1.5",
    ),
    "not a number after an ALTER in one transaction": on(
        ITEMS,
        "begin; alter table items add price numeric(8, 3) default 1.5; "
        "insert into items values (20, 'x', 'nan', 'nan'); commit",
        "update items set name = 'y' where id = 20",
        in_place=None,
    ),
    "not a number in a column that is then renamed": on(
        ITEMS,
        "insert into items values (20, 'x', 'nan')",
        "alter table items rename amount to price",
        "insert into items values (21, 'y', 'nan')",
    ),
    "not a number in a column that is then dropped": on(
        ITEMS,
        "insert into items values (20, 'x', 'nan')",
        "alter table items drop amount",
        "insert into items values (21, 'y')",
    ),
    "not a number in a table that is then renamed": on(
        ITEMS,
        "insert into items values (20, 'x', 'nan')",
        "alter table items rename to things",
        "insert into things values (21, 'y', 'nan')",
    ),
    "not a number for a while, in a column whose type then changes": on(
        ITEMS,
        "insert into items values (20, 'x', 'nan')",
        "update items set amount = 1 where id = 20",
        "alter table items alter amount type bigint",
        "insert into items values (21, 'y', 7)",
        in_place=False,
    ),
    "a time far away": on(
        "create table items (id int primary key, name text, t timestamp); "
        "insert into items values (1, 'a', now())",
        "insert into items values (2, 'b', '294276-12-31')",
        UPDATE,
        in_place=False,
    ),
    "a column is added with a default that its type here cannot hold": on(
        ITEMS,
        "alter table items add i interval default '3000000:00:00'",
        "insert into items (id, i) values (10, '1 day'); insert into items (id) values (11)",
        "alter table items alter i set default '2 days'",
        "insert into items (id) values (12)",
        "update items set name = 'u' where id in (1, 10)",
    ),
    "a column that was added with a default has to be text later": on(
        ITEMS,
        "alter table items add i interval default '1 day -24:00:00'",
        "insert into items (id, i) values (10, '3000000:00:00')",
        "insert into items (id) values (12)",
        "alter table items alter i set default '2 days', add j interval default '1 mon'",
        in_place=False,
    ),
    "an interval of many hours": on(
        "create table items (id int primary key, name text, i interval); "
        "insert into items values (1, 'a', '1 mon')",
        "insert into items values (2, 'b', '100000000:00:00')",
        "update items set i = '2 days' where id = 1",
        in_place=False,
    ),
    # What is left
    "generated columns": on(
        GENERATED,
        "insert into items (id, name, amount) values (50, 'x', 4), (51, null, 0.5), (52, '', null)",
        "update items set amount = 9 where id < 3; update items set id = 60 where id = 4",
        "delete from items where id = 50; update items set name = upper(name)",
        "begin; update items set amount = 1 where id = 1; truncate items; "
        "insert into items (id, name) values (1, 'y'); update items set amount = 2; commit",
        in_place=None,
    ),
    "generated from a value that is not sent again": on(
        GENERATED.replace("'name ' || i", "repeat(md5(i::text), 120)"),
        "update items set amount = 9 where id < 3",
        "update items set name = upper(name) where id < 3",
        in_place=None,
    ),
    "generated from values of which one is not sent again": on(
        GENERATED.replace("'name ' || i", "repeat(md5(i::text), 120)")
        + "; alter table items add told text generated always as (left(name, 3) || amount::text) stored",
        "update items set amount = 9 where id < 3",
        "update items set name = 'short' where id = 1",
        in_place=None,
    ),
    "generated from a value that identity FULL sends again": on(
        GENERATED.replace("'name ' || i", "repeat(md5(i::text), 120)")
        + "; alter table items add told text generated always as (left(name, 3) || amount::text) stored, "
        "replica identity full",
        "update items set amount = 9 where id < 3",
        "delete from items where id = 1",
    ),
    "generated columns without a key": on(
        GENERATED.replace(" primary key", "") + "; alter table items replica identity full",
        "insert into items (id, name, amount) values (1, 'x', 4), (1, 'x', 4)",
        "delete from items where id = 2; update items set amount = 7 where id = 3",
    ),
    "a column that a generated one is made of is renamed": on(
        GENERATED,
        "alter table items rename amount to price",
        "insert into items (id, price) values (50, 7)",
        'alter table items rename double to "Twice %s"',
        "insert into items (id, price) values (51, 8)",
    ),
    "a generated column becomes one like others": on(
        GENERATED,
        "insert into items (id, amount) values (50, 7)",
        "alter table items alter double drop expression",
        "insert into items (id, amount, double) values (51, 7, 0); update items set double = 1 where id = 1",
        in_place=None,
    ),
    "a generated column is dropped": on(
        GENERATED,
        "insert into items (id, amount) values (50, 7)",
        "alter table items drop double",
        "insert into items (id, amount) values (51, 7)",
    ),
    "a generated column of a partitioned table": on(
        PARTED,
        "alter table items add twice int generated always as (id * 2) stored",
        "insert into items (id, part, name) values (50, 0, 'x')",
        "update items set part = 1 - part where id < 3",
        in_place=None,
    ),
    "a generated column is added": on(
        ITEMS,
        "alter table items add double numeric generated always as (amount * 2) stored",
        "insert into items (id, name, amount) values (50, 'x', 4)",
        in_place=None,
    ),
    "two-phase commit": on(
        ITEMS,
        f"begin; insert into items values (60, 'p', 1); prepare transaction 'one'; "
        f"{INSERT}; commit prepared 'one'",
        UPDATE,
    ),
    "two-phase commit with an ALTER in it": on(
        ITEMS,
        "begin; alter table items add note text; insert into items values (61, 'p', 1, 'n'); "
        "prepare transaction 'two'; commit prepared 'two'",
        UPDATE,
    ),
}
