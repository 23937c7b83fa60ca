"""
`cdc-assets` in processes of its own, to be killed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from ..points import VARIABLE

_MAIN = "from cdc_assets.cli import main; main()"


class Program:
    """With one configuration; what its processes say is in a file beside that."""

    def __init__(self, config: Path, environment: Mapping[str, str]) -> None:
        self.config = config
        self.environment = {**os.environ, **environment}
        self._output = config.with_name("output")
        self._output.touch()

    def start(self, command: str, *options: str, kill_at: str = "") -> subprocess.Popen[bytes]:
        """`kill_at`: a point at which it kills itself; see `cdc_assets.points`."""
        with self._output.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-c", _MAIN, command, *options, "--config", str(self.config)],
                env=self.environment | ({VARIABLE: kill_at} if kill_at else {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def said(self) -> str:
        return self._output.read_text(errors="replace")
