"""
What the source says about a table: its name, its columns, what identifies a row; and the
evidence by which a later look tells what was done to it in between.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from functools import cached_property
from typing import Any, NamedTuple

import pyarrow as pa

from . import arrow

_PLAIN = re.compile(r"[a-z_][a-z0-9_$]*\Z")


class TableName(NamedTuple):
    schema: str
    name: str

    def __str__(self) -> str:
        """As it is written in SQL: quoted only where it has to be.

        >>> str(TableName("public", "orders")), str(TableName("public", "Order lines"))
        ('public.orders', 'public."Order lines"')
        """
        return f"{_quoted(self.schema)}.{_quoted(self.name)}"


def _quoted(identifier: str) -> str:
    if _PLAIN.match(identifier):
        return identifier
    doubled = identifier.replace('"', '""')
    return f'"{doubled}"'


class ReplicaIdentity(Enum):
    """What PostgreSQL writes to the log to identify an updated or deleted row.

    https://www.postgresql.org/docs/current/sql-altertable.html#SQL-ALTERTABLE-REPLICA-IDENTITY
    """

    DEFAULT = "d"
    NOTHING = "n"
    FULL = "f"
    INDEX = "i"


class Generated(NamedTuple):
    """How a value follows from others of its row, for a column that the log leaves out.

    https://www.postgresql.org/docs/current/ddl-generated-columns.html
    """

    expression: str
    """SQL, as PostgreSQL writes it."""
    inputs: tuple[tuple[str, int], ...]
    """The columns in it: the names it has for them, and their attribute numbers."""

    @classmethod
    def of(cls, expression: str, inputs: list[list[Any]]) -> Generated:
        """From what JSON makes of one."""
        return cls(expression, tuple((name, number) for name, number in inputs))


class Missing(NamedTuple):
    """The value of rows that are older than the column."""

    text: str
    """As PostgreSQL writes it; empty if only a hash of it is carried."""
    value: pa.Array
    """As a batch carries it; alone in an array."""


@dataclass(frozen=True)
class Column:
    name: str
    oid: int
    """The type's OID, as the log names it: a domain's own, not its base type's."""
    typmod: int
    type: str
    """The type as PostgreSQL writes it: numeric(10,2)."""
    base: int
    """The OID of the type underneath, which says how values are written; `oid` but for a domain."""
    arrow: pa.DataType
    """What a batch carries it as."""
    nullable: bool = field(default=True, compare=False)
    """As far as the catalog was asked; the log does not say."""
    number: int = 0
    """The attribute number: a column's own for as long as the table exists, whatever its name.
    0 where it is not known."""
    missing: Missing | None = field(default=None, compare=False)
    """None for null."""
    hashed: bool = False
    """Whether a hash of the values is carried in their place."""
    as_text: bool = False
    """Whether they are carried as PostgreSQL's text, because the type's own form could not hold one."""
    generated: Generated | None = None
    """What the values are computed by; None where they are sent."""

    def kept_as_text(self) -> Column:
        if self.hashed:
            return self
        missing = self.missing and Missing(self.missing.text, pa.array([self.missing.text], pa.string_view()))
        return replace(self, arrow=pa.string_view(), as_text=True, missing=missing)


class TextColumn(NamedTuple):
    """A column that is kept as text for as long as it is of the same type."""

    table: int
    """OID."""
    number: int
    type: int
    """OID."""


class File(NamedTuple):
    """Where a table, or one of its partitions, has its rows."""

    oid: int
    filenode: int
    """Another after everything that writes the table anew; 0 for a partition that was not looked at
    yet, of which the log speaks."""
    attached: bool = False
    """The partition was a table before it was one, and may have brought rows along."""


@dataclass(frozen=True)
class Evidence:
    """What a look at the catalog found beside the definition."""

    highest: int = 0
    """The highest attribute number ever given to a column, dropped ones included."""
    versions: Mapping[int, int] = field(default_factory=dict)
    """By attribute number: the transaction that last touched the column's definition."""
    files: tuple[File, ...] = ()
    """One, or one for each leaf of a partitioned table."""
    labels: Mapping[int, str] = field(default_factory=dict)
    """By OID: the labels of the enums that values are written with."""
    circumstances: Mapping[str, str] = field(default_factory=dict)
    """What else decides which rows there are and how they are written: row filter, composite types; and
    since when changes to them are in the log: the entry in the publication."""

    def shows_rewrite_since(self, earlier: Evidence) -> bool:
        """Whether rows that were there earlier were written anew, or are there no more."""
        now = {file.oid: file.filenode for file in self.files}
        return any(now.get(file.oid) != file.filenode for file in earlier.files if file.filenode)

    def of_the_catalog(self) -> Evidence:
        """Without what only the log spoke of."""
        return replace(self, files=tuple(file for file in self.files if file.filenode))

    def speaking_of(self, partitions: Iterable[int]) -> Evidence:
        """With partitions, by OID, that the log speaks of, and no look at the catalog may ever find."""
        new = set(partitions).difference(file.oid for file in self.files)
        return replace(self, files=(*self.files, *(File(oid, 0) for oid in sorted(new)))) if new else self

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Evidence:
        """What `asdict` made, after a way through JSON, where keys are text."""
        return cls(
            highest=found["highest"],
            versions={int(number): version for number, version in found["versions"].items()},
            files=tuple(File(*file) for file in found["files"]),
            labels={int(oid): label for oid, label in found["labels"].items()},
            circumstances=found["circumstances"],
        )


@dataclass(frozen=True)
class Table:
    """One definition of a table. Two that are equal hold their rows in the same form."""

    oid: int
    name: TableName
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    """The columns that identify a row in the log, in the order of `columns`. Where there are none, and
    the replica identity is FULL, all that it holds does; and there may be several equal rows."""
    identity: ReplicaIdentity = field(default=ReplicaIdentity.DEFAULT, compare=False)
    evidence: Evidence = field(default=Evidence(), compare=False)
    """Of the last look before, where the definition comes from the log."""
    doubt: str | None = field(default=None, compare=False)
    """Why it cannot be told how the definition before became this one."""
    rewritten: bool = field(default=False, compare=False)
    """The table was, or may have been, written anew since that look."""
    skipped: tuple[int, ...] = ()
    """Which cells of a row in the log, from 0, are stepped over: those of columns that are left out."""

    @cached_property
    def sent(self) -> tuple[Column, ...]:
        """The columns whose values the log has."""
        return tuple(column for column in self.columns if column.generated is None)

    @cached_property
    def schema(self) -> pa.Schema:
        return pa.schema([(column.name, column.arrow) for column in self.columns])

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @cached_property
    def as_text(self) -> frozenset[TextColumn]:
        """The columns that are kept as text."""
        return frozenset(TextColumn(self.oid, c.number, c.oid) for c in self.columns if c.as_text)

    def speaking_of(self, partitions: Iterable[int]) -> Table:
        evidence = self.evidence.speaking_of(partitions)
        return self if evidence is self.evidence else replace(self, evidence=evidence)

    def hearing(self, table: Table) -> Table:
        """With what the log has said, in the definition that came with some changes, of partitions."""
        if table.oid != self.oid:
            return self
        return self.speaking_of(file.oid for file in table.evidence.files if not file.filenode)

    def keeping_as_text(self, wanted: Set[TextColumn]) -> Table:
        """With those of the columns `wanted` that it has carried as PostgreSQL's text."""
        if wanted.isdisjoint(TextColumn(self.oid, c.number, c.oid) for c in self.columns):
            return self
        columns = (
            c.kept_as_text() if TextColumn(self.oid, c.number, c.oid) in wanted else c for c in self.columns
        )
        return replace(self, columns=tuple(columns))

    def to_json(self) -> str:
        """The definition as text, for a sink to keep."""
        return json.dumps(
            {
                "oid": self.oid,
                "name": self.name,
                "columns": [
                    vars(column) | {"arrow": str(column.arrow), "missing": None} for column in self.columns
                ],
                "key": self.key,
                "identity": self.identity.value,
                "evidence": asdict(self.evidence),
                "skipped": self.skipped,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Table:
        found = json.loads(text)
        columns = (
            Column(
                **column
                | {
                    "arrow": arrow.type_named(column["arrow"]),
                    "generated": column["generated"] and Generated.of(*column["generated"]),
                }
            )
            for column in found["columns"]
        )
        return cls(
            found["oid"],
            TableName(*found["name"]),
            tuple(columns),
            tuple(found["key"]),
            ReplicaIdentity(found["identity"]),
            Evidence.of(found["evidence"]),
            skipped=tuple(found["skipped"]),
        )
