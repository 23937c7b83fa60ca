"""
A deployment of Dagster that follows: workers, code server and daemon are killed, and nobody but
Dagster starts the next run.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from random import Random

from ..deployment import Deployment
from ..instance import make_instance
from ..program import Program
from ..server import PostgresServer
from .consumer import Consumer

_DEFINITIONS = """
from pathlib import Path
import dagster as dg
from cdc_assets import build_cdc_definitions, load_config

config = load_config(Path(__file__).with_name("{config}"))
defs = dg.Definitions.merge(
    build_cdc_definitions(config, start_sensors=True), dg.Definitions(executor=dg.in_process_executor)
)
"""
_WORKER_WITHIN, _LOOK = 30.0, 0.1
"""Seconds that Dagster has to start another run, before something else is killed."""
_CODE_SERVER, _DAEMON = 0.15, 0.1
"""How often it is one of these, and not a worker."""
_NEVER = ("are gone", "ProtocolError", "SinkError", "UnfaithfulValue")
"""What no run may say, whatever is killed."""


class Deployed(Consumer):
    moves_within = 400.0
    """The supervisor waits for up to 300 seconds, if the last runs were killed before they streamed."""
    pace = 5.0
    """A run takes some seconds to start."""

    def __init__(self, program: Program, seed: int) -> None:
        super().__init__(program)
        self._chance = Random(f"deployment {seed}")
        self._storage = PostgresServer(settings={"fsync": "off"})
        self._storage.start()
        folder = program.config.parent
        (folder / "definitions.py").write_text(_DEFINITIONS.format(config=program.config.name))
        environment = program.environment | make_instance(folder / "dagster", self._storage.dsn)
        self._deployment = Deployment(folder, environment)
        self._deployment.start()
        self._paused: int | None = None

    @property
    def pid(self) -> int | None:
        workers = self._workers()
        return self._chance.choice(workers) if workers else None

    def _workers(self) -> list[int]:
        """Those there are, or will be soon."""
        deadline = time.monotonic() + _WORKER_WITHIN
        while not (workers := self._deployment.workers()) and time.monotonic() < deadline:
            time.sleep(_LOOK)
        return workers

    def kill(self, next_at: str = "") -> None:
        """The next process is not ours to start, so it cannot be told anything."""
        chosen = self._chance.random()
        pid = self.pid
        if chosen < _DAEMON:
            self._deployment.kill_daemon()
            self._deployment.start_daemon()
            self.endings["the daemon killed"] += 1
        elif pid is None or chosen < _DAEMON + _CODE_SERVER:
            self._deployment.kill_workers_and_code_server()
            self._deployment.start_code_server()
            self.endings["code server killed, with its workers"] += 1
        else:
            _send(pid, signal.SIGKILL)
            self.killed += 1

    def pause(self) -> None:
        self._paused = self.pid
        _send(self._paused, signal.SIGSTOP)

    def go_on(self) -> None:
        _send(self._paused, signal.SIGCONT)

    def finish(self, within: float) -> None:
        self._deployment.kill_daemon()
        for worker in self._deployment.workers():
            _send(worker, signal.SIGTERM)
        deadline = time.monotonic() + within
        while (left := self._deployment.workers()) and time.monotonic() < deadline:
            time.sleep(_LOOK)
        if left:
            self.wrong.append(f"{len(left)} workers that were told to end did not within {within:.0f} s")
        self._deployment.end()
        self._storage.remove()
        for line in self._deployment.said().splitlines():
            if any(words in line for words in _NEVER):
                self.wrong.append(f"a run said: {line[:500]}")

    def said(self) -> str:
        return f"{super().said()}\n{self._deployment.said()}"


def _send(pid: int | None, what: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        if pid is not None:
            os.kill(pid, what)
