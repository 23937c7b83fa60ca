"""
Definitions of tables, from what the catalog says of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from types import MappingProxyType

import pyarrow as pa

from ..errors import UnfaithfulValue, UnusableTable
from ..model import Column, Evidence, Generated, Missing, ReplicaIdentity, Table, TableName
from ..pgoutput.cells import Cells
from ..pgoutput.messages import Relation, RelationColumn
from ..pgoutput.types import arrow_type, from_text
from .entries import CatalogColumn, CatalogEntry
from .publication import Published, sends_generated_columns
from .session import Connection
from .treatment import AS_IT_IS, Treatment
from .usertypes import UserTypes


class Catalog:
    """Reads definitions through one connection, all as of one look at types and publication."""

    def __init__(
        self,
        connection: Connection,
        published: Mapping[TableName, Published],
        treatments: Mapping[TableName, Treatment] = MappingProxyType({}),
    ) -> None:
        self._connection, self.published, self._treatments = connection, published, treatments

    @cached_property
    def _types(self) -> UserTypes:
        return UserTypes(self._connection)

    def table(self, relation: CatalogEntry) -> Table:
        """The definition of a relation: of its columns, those that the publication sends, or would, and
        that are not left out."""
        if obstacle := relation.obstacle():
            raise UnusableTable(
                f"table {relation.table_name} cannot be mirrored: {obstacle}",
                hint=relation.remedy(),
            )
        treatment = self.treatment(relation)
        relation.refuse(treatment)
        sent, key = self.sent(relation), set(relation.key())
        if not sent:
            raise UnusableTable(
                f"table {relation.table_name} cannot be mirrored: it has no columns",
                hint=f'exclude it: add "-{relation.table_name}" to source.tables.',
            )
        if hidden := [c for c in relation.columns if c.number in key and c not in sent]:
            raise _not_sent(relation.table_name, hidden)
        carried = (*sent, *self.computed(relation))
        kept = [c for c in relation.columns if c in carried and c.name not in treatment.exclude]
        return Table(
            relation.oid,
            relation.table_name,
            tuple(self.catalog_column(relation, column, treatment) for column in kept),
            tuple(column.name for column in kept if column.number in key),
            ReplicaIdentity(relation.identity),
            self._evidence(relation, kept),
            skipped=places(sent, treatment.exclude),
        )

    def treatment(self, relation: CatalogEntry | Relation) -> Treatment:
        if isinstance(relation, Relation):
            return self._treatments.get(relation.name, AS_IT_IS)
        return relation.spread(self._treatments.get(relation.table_name, AS_IT_IS))

    def sent(self, relation: CatalogEntry) -> list[CatalogColumn]:
        """The columns whose values are in the log, or would be."""
        published = self.published.get(relation.table_name)
        if published is None or published.columns is None:
            return [column for column in relation.columns if self._would_be_sent(column)]
        return [column for column in relation.columns if column.name in published.columns]

    def _would_be_sent(self, column: CatalogColumn) -> bool:
        if not column.generated:
            return True
        return column.generated.is_stored and sends_generated_columns(self._connection)

    def computed(self, relation: CatalogEntry) -> list[CatalogColumn]:
        """The generated columns whose values are not, and follow from what is."""
        published = self.published.get(relation.table_name)
        if published and published.chosen:
            return []
        sent = self.sent(relation)
        numbers = {column.number for column in sent}
        return [
            column
            for column in relation.columns
            if column.generated and column not in sent and numbers.issuperset(column.generated.inputs)
        ]

    def _evidence(self, relation: CatalogEntry, kept: Sequence[CatalogColumn]) -> Evidence:
        published = self.published.get(relation.table_name)
        oids = [column.oid for column in kept]
        return Evidence(
            highest=relation.highest,
            versions={column.number: column.version for column in kept},
            files=tuple(relation.files),
            labels=self._types.labels(oids),
            circumstances={
                "row filter": (published and published.row_filter) or "",
                **({"entry in the publication": published.entry} if published else {}),
                **self._types.composites(oids),
                **{f"expression of {c.name}": c.generated.tree for c in kept if c.generated},
            },
        )

    def format_types(self, types: Sequence[tuple[int, int]]) -> list[str]:
        if not types:
            return []
        query = "select format_type(o, m) from unnest(%s::oid[], %s::int[]) as t(o, m)"
        oids, typmods = zip(*types, strict=True)
        return [row[0] for row in self._connection.execute(query, [[*oids], [*typmods]])]

    def column(
        self,
        said: CatalogColumn | RelationColumn,
        type_: str,
        treatment: Treatment,
        now: CatalogColumn | None,
        number: int,
    ) -> Column:
        """A column as the catalog or the log has it, and what the catalog knows of the attribute it is."""
        base, base_typmod = self._types.base(said.oid, said.typmod)
        column = Column(
            said.name,
            said.oid,
            said.typmod,
            type_,
            base,
            arrow_type(base, base_typmod),
            nullable=now.nullable if now else True,
            number=number,
        )
        column = treatment.of(column)
        if now is None or now.missing is None or now.oid != said.oid:
            return column
        return _with_missing(column, now.missing)

    def catalog_column(self, relation: CatalogEntry, found: CatalogColumn, treatment: Treatment) -> Column:
        column = self.column(found, found.type, treatment, found, found.number)
        if not found.generated or found in self.sent(relation):
            return column
        names = {other.number: other.name for other in relation.columns}
        inputs = tuple((names[number], number) for number in found.generated.inputs)
        return replace(column, generated=Generated(found.generated.expression, inputs))


def _with_missing(column: Column, text: str) -> Column:
    """It is text from the start, if the value is one that its type here cannot hold."""
    try:
        value = from_text(column, Cells.of(pa.array([text], pa.large_string())), _NOT_SAID)
    except UnfaithfulValue:
        return _with_missing(column.kept_as_text(), text)
    return replace(column, missing=Missing("" if column.hashed else text, value))


_NOT_SAID = TableName("", "")


def places(columns: Sequence[CatalogColumn | RelationColumn], names: Collection[str]) -> tuple[int, ...]:
    return tuple(place for place, column in enumerate(columns) if column.name in names)


def _not_sent(table: TableName, columns: Sequence[CatalogColumn]) -> UnusableTable:
    """What is wrong with a key."""
    names = ", ".join(column.name for column in columns)
    if any(column.generated for column in columns):
        return UnusableTable(
            f"table {table} cannot be mirrored: {names} of its key is generated, and not in the log",
            hint=f"name its rows by other columns:  ALTER TABLE {table} REPLICA IDENTITY USING INDEX ...;",
        )
    return UnusableTable(
        f"table {table} cannot be mirrored: the publication leaves out {names}, which its key needs",
        hint="add the column to the publication's column list.",
    )
