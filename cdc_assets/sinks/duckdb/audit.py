"""
The copy in the file held against its source, by numbers that are made of rows.

The file is held only while numbers are made of the rows in it, a part of a large table at a
time. They are kept, and compared, in the instance that the file is attached to, which spills
to disk what does not fit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count

import pyarrow as pa

from ...errors import CopyReplaced
from ...model import AT_SOURCE, COPIES, LSN, PRINT, Audit, Judgement, Table
from .file import DuckDBFile, Transaction, named, quoted
from .merge import LSN_COLUMN
from .sameness import same_key, told_apart_by
from .state import State

_TOGETHER = 16 << 20
"""Bytes of rows that numbers are made of together."""
_PART = 4_000_000
"""Rows of the file, whose keys and numbers take about half a second."""
_numbers = count()


class DuckDBAudit(Audit):
    def __init__(self, file: DuckDBFile, pipeline: str, table: Table) -> None:
        self._file, self._pipeline, self._table = file, pipeline, table
        self._key = ", ".join(map(quoted, table.key)) or PRINT
        number = next(_numbers)
        self._source, self._copy, self._keys = (
            f"audit_{what}_{number}" for what in ("source", "copy", "keys")
        )
        no_rows = pa.RecordBatchReader.from_batches(table.schema, [])
        with file.aside() as transaction, transaction.handing("no_rows", no_rows):
            transaction.run(f"CREATE TEMP TABLE {self._source} AS {self._of('no_rows', at=False)}")
            transaction.run(f"CREATE TEMP TABLE {self._keys} AS SELECT {self._key} FROM {self._source}")
            transaction.run(
                f"CREATE TEMP TABLE {self._copy} AS SELECT *, 0::UBIGINT AS {LSN_COLUMN} FROM {self._source}"
            )

    def drop(self) -> None:
        with self._file.aside() as transaction:
            for table in (self._source, self._copy, self._keys):
                transaction.run(f"DROP TABLE IF EXISTS {table}")

    def _of(self, rows: str, *, at: bool) -> str:
        """Of each of `rows`, called r: its key, the number made of it, and, if it has one, its LSN."""
        print_ = f"hash({', '.join(told_apart_by(self._table.schema, 'r'))}) AS {PRINT}"
        key = [f"r.{quoted(name)}" for name in self._table.key]
        lsn = [f"coalesce(r.{LSN_COLUMN}, 0) AS {LSN_COLUMN}"] if at else []
        return f"SELECT {', '.join([*key, print_, *lsn])} FROM {rows} r"

    def take(self, rows: Iterable[pa.RecordBatch]) -> int:
        taken = 0
        for some in _together(rows):
            with self._file.aside() as transaction, transaction.handing("taken", some):
                taken += transaction.run(f"INSERT INTO {self._source} {self._of('taken', at=False)}")
        return taken

    def judge(self, at: LSN, keys: pa.Table | None = None) -> Judgement:
        if keys is None:
            self._look_at_all()
        else:
            self._look_at(keys)
        with self._file.aside() as transaction:
            return self._judged(transaction, at) if self._table.key else self._copies(transaction, at)

    def _look_at_all(self) -> None:
        """Part by part. All rows of a key are in one part, so that none is seen twice, or not at all,
        if it is written again between two."""
        parts, part = 1, 0
        while part < parts:
            with self._reading() as (transaction, target):
                ((rows,),) = transaction.rows(f"SELECT count(*) FROM {target}")
                parts = parts if part else max(1, math.ceil(rows / _PART))
                of_part = f" WHERE hash({self._key}) % {parts} = {part}" if parts > 1 else ""
                transaction.run(f"INSERT INTO {self._copy} FROM ({self._of(target, at=True)}){of_part}")
            part += 1

    def _look_at(self, keys: pa.Table) -> None:
        with self._file.aside() as transaction, transaction.handing("wanted", keys):
            transaction.run(f"INSERT INTO {self._keys} BY NAME FROM wanted")
        with self._reading() as (transaction, target):
            wanted = same_key("r", "k", self._table.key)
            transaction.run(
                f"INSERT INTO {self._copy} {self._of(target, at=True)} SEMI JOIN {self._keys} k ON {wanted}"
            )

    @contextmanager
    def _reading(self) -> Iterator[tuple[Transaction, str]]:
        with self._file.reading() as transaction:
            state = State(transaction, self._pipeline) if transaction else None
            record = state.table(self._table.name) if state and state.exists() else None
            if not transaction or not record or record.copy != self._table or not record.live:
                raise CopyReplaced(
                    f"the copy of {self._table.name} is not of the table that was read",
                    hint="compare it again.",
                )
            yield transaction, named(*self._table.name)

    def _judged(self, transaction: Transaction, at: LSN) -> Judgement:
        both = ", ".join(f"coalesce(s.{name}, c.{name}) AS {name}" for name in map(quoted, self._table.key))
        copy = (
            f"SELECT {self._key}, any_value({PRINT}) AS {PRINT}, max({LSN_COLUMN}) AS {LSN_COLUMN}, "
            f"count(*) AS {COPIES} FROM {self._copy} GROUP BY {self._key}"
        )
        transaction.run(
            f"CREATE OR REPLACE TEMP TABLE judged AS SELECT {both}, CASE "
            f"WHEN c.{PRINT} IS NULL THEN 'absent' "
            f"WHEN c.{COPIES} = 1 AND c.{LSN_COLUMN} > {int(at)} THEN 'later' "
            f"WHEN s.{PRINT} IS NULL THEN 'extra' ELSE 'changed' END AS _cdc_judged "
            f"FROM {self._source} s FULL JOIN ({copy}) c ON {same_key('s', 'c', self._table.key)} "
            f"WHERE s.{PRINT} IS DISTINCT FROM c.{PRINT} OR c.{COPIES} > 1 OR c.{LSN_COLUMN} > {int(at)}"
        )
        found = {
            what: transaction.arrow(
                f"SELECT {self._key} FROM judged WHERE _cdc_judged = '{what}' ORDER BY ALL"
            )
            for what in ("changed", "extra", "absent", "later")
        }
        transaction.run("DROP TABLE judged")
        return Judgement(**found)

    def _copies(self, transaction: Transaction, at: LSN) -> Judgement:
        rows = (
            f"(SELECT {PRINT}, count(*) AS there FROM {self._source} GROUP BY ALL) FULL JOIN "
            f"(SELECT {PRINT}, count(*) AS here, count(*) FILTER ({LSN_COLUMN} <= {int(at)}) AS earlier "
            f"FROM {self._copy} GROUP BY ALL) USING ({PRINT})"
        )

        def more(one: str, other: str) -> pa.Table:
            return transaction.arrow(
                f"SELECT {PRINT}, {one} - {other} AS {COPIES}, coalesce(there, 0) AS {AT_SOURCE} FROM {rows} "
                f"WHERE {one} > {other}"
            )

        extra, absent = more("earlier", "coalesce(there, 0)"), more("there", "coalesce(here, 0)")
        return Judgement(extra.slice(0, 0), extra, absent, extra.slice(0, 0))


def _together(rows: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    gathered: list[pa.RecordBatch] = []
    for batch in rows:
        gathered.append(batch)
        if sum(each.nbytes for each in gathered) > _TOGETHER:
            yield pa.Table.from_batches(gathered)
            gathered = []
    if gathered:
        yield pa.Table.from_batches(gathered)
