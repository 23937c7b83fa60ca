"""
What PostgreSQL's catalog says of tables: columns, types, keys, storage.

https://www.postgresql.org/docs/current/catalogs.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from psycopg.rows import class_row

from ..errors import UnusableTable
from ..model import Column, ReplicaIdentity, Table, TableName
from ..pgoutput.messages import Relation
from ..pgoutput.types import arrow_type
from .session import Connection

_TABLES = """
select c.oid::bigint as oid, n.nspname as schema, c.relname as name, c.relkind::text as kind,
       c.relpersistence::text as persistence, c.relreplident::text as identity,
       c.relispartition as is_partition,
       has_schema_privilege(n.oid, 'usage') as may_be_entered,
       has_any_column_privilege(c.oid, 'select') as may_be_read,
       row_security_active(c.oid) as hides_rows, quote_ident(current_user) as role,
       coalesce((select i.indkey::int2[] from pg_index i
                 where i.indrelid = c.oid and i.indisprimary), '{}') as primary_key,
       coalesce((select i.indkey::int2[] from pg_index i
                 where i.indrelid = c.oid
                   and case c.relreplident when 'i' then i.indisreplident
                                           when 'd' then i.indisprimary and i.indimmediate end),
                '{}') as identity_key,
       (select coalesce(json_agg(json_build_array(a.attnum, a.attname, a.atttypid::bigint, a.atttypmod,
                   format_type(a.atttypid, a.atttypmod), a.attgenerated, not a.attnotnull)
                   order by a.attnum), '[]')
        from pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where """
_IN_PATTERN = """c.relkind in ('r', 'p', 'v', 'm', 'f')
  and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'"""

_DOMAIN = """
select typbasetype::bigint, typtypmod from pg_type where oid = %s and typtype = 'd'
"""
_FIRST_OF_USERS = 16_384
"""OIDs below are PostgreSQL's own, and none of those is a domain worth asking for."""
_OUTPUT = """
select t.oid::bigint, f.pronamespace::regnamespace::text, f.proname
from pg_type t join pg_proc f on f.oid = t.typoutput where t.oid = any(%s)
"""
_KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}


class CatalogColumn(NamedTuple):
    number: int
    name: str
    oid: int
    typmod: int
    type: str
    generated: str
    """'' for a column that is not."""
    nullable: bool


class CatalogEntry(NamedTuple):
    """One relation, as the catalog has it."""

    oid: int
    schema: str
    name: str
    kind: str
    persistence: str
    identity: str
    is_partition: bool
    may_be_entered: bool
    """The schema, by our role."""
    may_be_read: bool
    hides_rows: bool
    """From our role, by row security."""
    role: str
    """Ours, quoted."""
    primary_key: list[int]
    """Attribute numbers."""
    identity_key: list[int]
    """Attribute numbers of what the log names a changed row by, but for identity FULL."""
    columns: list[CatalogColumn]

    @property
    def table_name(self) -> TableName:
        return TableName(self.schema, self.name)

    def obstacle(self) -> str | None:
        """Why the relation cannot be mirrored; None if it can."""
        if self.kind in _KINDS:
            return f"it is {_KINDS[self.kind]}, whose changes are not in the log"
        if self.persistence != "p":
            return "it is unlogged or temporary, so its changes are not in the log"
        if not self.key():
            return "it has no key: neither a primary key nor a replica identity index"
        if not self.may_be_entered:
            return f"role {self.role} may not use its schema"
        if not self.may_be_read:
            return f"role {self.role} may not read it"
        if self.hides_rows:
            return f"row security would hide rows of it from role {self.role}"
        return None

    def remedy(self) -> str:
        """The SQL that takes the obstacle away."""
        if self.kind in _KINDS or self.persistence == "t":
            return f'exclude it: add "-{self.table_name}" to source.tables.'
        if self.persistence == "u":
            return f"ALTER TABLE {self.table_name} SET LOGGED;"
        if not self.key():
            return f"ALTER TABLE {self.table_name} ADD PRIMARY KEY (...);"
        if not self.may_be_entered:
            return f"GRANT USAGE ON SCHEMA {self.schema} TO {self.role};"
        if not self.may_be_read:
            return f"GRANT SELECT ON {self.table_name} TO {self.role};"
        return f"ALTER ROLE {self.role} BYPASSRLS;"

    def key(self) -> list[int]:
        if self.identity == "n":
            return []
        return self.primary_key if self.identity == "f" else self.identity_key


class Catalog:
    """Reads definitions through one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._domains: dict[int, tuple[int, int] | None] = {}

    def relations(self) -> list[CatalogEntry]:
        """Every relation a user made that a pattern could mean."""
        return self._query(_IN_PATTERN)

    def relation(self, oid: int) -> CatalogEntry | None:
        found = self._query("c.oid = %s", oid)
        return found[0] if found else None

    def _query(self, where: str, *parameters: int) -> list[CatalogEntry]:
        with self._connection.cursor(row_factory=class_row(CatalogEntry)) as cursor:
            found = cursor.execute(f"{_TABLES}{where} order by schema, name", parameters).fetchall()
        return [
            entry._replace(columns=[CatalogColumn(*column) for column in entry.columns]) for entry in found
        ]

    def table(self, relation: CatalogEntry, published: Iterable[str] | None = None) -> Table:
        """The definition of a relation: of its columns, those a publication sends."""
        if obstacle := relation.obstacle():
            raise UnusableTable(
                f"table {relation.table_name} cannot be mirrored: {obstacle}",
                hint=relation.remedy(),
            )
        wanted = set(published) if published is not None else None
        sent = [
            column
            for column in relation.columns
            if (column.name in wanted if wanted is not None else not column.generated)
        ]
        key = set(relation.key())
        if hidden := key - {column.number for column in sent}:
            names = ", ".join(column.name for column in relation.columns if column.number in hidden)
            raise UnusableTable(
                f"table {relation.table_name} cannot be mirrored: the publication leaves out {names}, "
                "which its key needs",
                hint="add the column to the publication's column list.",
            )
        return Table(
            relation.oid,
            relation.table_name,
            tuple(self._column(c.name, c.oid, c.typmod, c.type, c.nullable) for c in sent),
            tuple(column.name for column in sent if column.number in key),
            ReplicaIdentity(relation.identity),
        )

    def described(self, relation: Relation) -> Table | None:
        """The definition the log gives, with what it leaves out: what domains are made of, and
        the key under identity FULL, where every column is marked as one. None without a key."""
        key = {column.name for column in relation.columns if column.in_identity}
        if relation.identity is ReplicaIdentity.FULL:
            known = self.relation(relation.oid)
            numbers = known.key() if known else []
            key = {c.name for c in (known.columns if known else []) if c.number in numbers}
        types = self._format_types([(column.oid, column.typmod) for column in relation.columns])
        columns = tuple(
            self._column(column.name, column.oid, column.typmod, type_)
            for column, type_ in zip(relation.columns, types, strict=True)
        )
        names = tuple(column.name for column in columns if column.name in key)
        if not names:
            return None
        return Table(relation.oid, relation.name, columns, names, relation.identity)

    def _format_types(self, types: Sequence[tuple[int, int]]) -> list[str]:
        query = "select format_type(o, m) from unnest(%s::oid[], %s::int[]) as t(o, m)"
        oids, typmods = zip(*types, strict=True)
        return [row[0] for row in self._connection.execute(query, [[*oids], [*typmods]])]

    def _column(self, name: str, oid: int, typmod: int, type_: str, nullable: bool = True) -> Column:
        base, base_typmod = oid, typmod
        while found := self._domain(base):
            base, base_typmod = found
        return Column(name, oid, typmod, type_, base, arrow_type(base, base_typmod), nullable)

    def _domain(self, oid: int) -> tuple[int, int] | None:
        """What a domain is made of; it cannot be changed, so it is asked for once."""
        if oid < _FIRST_OF_USERS:
            return None
        if oid not in self._domains:
            self._domains[oid] = self._connection.execute(_DOMAIN, [oid]).fetchone()
        return self._domains[oid]

    def output_functions(self, table: Table) -> Mapping[int, tuple[str, str]]:
        """By type OID: schema and name of the function that writes its values."""
        oids = list({column.oid for column in table.columns})
        return {oid: (schema, name) for oid, schema, name in self._connection.execute(_OUTPUT, [oids])}
