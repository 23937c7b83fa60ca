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

ITEMS, SHIFTING = TABLES[:2]


def found_in(each: Comparison) -> dict[str, list[int]]:
    kinds = {"missing": each.missing, "changed": each.changed, "extra": each.extra}
    return {
        kind: [row["id"] for _, keys in found for row in keys.to_pylist()] for kind, found in kinds.items()
    }


def test_what_is_wrong_is_found_under_load_and_nothing_else(newest_dsn, path):
    set_up(newest_dsn)
    with psycopg.connect(newest_dsn, autocommit=True) as connection:
        connection.execute(
            "insert into items select i, 0, '', 'left alone' from generate_series(9001, 9003) i"
        )
    mine = capture(newest_dsn, chunk_bytes=16_000)
    followed = Followed(newest_dsn, path, mine.name)
    sink = followed.sink

    with writing(newest_dsn), followed.process():
        eventually(lambda: all(sink.is_seeded(name) for name in (ITEMS, SHIFTING)), within=60)
        with sink.file.writing() as transaction:
            items = "destination.public.items"
            transaction.run(f"DELETE FROM {items} WHERE id = 9001")
            transaction.run(f"UPDATE {items} SET note = 'forged' WHERE id = 9002")
            transaction.run(f"INSERT INTO {items} (id, version) VALUES (-1, 0)")
        found = {each.table: each for each in engine.compare(mine, sink, [ITEMS, SHIFTING])}

    assert found[ITEMS].rows > 300
    assert found_in(found[ITEMS]) == {"missing": [9001], "changed": [9002], "extra": [-1]}
    assert found_in(found[SHIFTING]) == {"missing": [], "changed": [], "extra": []}
