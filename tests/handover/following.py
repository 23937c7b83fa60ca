"""
`cdc-assets sync --follow` in a process of its own, to be killed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cdc_assets.sinks.duckdb.sink import DuckDBSink

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


class Followed:
    """A pipeline that other processes run; `sink` is what they write."""

    def __init__(self, dsn: str, path: Path, name: str, chunk_bytes: int = 16_000) -> None:
        self._dsn = dsn
        self._config = path.parent / "cdc.yaml"
        self._config.write_text(CONFIG.format(name=name, path=path, chunk_bytes=chunk_bytes))
        self._output = path.parent / "output"
        self.sink = DuckDBSink(path, name, lock_timeout=30)

    @contextmanager
    def process(self) -> Iterator[subprocess.Popen[bytes]]:
        """`sync --follow`; killed at the end of the block if it still runs."""
        command = [sys.executable, "-c", "from cdc_assets.cli import main; main()", "sync", "--follow"]
        environment = os.environ | {"FOLLOWED_DSN": self._dsn}
        with (
            self._output.open("ab") as output,
            subprocess.Popen(
                [*command, "--config", str(self._config)], env=environment, stdout=output, stderr=output
            ) as process,
        ):
            try:
                yield process
            finally:
                process.kill()

    def said(self) -> str:
        return self._output.read_text()
