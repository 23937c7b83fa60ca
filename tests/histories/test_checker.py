"""
The checker finds what is wrong, and says a history again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import psycopg
import pyarrow as pa
import pytest
from servers import running_server

from cdc_assets.model import DELETE, LSN, Applied, ChangeBatch, Part, TableChanges, TableName, arrow
from cdc_assets.sinks.memory import MemorySink
from cdc_assets.testing import installations
from cdc_assets.testing.histories import ALL, Feature, History, Step, ground
from cdc_assets.testing.histories.differences import CopiedTable, Difference, differences
from cdc_assets.testing.histories.play import Conditions, play
from cdc_assets.testing.histories.shrink import shrunk
from cdc_assets.testing.histories.trial import Trial, Verdict

PLAIN = Conditions(batch_delay=0.0)


class Careless(MemorySink):
    """Does something to changes that it should not."""

    def __init__(self, changes: Callable[[TableChanges], TableChanges]) -> None:
        super().__init__()
        self._of = changes

    def apply(self, batch: ChangeBatch) -> Applied:
        changes = tuple(found for run in batch.changes if (found := self._of(run)))
        return super().apply(replace(batch, changes=changes))


class Hasty(MemorySink):
    """Loads each chunk without its first row."""

    def load_together(self, parts: Sequence[Part], *, at: LSN) -> Sequence[int]:
        hasty = [part._replace(rows=[batch.slice(1) for batch in part.rows]) for part in parts]
        return super().load_together(hasty, at=at)


def without_deletes(changes: TableChanges) -> TableChanges:
    kept = np.flatnonzero(changes.ops != DELETE)
    return replace(
        changes,
        rows=arrow.take_rows(changes.rows, kept),
        **{name: getattr(changes, name)[kept] for name in ("ops", "lsns", "ordinals", "times", "moved")},
    )


def with_nulls(changes: TableChanges) -> TableChanges:
    """In the last column of each row."""
    *columns, last = changes.rows.columns
    nulls = pa.nulls(len(last), last.type)
    return replace(changes, rows=pa.RecordBatch.from_arrays([*columns, nulls], schema=changes.rows.schema))


def without_truncation(changes: TableChanges) -> TableChanges:
    return replace(changes, truncated=None)


@pytest.fixture
def dsn() -> Iterable[str]:
    with ground.database(running_server(max(installations())).dsn) as dsn:
        yield dsn


CREATE = ["create table t (id int primary key, v text)", "insert into t values (1, 'one'), (2, 'two')"]


def history(*statements: str) -> History:
    return History(0, ALL, tuple(Step((statement,)) for statement in statements))


def found(dsn: str, sink: MemorySink, *statements: str) -> list[Difference]:
    with psycopg.connect(dsn, autocommit=True) as source:
        for statement in CREATE:
            source.execute(statement.encode())
    return play(history(*statements), dsn, sink, PLAIN)


T = TableName("public", "t")


def test_a_lost_delete_is_found(dsn):
    assert found(dsn, Careless(without_deletes), "delete from t where id = 1") == [
        Difference(
            T, "0 rows only at the source, 1 only in the copy; columns that differ: id (integer), v (text)"
        )
    ]


def test_a_wrong_value_is_found(dsn):
    assert found(dsn, Careless(with_nulls), "update t set v = 'another' where id = 1") == [
        Difference(T, "1 rows only at the source, 1 only in the copy; columns that differ: v (text)")
    ]


def test_a_truncation_that_is_missed_is_found(dsn):
    assert found(dsn, Careless(without_truncation), "truncate t") == [
        Difference(
            T, "0 rows only at the source, 2 only in the copy; columns that differ: id (integer), v (text)"
        )
    ]


def test_a_row_that_a_seed_leaves_out_is_found(dsn):
    assert len(found(dsn, Hasty())) == 1


def test_what_is_right_is_not_found(dsn):
    statements = ["truncate t", "insert into t values (3, 'x')", "update t set id = 4", "delete from t"]
    assert found(dsn, MemorySink(), *statements) == []


def test_a_table_that_is_not_there_or_too_much_is_found(dsn):
    other = TableName("public", "other")
    with psycopg.connect(dsn, autocommit=True) as source:
        source.execute(CREATE[0])
        found = differences(source, {other: CopiedTable(["id"], [])})

    assert {difference.table for difference in found} == {T, other}


def test_a_column_too_much_is_found(dsn):
    with psycopg.connect(dsn, autocommit=True) as source:
        source.execute(CREATE[0])
        (found,) = differences(source, {T: CopiedTable(["v", "id", "more"], [])})

    assert found == Difference(T, "columns only at the source: []; only in the copy: ['more']")


def test_a_value_counts_whatever_its_form(dsn):
    """Of the copy, PostgreSQL reads it first; a zero with a sign is still another."""
    with psycopg.connect(dsn, autocommit=True) as source:
        source.execute("create table t (id int primary key, b boolean, d double precision, i interval)")
        source.execute("insert into t values (1, true, 0, '14 mons')")
        names = ["id", "b", "d", "i"]
        assert differences(source, {T: CopiedTable(names, [["1", "TRUE", "0.0", "1 year 2 months"]])}) == []
        (found,) = differences(source, {T: CopiedTable(names, [["1", "t", "-0.0", "1 year 2 mons"]])})

    assert "columns that differ: d (double precision)" in found.found


def test_a_failure_is_shrunk_to_the_statements_it_takes():
    class Failing(Trial):
        def verdict(self, server_dsn: str) -> Verdict:
            told = " ".join(statement for step in self.history.steps for statement in step.statements)
            return Verdict(("it differs",) if "b" in told and "e" in told else ())

    steps = (Step(("a", "b", "c")), Step(("d", "e"), sync=True), Step(("f",)))
    trial = Failing(History(0, ALL, steps), PLAIN)
    least, _ = shrunk(trial, trial.verdict(""), "", seconds=10)

    assert least.history.steps == (Step(("b",)), Step(("e",)))


@pytest.mark.parametrize("careless", [without_deletes, with_nulls, without_truncation])
def test_random_histories_find_it_too(careless):
    """Not each of them does, but among a few one will."""
    server = running_server(max(installations()))
    for seed in range(12):
        with ground.database(server.dsn) as dsn:
            made = History.of(seed, ALL - {Feature.ODD_TIMES})
            try:
                wrong = play(made, dsn, Careless(careless), PLAIN)
            except ValueError:  # two rows of one key, say
                return
            if wrong:
                return
    pytest.fail("twelve histories did not find it")


def test_a_seed_says_the_same_again():
    assert History.of(7, ALL).script == History.of(7, ALL).script != History.of(8, ALL).script


@pytest.mark.parametrize("left_out", [Feature.TRUNCATE, Feature.TWO_PHASE, Feature.RENAME_COLUMN])
def test_a_feature_that_is_left_out_is_not_there(left_out):
    words = {
        Feature.TRUNCATE: "\ntruncate",
        Feature.TWO_PHASE: "\nprepare",
        Feature.RENAME_COLUMN: " rename ",
    }
    others = {
        Feature.TRUNCATE_PARTITION,
        Feature.RENAME_TABLE,
        Feature.SWAP_TABLES,
        Feature.RENAME_ENUM_VALUE,
    }
    without = ALL - others
    scripts = [History.of(seed, without - {left_out}).script for seed in range(20)]
    with_it = [History.of(seed, without).script for seed in range(20)]
    assert not any(words[left_out] in script for script in scripts)
    assert any(words[left_out] in script for script in with_it)
