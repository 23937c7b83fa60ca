"""
One relation as the catalog has it: what it is made of, and what stands in the way of mirroring it.

https://www.postgresql.org/docs/current/catalogs.html
"""

from __future__ import annotations

from typing import Any, NamedTuple

from psycopg import sql
from psycopg.rows import class_row

from ..model import File, TableName
from .session import Connection
from .treatment import Treatment

# What attaches a table touches each of its columns; a table that is made as a partition has them
# from the command that made its row type too.
_BORN_A_PARTITION = """
exists (select from pg_class t join pg_type y on y.oid = t.reltype join pg_attribute a on a.attrelid = t.oid
        where t.oid = up.relid and a.attnum > 0 and a.xmin = y.xmin and a.cmin = y.cmin)
"""
# Before 15 the column depends on its inputs, since then its default does.
_GENERATED = """
(select json_build_object('is_stored', a.attgenerated = 's', 'tree', md5(d.adbin::text),
        'expression', coalesce(pg_get_expr(d.adbin, d.adrelid), ''),
        'inputs', (select coalesce(json_agg(distinct p.refobjsubid), '[]') from pg_depend p
                   where (p.classid, p.objid) in (('pg_attrdef'::regclass, d.oid),
                                                  ('pg_class'::regclass, d.adrelid))
                     and (p.classid = 'pg_attrdef'::regclass or p.objsubid = d.adnum)
                     and p.refclassid = 'pg_class'::regclass and p.refobjid = d.adrelid
                     and p.refobjsubid not in (0, d.adnum)))
 from pg_attrdef d where a.attgenerated <> '' and d.adrelid = a.attrelid and d.adnum = a.attnum)
"""
_TABLES = f"""
select c.oid::bigint as oid, n.nspname as schema, c.relname as name, c.relkind::text as kind,
       c.relpersistence::text as persistence, c.relreplident::text as identity,
       c.relispartition as is_partition,
       has_schema_privilege(n.oid, 'usage') as may_be_entered,
       has_any_column_privilege(c.oid, 'select') as may_be_read,
       row_security_active(c.oid) as hides_rows, quote_ident(current_user) as role,
       coalesce((select i.indkey::int2[] from pg_index i
                 where i.indrelid = c.oid and i.indisprimary), '{{}}') as primary_key,
       coalesce((select i.indkey::int2[] from pg_index i
                 where i.indrelid = c.oid
                   and case c.relreplident when 'i' then i.indisreplident
                                           when 'd' then i.indisprimary and i.indimmediate end),
                '{{}}') as identity_key,
       case when c.relkind = 'p' then
           (select min(format('%%I.%%I', s.nspname, x.relname))
            from pg_partition_tree(c.oid) l join pg_class x on x.oid = l.relid
                 join pg_namespace s on s.oid = x.relnamespace
            where l.isleaf and x.relkind <> 'p' and x.relreplident <> 'f') end as not_full,
       (select coalesce(json_agg(json_build_array(a.attnum, a.attname, a.atttypid::bigint, a.atttypmod,
                   format_type(a.atttypid, a.atttypmod), {_GENERATED.strip()}, not a.attnotnull,
                   a.xmin::text::bigint, array_to_string(m.attmissingval, ''))
                   order by a.attnum), '[]')
        from pg_attribute a left join lateral (
            select x.attmissingval from pg_partition_tree(c.oid) l join pg_attribute x on x.attrelid = l.relid
            where c.relkind = 'p' and l.isleaf and x.attname = a.attname and x.atthasmissing
            union all select a.attmissingval where c.relkind <> 'p' limit 1) m on true
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns,
       c.relnatts as highest,
       case when c.relkind = 'p' then
           (select coalesce(json_agg(json_build_array(l.relid::oid::bigint,
                       pg_relation_filenode(l.relid)::bigint, exists (
                           select from pg_partition_ancestors(l.relid) up
                           where up.relid <> c.oid and not ({_BORN_A_PARTITION.strip()})))), '[]')
            from pg_partition_tree(c.oid) l join pg_class x on x.oid = l.relid
            where l.isleaf and x.relkind <> 'p')
           else json_build_array(json_build_array(c.oid::bigint, pg_relation_filenode(c.oid)::bigint, false))
       end as files
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where """
_IN_PATTERN = """c.relkind in ('r', 'p', 'v', 'm', 'f')
  and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'"""

_KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}


class GeneratedBy(NamedTuple):
    is_stored: bool
    expression: str
    """Empty if the table went while it was looked at."""
    tree: str
    """A fingerprint of the expression, in which columns are numbers."""
    inputs: list[int]
    """Attribute numbers."""


class CatalogColumn(NamedTuple):
    number: int
    name: str
    oid: int
    typmod: int
    type: str
    generated: GeneratedBy | None
    nullable: bool
    version: int
    """The transaction that last touched the definition."""
    missing: str | None
    """What rows have that are older than the column, if it is not null."""

    @classmethod
    def of(
        cls, number: int, name: str, oid: int, typmod: int, type_: str, generated: Any, *more: Any
    ) -> CatalogColumn:
        """From what JSON makes of one."""
        return cls(number, name, oid, typmod, type_, generated and GeneratedBy(**generated), *more)


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
    not_full: str | None
    """A partition, quoted, that has another replica identity than FULL. The root's is not its own."""
    columns: list[CatalogColumn]
    highest: int
    files: list[File]

    @property
    def table_name(self) -> TableName:
        return TableName(self.schema, self.name)

    def obstacle(self) -> str | None:
        """Why the relation cannot be mirrored; None if it can."""
        if self.kind in _KINDS:
            return f"it is {_KINDS[self.kind]}, whose changes are not in the log"
        if self.persistence != "p":
            return "it is unlogged or temporary, so its changes are not in the log"
        if not self.key() and self.identity != "f":
            return "it has no key: its replica identity is neither primary key nor index, nor FULL"
        if not self.key() and self.not_full:
            return f"it has no key, and the replica identity of its partition {self.not_full} is not FULL"
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
        if not self.key() and self.identity != "f":
            alter = f"ALTER TABLE {self.table_name}"
            usual = "REPLICA IDENTITY DEFAULT" if self.primary_key else "ADD PRIMARY KEY (...)"
            return f"{alter} {usual};  or  {alter} REPLICA IDENTITY FULL;"
        if not self.key() and self.not_full:
            return f"ALTER TABLE {self.not_full} REPLICA IDENTITY FULL;"
        if not self.may_be_entered:
            return f"GRANT USAGE ON SCHEMA {sql.Identifier(self.schema).as_string(None)} TO {self.role};"
        if not self.may_be_read:
            return f"GRANT SELECT ON {self.table_name} TO {self.role};"
        return f"ALTER ROLE {self.role} BYPASSRLS;"

    def spread(self, treatment: Treatment) -> Treatment:
        """The treatment, also of what is generated from the columns it is about."""
        names = {column.number: column.name for column in self.columns}
        return treatment.spread(
            {c.name: [names[number] for number in c.generated.inputs] for c in self.columns if c.generated}
        )

    def refuse(self, treatment: Treatment) -> None:
        """Raise it if the treatment does not fit the relation."""
        names = {column.number: column.name for column in self.columns}
        treatment.refuse(self.table_name, list(names.values()), [names[number] for number in self.key()])

    def key(self) -> list[int]:
        if self.identity == "n":
            return []
        return self.primary_key if self.identity == "f" else self.identity_key


def entries(connection: Connection) -> list[CatalogEntry]:
    """Every relation a user made that a pattern could mean."""
    return _query(connection, _IN_PATTERN)


def entry_of(connection: Connection, oid: int) -> CatalogEntry | None:
    found = _query(connection, "c.oid = %s", oid)
    return found[0] if found else None


def _query(connection: Connection, where: str, *parameters: int) -> list[CatalogEntry]:
    with connection.cursor(row_factory=class_row(CatalogEntry)) as cursor:
        found = cursor.execute(f"{_TABLES}{where} order by schema, name", parameters).fetchall()
    return [
        entry._replace(
            columns=[CatalogColumn.of(*column) for column in entry.columns],
            files=sorted(File(*file) for file in entry.files),
        )
        for entry in found
    ]
