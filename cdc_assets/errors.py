"""
Every error this package raises on purpose::

    CdcError
    |__ConfigError              the configuration is not what it should be
    |__CaptureError             the source cannot give what was asked
    |  |__ServerUnreachable *   no connection, or it broke
    |  |__SlotInUse             another consumer holds the slot
    |  |__ContinuityLost        changes after the sink's position are gone
    |  |__ContinuityInDoubt *   what could be continued a moment ago may not be: look again
    |  |__UnusableTable         a table that cannot be mirrored as it is
    |  |__TableRewritten        the chunks planned for a table are no longer its pages
    |__ProtocolError            bytes that are not pgoutput: a bug here, or a newer server
    |__UnfaithfulValue          a value its column's destination type cannot hold
    |__SinkError                the destination refused or failed
       |__SinkBusy *            another process holds the destination
       |__SinkFull *            there is no room for what is to be written
       |__TableRefused          the destination will not take one table; the others it does
       |__RowRefused            the destination will not take a row, and nothing is to go on without it
       |__SeedOutdated          rows for a seed that is not under way, or no longer
       |__CopyReplaced          a copy that is not, or no longer, what it is compared as

Those with a star are `Transient`: they go away without our doing. The others stay until
somebody does what the hint says.

A message says what was found, as PostgreSQL words its own: one line, no capital,
no full stop, never a row's value or a secret. A hint says what to do: a sentence,
or the SQL to run.
"""

from __future__ import annotations


class CdcError(Exception):
    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        if hint:
            self.add_note(f"HINT:  {hint}")


class Transient(CdcError):
    """Worth trying again: see `engine.unattended`."""


class ConfigError(CdcError):
    pass


class CaptureError(CdcError):
    pass


class ServerUnreachable(CaptureError, Transient):
    pass


class SpoolFull(CaptureError, Transient):
    pass


class SlotInUse(CaptureError):
    pass


class ContinuityLost(CaptureError):
    pass


class ContinuityInDoubt(CaptureError, Transient):
    def __init__(self, message: str) -> None:
        super().__init__(message, hint="start again, which says what that means for the copies.")


class UnusableTable(CaptureError):
    pass


class TableRewritten(CaptureError):
    pass


class ProtocolError(CdcError):
    pass


class UnfaithfulValue(CdcError):
    def __init__(self, message: str, *, number: int, type_oid: int, hint: str = "") -> None:
        """`number`: the column's attribute number."""
        super().__init__(message, hint=hint)
        self.number, self.type_oid = number, type_oid


class SinkError(CdcError):
    pass


class SinkBusy(SinkError, Transient):
    pass


class SinkFull(SinkError, Transient):
    pass


class TableRefused(SinkError):
    def __init__(self, message: str, *, table: tuple[str, str], hint: str = "") -> None:
        """`table`: its schema and name."""
        super().__init__(message, hint=hint)
        self.table = table


class RowRefused(SinkError):
    pass


class SeedOutdated(SinkError):
    pass


class CopyReplaced(SinkError):
    pass
