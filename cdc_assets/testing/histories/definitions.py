"""
Statements that change definitions, by the feature they are for.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from random import Random

from .changes import Changes, Statements
from .features import Feature
from .kinds import KINDS, Features, Kind
from .names import Names, literal, quoted
from .tables import Tables, defined, labelled, partition
from .world import Column, Identity, Reference, Relation, World

_MOST_TABLES = 7


@dataclass(frozen=True)
class Definition:
    """What is to be run to change a definition."""

    statements: Statements
    alone: bool = False
    """It cannot be in a transaction with others, or what it makes could not be used there."""


class Definitions:
    def __init__(
        self, tables: Tables, world: World, names: Names, chance: Random, features: Features
    ) -> None:
        self._world, self._names, self._chance, self._features = world, names, chance, features
        self._tables = tables

    def any(self) -> Definition | None:
        """One of the changes that are wanted, if it can be made now."""
        makers = [make for feature, make in self._makers().items() if feature in self._features]
        for make in self._chance.sample(makers, len(makers)):
            if made := make():
                return made
        return None

    def _makers(self) -> Mapping[Feature, Callable[[], Definition | None]]:
        return {
            Feature.ADD_COLUMN: self._add_column,
            Feature.ADD_COLUMN_CONSTANT: self._add_column_constant,
            Feature.ADD_COLUMN_VOLATILE: self._add_column_volatile,
            Feature.DROP_COLUMN: self._drop_column,
            Feature.RENAME_COLUMN: self._rename_column,
            Feature.WIDEN_TYPE: self._widen_type,
            Feature.REWRITE_TYPE: self._rewrite_type,
            Feature.REPLACE_COLUMN: self._replace_column,
            Feature.NEW_TABLE: self._new_table,
            Feature.DROP_TABLE: self._drop_table,
            Feature.RECREATE_TABLE: self._recreate_table,
            Feature.RENAME_TABLE: self._rename_table,
            Feature.SWAP_TABLES: self._swap_tables,
            Feature.CHANGE_KEY: self._change_key,
            Feature.CHANGE_IDENTITY: self._change_identity,
            Feature.ADD_ENUM_VALUE: self._add_enum_value,
            Feature.RENAME_ENUM_VALUE: self._rename_enum_value,
            Feature.CREATE_PARTITION: self._create_partition,
            Feature.ATTACH_PARTITION: self._attach_partition,
            Feature.DETACH_PARTITION: self._detach_partition,
            Feature.DROP_PARTITION: self._drop_partition,
            Feature.TRUNCATE_PARTITION: self._truncate_partition,
            Feature.REWRITE_TABLE: self._rewrite_table,
        }

    def _altered(self, table: Relation, action: str, *, more: Statements | None = None) -> Definition:
        return Definition([f"alter table {table.sql} {action}", *(more or [])])

    def _any_table(self) -> Relation:
        return self._chance.choice(self._world.tables)

    def _any_free(self) -> tuple[Relation, Column] | None:
        """A column that nothing depends on, and its table."""
        there = [(table, column) for table in self._world.tables for column in table.free]
        return self._chance.choice(there) if there else None

    def _add_column(self) -> Definition:
        table = self._any_table()
        column = self._tables.column(table)
        table.columns.append(column)
        return self._altered(table, f"add {defined(column)}")

    def _add_column_constant(self) -> Definition:
        table, kind = self._any_table(), self._chance.choice(KINDS)
        column = Column(self._names.new(), kind)
        table.columns.append(column)
        value = literal(self._chance.choice(kind.usual), kind.type)
        return self._altered(table, f"add {defined(column)} default {value}")

    def _add_column_volatile(self) -> Definition:
        table = self._any_table()
        type_, value = self._chance.choice(_VOLATILE)
        column = Column(self._names.new(), next(kind for kind in KINDS if kind.type == type_))
        table.columns.append(column)
        return self._altered(table, f"add {defined(column)} default {value}")

    def _drop_column(self) -> Definition | None:
        if not (found := self._any_free()):
            return None
        table, column = found
        table.columns.remove(column)
        return self._altered(table, f"drop {quoted(column.name)}")

    def _rename_column(self) -> Definition:
        table = self._any_table()
        column = self._chance.choice(table.columns)
        old, new = column.name, self._names.new()
        column.name = new
        table.key = [new if name == old else name for name in table.key]
        table.unique = [new if name == old else name for name in table.unique]
        return self._altered(table, f"rename {quoted(old)} to {quoted(new)}")

    def _retyped(self, types: Mapping[str, tuple[tuple[str, str], ...]]) -> Definition | None:
        there = [(t, c) for t in self._world.tables for c in t.free]
        there = [(t, c) for t, c in there if isinstance(c.kind, Kind) and c.kind.type in types]
        if not there:
            return None
        table, column = self._chance.choice(there)
        name = quoted(column.name)
        type_, using = self._chance.choice(types[column.kind.type])
        column.kind = next(kind for kind in KINDS if kind.type == type_)
        using = f" using {using.format(name)}" if using else ""
        return self._altered(table, f"alter {name} drop default, alter {name} type {type_}{using}")

    def _widen_type(self) -> Definition | None:
        return self._retyped(_WIDER)

    def _rewrite_type(self) -> Definition | None:
        return self._retyped(_OTHER)

    def _replace_column(self) -> Definition | None:
        if not (found := self._any_free()):
            return None
        table, column = found
        if isinstance(column.kind, Reference):
            return None
        table.columns.remove(column)
        column.external = False
        table.columns.append(column)
        name = quoted(column.name)
        value = column.kind.value(self._chance, self._features) if self._chance.random() < 0.5 else "NULL"
        return self._altered(table, f"drop {name}, add {defined(column)} default {value}")

    # Whole tables

    def _new_table(self) -> Definition | None:
        if len(self._world.tables) >= _MOST_TABLES:
            return None
        statements = self._tables.table()
        table = self._world.tables[-1]
        for number in range(self._chance.choice((0, 5))):
            statements += Changes(table, self._chance, self._features).insert(number)
        return Definition(statements)

    def _droppable(self) -> Relation | None:
        free = [table for table in self._world.tables if not table.is_referenced]
        return self._chance.choice(free) if len(free) > 1 else None

    def _drop_table(self) -> Definition | None:
        if len(self._world.tables) < 3 or not (table := self._droppable()):
            return None
        self._world.tables.remove(table)
        return Definition([f"drop table {table.sql}"])

    def _recreate_table(self) -> Definition | None:
        if not (table := self._droppable()):
            return None
        self._world.tables.remove(table)
        statements = [f"drop table {table.sql}", *self._tables.table(table.schema, table.name)]
        again = self._world.tables[-1]
        for number in range(self._chance.choice((0, 3))):
            statements += Changes(again, self._chance, self._features).insert(number)
        return Definition(statements)

    def _rename_table(self) -> Definition | None:
        renamable = self._renamable()
        return self._renamed(self._chance.choice(renamable), self._names.new()) if renamable else None

    def _renamable(self) -> list[Relation]:
        partitioned = Feature.RENAME_PARTITIONED in self._features
        return [table for table in self._world.tables if partitioned or not table.leaves]

    def _renamed(self, table: Relation, new: str) -> Definition:
        old = table.sql
        table.name = new
        return Definition([f"alter table {old} rename to {quoted(new)}"])

    def _swap_tables(self) -> Definition | None:
        pairs = [
            (table, other)
            for table, other in combinations(self._renamable(), 2)
            if table.schema == other.schema
        ]
        if not pairs:
            return None
        table, other = self._chance.choice(pairs)
        one, two = table.name, other.name
        third = self._names.new()
        statements = [
            statement
            for which, name in ((table, third), (other, one), (table, two))
            for statement in self._renamed(which, name).statements
        ]
        return Definition(statements)

    def _change_key(self) -> Definition | None:
        """To a column that is new, beside those that were the key or instead of them."""
        tables = [t for t in self._world.tables if t.key_name and not t.is_referenced and not t.leaves]
        if not tables:
            return None
        table = self._chance.choice(tables)
        old, table.key_name = table.key_name, self._names.new()
        statements = [f"alter table {table.sql} drop constraint {quoted(old)}"]
        if self._chance.random() < 0.5:
            nullable = ", ".join(f"alter {quoted(name)} drop not null" for name in table.key)
            statements.append(f"alter table {table.sql} {nullable}")
            for name in table.key:
                table.column(name).identifies = False
            table.key = []
        number = Column(self._names.new(), Kind("integer", ("1", "2")), identifies=True)
        table.columns.append(number)
        table.key = [*table.key, number.name]
        key, deferrable = ", ".join(map(quoted, table.key)), " deferrable" if table.deferrable else ""
        statements.append(
            f"alter table {table.sql} add {quoted(number.name)} serial, "
            f"add constraint {quoted(table.key_name)} primary key ({key}){deferrable}"
        )
        return Definition(statements)

    def _change_identity(self) -> Definition | None:
        tables = [
            table
            for table in self._world.tables
            if table.key and not table.deferrable and table.identity in (Identity.DEFAULT, Identity.FULL)
        ]
        if not tables:
            return None
        table = self._chance.choice(tables)
        changed = {Identity.DEFAULT: Identity.FULL, Identity.FULL: Identity.DEFAULT}
        table.identity = changed[table.identity]
        return self._altered(table, f"replica identity {table.identity.value}")

    def _rewrite_table(self) -> Definition | None:
        table = self._any_table()
        return Definition([f"vacuum full {table.sql}"], alone=True)

    # Enums

    def _add_enum_value(self) -> Definition:
        enum = self._chance.choice(self._world.enums)
        label, beside = self._names.label("new"), self._chance.choice(enum.labels)
        where = self._chance.choice(("before", "after"))
        enum.labels.append(label)
        return Definition(
            [f"alter type {enum.type} add value {labelled([label])} {where} {labelled([beside])}"], alone=True
        )

    def _rename_enum_value(self) -> Definition:
        enum = self._chance.choice(self._world.enums)
        old, new = self._chance.choice(enum.labels), self._names.label("renamed")
        enum.labels[enum.labels.index(old)] = new
        return Definition([f"alter type {enum.type} rename value {labelled([old])} to {labelled([new])}"])

    # Partitions

    def _root(self, least: int = 0) -> Relation | None:
        roots = [table for table in self._world.tables if len(table.leaves) > least]
        return self._chance.choice(roots) if roots else None

    def _create_partition(self) -> Definition | None:
        if not (root := self._root()):
            return None
        leaf, value = self._new_leaf(root)
        return Definition([partition(root, leaf, value)])

    def _new_leaf(self, root: Relation) -> tuple[str, int]:
        leaf, value = self._names.new(), max(root.leaves.values()) + 1
        root.leaves[leaf] = value
        return leaf, value

    def _attach_partition(self) -> Definition | None:
        """With rows in it."""
        if not (root := self._root()):
            return None
        leaf, value = self._new_leaf(root)
        name = quoted(root.schema, leaf)
        part, number = (root.column(column) for column in root.key)
        rows = ", ".join(f"({value}, {number.of(n)})" for n in range(self._chance.randint(1, 6)))
        return Definition(
            [
                f"create table {name} (like {root.sql} including all)",
                f"insert into {name} ({quoted(part.name)}, {quoted(number.name)}) values {rows} "
                "on conflict do nothing",
                f"alter table {root.sql} attach partition {name} for values in ({value})",
            ]
        )

    def _detach_partition(self) -> Definition | None:
        """It becomes a table like any other."""
        if len(self._world.tables) >= _MOST_TABLES or not (root := self._root(1)):
            return None
        leaf = self._chance.choice(list(root.leaves))
        value = root.leaves.pop(leaf)
        columns = copy.deepcopy(root.columns)
        alone = Relation(root.schema, leaf, columns, list(root.key), leaves={}, deferrable=False)
        alone.column(alone.key[0]).key_value = lambda number: str(value + number)
        self._world.tables.append(alone)
        return Definition([f"alter table {root.sql} detach partition {alone.sql}"])

    def _drop_partition(self) -> Definition | None:
        if not (root := self._root(1)):
            return None
        leaf = self._chance.choice(list(root.leaves))
        del root.leaves[leaf]
        return Definition([f"drop table {quoted(root.schema, leaf)}"])

    def _truncate_partition(self) -> Definition | None:
        if not (root := self._root()):
            return None
        return Definition([f"truncate {quoted(root.schema, self._chance.choice(list(root.leaves)))}"])


_VOLATILE = (
    ("uuid", "gen_random_uuid()"),
    ("double precision", "random()"),
    ("timestamptz", "clock_timestamp()"),
    ("text", "md5(random()::text)"),
)
_WIDER = {
    "smallint": (("integer", ""), ("bigint", "")),
    "integer": (("bigint", ""),),
    "real": (("double precision", ""),),
    "varchar(20)": (("varchar(8000)", ""), ("text", "")),
    "varchar(8000)": (("text", ""),),
    "numeric(10,2)": (("numeric", ""), ("numeric(38,10)", "")),
}
_OTHER = {
    "smallint": (("text", "'number ' || {0}"),),
    "integer": (("text", "{0}::text"), ("boolean", "{0} > 0")),
    "bigint": (("numeric", "{0} / 7.0"), ("smallint", "({0} % 1000)::smallint")),
    "text": (
        ("integer", "length({0})"),
        ("varchar(20)", "left({0}, 20)"),
        ("bytea", "convert_to({0}, 'UTF8')"),
    ),
    "boolean": (("integer", "{0}::integer"), ("text", "{0}::text")),
    "jsonb": (("text", "{0}::text"), ("json", "{0}::text::json")),
    "json": (("jsonb", "{0}::jsonb"),),
    "int[]": (("text", "{0}::text"), ("integer", "cardinality({0})")),
    "uuid": (("text", "{0}::text"),),
    "date": (("text", "{0}::text"),),
    "double precision": (("text", "{0}::text"),),
}
