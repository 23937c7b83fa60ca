"""
Types that users made: what they are made of, down to the labels of enums.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from .session import Connection

_FIRST_OF_USERS = 16_384
"""OIDs below are PostgreSQL's own types, which nobody changes."""

_TYPES = """
select t.oid::bigint, format_type(t.oid, null), t.typtype::text, t.typbasetype::bigint, t.typtypmod,
       array_remove(array[t.typelem, r.rngsubtype]::bigint[], null),
       coalesce((select json_agg(json_build_array(a.attname, a.atttypid::bigint, a.atttypmod) order by attnum)
                 from pg_attribute a where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped),
                '[]')
from pg_type t left join pg_range r on t.oid in (r.rngtypid, r.rngmultitypid)
where t.oid >= %(first)s
  and t.oid not in (select reltype from pg_class where relkind <> 'c' and reltype <> 0)
  and t.typelem not in (select reltype from pg_class where relkind <> 'c' and reltype <> 0)
"""
"""But for what each table brings along, the types of its rows and of arrays of them."""
_LABELS = """
select enumtypid::bigint, oid::bigint, enumlabel from pg_enum where enumtypid >= %(first)s
"""


@dataclass(frozen=True)
class UserType:
    name: str
    kind: str
    """pg_type.typtype."""
    base: int
    """What a domain is made of; 0 for others."""
    typmod: int
    """Of the base, in a domain."""
    elements: list[int]
    attributes: list[tuple[str, int, int]]
    """Name, type and type modifier of each, in a composite type."""
    labels: dict[int, str] = field(default_factory=dict)
    """Of an enum, by OID."""

    def parts(self) -> Iterator[int]:
        yield from self.elements
        yield self.base
        yield from (oid for _, oid, _ in self.attributes)


class UserTypes:
    """As one look at the catalog found them."""

    def __init__(self, connection: Connection) -> None:
        first = {"first": _FIRST_OF_USERS}
        self._types = {oid: UserType(*found) for oid, *found in connection.execute(_TYPES, first)}
        for type_oid, oid, label in connection.execute(_LABELS, first):
            if type_oid in self._types:
                self._types[type_oid].labels[oid] = label

    def base(self, oid: int, typmod: int) -> tuple[int, int]:
        """What is under a domain, and under a domain on it; the type itself if it is none."""
        while (found := self._types.get(oid)) and found.kind == "d":
            oid, typmod = found.base, found.typmod
        return oid, typmod

    def labels(self, oids: Iterable[int]) -> dict[int, str]:
        """Every enum label that values of these types are written with."""
        return {oid: label for used in self._used(oids) for oid, label in used.labels.items()}

    def composites(self, oids: Iterable[int]) -> dict[str, str]:
        """What the composite types consist of that values of these types are written with."""
        return {
            f"composite type {used.name}": str(used.attributes)
            for used in self._used(oids)
            if used.kind == "c"
        }

    def _used(self, oids: Iterable[int]) -> Iterator[UserType]:
        left, seen = list(oids), set[int]()
        while left:
            oid = left.pop()
            if oid not in seen and (found := self._types.get(oid)):
                seen.add(oid)
                left += found.parts()
                yield found
