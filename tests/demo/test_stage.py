"""
The demo leaves nothing, however it is ended.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sysconfig
import tempfile
import time
from pathlib import Path

import pytest

PROGRAM = Path(sysconfig.get_path("scripts")) / "cdc-assets"
CHECKOUT = Path(__file__).parents[2]


@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("at", ["cdc-demo-*", "cdc-pg-*/data/postmaster.pid"])
def test_a_demo_that_is_ended_while_it_starts_leaves_nothing(ended_by: signal.Signals, at: str) -> None:
    # Not pytest's own folder, which the user that PostgreSQL runs as cannot enter.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        with subprocess.Popen(
            [PROGRAM, "demo"], cwd=CHECKOUT, env=os.environ | {"TMPDIR": folder}, stdout=subprocess.DEVNULL
        ) as demo:
            while not list(Path(folder).glob(at)):
                assert demo.poll() is None
                time.sleep(0.01)
            demo.send_signal(ended_by)

            assert demo.wait(60) == 0
        assert list(Path(folder).iterdir()) == []
