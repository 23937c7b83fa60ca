"""
A backlog in a slot, until it is durable in DuckDB; beside `pg_recvlogical`, which writes it to nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from . import debezium, tables
from .ground import Ground, Pipeline
from .result import Result, Round, compared

_ROUNDS = 3
_AT_ONCE = 10_000
_REFERENCE = "pg_recvlogical to /dev/null"


_COUNT = 1_000_000
_INSERTS = [tables.insert("streamed", first, _AT_ONCE) for first in range(0, _COUNT, _AT_ONCE)]


def stream(ground: Ground) -> Result:
    """1 M narrow inserts, 10,000 a transaction"""
    rounds = _measured(ground, [tables.NARROW.format(name="streamed")], _INSERTS)
    return compared("stream: 1 M narrow inserts", _COUNT, list(rounds), _REFERENCE, 0.9)


def beside_debezium(ground: Ground) -> Result:
    """The same, beside Debezium"""
    title = "stream: 1 M narrow inserts, beside Debezium"
    if not debezium.is_installed():
        return Result(title, "", f"not run: {debezium.HOW_TO_INSTALL}", None, "", True)
    ground.run(tables.NARROW.format(name="streamed"))
    pipelines, idle = _seeded(ground, "beside", ["public.streamed"])
    ground.run("select pg_create_logical_replication_slot('beside_backlog', 'pgoutput')", *_INSERTS)
    theirs = debezium.received(ground, "beside_backlog", "cdc_beside0", _COUNT)
    ours = _COUNT / (median(pipeline.sync("--skip-seed") for pipeline in pipelines) - idle)
    return Result(
        title, f"{ours:,.0f}/s", f"{theirs:,.0f}/s  Debezium, JSON to nowhere", ours / theirs, "", True
    )


def one(ground: Ground) -> Result:
    """The same in one transaction"""
    work = [tables.insert("streamed", 0, _COUNT)]
    rounds = _measured(ground, [tables.NARROW.format(name="streamed")], work)
    return compared("stream: 1 M narrow inserts, one transaction", _COUNT, list(rounds), _REFERENCE, 0.9)


def mix(ground: Ground) -> Result:
    """Updates, inserts and deletes on a table of 5 M rows"""
    held, count = 5_000_000, 500_000
    before = [tables.NARROW.format(name="streamed"), tables.insert("streamed", -1, held)]
    rounds = _measured(ground, before, list(tables.mixed("streamed", held, count, _AT_ONCE)))
    return compared("stream: 50 % updates, 30 % inserts, 20 % deletes", count, list(rounds), _REFERENCE, 0.9)


def wide(ground: Ground) -> Result:
    """Rows of 50 columns"""
    count = 100_000
    work = [tables.insert_wide("streamed", first, 1000) for first in range(0, count, 1000)]
    rounds = _measured(ground, [tables.WIDE.format(name="streamed")], work)
    return compared("stream: inserts of 50 columns", count, list(rounds), _REFERENCE, 0.6)


def small(ground: Ground) -> Result:
    """200 k transactions of one row"""
    count = 200_000
    rounds = _measured(
        ground, [tables.NARROW.format(name="streamed")], [tables.one_by_one("streamed", count)]
    )
    return compared("stream: transactions of one row", count, list(rounds), _REFERENCE, 0.6)


def many(ground: Ground) -> Result:
    """Ten busy tables, of ten and of a thousand that are published"""
    count, busy = 200_000, [f"busy{number}" for number in range(10)]
    idle = [f"idle{number}" for number in range(990)]
    work = [
        tables.insert(busy[first // _AT_ONCE % 10], first, _AT_ONCE) for first in range(0, count, _AT_ONCE)
    ]
    make = [tables.NARROW.format(name=name) for name in [*busy, *idle]]
    ground.run(*make)
    few, of_few = _seeded(ground, "few", [f"public.{name}" for name in busy])
    all_, of_all = _seeded(ground, "all", ["public.*"])
    ground.run(*work)
    seconds = [
        (only.sync("--skip-seed") - of_few, each.sync("--skip-seed") - of_all)
        for only, each in zip(few, all_, strict=True)
    ]
    ratio = median(only / each for only, each in seconds)
    return Result(
        "stream: 10 busy tables of 1,000 published",
        f"{count / median(each for _, each in seconds):,.0f}/s",
        f"{count / median(only for only, _ in seconds):,.0f}/s  only the 10",
        ratio,
        "≥ 0.80",
        ratio >= 0.8,
    )


def _measured(ground: Ground, before: Sequence[str], work: Sequence[str]) -> Iterator[Round]:
    ground.run(*before, "vacuum analyze streamed")
    return _rounds(ground, "stream", ["public.streamed"], work)


def _rounds(ground: Ground, name: str, selected: Sequence[str], work: Sequence[str]) -> Iterator[Round]:
    pipelines, idle = _seeded(ground, name, selected)
    ground.run(f"select pg_create_logical_replication_slot('{name}_backlog', 'pgoutput')", *work)
    for pipeline in pipelines:
        before = _received(ground, name)
        ours = pipeline.sync("--skip-seed") - idle
        yield Round(ours, (before + _received(ground, name)) / 2)


def _seeded(ground: Ground, name: str, selected: Sequence[str]) -> tuple[list[Pipeline], float]:
    """Of each round, which has a slot and a file of its own; and how many seconds it takes one of them to
    find nothing to do."""
    pipelines = [ground.pipeline(f"{name}{number}", *selected) for number in range(_ROUNDS)]
    for pipeline in pipelines:
        pipeline.sync()
    return pipelines, median(pipelines[0].sync("--skip-seed") for _ in range(3))


def _received(ground: Ground, name: str) -> float:
    """The same backlog: a copy of a slot that is never read itself gives it each time."""
    ground.run(f"select pg_copy_logical_replication_slot('{name}_backlog', 'reference')")
    seconds = ground.program(
        "pg_recvlogical",
        *("-d", ground.server.dsn, "--slot", "reference", "--start", "--no-loop", "-f", "/dev/null"),
        *("-o", "proto_version=1", "-o", f"publication_names=cdc_{name}0"),
        f"--endpos={ground.value('select pg_current_wal_lsn()')}",
    )
    ground.run("select pg_drop_replication_slot('reference')")
    return seconds
