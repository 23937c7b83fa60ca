"""
The publication: which tables' changes the server sends.

https://www.postgresql.org/docs/current/sql-createpublication.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import NamedTuple

from psycopg import errors, sql
from psycopg.rows import TupleRow

from ..errors import CaptureError, TableRewritten
from ..model import TableName
from .session import Connection, first_line

_GENERATED_COLUMNS_SINCE = 180_000
_COLUMN_LISTS_SINCE = 150_000
_ATTEMPTS = 10
"""At a server whose tables are dropped while it is asked for them."""
_OID = """
select c.oid::bigint from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = %s and c.relname = %s
"""
_OF_OID = """
(schemaname, tablename) = (select n.nspname, c.relname from pg_class c join pg_namespace n
                           on n.oid = c.relnamespace where c.oid = %s)
"""
_SETTINGS = """
select pubinsert and pubupdate and pubdelete and pubtruncate, pubviaroot
from pg_publication where pubname = %s
"""
# 15 counts generated columns among those it publishes, but does not send them.
_SENT = """
array(select a.attname::text from unnest(attnames) with ordinality as n(attname, place)
      join pg_attribute a on a.attname = n.attname
        and a.attrelid = format('%%I.%%I', schemaname, tablename)::regclass
      where a.attgenerated = '' or current_setting('server_version_num')::int >= 180000 order by place)
"""
_CHOSEN = """
exists (select from pg_publication_rel r join pg_publication p on p.oid = r.prpubid
        where p.pubname = t.pubname and r.prattrs is not null
          and r.prrelid = format('%%I.%%I', schemaname, tablename)::regclass)
"""
# A table that is taken out and put back has another one; so has one that came by way of its schema.
_ENTRY = """
array_to_string(array(
    select p.oid from pg_publication p where p.pubname = t.pubname and p.puballtables
    union all
    select r.oid from pg_publication_rel r join pg_publication p on p.oid = r.prpubid
    where p.pubname = t.pubname and r.prrelid = format('%%I.%%I', schemaname, tablename)::regclass
    {by_schema} order by 1), ' ')
"""
_BY_SCHEMA = """
    union all
    select s.oid from pg_publication_namespace s join pg_publication p on p.oid = s.pnpubid
    where p.pubname = t.pubname and s.pnnspid = format('%%I', schemaname)::regnamespace
"""
# https://www.postgresql.org/docs/current/sql-alterpublication.html
_NOT_OURS = """
select c.oid::bigint from pg_class c where c.oid = any(%(oids)s::oid[]) and not (
    pg_has_role(c.relowner, 'usage')
    and (select pg_has_role(pubowner, 'usage') from pg_publication where pubname = %(publication)s))
"""


_FROM = "from pg_publication_tables t where pubname = %s"


class Published(NamedTuple):
    """How one table is published."""

    columns: tuple[str, ...] | None
    """None on servers that always send all of them."""
    chosen: bool
    """Whether whoever made the publication named the columns."""
    row_filter: str | None
    entry: str
    """What in the publication it is there by: another one, if it was not there for a while."""


class Publication:
    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self.name = name

    def exists(self) -> bool:
        return self._settings() is not None

    def tables(self, oid: int | None = None) -> dict[TableName, Published]:
        """What the publication covers, or covers of one table; empty if there is none."""
        newer = self._has_column_lists
        columns = f"{_SENT}, {_CHOSEN}, rowfilter" if newer else "null, false, null"
        entry = _ENTRY.format(by_schema=_BY_SCHEMA if newer else "")
        query = f"select schemaname, tablename, {columns}, {entry} {_FROM}"
        found = self._asked(query) if oid is None else self._asked(f"{query} and {_OF_OID}", oid)
        return {
            TableName(schema, table): Published(names and tuple(names), *rest)
            for schema, table, names, *rest in found
        }

    def _asked(self, query: str, *more: int) -> list[TupleRow]:
        for _ in range(_ATTEMPTS):
            # The server finds what is published first, and then looks each one up.
            with suppress(errors.InternalError_, errors.UndefinedTable):
                return self._connection.execute(query, [self.name, *more]).fetchall()
        return self._connection.execute(query, [self.name, *more]).fetchall()

    def ensure(self, tables: Mapping[TableName, int]) -> None:
        """Create the publication, or add to it what it lacks; nothing is taken away.

        `tables` says by OID which are meant. Under the same name there may be another by now, and to
        publish one that names no rows makes the server refuse updates of it: `TableRewritten`.
        """
        found = self._settings()
        if found is None:
            self._run(self._create(list(tables)), tables)
            return
        everything, via_root = found
        if not (everything and via_root):
            self._run(sql.SQL("ALTER PUBLICATION {} SET ({})").format(self._identifier, self._options()))
        if missing := sorted(set(tables) - set(self.tables())):
            self._run(self._add(missing), {name: tables[name] for name in missing})

    def out_of_reach(self, missing: Mapping[TableName, int]) -> list[TableName]:
        """Those of the tables that it lacks, with their OIDs, that this role may not add."""
        names = {oid: name for name, oid in missing.items()}
        found = self._connection.execute(_NOT_OURS, {"oids": [*names], "publication": self.name})
        return sorted(names[oid] for (oid,) in found)

    def drop(self) -> None:
        self._run(sql.SQL("DROP PUBLICATION IF EXISTS {}").format(self._identifier))

    def statement(self, tables: Sequence[TableName]) -> str:
        """The SQL that makes the publication send `tables` too."""
        return (self._add if self.exists() else self._create)(tables).as_string(self._connection)

    def _settings(self) -> TupleRow | None:
        return self._connection.execute(_SETTINGS, [self.name]).fetchone()

    def _add(self, tables: Sequence[TableName]) -> sql.Composed:
        return sql.SQL("ALTER PUBLICATION {} ADD {}").format(self._identifier, _for_tables(tables))

    def _create(self, tables: Sequence[TableName]) -> sql.Composed:
        # There may be nothing to publish yet, which cannot be said with FOR TABLE.
        covering = sql.SQL("FOR {} ").format(_for_tables(tables)) if tables else sql.SQL("")
        return sql.SQL("CREATE PUBLICATION {} {}WITH ({})").format(
            self._identifier, covering, self._options()
        )

    def _options(self) -> sql.Composable:
        # Through the root, a partitioned table's changes are one table's, as in the snapshot.
        options = "publish = 'insert, update, delete, truncate', publish_via_partition_root = true"
        if sends_generated_columns(self._connection):
            options += ", publish_generated_columns = stored"
        return sql.SQL(options)

    def _run(self, statement: sql.Composed, meant: Mapping[TableName, int] = MappingProxyType({})) -> None:
        try:
            with self._connection.transaction():
                self._connection.execute(statement)
                # What is being published can be neither renamed nor dropped until this is committed.
                for name, oid in meant.items():
                    if self._connection.execute(_OID, name).fetchone() != (oid,):
                        raise _replaced(name)
        except errors.UndefinedTable as error:
            raise TableRewritten(first_line(error), hint=_START_AGAIN) from error
        except errors.InsufficientPrivilege as error:
            raise CaptureError(
                f"{error.diag.message_primary}, which publication {self.name} needs",
                hint=f"run as the tables' owner:  {statement.as_string(self._connection)};",
            ) from error
        except (errors.DuplicateObject, errors.UniqueViolation):
            pass  # another process did the same at the same moment

    @property
    def _identifier(self) -> sql.Identifier:
        return sql.Identifier(self.name)

    @property
    def _has_column_lists(self) -> bool:
        return self._connection.info.server_version >= _COLUMN_LISTS_SINCE


def sends_generated_columns(connection: Connection) -> bool:
    """Whether the server can be told to; those that are stored."""
    return connection.info.server_version >= _GENERATED_COLUMNS_SINCE


def _replaced(name: TableName) -> TableRewritten:
    return TableRewritten(f"table {name} was renamed or made anew while it was looked at", hint=_START_AGAIN)


_START_AGAIN = "start again."


def _for_tables(tables: Iterable[TableName]) -> sql.Composed:
    # Without ONLY, the children of an inheritance parent would come along.
    names = (sql.SQL("ONLY {}").format(sql.Identifier(*table)) for table in tables)
    return sql.SQL("TABLE {}").format(sql.SQL(", ").join(names))
