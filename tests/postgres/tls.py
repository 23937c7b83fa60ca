"""
Servers that are reached through TLS.

One has TLS itself, where its build has it. The others stand behind something that speaks TLS
for them, as poolers and clouds do: its records are as large as TLS allows, twice as large as
PostgreSQL's own, and who reads them has to know.
"""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from select import select

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cdc_assets.testing import PostgresServer

_SSL_REQUEST = 8
"""Bytes of it. https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL"""
_AT_ONCE = 1 << 16


def has_tls(server: PostgresServer) -> bool:
    with psycopg.connect(server.dsn) as connection:
        return connection.execute("show ssl_library").fetchone() == ("OpenSSL",)


@contextmanager
def server_with_tls(version: int, folder: Path) -> Iterator[str]:
    """A server that speaks TLS itself; how to reach it."""
    with PostgresServer(version, {"fsync": "off"}) as server:
        data = server.directory / "data"
        for made in _certificate(folder):
            shutil.copyfile(made, data / made.name)
            shutil.chown(data / made.name, data.owner(), data.group())
            (data / made.name).chmod(0o600)
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            connection.execute("alter system set ssl = on")
            connection.execute("select pg_reload_conf()")
        dsn = make_conninfo(server.dsn, sslmode="require")
        while not _answers(dsn):
            time.sleep(0.01)
        yield dsn


def _answers(dsn: str) -> bool:
    with suppress(psycopg.OperationalError):
        psycopg.connect(dsn).close()
        return True
    return False


@contextmanager
def behind_tls(dsn: str, folder: Path) -> Iterator[str]:
    """How to reach the database through something that speaks TLS for it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*_certificate(folder))
    there = conninfo_to_dict(dsn)
    with socket.create_server(("127.0.0.1", 0)) as door:
        address = there["host"], int(there["port"])
        threading.Thread(target=_answer, args=(door, context, address), daemon=True).start()
        yield make_conninfo(dsn, port=door.getsockname()[1], sslmode="require")
        door.shutdown(socket.SHUT_RDWR)


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed one, and its key."""
    certificate, key = folder / "server.crt", folder / "server.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key


def _answer(door: socket.socket, context: ssl.SSLContext, address: tuple[str, int]) -> None:
    with suppress(OSError):
        while True:
            plain, _ = door.accept()
            threading.Thread(target=_pass_on, args=(plain, context, address), daemon=True).start()


def _pass_on(plain: socket.socket, context: ssl.SSLContext, address: tuple[str, int]) -> None:
    plain.recv(_SSL_REQUEST, socket.MSG_WAITALL)
    plain.sendall(b"S")
    with (
        suppress(OSError),
        context.wrap_socket(plain, server_side=True) as client,
        socket.create_connection(address) as server,
    ):
        while True:
            ready = [client] if client.pending() else select([client, server], [], [])[0]
            for source in ready:
                if not (data := source.recv(_AT_ONCE)):
                    return
                (server if source is client else client).sendall(data)
