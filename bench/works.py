"""
What is measured. Each work gives, for every round, our seconds and the reference's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

from .ground import Ground

_ROWS = 1_000_000
_ROUNDS = 3

_NARROW = """create table {name} (
    id bigint primary key, customer int not null, status text, amount numeric(10, 2),
    placed timestamptz, note text)"""
_ROW = "{first} + n, n % 1000, (array['new', 'paid', 'sent'])[1 + n % 3], n / 7.0, now(), 'note number ' || n"


@dataclass(frozen=True)
class Round:
    ours: float
    """Seconds, start-up subtracted."""
    reference: float
    """Seconds: of what PostgreSQL's own program takes for the same."""


@dataclass(frozen=True)
class Work:
    name: str
    title: str
    rows: int
    reference: str
    goal: float
    measure: Callable[[Ground, Work], Iterator[Round]]


@dataclass(frozen=True)
class Result:
    work: Work
    rounds: list[Round]

    @property
    def ratio(self) -> float:
        """Of speeds, in the middle one of the rounds."""
        return median(found.reference / found.ours for found in self.rounds)

    def rate(self, seconds: float) -> float:
        return self.work.rows / seconds


def _insert(name: str, first: int, count: int) -> str:
    return f"insert into {name} select {_ROW.format(first=first)} from generate_series(1, {count}) n"


def _stream(ground: Ground, work: Work) -> Iterator[Round]:
    """A backlog in the slot, until it is durable; every round has a slot and a file of its own."""
    ground.run(_NARROW.format(name="streamed"))
    pipelines = [ground.pipeline(f"stream{number}", "public.streamed") for number in range(_ROUNDS)]
    for pipeline in pipelines:
        pipeline.sync()
    idle = median(pipelines[0].sync("--skip-seed") for _ in range(3))
    ground.run("select pg_create_logical_replication_slot('backlog', 'pgoutput')")
    at_once = 10_000
    ground.run(*(_insert("streamed", first, at_once) for first in range(0, work.rows, at_once)))
    for pipeline in pipelines:
        before = _received(ground)
        ours = pipeline.sync("--skip-seed") - idle
        yield Round(ours, (before + _received(ground)) / 2)


def _received(ground: Ground) -> float:
    """The same backlog: a copy of a slot that is never read itself gives it each time."""
    ground.run("select pg_copy_logical_replication_slot('backlog', 'reference')")
    seconds = ground.program(
        "pg_recvlogical",
        *("-d", ground.server.dsn, "--slot", "reference", "--start", "--no-loop", "-f", "/dev/null"),
        *("-o", "proto_version=1", "-o", "publication_names=cdc_stream0"),
        f"--endpos={ground.value('select pg_current_wal_lsn()')}",
    )
    ground.run("select pg_drop_replication_slot('reference')")
    return seconds


def _snapshot(ground: Ground, work: Work) -> Iterator[Round]:
    """A table that is there already, until it is a table in DuckDB."""
    ground.run(_NARROW.format(name="seeded"), _insert("seeded", 0, work.rows), "vacuum analyze seeded")
    idle = 0.0
    for number in range(_ROUNDS):
        before = _copied(ground, "seeded")
        pipeline = ground.pipeline(f"snapshot{number}", "public.seeded")
        whole = pipeline.sync()
        idle = idle or median(pipeline.sync() for _ in range(3))
        yield Round(whole - idle, (before + _copied(ground, "seeded")) / 2)


def _copied(ground: Ground, table: str) -> float:
    return ground.program("psql", "-d", ground.server.dsn, "-qc", f"copy {table} to stdout (format binary)")


WORKS = [
    Work(
        "stream",
        "stream, backlog of 1 M narrow inserts, durable in DuckDB",
        _ROWS,
        "pg_recvlogical to /dev/null",
        0.5,
        _stream,
    ),
    Work(
        "snapshot",
        "snapshot of 1 M narrow rows, durable in DuckDB",
        _ROWS,
        "COPY (FORMAT binary) to /dev/null",
        0.4,
        _snapshot,
    ),
]
