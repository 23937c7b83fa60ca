"""
What the log says of tables, made out with the catalog's help.

The catalog is looked at once for all that came before the look: it is then at least as late
as any of these messages, which is all that they are made out by. A stream can bring the same
description of a table thousands of times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from ..model import Table, TextColumn
from ..pgoutput.messages import Relation
from .catalog import Catalog
from .description import described
from .entries import entry_of
from .patterns import Patterns
from .session import Connection, session


@dataclass
class Definitions:
    conninfo: Callable[[], str]
    catalog: Callable[[Connection, int], Catalog]
    """For one table, by its OID."""
    patterns: Patterns
    held: Mapping[int, Table]
    """What the sink has, by OID, with the evidence of the last look."""
    as_text: set[TextColumn] = field(default_factory=set)
    """The columns that are kept as text; whoever finds another adds it."""
    _found: dict[tuple[Relation, Table | None], Table] = field(default_factory=dict)

    def forget(self) -> None:
        """Messages have come since: what was found may be older than they are."""
        self._found.clear()
        self.as_text.update(*(table.as_text for table in self.held.values()))

    def describe(self, relation: Relation, before: Table | None) -> Table | None:
        """The table a message is about, given its definition before; None if it is not selected."""
        if not self.patterns.match(relation.name):
            return None
        found = self._found.get((relation, before))
        if found is None:
            found = self._found[relation, before] = self._described(relation, before)
        return found

    def _described(self, relation: Relation, before: Table | None) -> Table:
        looked_at = self.held.get(relation.oid)
        if before and before.doubt:
            before = None
        if before and looked_at:
            before = replace(before, evidence=looked_at.evidence)
        with session(self.conninfo()) as connection:
            catalog = self.catalog(connection, relation.oid)
            table = described(catalog, relation, entry_of(connection, relation.oid), before or looked_at)
        if not table.doubt:
            self.as_text |= table.as_text
        return table
