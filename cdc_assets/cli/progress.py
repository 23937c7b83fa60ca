"""
What long work shows: bars on a terminal, plain lines elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import TracebackType
from typing import Protocol

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from ..engine import Loaded, Read, Step
from ..model import TableName

_EVERY = 5.0
"""Seconds between plain lines about a stream that goes on."""


class Report(Protocol):
    def __enter__(self) -> Report: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def loaded(self, event: Loaded) -> None: ...

    def compared(self, event: Read) -> None: ...

    def streamed(self, step: Step) -> None: ...

    def said(self, line: str) -> None: ...


def report() -> Report:
    console = Console(stderr=True)
    return _Bars(console) if console.is_terminal else _Lines()


class Totals:
    """What was done so far, for the last line."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.rows = self.changes = self.commits = 0

    def loaded(self, event: Loaded) -> None:
        self.rows += event.rows

    def streamed(self, step: Step) -> None:
        self.changes += step.batch.size
        self.commits += len(step.batch.commits)

    def __str__(self) -> str:
        seconds = time.monotonic() - self._began
        return f"{self.rows:,} rows seeded, {self.changes:,} changes streamed in {seconds:.1f} s"


def _of_tables(step: Step) -> Iterator[str]:
    """What became of tables' definitions, and what was refused of them, a line each."""
    for name, said in step.applied.redefined.items():
        yield f"{name} was altered: {said}"
    for name, reason in step.applied.unseeded.items():
        yield f"{name} has to be seeded again: {reason}"
    for name, rows in step.applied.quarantined.items():
        yield f"{name} has {rows:,} rows in quarantine: cdc-assets quarantine list says why"


class _Lines:
    def __init__(self) -> None:
        self._said = time.monotonic()
        self._changes = 0

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def loaded(self, event: Loaded) -> None:
        click.echo(
            f"seeded {event.table} chunk {event.chunks}/{event.of}: {event.rows:,} rows at {event.lsn}"
        )

    def compared(self, event: Read) -> None:
        """Nothing: a table is said to be compared when it is."""

    def streamed(self, step: Step) -> None:
        self._changes += step.batch.size
        for name in step.applied.seeded:
            click.echo(f"{name} is in step at {step.batch.lsn}")
        for said in _of_tables(step):
            click.echo(said)
        now = time.monotonic()
        if self._changes and now - self._said >= _EVERY:
            rate = self._changes / (now - self._said)
            click.echo(f"streamed {self._changes:,} changes ({rate:,.0f}/s) to {step.batch.lsn}")
            self._said, self._changes = now, 0

    def said(self, line: str) -> None:
        click.echo(line)


class _Bars:
    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rows]:,} rows"),
            TextColumn("{task.fields[rate]:,.0f}/s"),
            TimeRemainingColumn(),
            console=console,
        )
        self._began = time.monotonic()
        self._tasks: dict[TableName, TaskID] = {}
        self._stream: TaskID | None = None
        self._changes = 0

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def loaded(self, event: Loaded) -> None:
        self._read(event.table, event.rows, event.chunks, event.of)

    def compared(self, event: Read) -> None:
        self._read(event.table, event.rows, event.chunks, event.of)

    def _read(self, name: TableName, rows: int, chunks: int, of: int) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(str(name), rows=0, rate=0.0)
        task = self._tasks[name]
        rows += self._progress.tasks[task].fields["rows"]
        self._progress.update(task, total=of, completed=chunks, rows=rows, rate=self._rate(rows))

    def streamed(self, step: Step) -> None:
        self._changes += step.batch.size
        for said in _of_tables(step):
            self.said(said)
        if self._stream is None:
            self._stream = self._progress.add_task("stream", total=None, rows=0, rate=0.0)
        self._progress.update(
            self._stream,
            description=f"stream {step.batch.lsn}",
            rows=self._changes,
            rate=self._rate(self._changes),
        )

    def said(self, line: str) -> None:
        self._progress.console.print(line, markup=False, highlight=False)

    def _rate(self, count: int) -> float:
        return count / max(time.monotonic() - self._began, 0.001)
