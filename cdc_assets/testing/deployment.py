"""
Dagster as it is deployed: a daemon and a code server, each a process, and a worker for each run.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from .ports import HERE, free_port

_WITHIN = 90.0
"""Seconds that a code server has to load the definitions."""
_LOOK = 0.1
_PROGRAMS = Path(sysconfig.get_path("scripts"))
_WORKER = b"multiprocessing.spawn"
"""What a code server starts a run's worker with."""


class Deployment:
    """For the definitions.py in a folder, where its processes also put what they say."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        """`environment`: with DAGSTER_HOME, and what the definitions need."""
        self.folder = folder
        self._environment = {**os.environ, **environment, "PYTHONWARNINGS": "ignore"}
        self._port = free_port()
        (folder / "workspace.yaml").write_text(
            f"load_from:\n  - grpc_server: {{host: {HERE}, port: {self._port}, location_name: shop}}\n"
        )
        self._code_server: subprocess.Popen[bytes] | None = None
        self._daemon: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.start_code_server()
        self.start_daemon()

    def start_code_server(self) -> None:
        arguments = ("code-server", "start", "-h", HERE, "-p", str(self._port), "-f", "definitions.py")
        self._code_server = self._started("dagster", *arguments, "-d", ".")
        deadline = time.monotonic() + _WITHIN
        while not self._serves():
            if time.monotonic() > deadline:
                raise RuntimeError(f"the code server did not start:\n{self.said()[-2000:]}")
            time.sleep(_LOOK)

    def start_daemon(self) -> None:
        self._daemon = self._started("dagster-daemon", "run", "-w", "workspace.yaml")

    def kill_workers_and_code_server(self) -> None:
        """At once, so that none of them can tell what became of the others."""
        if self._code_server:
            _kill(self._code_server)

    def kill_daemon(self) -> None:
        if self._daemon:
            _kill(self._daemon)

    def workers(self) -> list[int]:
        """The process ids of those there are."""
        return [] if self._code_server is None else sorted(_workers(self._code_server.pid))

    def end(self) -> None:
        self.kill_daemon()
        self.kill_workers_and_code_server()

    def said(self) -> str:
        """By all of its processes."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def _log(self) -> Path:
        return self.folder / "dagster.log"

    def _started(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        """With a process group of its own, which the workers it starts are in too."""
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [_PROGRAMS / program, *arguments],
                cwd=self.folder,
                env=self._environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def _serves(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((HERE, self._port)) == 0


def _workers(group: int) -> Iterator[int]:
    """https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html"""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            of_group = int((folder / "stat").read_text().rpartition(")")[2].split()[2])
            if of_group == group and _WORKER in (folder / "cmdline").read_bytes():
                yield int(folder.name)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
