"""
The tables that are measured with, and what is written to them.
"""

from __future__ import annotations

from collections.abc import Iterator

NARROW = """create table {name} (
    id bigint primary key, customer int not null, status text, amount numeric(10, 2),
    placed timestamptz, note text)"""
_ROW = "{first} + n, n % 1000, (array['new', 'paid', 'sent'])[1 + n % 3], n / 7.0, now(), 'note number ' || n"

_KINDS = {
    "int": "n",
    "bigint": "n * 1000003::bigint",
    "text": "'text number ' || n",
    "numeric(12, 3)": "n / 7.0",
    "timestamptz": "now()",
    "date": "date '2024-01-01' + n % 1000",
    "bool": "n % 2 = 0",
    "float8": "n / 3.0::float8",
    "uuid": "md5(n::text)::uuid",
    "jsonb": "jsonb_build_object('n', n)",
}
_WIDE = [(f"c{number}", kind) for number in range(5) for kind in _KINDS]
WIDE = "create table {name} (id bigint primary key, " + (
    ", ".join(f"{name}_{number} {kind}" for number, (name, kind) in enumerate(_WIDE[1:])) + ")"
)
"""Fifty columns of ten types."""


def insert(name: str, first: int, count: int) -> str:
    return f"insert into {name} select {_ROW.format(first=first)} from generate_series(1, {count}) n"


def insert_wide(name: str, first: int, count: int) -> str:
    values = ", ".join(_KINDS[kind] for _, kind in _WIDE[1:])
    return f"insert into {name} select {first} + n, {values} from generate_series(1, {count}) n"


def one_by_one(name: str, count: int) -> str:
    """Each row a transaction of its own."""
    row = _ROW.format(first=0)
    return f"do $$ begin for n in 1..{count} loop insert into {name} select {row}; commit; end loop; end $$"


def mixed(name: str, held: int, changes: int, at_once: int) -> Iterator[str]:
    """Half updates, three tenths inserts, two tenths deletes, all over a table of so many rows."""
    for number in range(changes // at_once):
        # A prime number of steps, so that no row is hit twice.
        nth = f"({number * at_once} + n) * 7919::bigint % {held}"
        rows = f"(select {nth} from generate_series({{}}, {{}}) n)"
        half, fifth = at_once // 2, at_once // 5
        yield (
            f"begin; update {name} set amount = amount + 1, status = 'sent' where id in "
            f"{rows.format(1, half)}; delete from {name} where id in "
            f"{rows.format(half + 1, half + fifth)}; "
            f"{insert(name, held + number * at_once, at_once - half - fifth)}; commit"
        )
