"""
What PostgreSQL's catalog says of tables: columns, types, keys, storage.

https://www.postgresql.org/docs/current/catalogs.html
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

import pyarrow as pa
from psycopg.rows import class_row

from ..errors import UnusableTable
from ..model import Column, Evidence, File, ReplicaIdentity, Table, TableName
from ..pgoutput.cells import Cells
from ..pgoutput.messages import Relation, RelationColumn
from ..pgoutput.types import arrow_type, from_text
from .alignment import aligned
from .publication import Published
from .session import Connection
from .treatment import AS_IT_IS, Treatment
from .usertypes import UserTypes

# What attaches a table touches each of its columns; a table that is made as a partition has them
# from the command that made its row type too.
_BORN_A_PARTITION = """
exists (select from pg_class t join pg_type y on y.oid = t.reltype join pg_attribute a on a.attrelid = t.oid
        where t.oid = up.relid and a.attnum > 0 and a.xmin = y.xmin and a.cmin = y.cmin)
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
                   format_type(a.atttypid, a.atttypmod), a.attgenerated, not a.attnotnull,
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
            from pg_partition_tree(c.oid) l where l.isleaf)
           else json_build_array(json_build_array(c.oid::bigint, pg_relation_filenode(c.oid)::bigint, false))
       end as files
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where """
_IN_PATTERN = """c.relkind in ('r', 'p', 'v', 'm', 'f')
  and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'"""

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
    version: int
    """The transaction that last touched the definition."""
    missing: str | None
    """What rows have that are older than the column, if it is not null."""


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
            return f"GRANT USAGE ON SCHEMA {self.schema} TO {self.role};"
        if not self.may_be_read:
            return f"GRANT SELECT ON {self.table_name} TO {self.role};"
        return f"ALTER ROLE {self.role} BYPASSRLS;"

    def refuse(self, treatment: Treatment) -> None:
        """Raise it if the treatment does not fit the relation."""
        names = {column.number: column.name for column in self.columns}
        treatment.refuse(self.table_name, list(names.values()), [names[number] for number in self.key()])

    def key(self) -> list[int]:
        if self.identity == "n":
            return []
        return self.primary_key if self.identity == "f" else self.identity_key


class Catalog:
    """Reads definitions through one connection, all as of one look at types and publication."""

    def __init__(
        self,
        connection: Connection,
        published: Mapping[TableName, Published],
        treatments: Mapping[TableName, Treatment] = MappingProxyType({}),
        held: Iterable[Table] = (),
    ) -> None:
        self._connection, self._published, self._treatments = connection, published, treatments
        self._as_text = {
            (table.oid, column.number, column.oid)
            for table in held
            for column in table.columns
            if column.as_text
        }

    @cached_property
    def _types(self) -> UserTypes:
        return UserTypes(self._connection)

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
            entry._replace(
                columns=[CatalogColumn(*column) for column in entry.columns],
                files=sorted(File(*file) for file in entry.files),
            )
            for entry in found
        ]

    def table(self, relation: CatalogEntry) -> Table:
        """The definition of a relation: of its columns, those that the publication sends, or would, and
        that are not left out."""
        if obstacle := relation.obstacle():
            raise UnusableTable(
                f"table {relation.table_name} cannot be mirrored: {obstacle}",
                hint=relation.remedy(),
            )
        treatment = self._treatments.get(relation.table_name, AS_IT_IS)
        relation.refuse(treatment)
        sent = self._sent(relation)
        if not sent:
            raise UnusableTable(
                f"table {relation.table_name} cannot be mirrored: it has no columns",
                hint=f'exclude it: add "-{relation.table_name}" to source.tables.',
            )
        key = set(relation.key())
        if hidden := key - {column.number for column in sent}:
            names = ", ".join(column.name for column in relation.columns if column.number in hidden)
            raise UnusableTable(
                f"table {relation.table_name} cannot be mirrored: the publication leaves out {names}, "
                "which its key needs",
                hint="add the column to the publication's column list.",
            )
        kept = [column for column in sent if column.name not in treatment.exclude]
        return Table(
            relation.oid,
            relation.table_name,
            tuple(self._column(relation.oid, c.name, c.oid, c.typmod, c.type, treatment, c) for c in kept),
            tuple(column.name for column in kept if column.number in key),
            ReplicaIdentity(relation.identity),
            self._evidence(relation, kept),
            skipped=_places(sent, treatment.exclude),
        )

    def _sent(self, relation: CatalogEntry) -> list[CatalogColumn]:
        published = self._published.get(relation.table_name)
        if published is None or published.columns is None:
            return [column for column in relation.columns if not column.generated]
        return [column for column in relation.columns if column.name in published.columns]

    def _evidence(self, relation: CatalogEntry, sent: Sequence[CatalogColumn]) -> Evidence:
        published = self._published.get(relation.table_name)
        oids = [column.oid for column in sent]
        row_filter = (published.row_filter if published else None) or ""
        return Evidence(
            highest=relation.highest,
            versions={column.number: column.version for column in sent},
            files=tuple(relation.files),
            labels=self._types.labels(oids),
            circumstances={"row filter": row_filter, **self._types.composites(oids)},
        )

    def described(self, relation: Relation, held: Table | None) -> Table:
        """The definition the log gives, with what it leaves out: which attribute each column is, what
        domains are made of, and the key under identity FULL, where every column is marked as one.

        `held` is the definition before, with the evidence of the last look at the catalog.
        """
        entry = self.relation(relation.oid)
        treatment = self._treatments.get(entry.table_name if entry else relation.name, AS_IT_IS)
        skipped = _places(relation.columns, treatment.exclude)
        stepped_over = [relation.columns[place] for place in skipped]
        relation = relation._replace(
            columns=tuple(column for column in relation.columns if column.name not in treatment.exclude)
        )
        left_out = {c.number: c for c in (entry.columns if entry else []) if c.name in treatment.exclude}
        sent = self._sent(entry) if entry else []
        now = {column.number: column for column in sent if column.number not in left_out}
        numbers = _numbers(relation, held, now, left_out, entry.highest if entry else 0)
        types = self._format_types([(column.oid, column.typmod) for column in relation.columns])
        columns = tuple(
            self._column(
                relation.oid,
                column.name,
                column.oid,
                column.typmod,
                type_,
                treatment,
                now.get(number),
                number,
            )
            for column, type_, number in zip(
                relation.columns, types, numbers or [0] * len(relation.columns), strict=True
            )
        )
        doubt = None if numbers else "its columns were changed more than once"
        key = {column.name for column in relation.columns if column.in_identity}
        if relation.identity is ReplicaIdentity.FULL:
            key = {now[number].name for number in (entry.key() if entry else []) if number in now}
            if held and key != set(held.key):
                doubt = "its key was changed under REPLICA IDENTITY FULL"
            lost = entry is not None and not left_out.keys().isdisjoint(entry.key())
        else:
            lost = any(column.in_identity for column in stepped_over)
        if lost:
            key, doubt = set(), "a column that is left out became part of its key"
        evidence = held.evidence if held else Evidence()
        were_there = {column.name for column in stepped_over}
        seen = [*(numbers or []), *(number for number, c in left_out.items() if c.name in were_there)]
        return Table(
            relation.oid,
            relation.name,
            columns,
            tuple(column.name for column in columns if column.name in key),
            relation.identity,
            replace(evidence, highest=max([evidence.highest, *seen])),
            doubt,
            rewritten=entry is None or Evidence(files=tuple(entry.files)).shows_rewrite_since(evidence),
            skipped=skipped,
        )

    def _format_types(self, types: Sequence[tuple[int, int]]) -> list[str]:
        if not types:
            return []
        query = "select format_type(o, m) from unnest(%s::oid[], %s::int[]) as t(o, m)"
        oids, typmods = zip(*types, strict=True)
        return [row[0] for row in self._connection.execute(query, [[*oids], [*typmods]])]

    def _column(
        self,
        table: int,
        name: str,
        oid: int,
        typmod: int,
        type_: str,
        treatment: Treatment,
        now: CatalogColumn | None,
        number: int | None = None,
    ) -> Column:
        """A column, and what the catalog knows of the attribute that it is."""
        base, base_typmod = self._types.base(oid, typmod)
        column = Column(
            name,
            oid,
            typmod,
            type_,
            base,
            arrow_type(base, base_typmod),
            nullable=now.nullable if now else True,
            number=now.number if now and number is None else number or 0,
        )
        if (table, column.number, oid) in self._as_text:
            column = column.kept_as_text()
        column = treatment.of(column)
        if now is None or now.missing is None or now.oid != oid:
            return column
        missing = from_text(column, Cells.of(pa.array([now.missing], pa.large_string())), TableName("", ""))
        return replace(column, missing=missing)

    def output_functions(self, table: Table) -> Mapping[int, tuple[str, str]]:
        """By type OID: schema and name of the function that writes its values."""
        oids = list({column.oid for column in table.columns})
        return {oid: (schema, name) for oid, schema, name in self._connection.execute(_OUTPUT, [oids])}


def _places(columns: Sequence[CatalogColumn | RelationColumn], names: Collection[str]) -> tuple[int, ...]:
    return tuple(place for place, column in enumerate(columns) if column.name in names)


def _numbers(
    relation: Relation,
    held: Table | None,
    now: Mapping[int, CatalogColumn],
    left_out: Collection[int],
    highest_now: int,
) -> list[int] | None:
    """The attribute number of each column, or None if it cannot be told; the columns `left_out`
    are not among them, here, there and now."""
    if held is None:
        names = [column.name for column in relation.columns]
        return list(now) if names == [column.name for column in now.values()] else None
    return aligned(
        len(relation.columns),
        [column.number for column in held.columns if column.number not in left_out],
        list(now),
        left_out,
        highest=held.evidence.highest,
        highest_now=highest_now,
    )
