"""
What the log says of tables, made out with the catalog's help.

The catalog is looked at once for all that came before the look: it is then at least as late
as any of these messages, which is all that they are made out by. A stream can bring the same
description of a table thousands of times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from ..model import Table
from ..pgoutput.messages import Relation
from .catalog import Catalog
from .description import described
from .entries import entry_of
from .patterns import Patterns
from .session import Connection, session


@dataclass
class Definitions:
    conninfo: Callable[[], str]
    catalog: Callable[[Connection, Iterable[Table]], Catalog]
    patterns: Patterns
    held: Mapping[int, Table]
    """What the sink has, by OID, with the evidence of the last look."""
    _found: dict[tuple[Relation, Table | None], Table] = field(default_factory=dict)

    def forget(self) -> None:
        """Messages have come since: what was found may be older than they are."""
        self._found.clear()

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
        if before and looked_at:
            before = replace(before, evidence=looked_at.evidence)
        with session(self.conninfo()) as connection:
            catalog = self.catalog(connection, self.held.values())
            return described(catalog, relation, entry_of(connection, relation.oid), before or looked_at)
