"""
The slow, obvious decoder: one message after the other, one cell after the other.

What the fast one is tested against, so it shares nothing with it. Cells stay the text
PostgreSQL sent; a Truncate is a change of its own.

https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

UNCHANGED = object()
"""In place of a cell that PostgreSQL did not resend."""

Cell = str | None | object
Row = tuple[Cell, ...]


class Change(NamedTuple):
    op: str
    table: str
    old: Row | None
    row: Row | None
    lsn: int
    """The end of the commit."""


class Reader:
    """Takes a message apart from its beginning on."""

    def __init__(self, message: bytes) -> None:
        self._message, self._at = message, 0

    def number(self, form: str) -> int:
        (value,) = struct.unpack_from(f">{form}", self._message, self._at)
        self._at += struct.calcsize(form)
        return value

    def letter(self) -> str:
        return chr(self.number("B"))

    def name(self) -> str:
        end = self._message.index(b"\0", self._at)
        text = self._message[self._at : end].decode()
        self._at = end + 1
        return text

    def row(self) -> Row:
        return tuple(self._cell() for _ in range(self.number("H")))

    def _cell(self) -> Cell:
        kind = self.letter()
        if kind == "n":
            return None
        if kind == "u":
            return UNCHANGED
        assert kind == "t"
        length = self.number("I")
        self._at += length
        return self._message[self._at - length : self._at].decode()

    @property
    def is_at_end(self) -> bool:
        return self._at == len(self._message)


def changes(messages: Iterable[bytes]) -> Iterator[Change]:
    """The changes of pgoutput messages, heads not included, each with the end of its commit."""
    tables: dict[int, str] = {}
    transaction: list[Change] = []
    for message in messages:
        reader = Reader(message)
        kind = reader.letter()
        if kind == "R":
            oid = reader.number("I")
            tables[oid] = f"{reader.name()}.{reader.name()}"
        elif kind == "C":
            reader.number("B"), reader.number("Q")
            end = reader.number("Q")
            yield from (change._replace(lsn=end) for change in transaction)
            transaction = []
        elif kind == "T":
            count, _ = reader.number("I"), reader.number("B")
            for _ in range(count):
                transaction.append(Change("T", tables[reader.number("I")], None, None, 0))
        elif kind in "IUD":
            table, old, row = tables[reader.number("I")], None, None
            part = reader.letter()
            if part in "KO":
                old = reader.row()
                part = reader.letter() if kind == "U" else ""
            if part == "N":
                row = reader.row()
            assert reader.is_at_end
            transaction.append(Change(kind, table, old, row, 0))
    assert not transaction
