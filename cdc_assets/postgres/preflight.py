"""
What stands in the way of capturing, found before anything is made: each with its remedy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from psycopg import sql

from ..errors import ConfigError
from ..model import TableName
from ..pgoutput.types import arrow_type
from .entries import CatalogEntry, entries
from .patterns import Patterns
from .publication import Publication
from .session import Connection
from .slot import Slot, drop_statement
from .treatment import AS_IT_IS, Treatment

_OLDEST = 140_000
_NEEDED_SLOTS = 2
"""Of our own and, while a table is seeded, a temporary one. A sample of the lag takes one more
for a second, and does without if there is none."""

_SERVER = """
select current_setting('server_version_num')::int, current_setting('wal_level'),
       current_setting('max_replication_slots')::int - (select count(*) from pg_replication_slots),
       current_setting('max_wal_senders')::int - (select count(*) from pg_stat_replication),
       current_setting('max_slot_wal_keep_size'),
       rolreplication or rolsuper
from pg_roles where rolname = current_user
"""


@dataclass(frozen=True)
class Finding:
    about: str
    message: str
    remedy: str
    is_problem: bool = True
    """False for what is only good to know."""


def findings(
    connection: Connection, name: str, patterns: Patterns, treatments: Mapping[TableName, Treatment]
) -> Iterator[Finding]:
    """Everything that is to be said, worst first within each part."""
    yield from _server(connection)
    every = {entry.table_name: entry for entry in entries(connection)}
    yield from _selection(patterns, every)
    selected = {
        table: entry
        for table, entry in every.items()
        if patterns.match(table) and (not entry.is_partition or table in patterns.named)
    }
    mirrored = {table: entry for table, entry in selected.items() if entry.obstacle() is None}
    yield from _tables(selected, patterns, treatments)
    yield from _publication(connection, f"cdc_{name}", mirrored)
    yield from _slot(connection, f"cdc_{name}")


def _server(connection: Connection) -> Iterator[Finding]:
    row = connection.execute(_SERVER).fetchone()
    assert row is not None
    version, wal_level, slots, senders, keep_size, may_replicate = row
    role = sql.Identifier(connection.info.user).as_string(connection)
    if version < _OLDEST:
        yield Finding("server", "PostgreSQL is older than 14", "upgrade the server.")
    if wal_level != "logical":
        yield Finding(
            "server",
            f"wal_level is {wal_level}, not logical",
            "ALTER SYSTEM SET wal_level = logical;  then restart the server.",
        )
    if not may_replicate:
        yield Finding("role", f"role {role} may not replicate", f"ALTER ROLE {role} REPLICATION;")
    for free, setting in ((slots, "max_replication_slots"), (senders, "max_wal_senders")):
        if free < _NEEDED_SLOTS:
            yield Finding(
                "server",
                f"{free} of {setting} are free, {_NEEDED_SLOTS} are needed",
                f"ALTER SYSTEM SET {setting} = ...;  then restart the server.",
            )
    if keep_size == "-1":
        yield Finding(
            "server",
            "max_slot_wal_keep_size is -1: a slot that is not read can fill the disk",
            "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB';  SELECT pg_reload_conf();",
            is_problem=False,
        )


def _selection(patterns: Patterns, every: Mapping[TableName, CatalogEntry]) -> Iterator[Finding]:
    for name in patterns.named:
        if name not in every:
            yield Finding(str(name), "the table does not exist", "correct source.tables.")
    for pattern in patterns.unmatched(every):
        yield Finding(
            "source.tables", f'the pattern "{pattern}" matches no table', "correct it, or grant the schema."
        )


def _tables(
    selected: Mapping[TableName, CatalogEntry], patterns: Patterns, treatments: Mapping[TableName, Treatment]
) -> Iterator[Finding]:
    for name, entry in selected.items():
        treatment = treatments.get(name, AS_IT_IS)
        try:
            entry.refuse(treatment)
        except ConfigError as error:
            yield Finding(str(name), str(error), error.hint)
        if obstacle := entry.obstacle():
            named = name in patterns.named
            if named or entry.kind in "rp":
                said = obstacle if named else f"set aside: {obstacle}"
                yield Finding(str(name), said, entry.remedy(), is_problem=named)
            continue
        if as_text := _kept_as_text(entry, treatment):
            yield Finding(
                str(name), f"kept as text: {', '.join(as_text)}", "nothing to do.", is_problem=False
            )


def _kept_as_text(entry: CatalogEntry, treatment: Treatment) -> list[str]:
    plain = {25, 1042, 1043, 19}
    text = arrow_type(25, -1)
    return [
        f"{column.name} {column.type}"
        for column in entry.columns
        if column.oid not in plain
        and column.name not in treatment.exclude | treatment.hash
        and arrow_type(column.oid, column.typmod) == text
    ]


def _publication(
    connection: Connection, name: str, mirrored: Mapping[TableName, CatalogEntry]
) -> Iterator[Finding]:
    publication = Publication(connection, name)
    missing = sorted(set(mirrored) - set(publication.tables()))
    if not missing:
        return
    may_make = publication.exists() or connection.execute(
        "select has_database_privilege(current_database(), 'create')"
    ).fetchone() == (True,)
    if not may_make or publication.out_of_reach({table: mirrored[table].oid for table in missing}):
        tables = f"{', '.join(map(str, missing[:5]))}{' ...' if len(missing) > 5 else ''}"
        yield Finding(
            f"publication {name}",
            f"it lacks {tables}, and this role may not add to it"
            if publication.exists()
            else f"it does not exist, and this role may not make it for {tables}",
            f"run as the tables' owner:  {publication.statement(missing)};",
        )


def _slot(connection: Connection, name: str) -> Iterator[Finding]:
    slot = Slot(connection, name)
    state = slot.state()
    if state and (obstacle := state.obstacle()):
        yield Finding(f"slot {name}", obstacle, drop_statement(name))
