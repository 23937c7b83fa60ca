"""
Definitions of tables, from what the catalog says of them, and from what the log and the catalog say.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from types import MappingProxyType

import pyarrow as pa

from ..errors import UnusableTable
from ..model import Column, Evidence, ReplicaIdentity, Table, TableName
from ..pgoutput.cells import Cells
from ..pgoutput.messages import Relation, RelationColumn
from ..pgoutput.types import arrow_type, from_text
from .alignment import aligned
from .entries import CatalogColumn, CatalogEntry, entry_of
from .publication import Published
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
        held: Iterable[Table] = (),
    ) -> None:
        self._connection, self._published, self._treatments = connection, published, treatments
        self._as_text = {
            (table.oid, column.number, column.oid)
            for table in held
            for column in table.columns
            if column.as_text
        }

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
        treatment = self._treatments.get(relation.table_name, AS_IT_IS)
        relation.refuse(treatment)
        sent = self._sent(relation)
        if not sent:
            raise UnusableTable(
                f"table {relation.table_name} cannot be mirrored: it has no columns",
                hint=f'exclude it: add "-{relation.table_name}" to source.tables.',
            )
        key = set(relation.key())
        if hidden := key - {column.number for column in sent}:
            names = ", ".join(column.name for column in relation.columns if column.number in hidden)
            raise UnusableTable(
                f"table {relation.table_name} cannot be mirrored: the publication leaves out {names}, "
                "which its key needs",
                hint="add the column to the publication's column list.",
            )
        kept = [column for column in sent if column.name not in treatment.exclude]
        return Table(
            relation.oid,
            relation.table_name,
            tuple(self._column(relation.oid, c.name, c.oid, c.typmod, c.type, treatment, c) for c in kept),
            tuple(column.name for column in kept if column.number in key),
            ReplicaIdentity(relation.identity),
            self._evidence(relation, kept),
            skipped=_places(sent, treatment.exclude),
        )

    def _sent(self, relation: CatalogEntry) -> list[CatalogColumn]:
        published = self._published.get(relation.table_name)
        if published is None or published.columns is None:
            return [column for column in relation.columns if not column.generated]
        return [column for column in relation.columns if column.name in published.columns]

    def _evidence(self, relation: CatalogEntry, sent: Sequence[CatalogColumn]) -> Evidence:
        published = self._published.get(relation.table_name)
        oids = [column.oid for column in sent]
        row_filter = (published.row_filter if published else None) or ""
        return Evidence(
            highest=relation.highest,
            versions={column.number: column.version for column in sent},
            files=tuple(relation.files),
            labels=self._types.labels(oids),
            circumstances={"row filter": row_filter, **self._types.composites(oids)},
        )

    def described(self, relation: Relation, held: Table | None) -> Table:
        """The definition the log gives, with what it leaves out: which attribute each column is, what
        domains are made of, and the key under identity FULL, where every column is marked as one.

        `held` is the definition before, with the evidence of the last look at the catalog.
        """
        entry = entry_of(self._connection, relation.oid)
        treatment = self._treatments.get(entry.table_name if entry else relation.name, AS_IT_IS)
        skipped = _places(relation.columns, treatment.exclude)
        stepped_over = [relation.columns[place] for place in skipped]
        relation = relation._replace(
            columns=tuple(column for column in relation.columns if column.name not in treatment.exclude)
        )
        left_out = {c.number: c for c in (entry.columns if entry else []) if c.name in treatment.exclude}
        sent = self._sent(entry) if entry else []
        now = {column.number: column for column in sent if column.number not in left_out}
        numbers = _numbers(relation, held, now, left_out, entry.highest if entry else 0)
        types = self._format_types([(column.oid, column.typmod) for column in relation.columns])
        columns = tuple(
            self._column(
                relation.oid,
                column.name,
                column.oid,
                column.typmod,
                type_,
                treatment,
                now.get(number),
                number,
            )
            for column, type_, number in zip(
                relation.columns, types, numbers or [0] * len(relation.columns), strict=True
            )
        )
        doubt = None if numbers else "its columns were changed more than once"
        key = {column.name for column in relation.columns if column.in_identity}
        if relation.identity is ReplicaIdentity.FULL:
            key = {now[number].name for number in (entry.key() if entry else []) if number in now}
            if held and key != set(held.key):
                doubt = "its key was changed under REPLICA IDENTITY FULL"
            lost = entry is not None and not left_out.keys().isdisjoint(entry.key())
        else:
            lost = any(column.in_identity for column in stepped_over)
        if lost:
            key, doubt = set(), "a column that is left out became part of its key"
        evidence = held.evidence if held else Evidence()
        were_there = {column.name for column in stepped_over}
        seen = [*(numbers or []), *(number for number, c in left_out.items() if c.name in were_there)]
        return Table(
            relation.oid,
            relation.name,
            columns,
            tuple(column.name for column in columns if column.name in key),
            relation.identity,
            replace(evidence, highest=max([evidence.highest, *seen])),
            doubt,
            rewritten=entry is None or Evidence(files=tuple(entry.files)).shows_rewrite_since(evidence),
            skipped=skipped,
        )

    def _format_types(self, types: Sequence[tuple[int, int]]) -> list[str]:
        if not types:
            return []
        query = "select format_type(o, m) from unnest(%s::oid[], %s::int[]) as t(o, m)"
        oids, typmods = zip(*types, strict=True)
        return [row[0] for row in self._connection.execute(query, [[*oids], [*typmods]])]

    def _column(
        self,
        table: int,
        name: str,
        oid: int,
        typmod: int,
        type_: str,
        treatment: Treatment,
        now: CatalogColumn | None,
        number: int | None = None,
    ) -> Column:
        """A column, and what the catalog knows of the attribute that it is."""
        base, base_typmod = self._types.base(oid, typmod)
        column = Column(
            name,
            oid,
            typmod,
            type_,
            base,
            arrow_type(base, base_typmod),
            nullable=now.nullable if now else True,
            number=now.number if now and number is None else number or 0,
        )
        if (table, column.number, oid) in self._as_text:
            column = column.kept_as_text()
        column = treatment.of(column)
        if now is None or now.missing is None or now.oid != oid:
            return column
        missing = from_text(column, Cells.of(pa.array([now.missing], pa.large_string())), TableName("", ""))
        return replace(column, missing=missing)


def _places(columns: Sequence[CatalogColumn | RelationColumn], names: Collection[str]) -> tuple[int, ...]:
    return tuple(place for place, column in enumerate(columns) if column.name in names)


def _numbers(
    relation: Relation,
    held: Table | None,
    now: Mapping[int, CatalogColumn],
    left_out: Collection[int],
    highest_now: int,
) -> list[int] | None:
    """The attribute number of each column, or None if it cannot be told; the columns `left_out`
    are not among them, here, there and now."""
    if held is None:
        names = [column.name for column in relation.columns]
        return list(now) if names == [column.name for column in now.values()] else None
    return aligned(
        len(relation.columns),
        [column.number for column in held.columns if column.number not in left_out],
        list(now),
        left_out,
        highest=held.evidence.highest,
        highest_now=highest_now,
    )
