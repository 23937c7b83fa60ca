"""
The definition of a table, from what the log says of it, with what that leaves out: which attribute
each column is, what domains are made of, what is generated, and the key under identity FULL.

The log says what is so at that point of it; the catalog may be later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..model import Column, Evidence, ReplicaIdentity, Table
from ..pgoutput.messages import Relation, RelationColumn
from .alignment import aligned
from .catalog import Catalog, places
from .entries import CatalogEntry
from .treatment import Treatment


def described(catalog: Catalog, relation: Relation, entry: CatalogEntry | None, held: Table | None) -> Table:
    """`entry` is what the catalog has of the relation now; `held`, the definition before, with the
    evidence of the last look at the catalog."""
    return _Description(catalog, relation, entry, held).table()


class _Description:
    def __init__(
        self, catalog: Catalog, relation: Relation, entry: CatalogEntry | None, held: Table | None
    ) -> None:
        self._catalog, self._relation, self._entry, self._held = catalog, relation, entry, held
        self._treatment: Treatment = catalog.treatment(entry or relation)
        self._evidence = (held.evidence if held else Evidence()).of_the_catalog()
        columns = entry.columns if entry else []
        excluded = [column for column in columns if column.name in self._treatment.exclude]
        computed = catalog.computed(entry) if entry else []
        self._left_out = {column.number: column for column in excluded}
        self._computed = [column for column in computed if column not in excluded]
        sent = catalog.sent(entry) if entry else []
        self._now = {column.number: column for column in sent if column not in excluded}

    def table(self) -> Table:
        relation = self._relation
        skipped = places(relation.columns, self._treatment.exclude)
        stepped_over = [relation.columns[place] for place in skipped]
        carried = [column for place, column in enumerate(relation.columns) if place not in skipped]
        numbers = self._numbers(carried)
        key, doubt = self._key(stepped_over)
        columns = self._columns(carried, numbers or [0] * len(carried))
        if not numbers:
            # Nobody will want the values, and so they need not be faithful.
            columns = [column.kept_as_text() for column in columns]
        else:
            columns = sorted([*columns, *self._generated(columns)], key=lambda column: column.number)
        were_there = {column.name for column in stepped_over}
        seen = [*(numbers or []), *(n for n, column in self._left_out.items() if column.name in were_there)]
        files = Evidence(files=tuple(self._entry.files)) if self._entry else None
        return Table(
            relation.oid,
            relation.name,
            tuple(columns),
            tuple(column.name for column in columns if column.name in key),
            relation.identity,
            replace(self._evidence, highest=max([self._evidence.highest, *seen])),
            doubt if numbers else "its columns were changed more than once",
            rewritten=files is None or files.shows_rewrite_since(self._evidence),
            skipped=skipped,
        )

    def _numbers(self, carried: Sequence[RelationColumn]) -> list[int] | None:
        """The attribute number of each column, or None if it cannot be told."""
        if self._held is None:
            names = [column.name for column in carried]
            return list(self._now) if names == [column.name for column in self._now.values()] else None
        return aligned(
            len(carried),
            [column.number for column in self._held.sent if column.number not in self._left_out],
            list(self._now),
            {*self._left_out, *(column.number for column in self._computed)},
            highest=self._evidence.highest,
            highest_now=self._entry.highest if self._entry else 0,
        )

    def _columns(self, carried: Sequence[RelationColumn], numbers: Sequence[int]) -> list[Column]:
        types = self._catalog.format_types([(column.oid, column.typmod) for column in carried])
        return [
            self._catalog.column(column, type_, self._treatment, self._now.get(number), number)
            for column, type_, number in zip(carried, types, numbers, strict=True)
        ]

    def _generated(self, sent: Sequence[Column]) -> list[Column]:
        """The columns that follow from those that are sent, as far as all these are there."""
        numbers = {column.number for column in sent}
        found: dict[int, Column] = {}
        if self._entry:
            found = {
                column.number: self._catalog.catalog_column(self._entry, column, self._treatment)
                for column in self._computed
            }
        # One may have become a column like others since, or have gone with the table.
        later = self._now if self._entry else None
        for column in self._held.columns if self._held else ():
            if column.generated and (later is None or column.number in later):
                found.setdefault(column.number, column)
        return [
            column
            for column in found.values()
            if column.number not in numbers
            and column.generated
            and numbers.issuperset(number for _, number in column.generated.inputs)
        ]

    def _key(self, stepped_over: Sequence[RelationColumn]) -> tuple[set[str], str | None]:
        """The names of its columns; and what is in doubt of them."""
        relation, entry, held = self._relation, self._entry, self._held
        key, doubt = {column.name for column in relation.columns if column.in_identity}, None
        lost = any(column.in_identity for column in stepped_over)
        if relation.identity is ReplicaIdentity.FULL:
            # Every column is marked as one.
            of_key = entry.key() if entry else []
            key = {self._now[number].name for number in of_key if number in self._now}
            lost = not self._left_out.keys().isdisjoint(of_key)
            if held and key != set(held.key):
                doubt = "its key was changed under REPLICA IDENTITY FULL"
        if lost:
            return set(), "a column that is left out became part of its key"
        return key, doubt
