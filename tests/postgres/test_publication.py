"""
What a publication covers, and what it sends of it.
"""

from wal_captures import capture

from cdc_assets.model import TableName


def test_one_can_be_made_before_there_is_anything_to_publish(source, dsn):
    source.execute("create table without_a_key (v text)")
    mine = capture(dsn)
    mine.prepare({})
    assert mine.captured() == set()

    source.execute("create table t (id int primary key)")
    mine.prepare(mine.select().tables)
    assert mine.captured() == {TableName("public", "t")}


def test_a_generated_column_is_copied_if_and_only_if_it_is_in_the_log(source, dsn):
    source.execute("create table t (id int primary key, g int generated always as (id * 2) stored)")
    mine = capture(dsn)
    mine.prepare(mine.select().tables)
    source.execute("insert into t values (1)")
    (batch,) = (batch for batch in mine.live(until=mine.head()) if batch.changes)

    (selected,) = mine.select().tables.values()
    assert selected == batch.changes[0].table
