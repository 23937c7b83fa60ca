"""
Ports of this machine that nothing listens on.
"""

from __future__ import annotations

import socket

HERE = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HERE, 0))
        port: int = probe.getsockname()[1]
        return port
