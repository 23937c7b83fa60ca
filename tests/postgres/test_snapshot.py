"""
What a snapshot reads, however tables and columns are called.
"""

import psycopg
import pyarrow as pa
from wal_captures import capture


def test_rows_are_read_again_by_keys_whose_names_have_a_percent_sign(newest_dsn):
    with psycopg.connect(newest_dsn, autocommit=True) as source:
        source.execute('create table "100%" ("a%b" int primary key, "%s" text)')
        source.execute("""insert into "100%" values (1, 'one'), (2, 'two')""")
    mine = capture(newest_dsn)
    (table,) = mine.select().tables.values()
    keys = pa.RecordBatch.from_pylist([{"a%b": 2}], pa.schema([table.schema.field("a%b")]))

    with mine.snapshot([table]) as snapshot:
        (rows,) = snapshot.read_keys(table, keys)

    assert rows.to_pylist() == [{"a%b": 2, "%s": "two"}]
