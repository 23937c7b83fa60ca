"""
`python -m cdc_assets.testing.soak`, or `make soak`: play many histories, and show what fails.

With --faults, each under faults of all sorts; see `cdc_assets.testing.faults`. With --dagster, a
deployment of Dagster follows meanwhile.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack
from itertools import count, islice, product
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from .faults.trial import FaultTrial
from .histories import ALL, Feature, History, ground
from .histories.kinds import Features
from .histories.shrink import shrunk
from .histories.trial import Trial, Verdict
from .server import installations

_SHRINKING = 120.0
"""Seconds."""


class Played(NamedTuple):
    seed: int
    version: int
    seconds: float
    report: str
    """What failed, and how to have it again; empty if nothing did."""
    counts: Counter[str]
    """Of faults, and of what was looked at under them."""


class _Job(NamedTuple):
    seed: int
    version: int
    dsn: str
    features: Features
    shrink: bool
    folder: Path
    deployed: bool


def main() -> int:
    chosen = _arguments()
    features = ALL - set(chosen.leave_out)
    versions = chosen.postgres or list(installations())
    number = chosen.seeds or (50 if chosen.seconds == float("inf") else None)
    first = chosen.first if chosen.first is not None else int.from_bytes(os.urandom(4))
    seeds: Iterator[int] = iter(chosen.seed) if chosen.seed else islice(count(first), number)
    if not chosen.seed:
        print(f"seeds from {first}, PostgreSQL {', '.join(map(str, versions))}", flush=True)
    with ExitStack() as stack:
        # Under faults a server is one history's alone, for it is killed too.
        servers = {
            version: "" if chosen.faults else stack.enter_context(ground.server(version)).dsn
            for version in versions
        }
        # A seed that is asked for is played on every version, others on one after the other.
        pairs = product(seeds, versions) if chosen.seed else _in_turn(seeds, versions)
        jobs = (
            _Job(
                seed, version, servers[version], features, not chosen.no_shrink, chosen.folder, chosen.dagster
            )
            for seed, version in pairs
        )
        play = _play_under_faults if chosen.faults else _play
        return _summary(_played(play, jobs, chosen.workers, chosen.seconds))


def _in_turn(seeds: Iterator[int], versions: Sequence[int]) -> Iterator[tuple[int, int]]:
    return ((seed, versions[number % len(versions)]) for number, seed in enumerate(seeds))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m cdc_assets.testing.soak", description=__doc__)
    parser.add_argument("--seeds", type=int, help="how many histories; 50, if it is not said how long")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin none after so long")
    parser.add_argument("--first", type=int, help="the first seed; at random if not given")
    parser.add_argument("--seed", type=int, nargs="+", help="these, on every version")
    parser.add_argument("--postgres", type=int, nargs="+", choices=list(installations()), help="versions")
    parser.add_argument("--faults", action="store_true", help="cut, delay, hold and kill meanwhile")
    parser.add_argument("--dagster", action="store_true", help="a deployment follows, and is killed")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--leave-out", type=Feature, nargs="+", default=[], metavar="FEATURE")
    parser.add_argument("--no-shrink", action="store_true", help="leave the script of a failure as it is")
    parser.add_argument("--folder", type=Path, default=Path("soak"), help="where scripts are put")
    return parser.parse_args()


def _played(
    play: Callable[[_Job], Played], jobs: Iterator[_Job], workers: int, seconds: float
) -> Iterator[Played]:
    """At most so many at a time; none is begun when the time is over."""
    deadline = time.monotonic() + seconds
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        running: set[Future[Played]] = set()
        while True:
            while len(running) < workers and time.monotonic() < deadline and (job := next(jobs, None)):
                running.add(pool.submit(play, job))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)


def _play(job: _Job) -> Played:
    began = time.monotonic()
    trial = Trial.of(job.seed, job.features)
    verdict = trial.verdict(job.dsn)
    if not verdict:
        return Played(job.seed, job.version, time.monotonic() - began, "", Counter())
    conditions = trial.conditions
    if job.shrink:
        trial, verdict = shrunk(trial, verdict, job.dsn, seconds=_SHRINKING)
    report = _report(job, trial.history, verdict, str(conditions))
    return Played(job.seed, job.version, time.monotonic() - began, report, Counter())


def _play_under_faults(job: _Job) -> Played:
    began = time.monotonic()
    trial = FaultTrial.of(job.seed, job.features, deployed=job.deployed)
    played = trial.played(job.version)
    report = ""
    if verdict := played.verdict:
        report = _report(
            job,
            trial.history,
            verdict,
            str(trial.conditions),
            options=" --faults" + " --dagster" * job.deployed,
        )
        _path(job, "log").write_text(played.journal)
    return Played(job.seed, job.version, time.monotonic() - began, report, played.counts)


def _report(job: _Job, history: History, verdict: Verdict, conditions: str, options: str = "") -> str:
    """What failed, in words; and how to have it again, in a file."""
    job.folder.mkdir(exist_ok=True)
    path = _path(job, "sql")
    notes = "\n".join((*verdict.findings, verdict.details)).strip()
    path.write_text("".join(f"-- {line}\n" for line in notes.splitlines()) + history.script)
    return "\n".join(
        (
            f"FAILED  seed {job.seed} on PostgreSQL {job.version}, {conditions}",
            *(f"    {finding}" for finding in verdict.findings),
            f"    script: {path}",
            f"    again:  python -m cdc_assets.testing.soak --seed {job.seed} --postgres {job.version}"
            f"{options}{_options(job.features)}",
        )
    )


def _path(job: _Job, kind: str) -> Path:
    return job.folder / f"seed-{job.seed}-pg{job.version}.{kind}"


def _options(features: Features) -> str:
    """What has these features chosen again."""
    left_out = sorted(ALL - features)
    return f" --leave-out {' '.join(repr(feature.value) for feature in left_out)}" if left_out else ""


def _summary(played: Iterator[Played]) -> int:
    began, total, failed = time.monotonic(), 0, 0
    counts: Counter[str] = Counter()
    for total, one in enumerate(played, 1):
        counts += one.counts
        if one.report:
            failed += 1
            print(one.report, flush=True)
        elif total % 20 == 0:
            print(f"{total} histories, {failed} failed, {time.monotonic() - began:.0f} s", flush=True)
    for what, number in counts.most_common():
        print(f"{number:7,} {what}")
    print(f"{total} histories, {failed} failed")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
