"""
What the configuration does to the columns of one table: some are left out, some are hashed.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ..errors import ConfigError
from ..model import Column, TableName
from ..pgoutput.types import hashed


@dataclass(frozen=True)
class Treatment:
    exclude: frozenset[str] = frozenset()
    hash: frozenset[str] = frozenset()

    def of(self, column: Column) -> Column:
        return hashed(column) if column.name in self.hash else column

    def spread(self, generated: Mapping[str, Collection[str]]) -> Treatment:
        """Also of the columns that are generated from those it names, which would show what these hold.

        `generated` says from which each one is.
        """

        def also(names: frozenset[str]) -> frozenset[str]:
            return names | {name for name, inputs in generated.items() if not names.isdisjoint(inputs)}

        return Treatment(also(self.exclude), also(self.hash))

    def refuse(self, table: TableName, columns: Collection[str], key: Collection[str]) -> None:
        """Raise what is wrong with it, for a table that has these columns.

        A name that is not there may be that of a column that was renamed, and must not be carried.
        """
        for name in sorted((self.exclude | self.hash).difference(columns)):
            near = difflib.get_close_matches(name, columns, n=1)
            meant = f"did you mean {near[0]}? " if near else ""
            raise ConfigError(
                f"tables names column {name} of {table}, which does not exist at the source",
                hint=f"{meant}Names are taken as written, upper case included.",
            )
        for name in sorted(self.exclude.intersection(key)):
            raise ConfigError(
                f"tables excludes column {name} of {table}, which its key needs",
                hint="put it in hash instead: equal values have equal hashes.",
            )


AS_IT_IS = Treatment()
