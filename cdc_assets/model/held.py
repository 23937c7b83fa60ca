"""
What a sink says of a table it has heard of.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from .lsn import LSN
from .table import Table, TextColumn


class TableState(Enum):
    UNSEEDED = "unseeded"
    """Nothing is held, or what is held is no longer kept in step."""
    SEEDING = "seeding"
    """A seed has begun; an older copy, if there is one, is readable until it ends."""
    SEEDED = "seeded"
    """Held, and in step with the stream."""


@dataclass(frozen=True)
class Held:
    """What a sink says of one table."""

    state: TableState
    generation: int = 0
    """Which seed this is, from 1."""
    lsn: LSN | None = None
    """What the copy is the state of; None before the first seed is finished."""
    rows: int | None = None
    quarantined: int = 0
    """How many rows the copy lacks because they were refused."""
    chunks: int = 0
    chunks_loaded: int = 0
    reason: str | None = None
    """Why the table has to be seeded again, where it has."""
    definition: Table | None = None
    """Of the copy; None while there is none."""
    seed: Table | None = None
    """The definition of the seed that is under way, if one is."""
    as_text: frozenset[TextColumn] = frozenset()
    """The columns that are kept as text, in every copy from now on."""
