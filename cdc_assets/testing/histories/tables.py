"""
Statements that make tables of every kind.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from .changes import NUMBERS, Statements
from .features import Feature
from .kinds import KEY_KINDS, KINDS, ODD_KEY_KINDS, Features, Kind
from .names import Names, quoted
from .world import Column, EnumType, Identity, Reference, Relation, World

_SCHEMAS = ("public", "public", "public", "Other schema")


class Tables:
    def __init__(self, world: World, names: Names, chance: Random, features: Features) -> None:
        self._world, self._names, self._chance, self._features = world, names, chance, features

    def begin(self) -> Statements:
        """Schemas, types and the first tables."""
        statements = [f"create schema {quoted('Other schema')}"]
        for _ in range(2):
            labels = [self._names.label(word) for word in ("sad", "so-so", "happy")]
            enum = EnumType(self._chance.choice(_SCHEMAS), self._names.new(), labels)
            self._world.enums.append(enum)
            statements.append(f"create type {enum.type} as enum ({labelled(labels)})")
        for base, values in (("varchar(60)", ("a@b.example", "é@x")), ("numeric(12,2)", ("0.01", "-5"))):
            domain = quoted(self._chance.choice(_SCHEMAS), self._names.new())
            self._world.domains.append(Kind(domain, values))
            statements.append(f"create domain {domain} as {base}")
        for _ in range(self._chance.randint(2, 5)):
            statements += self.table()
        return statements

    def table(self, schema: str | None = None, name: str | None = None) -> Statements:
        """A new one, of any kind."""
        table = Relation(schema or self._chance.choice(_SCHEMAS), name or self._names.new(), [])
        kind = self._chance.choice(self._table_kinds())
        kind(table)
        for _ in range(self._chance.choice((0, 1, 2, 3, 4, 5, 8))):
            table.columns.append(self.column(table))
        self._chance.shuffle(table.columns)
        created = [f"create table {table.sql} ({self._body(table)}){_by_list(table)}"]
        created += [partition(table, name, value) for name, value in table.leaves.items()]
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
        parts = [defined(column) for column in table.columns]
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

    def column(self, table: Relation) -> Column:
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


def labelled(labels: list[str]) -> str:
    return ", ".join("'" + label.replace("'", "''") + "'" for label in labels)


def defined(column: Column) -> str:
    generated = f" generated always as ({column.generated}) stored" if column.generated else ""
    reference = ""
    if isinstance(column.kind, Reference):
        parent = column.kind.table
        reference = f" references {parent.sql} on delete cascade on update cascade"
    return f"{quoted(column.name)} {column.kind.type}{generated}{reference}"


def _by_list(table: Relation) -> str:
    return f" partition by list ({quoted(table.key[0])})" if table.leaves else ""


def partition(root: Relation, leaf: str, value: int) -> str:
    name = quoted(root.schema, leaf)
    return f"create table {name} partition of {root.sql} for values in ({value})"
