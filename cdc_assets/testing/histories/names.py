"""
Names of every kind that SQL allows, each different from all others also without regard to case.
"""

from __future__ import annotations

from random import Random

_KINDS = (
    "{word}_{n}",
    "{word}_{n}",
    "{word}_{n}",
    "{Word}{n}",
    "{word} {n}",
    'the "{word}" {n}',
    "it's {word}.{n}",
    "größe_{word}_{n}",
    "таблица {n}",
    "表{n}",
    "select {n}",
    "{word}%{n}*",
    "{pad}{n:04}",
    "{pad}{n:04}",
)
_WORDS = ("order", "item", "user", "group", "note", "price", "at", "state")
_MOST = 63
"""Bytes PostgreSQL keeps of a name: two of these may differ in the last of them only."""


class Names:
    def __init__(self, chance: Random) -> None:
        self._chance, self._count = chance, 0

    def new(self) -> str:
        self._count += 1
        word = self._chance.choice(_WORDS)
        return self._chance.choice(_KINDS).format(
            word=word, Word=word.title(), n=self._count, pad="x" * (_MOST - 4)
        )

    def label(self, word: str) -> str:
        """Of an enum."""
        return f"{word} {self.new()[-16:]}"


def quoted(*names: str) -> str:
    """An identifier in SQL."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def literal(text: str, type_: str) -> str:
    doubled = text.replace("'", "''")
    return f"'{doubled}'::{type_}"
