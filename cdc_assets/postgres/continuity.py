"""
Whether the stream can still deliver everything after a position.

A slot that exists proves nothing: it may have lost its log, have been made again,
or been moved; and the server may be another, or an older state of the same.
"""

from __future__ import annotations

from ..model import LSN, Position
from .slot import SlotState


def broken(position: Position, here: Position, slot: SlotState | None) -> str | None:
    """Why not; None if it can. `here` is what the server says of itself."""
    if here.system != position.system:
        return (
            f"the server is another one (system identifier {here.system}, "
            f"the destination's is {position.system})"
        )
    if here.database != position.database:
        return f"the database is {here.database}, the destination's is {position.database}"
    if here.slot != position.slot:
        return f"the slot is {here.slot}, the destination's is {position.slot}"
    if here.lsn < position.lsn:
        return f"the server is only at {here.lsn}: it was restored from an older state"
    if slot is None:
        return f"slot {position.slot} does not exist"
    if obstacle := slot.obstacle():
        return obstacle
    confirmed = LSN(slot.confirmed or 0)
    if confirmed > position.lsn:
        return (
            f"slot {position.slot} is at {confirmed} already: it was moved or made again, "
            "or the destination is an older copy"
        )
    return None
