"""
How far the confirmed position trails the server.
"""

from __future__ import annotations

from dataclasses import dataclass

from .lsn import LSN


@dataclass(frozen=True)
class Lag:
    """One sample of a slot, as the server sees it.

    https://www.postgresql.org/docs/current/view-pg-replication-slots.html
    """

    confirmed: LSN
    bytes: int
    """Log written and not confirmed; what a consumer has yet to read, or to make durable."""
    seconds: float | None
    """Age of the oldest unconfirmed transaction that touches a published table; 0 when there
    is none, None where it could not be found out in the time a sample may take."""
    retained_bytes: int
    """Log the server keeps because of the slot."""
    safe_wal_size: int | None
    """Bytes that can still be written before the slot is in danger of losing its log."""
    wal_status: str | None
    """reserved, extended, unreserved or lost."""
    active_pid: int | None
    """The server process that streams from the slot, if one does."""
    held_back_by: str | None
    """What keeps the slot from letting go of log it has confirmed: an old or a prepared transaction."""

    @property
    def active(self) -> bool:
        return self.active_pid is not None
