"""
A network between a client and a server, to be cut, or to swallow everything.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from contextlib import suppress
from types import TracebackType

from psycopg.conninfo import conninfo_to_dict, make_conninfo

_PIECE = 1 << 16
_LOOK = 0.01
"""Seconds between looks at what is wanted of the network."""
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: what closes a connection without a word of goodbye."""


class Proxy:
    """Forwards to the server of a `dsn`, until told otherwise; at once but for `delay` seconds."""

    def __init__(self, dsn: str) -> None:
        given = conninfo_to_dict(dsn)
        self._server = str(given["host"]), int(given["port"] or 5432)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._address = self._listener.getsockname()
        self.dsn = make_conninfo(dsn, host=self._address[0], port=self._address[1])
        self.delay = 0.0
        self.connections = 0
        """Made since the beginning."""
        self._passing = threading.Event()
        self._passing.set()
        self._open: set[socket.socket] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._accept, name="proxy", daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """End every connection, and refuse new ones."""
        self._listener.close()
        self._reset()

    def hold(self) -> None:
        """Let nothing through, either way, and say so to nobody; new connections hang as well."""
        self._passing.clear()

    def mend(self) -> None:
        """Be a network again. What was held is lost, and with it its connections."""
        if self._listener.fileno() < 0:
            self._listener = socket.create_server(self._address)
        if not self._passing.is_set():
            self._reset()
            self._passing.set()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self.cut()
        self._thread.join()

    def _reset(self) -> None:
        for end in list(self._open):
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._ended.wait(0 if self._listener.fileno() >= 0 else _LOOK):
            with suppress(OSError, ValueError):  # it was closed meanwhile
                if select.select([self._listener], [], [], _LOOK)[0]:
                    client, _ = self._listener.accept()
                    self.connections += 1
                    threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(self._server) as server:
            self._open |= {client, server}
            back = threading.Thread(target=self._forward, args=(server, client), daemon=True)
            back.start()
            self._forward(client, server)
            back.join()
            self._open -= {client, server}

    def _forward(self, source: socket.socket, to: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(_PIECE):
                time.sleep(self.delay)
                while not self._passing.wait(_LOOK):
                    if self._ended.is_set():
                        return
                to.sendall(data)
        for end in (source, to):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
