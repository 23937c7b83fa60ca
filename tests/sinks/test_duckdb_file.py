"""
A DuckDB file among several processes: everyone gets a turn, and nobody waits for ever.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import duckdb
import pytest
from wal_captures import eventually

from cdc_assets import open_duckdb
from cdc_assets.errors import SinkBusy, SinkError
from cdc_assets.sinks.duckdb.file import ALIAS, DuckDBFile, named

HOLD = """
import sys, duckdb
copy = duckdb.connect(sys.argv[1])
copy.execute(sys.argv[2])
print(flush=True)
sys.stdin.read()
"""
WRITE_ON_AND_ON = """
import sys
from pathlib import Path
from cdc_assets.sinks.duckdb.file import DuckDBFile, named
file = DuckDBFile(Path(sys.argv[1]), lock_timeout=60, memory_limit="200MB")
while True:
    with file.writing() as transaction:
        transaction.run(f"CREATE OR REPLACE TABLE {named('t')} AS SELECT i FROM range(10_000_000) r(i)")
    print(flush=True)
"""
READ_NOW_AND_THEN = """
import sys, time
from cdc_assets import open_duckdb
print(flush=True)
for _ in range(3):
    with open_duckdb(sys.argv[1], timeout=10) as copy:
        print(copy.sql("select count(*) from t").fetchall(), flush=True)
    time.sleep(0.1)
"""
T = named("t")


@contextmanager
def another(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Another process, which has printed a line."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            process.stdout.readline()
            yield process
        finally:
            process.kill()


@pytest.fixture
def file(path: Path) -> DuckDBFile:
    file = DuckDBFile(path, lock_timeout=30, memory_limit="200MB")
    with file.writing() as transaction:
        transaction.run(f"CREATE TABLE {T} AS SELECT 1 AS i")
    return file


def impatient(file: DuckDBFile) -> DuckDBFile:
    return DuckDBFile(file.path, lock_timeout=0.2, memory_limit="200MB")


def count(file: DuckDBFile) -> int:
    with file.reading() as transaction:
        assert transaction
        ((rows,),) = transaction.rows(f"SELECT count(*) FROM {T}")
        return int(rows)


def test_a_file_is_not_held_between_transactions(file: DuckDBFile) -> None:
    with another(HOLD, file.path, "insert into t values (2)") as other:
        other.communicate()
        assert other.returncode == 0
    assert count(file) == 2


@pytest.fixture
def large(file: DuckDBFile) -> Iterator[DuckDBFile]:
    file.has_many_tables = True
    with closing(file):
        yield file


def insert(file: DuckDBFile) -> None:
    with file.writing() as transaction:
        transaction.run(f"INSERT INTO {T} VALUES (1)")


def test_a_file_of_many_tables_is_let_go_a_moment_after_a_transaction(large: DuckDBFile) -> None:
    insert(large)
    with pytest.raises(SinkBusy):
        open_duckdb(large.path, timeout=0)
    with open_duckdb(large.path) as copy:
        assert copy.sql("select count(*) from t").fetchall() == [(2,)]
    insert(large)
    assert count(large) == 3


def test_others_get_their_turn_while_transactions_follow_each_other_on_a_file_of_many_tables(
    large: DuckDBFile,
) -> None:
    with another(READ_NOW_AND_THEN, large.path) as other:
        assert other.stdout
        ended = threading.Event()
        threading.Thread(target=lambda: (other.wait(), ended.set()), daemon=True).start()
        while not ended.wait(0.02):
            insert(large)
        assert other.returncode == 0, other.stdout.read()


def test_a_file_of_many_tables_that_is_closed_is_let_go_at_once(large: DuckDBFile) -> None:
    insert(large)
    large.close()
    open_duckdb(large.path, timeout=0).close()
    time.sleep(0.5)  # as long as it would have been held
    insert(large)
    assert count(large) == 3


def test_a_file_of_many_tables_is_let_go_at_once_if_a_transaction_fails(large: DuckDBFile) -> None:
    insert(large)
    with pytest.raises(SinkError), large.writing() as transaction:
        transaction.run("INSERT INTO nothing VALUES (1)")
    open_duckdb(large.path, timeout=0).close()
    assert count(large) == 2


def test_what_goes_wrong_when_a_file_is_let_go_is_said_at_its_next_use(large: DuckDBFile) -> None:
    insert(large)
    with large.aside() as transaction:
        transaction.run(f"DETACH {ALIAS}")  # so that it cannot be done again
    eventually(lambda: not large.is_held_on)
    with pytest.raises(SinkError):
        insert(large)
    insert(large)
    assert count(large) == 3


def test_a_file_that_another_process_holds_is_waited_for(file: DuckDBFile) -> None:
    with another(HOLD, file.path, "insert into t values (2)") as other:
        with pytest.raises(SinkBusy):
            count(impatient(file))
        assert other.stdin
        other.stdin.close()
        assert count(file) == 2


USES = {
    "write": lambda file: impatient(file).see_that_it_can_be_written(),
    "read": lambda file: count(impatient(file)),
    "open": lambda file: open_duckdb(file.path, timeout=0.2),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_who_holds_a_file_for_too_long_is_said(file: DuckDBFile, use: Callable[[DuckDBFile], None]) -> None:
    with another(HOLD, file.path, "select 1") as other:
        with pytest.raises(SinkBusy, match=rf"was held by .*python.*PID {other.pid}.* for 0 s") as caught:
            use(file)
        assert caught.value.hint


def test_a_reader_gets_its_turn_while_one_transaction_follows_the_other(file: DuckDBFile) -> None:
    with another(WRITE_ON_AND_ON, file.path) as other:
        for _ in range(3):
            with open_duckdb(file.path, timeout=20) as copy:
                assert copy.sql("select count(*) from t").fetchall() == [(10_000_000,)]
        assert other.stdout
        assert other.stdout.readline(), "the writer goes on"


def test_nothing_can_be_written_through_what_a_reader_opens(file: DuckDBFile) -> None:
    with open_duckdb(str(file.path)) as copy, pytest.raises(duckdb.InvalidInputException, match="read-only"):
        copy.execute("insert into t values (2)")


def test_a_transaction_that_fails_leaves_nothing(file: DuckDBFile) -> None:
    def fail_halfway() -> None:
        with file.writing() as transaction:
            transaction.run(f"INSERT INTO {T} VALUES (2)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    assert count(file) == 1


def test_a_transaction_that_is_killed_leaves_nothing(file: DuckDBFile) -> None:
    with another(HOLD, file.path, "begin; insert into t select * from range(100000)") as other:
        os.kill(other.pid, signal.SIGKILL)
    assert count(file) == 1


def test_a_committed_transaction_survives_a_kill(file: DuckDBFile) -> None:
    with another(HOLD, file.path, "insert into t values (2)") as other:
        os.kill(other.pid, signal.SIGKILL)
    assert count(file) == 2


def test_there_is_nothing_to_read_where_no_file_is(path: Path) -> None:
    file = DuckDBFile(path, lock_timeout=1, memory_limit="200MB")
    with file.reading() as transaction:
        assert transaction is None
    assert not path.exists()


def test_a_look_at_whether_a_file_can_be_made_does_not_make_it(path: Path) -> None:
    DuckDBFile(path, lock_timeout=1, memory_limit="200MB").see_that_it_can_be_written()
    assert list(path.parent.iterdir()) == []


def test_a_file_that_is_something_else_is_left_as_it_is(path: Path) -> None:
    path.write_bytes(b"a diary, from long ago" * 1000)
    with pytest.raises(SinkError, match="not a valid DuckDB database") as caught:
        DuckDBFile(path, lock_timeout=1, memory_limit="200MB").see_that_it_can_be_written()
    assert caught.value.hint
    assert path.read_bytes().startswith(b"a diary")


def test_what_duckdb_refuses_is_said_without_a_value(file: DuckDBFile) -> None:
    """Not even as the cause, which a traceback shows."""
    value = "terces"[::-1]
    with pytest.raises(SinkError) as caught, file.writing() as transaction:
        transaction.run(f"INSERT INTO {T} VALUES ('{value}')")
    assert "secret" not in "".join(traceback.format_exception(caught.value))
    assert "Conversion" in str(caught.value)
