"""
Programs that belong to the demo, and end with it.

Each has a process group of its own: Ctrl-C reaches only the demo, which then stops them
in order, and what they started (a run's worker) with them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import CdcError
from ..testing.signals import undisturbed

_GRACE = 25.0
"""Seconds a program has to end: a run's worker finishes its batch."""


class Programs:
    """Programs in the order in which they were started; stopped in the opposite order."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def start(
        self, name: str, command: Sequence[str | Path], environment: Mapping[str, str], folder: Path
    ) -> None:
        with (self._logs / f"{name}.log").open("ab") as log, undisturbed():
            process = subprocess.Popen(
                command,
                env={**os.environ, **environment},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            self._running.append((name, process))

    def see_that_all_run(self) -> None:
        """Raises, with the end of its log, for one that has ended by itself."""
        for name, process in self._running:
            if process.poll() is not None:
                log = (self._logs / f"{name}.log").read_text(errors="replace").strip().splitlines()
                raise CdcError(
                    f"{name} ended by itself: {log[-1] if log else f'status {process.returncode}'}",
                    hint=f"see {self._logs / name}.log",
                )

    def stop(self, name: str) -> None:
        """Stop one program, and everything it started."""
        for entry in [entry for entry in self._running if entry[0] == name]:
            self._running.remove(entry)
            _end(entry[1])

    def stop_all(self) -> None:
        while self._running:
            self.stop(self._running[-1][0])


def _end(process: subprocess.Popen[bytes]) -> None:
    _signal(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE
    while _is_there(process) and time.monotonic() < deadline:
        time.sleep(0.05)
    _signal(process.pid, signal.SIGKILL)
    process.wait()


def _is_there(process: subprocess.Popen[bytes]) -> bool:
    """The program, or anything of its group."""
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)
