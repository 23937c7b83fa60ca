"""
A DuckDB file that other processes use too.

A file is attached for one transaction and detached after it, and one that is held
by someone else is waited for, up to a bound. The DuckDB instance it is attached to
is in memory and stays; attaching takes 2 ms, where opening an instance takes 25.

A file of many tables is another matter: of a thousand, attaching reads all that is said of
them and detaching writes it, which takes a tenth of a second. So it is held for a moment after
each transaction, in case that another follows, and then let go in a thread of its own.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from ...errors import SinkError, SinkFull
from ...points import Point, reached
from .turns import in_turn

ALIAS = "destination"
_MOMENT = 0.3
"""Seconds: between two batches of a busy stream there are fewer."""
_TURN, _REST = 0.5, 0.04
"""Seconds after which, under one transaction after the other, the file is left alone for a while,
and for how long: long enough for everyone who waits for a turn to get in."""


def quoted(*names: str) -> str:
    """An identifier in SQL."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def named(*names: str) -> str:
    """Something in the attached file, by schema and name."""
    return quoted(ALIAS, *names)


class Transaction:
    """One transaction on the file. Tables handed to it by name are Arrow, and gone with it."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._handed: dict[str, pa.Table | pa.RecordBatchReader] = {}

    def run(self, query: str, *parameters: object) -> int:
        """Execute a statement; how many rows it changed, if it changes rows."""
        result = self.rows(query, *parameters)
        return int(result[0][0]) if result and isinstance(result[0][0], int) else 0

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self._result("execute", query, parameters or None).fetchall()
        return found

    def arrow(self, query: str) -> pa.Table:
        return self._result("sql", query).to_arrow_table()

    def _result(self, method: str, *arguments: object) -> Any:
        """DuckDB takes a name that no table has for a variable of its caller's: these are what was handed.
        What is registered it would keep until the transaction ends, unregistered or not.
        https://duckdb.org/docs/current/clients/python/data_ingestion
        """
        call = {"_call": getattr(self._connection, method), "_arguments": arguments}
        return eval("_call(*_arguments)", self._handed | call)

    @contextmanager
    def handing(self, name: str, data: pa.Table | pa.RecordBatchReader) -> Iterator[None]:
        """Let queries read `data` as a table called `name`."""
        self._handed[name] = data
        try:
            yield
        finally:
            del self._handed[name]


class DuckDBFile:
    def __init__(self, path: Path, *, lock_timeout: float, memory_limit: str) -> None:
        self.path = path
        self._lock_timeout, self._memory_limit = lock_timeout, memory_limit
        self._one_at_a_time = threading.Lock()
        self._instance: duckdb.DuckDBPyConnection | None = None
        self.has_many_tables = False
        """Whether it is worth it to hold the file for a moment after each transaction that writes."""
        self.is_held_on = False
        """Whether it is held between two transactions now."""
        self._letting_go: threading.Timer | None = None
        self._failure: duckdb.Error | None = None
        """Of letting go, to be raised at the next use."""
        self._turn_began = self._detached = 0.0

    def see_that_it_can_be_written(self) -> None:
        """`SinkError` if not. A file that is not there is not made."""
        if self._is_there():
            with self._attached(read_only=False):
                return
        try:
            tempfile.TemporaryFile(dir=self.path.parent).close()
        except OSError as error:
            said = f"cannot make {self.path}: {error.strerror}"
            raise SinkError(said, hint=_io_remedy(said, self.path)) from error

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        """A transaction, committed at the end of the block unless that raises."""
        with self._attached(read_only=False) as connection:
            connection.execute("BEGIN")
            try:
                yield Transaction(connection)
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
            reached(Point.COMMITTED)

    @contextmanager
    def reading(self) -> Iterator[Transaction | None]:
        """A consistent view; None where there is no file yet."""
        if not self._is_there():
            yield None
            return
        with self._attached(read_only=True) as connection:
            connection.execute("BEGIN")
            try:
                yield Transaction(connection)
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")  # of what was put aside

    @contextmanager
    def aside(self) -> Iterator[Transaction]:
        """The instance, without the file: what is put into temporary tables there outlasts transactions
        on the file, and is gone when the file is closed. Each statement is a transaction of its own."""
        with self._one_at_a_time, _duckdb_errors(self.path):
            yield Transaction(self._ready())

    def _is_there(self) -> bool:
        """Not where one may not look, either."""
        with suppress(PermissionError):
            return self.path.exists()
        return False

    def close(self) -> None:
        with self._one_at_a_time:
            if self._instance is not None:
                if self.is_held_on:
                    self._detach(self._instance)
                self._instance.close()
                self._instance = None

    @contextmanager
    def _attached(self, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._one_at_a_time, _duckdb_errors(self.path):
            instance = self._ready()
            self._take_hold(instance, read_only)
            try:
                yield instance
            except BaseException:
                self._detach(instance)
                raise
            if self.is_held_on or (self.has_many_tables and not read_only):
                self._let_go_soon(instance)
            else:
                self._detach(instance)

    def _take_hold(self, instance: duckdb.DuckDBPyConnection, read_only: bool) -> None:
        self._stay()
        if self._failure:
            failure, self._failure = self._failure, None
            raise failure
        if self.is_held_on and time.monotonic() - self._turn_began > _TURN:
            self._detach(instance)
        if not self.is_held_on:
            self._let_others_in()
            self._attach(instance, read_only)

    def _stay(self) -> None:
        if self._letting_go:
            self._letting_go.cancel()
            self._letting_go = None

    def _let_go_soon(self, instance: duckdb.DuckDBPyConnection) -> None:
        turn_is_over = time.monotonic() - self._turn_began > _TURN
        self.is_held_on = True
        self._letting_go = threading.Timer(0.0 if turn_is_over else _MOMENT, self._let_go, [instance])
        self._letting_go.start()

    def _let_go(self, instance: duckdb.DuckDBPyConnection) -> None:
        """Unless somebody has taken hold of it again at this moment."""
        with self._one_at_a_time:
            if self._letting_go is threading.current_thread():
                try:
                    self._detach(instance)
                except duckdb.Error as error:
                    self._failure = error

    def _detach(self, instance: duckdb.DuckDBPyConnection) -> None:
        self._stay()
        self.is_held_on = False
        try:
            instance.execute(f"DETACH {ALIAS}")
        finally:
            self._detached = time.monotonic()

    def _ready(self) -> duckdb.DuckDBPyConnection:
        if self._instance is None:
            self._instance = duckdb.connect(
                config={
                    "memory_limit": self._memory_limit,
                    "temp_directory": f"{self.path}.tmp",
                    "allow_unsigned_extensions": False,
                    "autoinstall_known_extensions": False,
                    # A table has no order, and large inserts cost half without one.
                    "preserve_insertion_order": False,
                }
            )
        return self._instance

    def _let_others_in(self) -> None:
        rested = time.monotonic() - self._detached
        if rested < _REST and self._detached - self._turn_began > _TURN:
            time.sleep(_REST - rested)
            rested = _REST
        if rested >= _REST:
            self._turn_began = time.monotonic()

    def _attach(self, instance: duckdb.DuckDBPyConnection, read_only: bool) -> None:
        path = str(self.path).replace("'", "''")
        statement = f"ATTACH '{path}' AS {ALIAS} ({'READ_ONLY' if read_only else 'READ_WRITE'})"
        in_turn(self.path, lambda: instance.execute(statement), self._lock_timeout)


@contextmanager
def _duckdb_errors(path: Path) -> Iterator[None]:
    """Translate what DuckDB refuses, without its message where that could quote a value: a cause is shown
    wherever an error is."""
    try:
        yield
    except (duckdb.IOException, duckdb.TransactionException, duckdb.FatalException) as error:
        if any(words in str(error) for words in _FULL):
            raise SinkFull(
                f"there is no room for {path}", hint="make room on its disk; nothing is lost meanwhile."
            ) from error
        if not isinstance(error, duckdb.IOException):
            raise _refused(path, error) from error
        said = str(error).removeprefix("IO Error: ").split("\n")[0].rstrip("!")
        raise SinkError(said[:1].lower() + said[1:], hint=_io_remedy(said, path)) from error
    except duckdb.OutOfMemoryException as error:
        raise SinkError(
            "DuckDB ran out of memory",
            hint="raise destination.memory_limit, or make batches smaller.",
        ) from error
    except duckdb.Error as error:
        raise _refused(path, error) from None


_FULL = ("No space left on device", "Disk quota exceeded", "File too large")
"""What operating systems say: ENOSPC, EDQUOT, EFBIG."""


def _refused(path: Path, error: duckdb.Error) -> SinkError:
    kind = type(error).__name__.removesuffix("Exception")
    return SinkError(
        f"DuckDB refused a write to {path} ({kind} error)",
        hint="was a table there changed by hand?  cdc-assets reseed copies it anew.",
    )


def _io_remedy(said: str, path: Path) -> str:
    if "not a valid DuckDB database" in said:
        return "give destination.path another name, or move that file away."
    if not path.parent.is_dir():
        return f"make the folder:  mkdir -p {path.parent}"
    return "see that the folder may be written to, and that the disk is not full."
