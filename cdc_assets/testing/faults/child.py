"""
A process that follows, and another in its place as soon as it is dead.
"""

from __future__ import annotations

import signal
import threading
import time

from ..program import Program
from .consumer import Consumer

_DIED = -signal.SIGKILL
_ENDED_POLITELY = (0, -signal.SIGTERM)
"""The latter before it has got as far as to listen to signals."""
_REST = 0.2
"""Seconds between a process that ended by itself and the next."""


class Child(Consumer):
    """`sync --follow`, from `start` to `finish`."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self._process = program.start("sync", "--follow")
        self._said_before = 0
        self._kill_next_at = ""
        self._finishing = False
        self._changing = threading.Lock()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self, next_at: str = "") -> None:
        self._kill_next_at = next_at
        self._process.kill()

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def finish(self, within: float) -> None:
        """It has to end with success."""
        with self._changing:
            self._finishing = True
            self._process.terminate()
        self._keeper.join(within)
        if self._keeper.is_alive():
            self.wrong.append(f"a process that was told to end did not within {within:.0f} s")
            self._process.kill()
            self._keeper.join()

    def _keep(self) -> None:
        while True:
            status = self._process.wait()
            self._note(status)
            if status != _DIED:
                time.sleep(_REST)
            with self._changing:
                if self._finishing:
                    return
                at, self._kill_next_at = self._kill_next_at, ""
                self._process = self._program.start("sync", "--follow", kill_at=at)

    def _note(self, status: int) -> None:
        said = self._program.said()
        last, self._said_before = said[self._said_before :], len(said)
        if status == _DIED:
            self.killed += 1
        elif not (self._finishing and status in _ENDED_POLITELY):
            error = next((line for line in last.splitlines() if line.startswith("ERROR:")), "nothing")
            self.endings[error] += 1
            if status != 1 or "Traceback" in last or "are gone" in error:
                self.wrong.append(f"a process ended with {status}: {last[-2000:]}")
