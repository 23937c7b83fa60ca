"""
`cdc-assets sync --follow` in a process of its own, to be killed; and what it does, in a thread.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from wal_captures import eventually

from cdc_assets import engine
from cdc_assets.engine import Retry, SetAside
from cdc_assets.engine.unattended import Patience
from cdc_assets.model import Sink
from cdc_assets.postgres.wal import WalCapture
from cdc_assets.sinks.duckdb.sink import DuckDBSink
from cdc_assets.testing.program import Program

CONFIG = """
name: {name}
source:
  conninfo: {{env: FOLLOWED_DSN}}
  tables: ["public.*"]
  takeover_wait: 30s
destination: {{type: duckdb, path: {path}}}
batch: {{max_delay: 50ms}}
seed: {{chunk_bytes: {chunk_bytes}}}
"""

QUICK = Patience(first=0.05, longest=0.5)


class Followed:
    """A pipeline that other processes run; `sink` is what they write."""

    def __init__(self, dsn: str, path: Path, name: str, chunk_bytes: int = 16_000) -> None:
        config = path.parent / "cdc.yaml"
        config.write_text(CONFIG.format(name=name, path=path, chunk_bytes=chunk_bytes))
        self._program = Program(config, {"FOLLOWED_DSN": dsn})
        self.sink = DuckDBSink(path, name, lock_timeout=30)

    @contextmanager
    def process(self) -> Iterator[subprocess.Popen[bytes]]:
        """`sync --follow`; killed at the end of the block if it still runs."""
        with self._program.start("sync", "--follow") as process:
            try:
                yield process
            finally:
                process.kill()

    def said(self) -> str:
        return self._program.said()


class Unattended:
    """`follow`, in a thread."""

    def __init__(self, mine: WalCapture, sink: Sink, *, watch_every: float = 3600.0) -> None:
        self._mine, self._sink, self._watch_every = mine, sink, watch_every
        self.retries: list[str] = []
        self.aside: list[str] = []
        """What was said of tables that were set aside."""
        self._stopping = threading.Event()
        self._error: BaseException | None = None
        self._steps = 0
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        follow = partial(
            engine.follow,
            self._mine,
            self._sink,
            stopping=self._stopping.is_set,
            watch_every=self._watch_every,
        )
        try:
            for event in engine.unattended(follow, self._stopping, QUICK):
                if isinstance(event, Retry):
                    self.retries.append(str(event))
                elif isinstance(event, SetAside):
                    self.aside.append(str(event))
                else:
                    self._steps += 1
        except BaseException as error:
            self._error = error

    def goes_on(self) -> None:
        """From here on, it has done something."""
        before = self._steps
        eventually(lambda: self._steps > before or self._error, within=40)
        assert self._error is None, self._error

    def __enter__(self) -> Unattended:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        assert self._error is None, self._error
