"""
Statements that change rows, each a list of SQL to be run in order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from .features import Feature
from .kinds import Features
from .names import quoted
from .world import Column, Relation, World

NUMBERS = 24
"""Rows a table has at most, or so: few, so that changes meet."""

Statements = list[str]


def change(world: World, chance: Random, features: Features) -> Statements:
    """Something that happens to a few rows of one table, or of some."""
    if Feature.TRUNCATE in features and chance.random() < 0.04:
        return truncate(world, chance)
    table = chance.choice(world.tables)
    return Changes(table, chance, features).any()


def truncate(world: World, chance: Random) -> Statements:
    tables = chance.sample(world.tables, min(len(world.tables), chance.choice((1, 1, 2))))
    restart = chance.choice(("", " restart identity"))
    cascade = " cascade" if any(table.is_referenced for table in tables) or chance.random() < 0.1 else ""
    return [f"truncate {', '.join(table.sql for table in tables)}{restart}{cascade}"]


class Changes:
    def __init__(self, table: Relation, chance: Random, features: Features) -> None:
        self._table, self._chance, self._features = table, chance, features

    def any(self) -> Statements:
        kinds: list[tuple[Callable[[], Statements], int]] = [(self.insert, 6), (self.insert_many, 2)]
        kinds += [(self.update, 8), (self.update_many, 2), (self.delete, 3), (self.delete_many, 1)]
        if self._table.keys:
            kinds += [(self.move, 3), (self.swap, 1), (self.replace, 2), (self.many_to_one, 1)]
            kinds += [(self.shift, 4)] if self._can_shift() else []
            # A key that can be deferred arbitrates nothing.
            kinds += [] if self._table.deferrable else [(self.upsert, 3)]
        choices, weights = zip(*kinds, strict=True)
        make: Callable[[], Statements] = self._chance.choices(choices, weights)[0]
        return make()

    def _number(self) -> int:
        return self._chance.randrange(NUMBERS)

    def _row(self, number: int, *, all_columns: bool = True) -> dict[str, str]:
        """By column, SQL of what a new row says."""
        table = self._table
        row = table.of(table.by, number)
        for names in table.keys:
            is_its_own = names == table.key or number >= NUMBERS
            row |= table.of(names, number if is_its_own else self._number())
        for column in table.plain:
            if all_columns or self._chance.random() < 0.3:
                row[column.name] = self._value(column)
        return row

    def _value(self, column: Column) -> str:
        return column.kind.value(self._chance, self._features)

    def insert(self, number: int | None = None) -> Statements:
        table = self._table
        row = self._row(self._number() if number is None else number, all_columns=self._chance.random() < 0.8)
        taken = [" and ".join(f"{quoted(name)} = {row[name]}" for name in names) for names in table.keys] or [
            "false"
        ]
        columns, values = ", ".join(map(quoted, row)), ", ".join(row.values())
        return [
            f"insert into {table.sql} ({columns}) select {values} "
            f"where not exists (select from {table.sql} where {' or '.join(taken)})"
        ]

    def insert_many(self) -> Statements:
        numbers = self._chance.sample(range(NUMBERS), self._chance.randint(2, 8))
        if self._table.deferrable:
            return [statement for number in numbers for statement in self.insert(number)]
        rows = [self._row(number) for number in numbers]
        values = ", ".join(f"({', '.join(row.values())})" for row in rows)
        return [f"insert into {self._table.sql} ({_names(rows[0])}) values {values} on conflict do nothing"]

    def upsert(self) -> Statements:
        row, key = self._row(self._number()), self._table.by
        others = [column for column in self._table.plain if column.name in row]
        some = self._chance.sample(others, self._chance.randint(0, len(others)))
        action = "nothing"
        if some:
            assignments = ", ".join(f"{quoted(c.name)} = excluded.{quoted(c.name)}" for c in some)
            action = f"update set {assignments}"
        # The other key of a table may be in the way.
        guard = ""
        if len(self._table.keys) > 1:
            taken = " and ".join(f"{quoted(name)} = {row[name]}" for name in self._table.unique)
            guard = f" where not exists (select from {self._table.sql} where {taken})"
        return [
            f"insert into {self._table.sql} ({_names(row)}) select {', '.join(row.values())}{guard} "
            f"on conflict ({', '.join(map(quoted, key))}) do {action}"
        ]

    def _assignments(self) -> str:
        """Often of a few columns only, so that what is kept out of line stays unchanged."""
        plain = self._table.plain
        if not plain:
            same = quoted(self._table.by[0])
            return f"{same} = {same}"
        some = self._chance.sample(plain, min(len(plain), self._chance.choice((1, 1, 2, 3))))
        return ", ".join(f"{quoted(column.name)} = {self._value(column)}" for column in some)

    def update(self, number: int | None = None) -> Statements:
        number = self._number() if number is None else number
        return [f"update {self._table.sql} set {self._assignments()} where {self._table.is_row(number)}"]

    def _some(self) -> str:
        numbers = self._chance.sample(range(NUMBERS), self._chance.randint(2, 6))
        conditions = [f"({self._table.is_row(number)})" for number in numbers]
        conditions += [f"{quoted(column.name)} is null" for column in self._table.plain]
        return self._chance.choice(["true", " or ".join(conditions[: len(numbers)]), conditions[-1]])

    def update_many(self) -> Statements:
        return [f"update {self._table.sql} set {self._assignments()} where {self._some()}"]

    def delete(self, number: int | None = None) -> Statements:
        number = self._number() if number is None else number
        return [f"delete from {self._table.sql} where {self._table.is_row(number)}"]

    def delete_many(self) -> Statements:
        return [f"delete from {self._table.sql} where {self._some()}"]

    def replace(self) -> Statements:
        """The same key again, in another row."""
        number = self._number()
        return [*self.delete(number), *self.insert(number)]

    def many_to_one(self) -> Statements:
        number = self._number()
        kinds = self._chance.choices((self.update, self.insert, self.delete), (6, 2, 1), k=12)
        return [statement for kind in kinds for statement in kind(number)]

    def move(self) -> Statements:
        """The row to another key, its other columns too now and then."""
        names = self._chance.choice(self._table.keys)
        return self._moved(names, self._number(), self._number(), also=self._chance.random() < 0.4)

    def swap(self) -> Statements:
        """Two rows take each other's key, through a third."""
        names = self._chance.choice(self._table.keys)
        one, other = self._chance.sample(range(NUMBERS), 2)
        third = NUMBERS + self._number()
        moves = ((one, third), (other, one), (third, other))
        return [statement for old, new in moves for statement in self._moved(names, old, new)]

    def _moved(self, names: Sequence[str], old: int, new: int, *, also: bool = False) -> Statements:
        table = self._table
        to = ", ".join(f"{quoted(name)} = {value}" for name, value in table.of(names, new).items())
        more = f", {self._assignments()}" if also and table.plain else ""
        return [
            f"update {table.sql} set {to}{more} where {table.is_row(old, names)} "
            f"and not exists (select from {table.sql} where {table.is_row(new, names)})"
        ]

    def _can_shift(self) -> bool:
        key = self._table.key
        return self._table.deferrable and len(key) == 1 and self._table.column(key[0]).kind.type in _NUMBERS

    def shift(self) -> Statements:
        """All keys from one on by one, so that for a moment two rows have the same."""
        key, first = quoted(self._table.key[0]), self._number()
        more = f", {self._assignments()}" if self._chance.random() < 0.3 and self._table.plain else ""
        back = f"update {self._table.sql} set {key} = {key} - 1 where {key} > {first}"
        forth = f"update {self._table.sql} set {key} = {key} + 1{more} where {key} >= {first}"
        return [forth] if self._chance.random() < 0.7 else [forth, back]


_NUMBERS = ("smallint", "integer", "bigint")


def _names(row: dict[str, str]) -> str:
    return ", ".join(map(quoted, row))
