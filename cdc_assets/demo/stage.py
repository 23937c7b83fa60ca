"""
Everything the demo needs, put up and taken down: server, shop, traffic, Dagster.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import signal
import socket
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from psycopg.conninfo import conninfo_to_dict

from ..config import load
from ..errors import CdcError, ConfigError
from ..pipeline import Pipeline, build
from ..testing import PostgresServer
from ..testing.instance import make_instance
from ..testing.signals import ENDS, undisturbed
from . import traffic
from .processes import Programs
from .shop import open_shop

_LOCATION = ("definitions.py", "cdc.yaml")
"""What the demo runs: the example at the top of the repository."""
_EXAMPLE = ("-f", "definitions.py", "-d", ".")
_HERE = "127.0.0.1"
_SERVED_WITHIN = 90.0
"""Seconds."""


class Stage:
    """Made in a folder of its own, which goes with it. Say `with`."""

    folder: Path
    _programs: Programs
    _server: PostgresServer

    def __init__(self, checkout: Path, *, with_ui: bool) -> None:
        if missing := [name for name in _LOCATION if not (checkout / name).exists()]:
            raise ConfigError(
                f"{checkout / missing[0]} does not exist",
                hint="run the demo in a checkout of the repository: it runs the example there.",
            )
        self._checkout, self._with_ui = checkout, with_ui
        self._down = contextlib.ExitStack()
        self.environment: dict[str, str] = {}
        self.port = _free_port()

    @property
    def ui(self) -> str:
        return f"http://{_HERE}:{self.port}"

    @property
    def database(self) -> Path:
        return self.folder / "data" / "shop.duckdb"

    @property
    def dsn(self) -> str:
        return self.environment[traffic.DSN_VARIABLE]

    @property
    def psql(self) -> str:
        """A command that opens the source; the password is in a file only its owner can read."""
        parts = conninfo_to_dict(self.dsn)
        where = [str(parts[part]) for part in ("host", "port", "dbname", "user")]
        file = self.folder / "pgpass"
        file.touch(mode=0o600)
        file.write_text(":".join([*where, str(parts["password"])]) + "\n")
        host, port, database, user = where
        program = self._server.binaries / "psql"
        return f"PGPASSFILE={file} {program} -h {host} -p {port} -U {user} {database}"

    @property
    def server_version(self) -> int:
        return self._server.version

    def __enter__(self) -> Stage:
        for number in ENDS:
            signal.signal(number, _interrupt)
        try:
            self._put_up()
        except BaseException:
            self._take_down()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._take_down()

    def pipeline(self) -> Pipeline:
        """The pipeline the code location runs, for looking at it from here."""
        return build(load(self.folder / "cdc.yaml"))

    def start_traffic(self) -> None:
        self._start("traffic", "python", "-m", traffic.__name__)

    def stop_traffic(self) -> None:
        self._programs.stop("traffic")

    def wait(self, reached: Callable[[], bool], within: float, what: str) -> None:
        """Until `reached`, looking on that nothing falls over."""
        deadline = time.monotonic() + within
        while not reached():
            self._programs.see_that_all_run()
            if time.monotonic() > deadline:
                raise CdcError(
                    f"{what} did not happen within {within:.0f} s", hint=f"see the logs in {self.folder}"
                )
            time.sleep(0.5)

    def attend(self) -> None:
        """Look on until interrupted."""
        while True:
            self._programs.see_that_all_run()
            time.sleep(1)

    def _put_up(self) -> None:
        with undisturbed():  # what is made is also known to be there
            self.folder = Path(tempfile.mkdtemp(prefix="cdc-demo-"))
            self._down.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self._server = PostgresServer(settings={"max_wal_size": "1GB"})
            self._down.callback(self._server.remove)
        self._programs = Programs(self.folder)
        self._down.callback(self._programs.stop_all)
        for name in _LOCATION:
            shutil.copy(self._checkout / name, self.folder)
        self.database.parent.mkdir()
        self._server.start()
        password = secrets.token_urlsafe(12)
        self.environment = {
            **make_instance(self.folder / "dagster", self._server.dsn),
            traffic.DSN_VARIABLE: open_shop(self._server.dsn, "shop", password),
            "PYTHONWARNINGS": "ignore",
        }
        self._start_dagster()

    def _start_dagster(self) -> None:
        # One code server for the daemon and the UI: each would start one of its own.
        port = str(_free_port())
        self._start("code-server", "dagster", "code-server", "start", "-h", _HERE, "-p", port, *_EXAMPLE)
        workspace = self.folder / "served.yaml"
        workspace.write_text(
            f"load_from:\n  - grpc_server: {{host: {_HERE}, port: {port}, location_name: shop}}\n"
        )
        self.wait(lambda: _listens(int(port)), _SERVED_WITHIN, "the start of the code server")
        self._start("daemon", "dagster-daemon", "run", "-w", str(workspace))
        if self._with_ui:
            self._start(
                "webserver", "dagster-webserver", "-h", _HERE, "-p", str(self.port), "-w", str(workspace)
            )
            self.wait(lambda: _listens(self.port), _SERVED_WITHIN, "the start of the UI")

    def _start(self, name: str, program: str, *arguments: str) -> None:
        executable = Path(sysconfig.get_path("scripts")) / program
        self._programs.start(name, [executable, *arguments], self.environment, self.folder)

    def _take_down(self) -> None:
        for number in ENDS:
            signal.signal(number, signal.SIG_IGN)  # being impatient would leave something running
        self._down.close()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((_HERE, port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HERE, 0))
        port: int = probe.getsockname()[1]
        return port
