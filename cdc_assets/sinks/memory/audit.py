"""
Holding a copy against its source, row by row.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable

import pyarrow as pa

from ...model import AT_SOURCE, COPIES, LSN, PRINT, Audit, Judgement, Table
from .rows import Key, Row, Rows, content, key_of, keys_of


class MemoryAudit(Audit):
    def __init__(self, copy: Callable[[], Rows], table: Table) -> None:
        """`copy`: asked for what there is, each time it is judged."""
        self._copy, self._table = copy, table
        self._lock = threading.Lock()
        self._source: dict[Key, list[Row]] = {}

    def take(self, rows: Iterable[pa.RecordBatch]) -> int:
        count = 0
        for batch in rows:
            with self._lock:
                for row in batch.to_pylist():
                    self._source.setdefault(key_of(self._table, row), []).append(row)
            count += batch.num_rows
        return count

    def judge(self, at: LSN, keys: pa.Table | None = None) -> Judgement:
        copy = self._copy()
        if not self._table.key:
            return self._judge_copies(copy, at)
        judged: dict[str, list[Key]] = {"changed": [], "extra": [], "absent": [], "later": []}
        wanted = None if keys is None else {key_of(self._table, row) for row in keys.to_pylist()}
        for key in {*self._source, *copy} if wanted is None else wanted:
            source, versions = self._source.get(key, []), copy.get(key, [])
            if not versions:
                judged["absent"] += [key] if source else []
            elif len(versions) == 1 and versions[0][0] > at:
                judged["later"].append(key)
            elif not source:
                judged["extra"].append(key)
            elif [content(self._table, row) for _, row in versions] != [content(self._table, source[0])]:
                judged["changed"].append(key)
        return Judgement(
            **{name: pa.Table.from_batches([keys_of(self._table, keys)]) for name, keys in judged.items()}
        )

    def _judge_copies(self, copy: Rows, at: LSN) -> Judgement:
        source = Counter({key: len(rows) for key, rows in self._source.items()})
        here = Counter({key: len(versions) for key, versions in copy.items()})
        earlier = Counter({key: sum(lsn <= at for lsn, _ in versions) for key, versions in copy.items()})
        none, extra, absent = (_prints(rows, source) for rows in (Counter(), earlier - source, source - here))
        return Judgement(none, extra, absent, none)


def _prints(rows: Counter[Key], source: Counter[Key]) -> pa.Table:
    numbers = [hash(key) % (1 << 64) for key in rows]
    return pa.table(
        {
            PRINT: pa.array(numbers, pa.uint64()),
            COPIES: pa.array([*rows.values()], pa.int64()),
            AT_SOURCE: pa.array([source[key] for key in rows], pa.int64()),
        }
    )
