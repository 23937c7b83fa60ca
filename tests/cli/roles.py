"""
Roles that may only so much.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

Source = psycopg.Connection[tuple[object, ...]]
PASSWORD = "pass-word-17"


@contextmanager
def role(source: Source, *options: str, owner: bool = False) -> Iterator[str]:
    """The conninfo of a role that may read the tables there are, and, as their `owner`, publish them."""
    name = f"limited_{os.getpid()}"
    identifier, database = sql.Identifier(name), sql.Identifier(source.info.dbname)
    source.execute(
        sql.SQL("create role {} login {} password {}").format(
            identifier, sql.SQL(" ".join(options)), sql.Literal(PASSWORD)
        )
    )
    source.execute(sql.SQL("grant select on all tables in schema public to {}").format(identifier))
    if owner:
        source.execute(sql.SQL("grant create on database {} to {}").format(database, identifier))
        tables = source.execute("select tablename from pg_tables where schemaname = 'public'").fetchall()
        for (table,) in tables:
            source.execute(
                sql.SQL("alter table {} owner to {}").format(sql.Identifier("public", table), identifier)
            )
    try:
        yield make_conninfo(source.info.dsn, user=name, password=PASSWORD)
    finally:
        source.execute(sql.SQL("reassign owned by {} to current_user").format(identifier))
        source.execute(sql.SQL("drop owned by {}; drop role {}").format(identifier, identifier))
