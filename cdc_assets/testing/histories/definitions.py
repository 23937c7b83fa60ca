"""
Statements that define tables, and change their definitions, by the feature they are for.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from random import Random

from .changes import NUMBERS, Changes, Statements
from .features import Feature
from .kinds import KEY_KINDS, KINDS, ODD_KEY_KINDS, Features, Kind
from .names import Names, literal, quoted
from .world import Column, EnumType, Identity, Reference, Relation, World

_SCHEMAS = ("public", "public", "public", "Other schema")
_MOST_TABLES = 7


@dataclass(frozen=True)
class Definition:
    """What is to be run to change a definition."""

    statements: Statements
    alone: bool = False
    """It cannot be in a transaction with others, or what it makes could not be used there."""


class Definitions:
    def __init__(self, world: World, names: Names, chance: Random, features: Features) -> None:
        self._world, self._names, self._chance, self._features = world, names, chance, features

    def begin(self) -> Statements:
        """Schemas, types and the first tables."""
        statements = [f"create schema {quoted('Other schema')}"]
        for _ in range(2):
            labels = [self._names.label(word) for word in ("sad", "so-so", "happy")]
            enum = EnumType(self._chance.choice(_SCHEMAS), self._names.new(), labels)
            self._world.enums.append(enum)
            statements.append(f"create type {enum.type} as enum ({_list(labels)})")
        for base, values in (("varchar(60)", ("a@b.example", "é@x")), ("numeric(12,2)", ("0.01", "-5"))):
            domain = quoted(self._chance.choice(_SCHEMAS), self._names.new())
            self._world.domains.append(Kind(domain, values))
            statements.append(f"create domain {domain} as {base}")
        for _ in range(self._chance.randint(2, 5)):
            statements += self.table()
        return statements

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

    # Tables

    def table(self, schema: str | None = None, name: str | None = None) -> Statements:
        """A new one, of any kind."""
        table = Relation(schema or self._chance.choice(_SCHEMAS), name or self._names.new(), [])
        kind = self._chance.choice(self._table_kinds())
        kind(table)
        for _ in range(self._chance.choice((0, 1, 2, 3, 4, 5, 8))):
            table.columns.append(self._column(table))
        self._chance.shuffle(table.columns)
        created = [f"create table {table.sql} ({self._body(table)}){_partitioned(table)}"]
        created += [_leaf(table, leaf, value) for leaf, value in table.leaves.items()]
        created += self._identified(table)
        created += [
            f"alter table {table.sql} alter {quoted(column.name)} set storage external"
            for column in table.columns
            if column.external
        ]
        self._world.tables.append(table)
        return created

    def _table_kinds(self) -> list[Callable[[Relation], None]]:
        kinds: list[Callable[[Relation], None]] = [self._keyed] * 3
        optional = {
            Feature.PARTITIONS: self._partitioned,
            Feature.DEFERRABLE_KEYS: self._deferrable,
            Feature.FOREIGN_KEYS: self._referring,
            Feature.KEYLESS_TABLES: self._keyless,
            Feature.BYSTANDERS: self._bystander,
        }
        return kinds + [kind for feature, kind in optional.items() if feature in self._features]

    def _keyed(self, table: Relation) -> None:
        table.columns += self._key_columns()
        table.key, table.key_name = [column.name for column in table.columns], self._names.new()
        identity = self._chance.random()
        if identity < 0.25:
            table.identity = Identity.FULL
        elif identity < 0.45:
            unique = self._key_columns()
            table.columns += unique
            table.unique, table.identity = [column.name for column in unique], Identity.INDEX
            if self._chance.random() < 0.3:
                table.key, table.key_name = [], ""

    def _deferrable(self, table: Relation) -> None:
        type_ = self._chance.choice(("integer", "bigint", "integer", "text"))
        column = Column(self._names.new(), Kind(type_, ("1", "2")), identifies=True)
        table.columns.append(column)
        table.key, table.key_name, table.deferrable = [column.name], self._names.new(), True
        table.identity = Identity.FULL

    def _partitioned(self, table: Relation) -> None:
        part, number = (
            Column(self._names.new(), Kind("integer", ("1", "2")), identifies=True),
            self._key_column(),
        )
        table.columns += [part, number]
        table.key, table.key_name = [part.name, number.name], self._names.new()
        table.leaves = {self._names.new(): value for value in range(self._chance.randint(1, 3))}

    def _referring(self, table: Relation) -> None:
        self._keyed(table)
        parents = [
            parent
            for parent in self._world.tables
            if len(parent.key) == 1 and not parent.deferrable and not parent.leaves
        ]
        if parents:
            parent = self._chance.choice(parents)
            parent.is_referenced = True
            table.columns.append(Column(self._names.new(), Reference(parent, NUMBERS)))

    def _keyless(self, table: Relation) -> None:
        table.columns += self._key_columns()
        table.identity = Identity.FULL

    def _bystander(self, table: Relation) -> None:
        """Without a usable key, or unlogged."""
        table.columns += self._key_columns()
        table.identity = self._chance.choice((Identity.DEFAULT, Identity.NOTHING))

    def _key_columns(self) -> list[Column]:
        return [self._key_column() for _ in range(self._chance.choice((1, 1, 1, 2, 3)))]

    def _key_column(self) -> Column:
        odd = ODD_KEY_KINDS if Feature.EQUAL_KEYS in self._features else ()
        if self._chance.random() < 0.1:
            return Column(self._names.new(), self._chance.choice(self._world.enums), identifies=True)
        type_, value = self._chance.choice([*KEY_KINDS, *odd])
        if self._chance.random() < 0.1:
            type_, value = self._world.domains[0].type, lambda n: f"domain {n}"
        return Column(self._names.new(), Kind(type_, (value(1), value(2))), identifies=True, key_value=value)

    def _body(self, table: Relation) -> str:
        parts = [_defined(column) for column in table.columns]
        if table.key:
            deferrable = " deferrable initially immediate" if table.deferrable else ""
            key = ", ".join(map(quoted, table.key))
            parts.append(f"constraint {quoted(table.key_name)} primary key ({key}){deferrable}")
        return ", ".join(parts)

    def _identified(self, table: Relation) -> Statements:
        if table.identity is Identity.DEFAULT:
            return []
        if table.identity is not Identity.INDEX:
            return [f"alter table {table.sql} replica identity {table.identity.value}"]
        index = self._names.new()
        columns = ", ".join(map(quoted, table.unique))
        required = ", ".join(f"alter {quoted(name)} set not null" for name in table.unique)
        return [
            f"alter table {table.sql} {required}",
            f"create unique index {quoted(index)} on {table.sql} ({columns})",
            f"alter table {table.sql} replica identity using index {quoted(index)}",
        ]

    # Columns

    def _column(self, table: Relation) -> Column:
        name = self._names.new()
        if Feature.GENERATED_COLUMNS in self._features and self._chance.random() < 0.1:
            return self._generated(name, table)
        chosen = self._chance.random()
        if chosen < 0.08:
            return Column(name, self._chance.choice(self._world.enums))
        if chosen < 0.14:
            return Column(name, self._chance.choice(self._world.domains))
        kind = self._chance.choice(KINDS)
        return Column(name, kind, external=bool(kind.large) and self._chance.random() < 0.6)

    def _generated(self, name: str, table: Relation) -> Column:
        texts = [c for c in table.plain if isinstance(c.kind, Kind) and c.kind.type == "text"]
        numbers = [c for c in table.columns if c.identifies and c.kind.type in ("integer", "bigint")]
        if texts and self._chance.random() < 0.6:
            inputs = self._chance.sample(texts, min(len(texts), self._chance.choice((1, 1, 1, 2))))
            parts = " || ".join(f"coalesce(left({quoted(column.name)}, 5), 'none')" for column in inputs)
            return Column(name, Kind("text", ()), generated=parts, inputs=inputs)
        if numbers:
            expression = f"({quoted(numbers[0].name)} % 7)::integer"
            return Column(name, Kind("integer", ()), generated=expression)
        return Column(name, Kind("jsonb", ()), generated="'{}'::jsonb")

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
        column = self._column(table)
        table.columns.append(column)
        return self._altered(table, f"add {_defined(column)}")

    def _add_column_constant(self) -> Definition:
        table, kind = self._any_table(), self._chance.choice(KINDS)
        column = Column(self._names.new(), kind)
        table.columns.append(column)
        value = literal(self._chance.choice(kind.usual), kind.type)
        return self._altered(table, f"add {_defined(column)} default {value}")

    def _add_column_volatile(self) -> Definition:
        table = self._any_table()
        type_, value = self._chance.choice(_VOLATILE)
        column = Column(self._names.new(), next(kind for kind in KINDS if kind.type == type_))
        table.columns.append(column)
        return self._altered(table, f"add {_defined(column)} default {value}")

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
        return self._altered(table, f"drop {name}, add {_defined(column)} default {value}")

    # Whole tables

    def _new_table(self) -> Definition | None:
        if len(self._world.tables) >= _MOST_TABLES:
            return None
        statements = self.table()
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
        statements = [f"drop table {table.sql}", *self.table(table.schema, table.name)]
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
            [f"alter type {enum.type} add value {_list([label])} {where} {_list([beside])}"], alone=True
        )

    def _rename_enum_value(self) -> Definition:
        enum = self._chance.choice(self._world.enums)
        old, new = self._chance.choice(enum.labels), self._names.label("renamed")
        enum.labels[enum.labels.index(old)] = new
        return Definition([f"alter type {enum.type} rename value {_list([old])} to {_list([new])}"])

    # Partitions

    def _root(self, least: int = 0) -> Relation | None:
        roots = [table for table in self._world.tables if len(table.leaves) > least]
        return self._chance.choice(roots) if roots else None

    def _create_partition(self) -> Definition | None:
        if not (root := self._root()):
            return None
        leaf, value = self._new_leaf(root)
        return Definition([_leaf(root, leaf, value)])

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


def _list(labels: list[str]) -> str:
    return ", ".join("'" + label.replace("'", "''") + "'" for label in labels)


def _defined(column: Column) -> str:
    generated = f" generated always as ({column.generated}) stored" if column.generated else ""
    reference = ""
    if isinstance(column.kind, Reference):
        parent = column.kind.table
        reference = f" references {parent.sql} on delete cascade on update cascade"
    return f"{quoted(column.name)} {column.kind.type}{generated}{reference}"


def _partitioned(table: Relation) -> str:
    return f" partition by list ({quoted(table.key[0])})" if table.leaves else ""


def _leaf(root: Relation, leaf: str, value: int) -> str:
    name = quoted(root.schema, leaf)
    return f"create table {name} partition of {root.sql} for values in ({value})"
