"""
What carries out a plan of faults.
"""

from __future__ import annotations

import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import psycopg

from ..proxy import Proxy
from ..server import PostgresServer
from .consumer import Consumer
from .plan import Fault, Planned

_SMALL = 1 << 16
"""Bytes of a file beyond which there is no room."""
_DELAY = 0.2
"""Seconds that a slow network takes for each piece."""
_STARTED_WITHIN, _LOOK = 10.0, 0.02
"""Seconds."""
_STREAM = "select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = %s and active"
_SESSIONS = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'cdc_assets'"


class Injector:
    def __init__(self, server: PostgresServer, network: Proxy, consumer: Consumer, slot: str) -> None:
        self._server, self._network, self._consumer, self._slot = server, network, consumer, slot
        self.done: Counter[Fault] = Counter()
        self._connections = 0
        """Made before the process that there is now was started."""

    def carry_out(self, plan: Sequence[Planned], journal: Callable[[str], None]) -> None:
        for planned in plan:
            self._wait_until_at_work()
            time.sleep(planned.after * self._consumer.pace)
            journal(str(planned))
            self._inject(planned)
            self.done[planned.fault] += 1

    def _inject(self, planned: Planned) -> None:
        match planned.fault:
            case Fault.KILL | Fault.POINT:
                self._kill(planned)
            case Fault.PAUSE:
                self._consumer.pause()
                self._wait(planned)
                self._consumer.go_on()
            case Fault.NO_ROOM:
                with self._no_room():
                    self._wait(planned)
            case Fault.SECOND:
                with self._consumer.with_a_second():
                    self._wait(planned)
            case Fault.CUT | Fault.HOLD:
                (self._network.cut if planned.fault is Fault.CUT else self._network.hold)()
                self._wait(planned)
                self._network.mend()
            case Fault.DELAY:
                self._network.delay = _DELAY
                self._wait(planned)
                self._network.delay = 0.0
            case Fault.END_STREAM:
                self._ask(_STREAM, self._slot)
            case Fault.END_SESSIONS:
                self._ask(_SESSIONS)
            case Fault.CRASH | Fault.RESTART:
                (self._server.kill if planned.fault is Fault.CRASH else self._server.stop)()
                self._wait(planned)
                self._server.start()

    def _kill(self, planned: Planned) -> None:
        self._consumer.kill(next_at=planned.point)
        self._connections = self._network.connections

    def _wait_until_at_work(self) -> None:
        """A process takes a second to start; to kill it before it has connected would prove little."""
        deadline = time.monotonic() + _STARTED_WITHIN
        while self._network.connections <= self._connections and time.monotonic() < deadline:
            time.sleep(_LOOK)

    def _wait(self, planned: Planned) -> None:
        if planned.killing:
            time.sleep(planned.lasts / 2)
            self._kill(planned)
            self.done[Fault.KILL] += 1
        time.sleep(planned.lasts / 2 if planned.killing else planned.lasts)

    def _ask(self, query: str, *parameters: str) -> None:
        with psycopg.connect(self._server.dsn, autocommit=True) as administrator:
            administrator.execute(query.encode(), parameters)

    @contextmanager
    def _no_room(self) -> Iterator[None]:
        """For the process there is now; a limit on the size of files is what can be set from outside."""
        pid = self._consumer.pid
        _limit(pid, _SMALL)
        try:
            yield
        finally:
            _limit(pid, resource.RLIM_INFINITY)


def _limit(pid: int | None, size: int) -> None:
    with suppress(ProcessLookupError):
        if pid is not None:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
