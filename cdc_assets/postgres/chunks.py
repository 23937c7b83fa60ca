"""
How a table is cut for seeding: page ranges of each leaf.

A range of pages is read without an index, in the order it lies on disk, and says
itself which rows belong to it. The last range of a leaf is open, for what was
added since. A range is good only for the file it was planned for: what rewrites
a table gives it another.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from psycopg import sql
from psycopg.rows import class_row

from ..model import Chunk, TableName
from .session import Connection

_MOST = 2_000
"""Chunks of one table, so that a page that shows them all stays quick."""

# Of a table that is dropped at this moment, the catalog still has the name, but no file. A partitioned
# table without partitions counts as a leaf, and has no file either.
_LEAVES = """
select root.oid::bigint as root, c.oid::bigint as oid, n.nspname as schema, c.relname as name,
       coalesce(pg_relation_filenode(c.oid)::bigint, 0) as filenode,
       coalesce(pg_relation_size(c.oid), 0) / current_setting('block_size')::int as pages,
       coalesce(pg_table_size(c.oid), 0) as bytes
from pg_class root
     join lateral (
         select root.oid where root.relkind <> 'p'
         union select relid::oid from pg_partition_tree(root.oid) where root.relkind = 'p' and isleaf
     ) leaf on true
     join pg_class c on c.oid = leaf.oid
     join pg_namespace n on n.oid = c.relnamespace
where root.oid = any(%(oids)s::oid[]) and c.relkind <> 'p'
order by 1, 3, 4
"""


class Leaf(NamedTuple):
    root: int
    oid: int
    schema: str
    name: str
    filenode: int
    pages: int
    bytes: int
    """Out-of-line values (TOAST) included."""


class PageRange(NamedTuple):
    """What a chunk's bounds say: this, or several of these."""

    oid: int
    schema: str
    name: str
    filenode: int
    first: int
    end: int | None
    """The page after the last; None for an open range."""

    @classmethod
    def parse(cls, chunk: Chunk) -> list[PageRange]:
        bounds = json.loads(chunk.bounds)
        several = bounds if not bounds or isinstance(bounds[0], list) else [bounds]
        return [cls(*one) for one in several]

    @property
    def leaf(self) -> TableName:
        return TableName(self.schema, self.name)

    def has(self, oid: int, page: int) -> bool:
        return oid == self.oid and self.first <= page and (self.end is None or page < self.end)

    def condition(self) -> sql.Composable:
        """https://www.postgresql.org/docs/current/ddl-system-columns.html (ctid)"""
        first = sql.SQL("ctid >= {}::pg_catalog.tid").format(f"({self.first},0)")
        if self.end is None:
            return first
        return sql.SQL("{} AND ctid < {}::pg_catalog.tid").format(first, f"({self.end},0)")


def cut(leaves: Sequence[Leaf], chunk_bytes: int) -> Sequence[Chunk]:
    """Chunks of about `chunk_bytes` on disk, or the most there may be."""
    size = max(chunk_bytes, math.ceil(sum(leaf.bytes for leaf in leaves) / _MOST))
    ranges = [pages for leaf in leaves for pages in _ranges(leaf, size)]
    return [
        Chunk(f"{number:06}_{pages.name}_{pages.first}", json.dumps(pages))
        for number, pages in enumerate(ranges)
    ]


def whole(leaves: Sequence[Leaf]) -> Sequence[Chunk]:
    """The table, its partitions included, as one chunk: all of it is then of one snapshot."""
    ranges = [PageRange(leaf.oid, leaf.schema, leaf.name, leaf.filenode, 0, None) for leaf in leaves]
    return [Chunk("000000_whole", json.dumps(ranges))]


def leaves(connection: Connection, oids: Sequence[int]) -> Mapping[int, Sequence[Leaf]]:
    """Of each table that is there; a partitioned one may have none."""
    there = connection.execute("select oid::bigint from pg_class where oid = any(%s::oid[])", [oids])
    found: dict[int, list[Leaf]] = {oid: [] for (oid,) in there}
    with connection.cursor(row_factory=class_row(Leaf)) as cursor:
        for leaf in cursor.execute(_LEAVES, {"oids": oids}):
            found.setdefault(leaf.root, []).append(leaf)
    return found


def _ranges(leaf: Leaf, size: int) -> Iterator[PageRange]:
    """Ranges of equal length, so that several readers end together."""
    count = max(1, min(leaf.pages, math.ceil(leaf.bytes / size)))
    bounds = [leaf.pages * number // count for number in range(count)]
    for first, end in zip(bounds, [*bounds[1:], None], strict=True):
        yield PageRange(leaf.oid, leaf.schema, leaf.name, leaf.filenode, first, end)
