"""
Compared while writers write and another process streams: nothing is made up, nothing overlooked.
"""

from __future__ import annotations

import psycopg
from concurrent_writers import TABLES, set_up, writing
from following import Followed
from wal_captures import capture, eventually

from cdc_assets import engine
from cdc_assets.engine import Comparison
from cdc_assets.model import TableName

ITEMS, SHIFTING = TABLES[:2]
QUIET = TableName("public", "quiet")


def found_in(each: Comparison) -> dict[str, list[int]]:
    kinds = {"missing": each.missing, "changed": each.changed, "extra": each.extra}
    return {
        kind: [row["id"] for _, keys in found for row in keys.to_pylist()] for kind, found in kinds.items()
    }


def test_what_is_wrong_is_found_under_load_and_nothing_else(newest_dsn, path):
    set_up(newest_dsn)
    with psycopg.connect(newest_dsn, autocommit=True) as connection:
        connection.execute("create table quiet (id int primary key, note text)")
        connection.execute("insert into quiet values (1, ''), (2, 'right'), (3, '')")
    mine = capture(newest_dsn, chunk_bytes=16_000)
    followed = Followed(newest_dsn, path, mine.name)
    sink, tables = followed.sink, [ITEMS, SHIFTING, QUIET]

    with writing(newest_dsn), followed.process():
        eventually(lambda: all(sink.is_seeded(name) for name in tables), within=60)
        with sink.file.writing() as transaction:
            transaction.run("DELETE FROM destination.public.quiet WHERE id = 1")
            transaction.run("UPDATE destination.public.quiet SET note = 'forged' WHERE id = 2")
            transaction.run("INSERT INTO destination.public.items (id, version) VALUES (-1, 0)")
        found = {each.table: each for each in engine.compare(mine, sink, tables)}

    assert found[ITEMS].rows > 300
    assert found_in(found[ITEMS]) == {"missing": [], "changed": [], "extra": [-1]}
    assert found_in(found[SHIFTING]) == {"missing": [], "changed": [], "extra": []}
    assert found_in(found[QUIET]) == {"missing": [1], "changed": [2], "extra": []}
