"""
The command line, called as a user calls it.
"""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import yaml

PROGRAM = Path(sysconfig.get_path("scripts")) / "cdc-assets"


class Commands:
    """`cdc-assets`, in a folder with a configuration."""

    def __init__(self, folder: Path, dsn: str) -> None:
        self.folder = folder
        self.settings: dict[str, Any] = {
            "name": "shop",
            "source": {"conninfo": {"env": "SHOP_DSN"}, "tables": ["public.*"], "takeover_wait": 1},
            "destination": {"type": "duckdb", "path": "copy.duckdb"},
        }
        self.environment = {**os.environ, "SHOP_DSN": dsn}
        self.configure()

    @property
    def copy(self) -> Path:
        return self.folder / "copy.duckdb"

    def configure(self, **settings: Any) -> None:
        """Change the configuration: `source__tables=[...]` is `source: {tables: [...]}`."""
        for name, value in settings.items():
            *above, last = name.split("__")
            place = self.settings
            for part in above:
                place = place.setdefault(part, {})
            place[last] = value
        self.write(yaml.safe_dump(self.settings))

    def write(self, text: str) -> None:
        (self.folder / "cdc.yaml").write_text(text)

    def start(self, *arguments: str, **more: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [PROGRAM, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **more,
        )

    def run(self, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        with self.start(*arguments, **more) as process:
            out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def succeed(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout

    def fail(self, *arguments: str, **more: Any) -> tuple[str, str]:
        """Run what must fail in the one way there is: the error and the hint, a line each."""
        done = self.run(*arguments, **more)
        assert done.returncode == 1, done.stdout + done.stderr
        lines = done.stderr.splitlines()
        assert [line.split()[0] for line in lines] == ["ERROR:", "HINT:"], done.stderr
        return lines[0].removeprefix("ERROR:").strip(), lines[1].removeprefix("HINT:").strip()
