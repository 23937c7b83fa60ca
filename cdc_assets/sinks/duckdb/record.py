"""
What is remembered of a table, and what becomes of that as it is seeded, followed and left behind.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...model import LSN, Table, TableName, TableState, TextColumn


@dataclass(frozen=True)
class TableRecord:
    """A row of `_cdc.tables`."""

    name: TableName
    state: TableState = TableState.UNSEEDED
    generation: int = 0
    lsn: LSN | None = None
    live: bool = False
    """The copy follows the stream, also while it is being seeded again."""
    reason: str | None = None
    copy: Table | None = None
    """The definition of the copy that is readable; None while there is none."""
    seed: Table | None = None
    """The definition of the seed that is under way; None if none is."""
    as_text: frozenset[TextColumn] = frozenset()
    """The columns that are kept as text, in every copy from now on."""
    seed_after: LSN = LSN(0)
    """Changes up to here are in the seed's snapshot."""
    snapshot_lsn: LSN = LSN(0)
    """The last snapshot that rows of the seed were read from."""
    truncated_at: LSN = LSN(0)
    """The last commit that emptied the table since the seed began."""

    @property
    def oids(self) -> tuple[int | None, int | None]:
        """Of what the copy, if it follows the stream, and the seed are."""
        copy = self.copy if self.live else None
        return copy.oid if copy else None, self.seed.oid if self.seed else None

    def parts_of(self, table: Table) -> tuple[bool, bool]:
        """Whether the copy, and whether the seed, has to follow what happens to `table`: those that are
        of it, or both if it is another one of the same name."""
        copy, seed = self.oids
        if table.oid not in (copy, seed):
            return copy is not None, seed is not None
        return copy == table.oid, seed == table.oid

    def heard_of(self, table: Table) -> TableRecord:
        """With what is to be remembered of a definition, whatever comes of it."""
        return replace(
            self,
            as_text=self.as_text | table.as_text,
            copy=self.copy and self.copy.hearing(table),
            seed=self.seed and self.seed.hearing(table),
        )

    def seeding(self, table: Table, after: LSN) -> TableRecord:
        """With a new seed under way."""
        begun = replace(self, state=TableState.SEEDING, generation=self.generation + 1)
        return begun._with_seed(table, after).heard_of(table)

    def reloading(self, after: LSN) -> TableRecord:
        """With chunks being loaded into the copy there is."""
        return self._with_seed(self.copy, after)

    def _with_seed(self, definition: Table | None, after: LSN) -> TableRecord:
        return replace(self, seed=definition, seed_after=after, snapshot_lsn=LSN(0), truncated_at=LSN(0))

    def seeded(self, lsn: LSN) -> TableRecord:
        """With the seed as the copy."""
        return replace(
            self,
            state=TableState.SEEDED,
            lsn=lsn,
            live=True,
            reason=None,
            copy=self.seed,
            seed=None,
        )

    def unseeded(self, reason: str) -> TableRecord:
        return replace(self, state=TableState.UNSEEDED, seed=None, reason=reason)
