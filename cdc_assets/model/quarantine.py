"""
Rows that the destination refuses, and keeps beside the copy until it takes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from .lsn import LSN
from .table import TableName


@dataclass(frozen=True)
class Quarantined:
    """What may be said of a row without showing it."""

    table: TableName
    key: Mapping[str, Any]
    """By column. These are values of the row: for who asks for them, never for a log."""
    lsn: LSN
    """The commit that wrote the row, or the snapshot it was read from."""
    reason: str
    at: datetime
    """When it was refused last."""


class Retried(NamedTuple):
    """What came of trying the quarantined rows of a table again."""

    taken: int
    refused: int
