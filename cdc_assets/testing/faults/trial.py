"""
One history under faults, from its seed to a verdict.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from ...model import LSN, TableName, TableState
from ...postgres.patterns import Patterns
from ...postgres.wal import WalCapture
from ...sinks.duckdb.sink import DuckDBSink
from ..histories.copies import copies
from ..histories.differences import differences
from ..histories.features import ALL
from ..histories.ground import server as on_server
from ..histories.history import History, Stage, Step
from ..histories.kinds import Features
from ..histories.play import Conditions
from ..histories.session import connected, run, sending_in_progress, shared
from ..histories.trial import POSTGRESQL_S_OWN, Verdict
from ..program import Program
from ..proxy import Proxy
from ..server import PostgresServer
from . import transfers
from .child import Child
from .consumer import Consumer
from .deployed import Deployed
from .injector import Injector
from .plan import Planned, plan
from .witness import Witness

_NAME = "history"
_SLOT = f"cdc_{_NAME}"
_QUICK = "-c wal_sender_timeout=3000"
"""A network that is silent is noticed after so long."""
_ENDED_WITHIN, _CAUGHT_UP_WITHIN = 60.0, 180.0
"""Seconds, once the faults are over."""
_LOOK = 0.2
_LEAST_BATCH = 50_000
"""Bytes. With smaller ones the transfers of a busy machine are not kept up with."""


_LEAST_CHUNK = 100_000
"""Bytes, where each chunk takes a process of its own some seconds to start."""


@dataclass
class Played:
    verdict: Verdict
    counts: Counter[str] = field(default_factory=Counter)
    """Of faults by name, of what was looked at, and of what processes said that ended by themselves."""
    journal: str = ""
    """What was done when, and what the processes said."""


@dataclass(frozen=True)
class FaultTrial:
    history: History
    conditions: Conditions
    plan: Sequence[Planned]
    deployed: bool
    """A deployment of Dagster follows, and not `sync --follow`."""

    @classmethod
    def of(
        cls, seed: int, features: Features = ALL, *, faults: int | None = None, deployed: bool = False
    ) -> FaultTrial:
        return cls(History.of(seed, features), Conditions.of(seed), plan(seed, faults), deployed)

    def played(self, version: int) -> Played:
        """On a server of its own, for that is killed too."""
        with ExitStack() as stack:
            server = stack.enter_context(on_server(version))
            network = stack.enter_context(Proxy(server.dsn))
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cdc-faults-")))
            return _Playing(self, server, network, folder).played()


class _Playing:
    def __init__(self, trial: FaultTrial, server: PostgresServer, network: Proxy, folder: Path) -> None:
        self._trial, self._server, self._network = trial, server, network
        self._began = time.monotonic()
        self._journal: list[str] = []
        self._failures: list[str] = []
        """Of writers, which no fault is a reason for."""
        self._copy = folder / "copy.duckdb"
        dsn = make_conninfo(network.dsn, options=_QUICK, connect_timeout=3)
        dsn = sending_in_progress(dsn) if trial.conditions.in_progress else dsn
        self._program = Program(folder / "cdc.json", {"HISTORY_DSN": dsn})
        self._said = self._program.said
        self._program.config.write_text(json.dumps(self._config()))

    def _config(self) -> dict[str, object]:
        conditions = self._trial.conditions
        return {
            "name": _NAME,
            "source": {"conninfo": {"env": "HISTORY_DSN"}, "tables": ["*.*"], "takeover_wait": 30},
            "destination": {"type": "duckdb", "path": str(self._copy)},
            "batch": {
                "max_bytes": max(conditions.batch_bytes, _LEAST_BATCH),
                "max_delay": conditions.batch_delay,
            },
            "seed": {"chunk_bytes": self._chunk_bytes()},
            "stream": {"emit_every": 2, "supervise_every": 5, "stale_after": 8},
        }

    def _chunk_bytes(self) -> int:
        of_history = self._trial.conditions.chunk_bytes
        return max(of_history, _LEAST_CHUNK) if self._trial.deployed else of_history

    def played(self) -> Played:
        played = Played(Verdict(()))
        try:
            played.verdict = Verdict(tuple(self._findings(played.counts)))
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            played.verdict = Verdict((said,), "".join(traceback.format_exception(error)))
        said = self._said()
        if any(words in said for words in POSTGRESQL_S_OWN):
            played.verdict = Verdict(())
            played.counts["histories that PostgreSQL could not decode"] += 1
        played.journal = "\n".join((*self._journal, said))
        return played

    def _findings(self, counts: Counter[str]) -> list[str]:
        dsn = self._server.dsn
        with connected(dsn) as source:
            run(source, self._trial.history.at(Stage.BEFORE))
            transfers.set_up(source)
        payments = transfers.Transfers(dsn, self._trial.history.seed)
        writers = self._writers(dsn)
        consumer = self._consumer()
        self._said = consumer.said
        witness = Witness(dsn, _SLOT, self._copy)
        injector = Injector(self._server, self._network, consumer, _SLOT)
        starting = (payments.start, witness.start, *(writer.start for writer in writers))
        try:
            for start in starting:
                start()
            injector.carry_out(self._trial.plan, self._note)
            for writer in writers:
                writer.join()
            payments.end()
            self._note("no more faults, and nobody writes")
            settled = self._settles(dsn, consumer.moves_within)
        finally:
            self._note("ending")
            consumer.finish(_ENDED_WITHIN)
            witness.end()
        counts.update({str(fault): number for fault, number in injector.done.items()})
        counts.update({f"looks: {what}": number for what, number in witness.looks.items()})
        counts.update({f"ended: {what}": number for what, number in consumer.endings.items()})
        counts["processes killed"] = consumer.killed
        wrong = (*consumer.wrong, *dict.fromkeys(witness.wrong), *self._failures)
        return [*settled, *wrong, *self._different(dsn)]

    def _consumer(self) -> Consumer:
        if self._trial.deployed:
            return Deployed(self._program, self._trial.history.seed)
        return Child(self._program)

    def _note(self, what: str) -> None:
        self._journal.append(f"{time.monotonic() - self._began:6.2f} s  {what}")

    def _writers(self, dsn: str) -> list[threading.Thread]:
        """Each goes about its share for about as long as there are faults."""
        steps = self._trial.history.at(Stage.DURING)
        shares = shared(steps, self._trial.conditions.writers)
        seconds = sum(planned.after + planned.lasts for planned in self._trial.plan)
        pace = seconds / max(map(len, shares), default=1)
        return [
            threading.Thread(target=self._write, args=(dsn, share, pace), daemon=True) for share in shares
        ]

    def _write(self, dsn: str, steps: Sequence[Step], pace: float) -> None:
        try:
            _written(dsn, steps, pace)
        except Exception as error:
            self._failures.append(f"a writer failed: {type(error).__name__}: {error}")

    def _settles(self, dsn: str, within: float) -> list[str]:
        """Wait until the process that follows has brought everything, by itself."""
        with connected(dsn) as source:
            for (gid,) in source.execute("select gid from pg_prepared_xacts").fetchall():
                source.execute(psycopg.sql.SQL("rollback prepared {}").format(gid))
        head = WalCapture(name=_NAME, conninfo=lambda: dsn, patterns=Patterns.parse(["*.*"])).head()
        sink = DuckDBSink(self._copy, _NAME, lock_timeout=within)
        at, moved = _At(), time.monotonic()
        while time.monotonic() - moved < within:
            if (now := _At.of(sink)) != at:
                at, moved = now, time.monotonic()
            if at.lsn >= head and at.seeded >= transfers.NAMES:
                sink.close()
                return []
            time.sleep(_LOOK)
        return [f"without faults the destination is at {at} for {within:.0f} s, and never at {head}"]

    def _different(self, dsn: str) -> list[str]:
        with self._program.start("sync") as process:
            try:
                status = process.wait(_CAUGHT_UP_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                return [f"sync did not end within {_CAUGHT_UP_WITHIN:.0f} s"]
        if status:
            return [f"sync ended with {status}: {self._program.said()[-2000:]}"]
        sink = DuckDBSink(self._copy, _NAME)
        with connected(dsn) as source:
            return list(map(str, differences(source, copies(sink))))


@dataclass(frozen=True)
class _At:
    """Where a destination is."""

    lsn: LSN = LSN(0)
    seeded: Set[TableName] = frozenset()

    @classmethod
    def of(cls, sink: DuckDBSink) -> _At:
        position, held = sink.position(), sink.tables()
        seeded = {name for name, table in held.items() if table.state is TableState.SEEDED}
        return cls(position.lsn if position else LSN(0), seeded)


def _written(dsn: str, steps: Sequence[Step], pace: float) -> None:
    """A step during which the server goes away is run again: it may not have been done."""
    left = list(steps)
    while left:
        try:
            with connected(dsn) as source:
                while left:
                    run(source, left[:1])
                    del left[0]
                    time.sleep(pace)
        except psycopg.OperationalError:
            time.sleep(_LOOK)
