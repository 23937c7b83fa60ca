"""
What the source says about a table: its name, its columns, what identifies a row.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import NamedTuple

import pyarrow as pa

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


@dataclass(frozen=True)
class Table:
    """One definition of a table. Two that are equal hold their rows in the same form."""

    oid: int
    name: TableName
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    """The columns that identify a row in the log, in the order of `columns`."""
    identity: ReplicaIdentity = field(default=ReplicaIdentity.DEFAULT, compare=False)

    @cached_property
    def schema(self) -> pa.Schema:
        return pa.schema([(column.name, column.arrow) for column in self.columns])

    def to_json(self) -> str:
        """The definition as text: equal texts for equal definitions, so a sink can keep and compare it."""
        return json.dumps(
            {
                "oid": self.oid,
                "name": [*self.name],
                "columns": [[c.name, c.oid, c.typmod, c.type, str(c.arrow)] for c in self.columns],
                "key": [*self.key],
            }
        )
