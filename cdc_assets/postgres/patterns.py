"""
Which tables are meant: `schema.table`, `*` as a wildcard, a leading `-` to exclude.

Names are taken as they are written, upper case included; a part that has a dot,
a star or a quote of its own is put in double quotes, as in SQL.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from ..errors import ConfigError
from ..model import TableName

_PART = r'("(?:[^"]|"")+"|[^".]+)'
_PATTERN = re.compile(rf"(-?)\s*{_PART}\.{_PART}\Z")


@dataclass(frozen=True)
class Pattern:
    text: str
    excludes: bool
    schema: str
    name: str

    @classmethod
    def parse(cls, text: str, place: str = "source.tables") -> Pattern:
        """`place`: where the text stands, for the error."""
        if (match := _PATTERN.match(text.strip())) is None:
            raise ConfigError(
                f'{place} has "{text}", which is not a table',
                hint='write schema.table, as in "public.orders", "public.*" or "-public.audit".',
            )
        return cls(text, bool(match[1]), match[2], match[3])

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        return re.compile(rf"{_expression(self.schema)}\x00{_expression(self.name)}\Z", re.DOTALL)

    @property
    def is_wildcard(self) -> bool:
        return any("*" in part and not part.startswith('"') for part in (self.schema, self.name))

    def matches(self, table: TableName) -> bool:
        return self._expression.match("\0".join(table)) is not None

    def table(self) -> TableName:
        """The one table a pattern without a wildcard means."""
        return TableName(_unquoted(self.schema), _unquoted(self.name))


@dataclass(frozen=True)
class Patterns:
    """The patterns of a configuration, in order; of those that match a table, the last decides."""

    patterns: tuple[Pattern, ...]

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Patterns:
        return cls(tuple(map(Pattern.parse, texts)))

    def match(self, table: TableName) -> bool:
        matching = [pattern for pattern in self.patterns if pattern.matches(table)]
        return bool(matching) and not matching[-1].excludes

    @property
    def named(self) -> list[TableName]:
        """Tables that are called by their name, so that they have to be there."""
        plain = (p for p in self.patterns if not p.is_wildcard and not p.excludes)
        return [name for pattern in plain if self.match(name := pattern.table())]

    def unmatched(self, tables: Iterable[TableName]) -> list[str]:
        """Wildcards that match none of `tables`."""
        tables = list(tables)
        return [
            pattern.text
            for pattern in self.patterns
            if pattern.is_wildcard and not pattern.excludes and not any(map(pattern.matches, tables))
        ]


def _unquoted(part: str) -> str:
    return part[1:-1].replace('""', '"') if part.startswith('"') else part


def _expression(part: str) -> str:
    if part.startswith('"'):
        return re.escape(_unquoted(part))
    return "[^\0]*".join(map(re.escape, part.split("*")))
