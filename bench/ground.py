"""
What a benchmark stands on: a server, a pipeline of its own for each round, and a clock.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import yaml

from cdc_assets.testing import PostgresServer

_SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "1h",
    "fsync": "off",
    "autovacuum": "off",
}
"""So that the server does only what is measured."""

_PROGRAM = Path(sysconfig.get_path("scripts")) / "cdc-assets"


class Ground:
    """A server and a folder, gone at the end. Say `with`."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="cdc-bench-")
        self.folder = Path(self._folder.name)
        self.server = PostgresServer(settings=_SETTINGS)

    def __enter__(self) -> Ground:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.remove()
        self._folder.cleanup()

    def run(self, *statements: str) -> None:
        with psycopg.connect(self.server.dsn, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def value(self, query: str) -> object:
        with psycopg.connect(self.server.dsn, autocommit=True) as connection:
            row = connection.execute(query).fetchone()
            assert row is not None
            return row[0]

    def program(self, name: str, *arguments: str) -> float:
        """Run one of PostgreSQL's programs, its output to nowhere; how many seconds it took."""
        return _timed([self.server.binaries / name, *arguments])

    def pipeline(self, name: str, *tables: str, **options: object) -> Pipeline:
        path = self.folder / f"{name}.yaml"
        path.write_text(
            yaml.safe_dump(
                {
                    "name": name,
                    "source": {"conninfo": self.server.dsn, "tables": list(tables)},
                    "destination": {"type": "duckdb", "path": f"{name}.duckdb"},
                    **options,
                }
            )
        )
        return Pipeline(path)


class Pipeline:
    """The command line on one configuration."""

    def __init__(self, config: Path) -> None:
        self._config = config

    def sync(self, *arguments: str) -> float:
        """Seconds of `cdc-assets sync`, start-up included."""
        return _timed(self._command(*arguments))

    def begun(self, *arguments: str) -> subprocess.Popen[bytes]:
        """The same, which goes on. Say `with`."""
        return subprocess.Popen(self._command(*arguments), stdout=subprocess.DEVNULL)

    def _command(self, *arguments: str) -> list[str | Path]:
        return [_PROGRAM, "sync", "--config", self._config, *arguments]

    @contextmanager
    def following(self) -> Iterator[Following]:
        with self.begun("--follow") as process:
            try:
                yield Following(process.pid)
            finally:
                process.send_signal(signal.SIGINT)


@dataclass(frozen=True)
class Following:
    """A process that runs.
    https://man7.org/linux/man-pages/man5/proc_pid_status.5.html"""

    pid: int

    def memory(self) -> int:
        """Bytes that are resident."""
        return self._status("VmRSS:")

    def peak_memory(self) -> int:
        """Bytes, the most that was ever resident."""
        return self._status("VmHWM:")

    def _status(self, name: str) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(name)) << 10

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _timed(command: Sequence[str | Path]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began
