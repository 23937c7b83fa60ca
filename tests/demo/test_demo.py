"""
The demo, run as a visitor runs it: it ends by itself or when told to, and leaves nothing.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[2]
PROGRAM = Path(sysconfig.get_path("scripts")) / "cdc-assets"


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Where the demo makes its folders. PostgreSQL, which may run as another user, has to get in."""
    folder = Path(tempfile.mkdtemp(prefix="demo-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def demo(temporary: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | {"TMPDIR": str(temporary)}
    with subprocess.Popen(
        [PROGRAM, "demo", *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()
            for pid in running(temporary):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def running(temporary: Path) -> dict[int, str]:
    """Processes of this demo, which have its folder in their environment: what they were called with."""
    mark = f"TMPDIR={temporary}\0".encode()
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (process / "environ").read_bytes():
                found[int(process.name)] = (process / "cmdline").read_text().replace("\0", " ")
    return found


def left(temporary: Path) -> list[str]:
    return [entry.name for entry in temporary.iterdir() if entry.name.startswith("cdc-")]


def test_it_seeds_streams_finds_both_sides_equal_and_leaves_nothing(temporary):
    with demo(temporary, "--headless", "--seconds", "3") as process:
        said, _ = process.communicate()

        assert process.returncode == 0, said
        assert said.splitlines()[-1] == "equal"
        assert "order_lines" in said
        assert running(temporary) == {}
        assert left(temporary) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_told_to_end_at_any_moment_it_leaves_nothing(temporary, number):
    with demo(temporary, "--headless") as process:
        while not list(temporary.glob("cdc-demo-*/code-server.log")):
            time.sleep(0.05)
        process.send_signal(number)
        said, _ = process.communicate()

        assert process.returncode != 0, said
        assert "Traceback" not in said
        assert running(temporary) == {}
        assert left(temporary) == []
