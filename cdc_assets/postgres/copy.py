"""
COPY, read in large pieces.

libpq hands out a COPY message by message, each at the cost of a Python call; that
is most of what receiving a million small messages costs. So where the connection
is not encrypted, libpq connects and authenticates, and while a COPY runs its
socket is ours: what has arrived is taken as it is, and where its messages lie is
found all at once. After the COPY the connection is libpq's again. An encrypted
connection is read through libpq.

https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-COPY
"""

from __future__ import annotations

import os
import select
import socket
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator

import numpy as np
from psycopg import pq

from ..errors import ServerUnreachable
from ..model.changes import Bytes
from ..pgoutput.cells import PADDING
from ..pgoutput.frames import Frames, split
from .session import Connection

_READ = 1 << 20
"""Bytes asked of the socket at once."""
_AT_ONCE = 4096
"""Messages taken from libpq at once."""
_READINGS = 3
"""Times libpq is asked to read before its socket is waited on. What was decrypted and found no room
in its buffer makes no socket readable: a TLS record is up to 16 kB, and 8 kB find room each time."""
_WRITABLE_WITHIN = 10.0
"""Seconds the server has to make room for what we send, a few bytes now and then."""

_COPY_RESPONSES = b"HWG"
_ERROR, _READY, _COPY_DATA, _COPY_DONE = b"E", b"Z", b"d", b"c"
_READY_FOR_QUERY = b"Z\0\0\0\x05"
_READY_SIZE = 6
"""Bytes of ReadyForQuery; its last says whether a transaction is open."""


class Refused(Exception):
    """The server answered with an error."""

    def __init__(self, sqlstate: str, message: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class Copy(ABC):
    """A COPY that is running. `Refused` if the server ends it with an error."""

    ended = False
    """The server has sent everything."""
    early = 0
    """Bytes that came with the answer to the command."""

    @abstractmethod
    def fileno(self) -> int: ...

    @abstractmethod
    def receive(self) -> int:
        """Take what has arrived, without waiting; how many bytes. Another thread may call `frames`."""

    @abstractmethod
    def frames(self) -> Frames:
        """The messages received since the last time, in data that ends with `cells.PADDING`."""

    @abstractmethod
    def write(self, message: bytes) -> None: ...

    @abstractmethod
    def finish_writing(self) -> None:
        """Say that we are done; the server then ends the COPY."""

    @property
    def may_have_ended(self) -> bool:
        """Whether it is time to look: what was received last is what the end looks like."""
        return self.ended

    def wait(self, timeout: float | None = None) -> None:
        """Until there is something to receive, or to look at."""
        select.select([self], [], [], timeout)

    def close(self) -> None:
        """Give up what belongs to the COPY alone."""


def copy(connection: Connection, command: bytes, *begins_with: bytes) -> Copy:
    """Run a COPY or START_REPLICATION; `begins_with`: what its messages begin with, mostly."""
    pg = connection.pgconn
    encrypted = pg.ssl_in_use or _gss_is_possible(pg)
    return _LibpqCopy(pg, command) if encrypted else _SocketCopy(pg, command, begins_with)


def _gss_is_possible(pg: pq.abc.PGconn) -> bool:
    return any(option.keyword == b"gssencmode" and option.val != b"disable" for option in pg.info)


class _SocketCopy(Copy):
    def __init__(self, pg: pq.abc.PGconn, command: bytes, begins_with: tuple[bytes, ...]) -> None:
        self._begins_with = begins_with
        self._socket = socket.socket(fileno=os.dup(pg.socket))
        self._received: deque[bytes] = deque()
        self._rest = b""
        """The beginning of a message that has not arrived whole."""
        self._tail = b""
        self._started = False
        try:
            self._send(_message(b"Q", command + b"\0"))
            while not self._started and not self.ended:
                self.wait()
                self.receive()
                data = self._arrived()
                self._rest = data[self._other_messages(data) :].tobytes()
            self.early = len(self._rest)
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> int:
        try:
            arrived = self._socket.recv(_READ)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            raise _broken(str(error)) from error
        if not arrived:
            raise _broken("the server closed the connection")
        self._received.append(arrived)
        self._tail = (self._tail + arrived[-_READY_SIZE:])[-_READY_SIZE:]
        return len(arrived)

    @property
    def may_have_ended(self) -> bool:
        return self._tail.startswith(_READY_FOR_QUERY)

    def wait(self, timeout: float | None = None) -> None:
        if not self.may_have_ended:
            super().wait(timeout)

    def frames(self) -> Frames:
        if self.may_have_ended:  # What looks like the end and is not must be looked at only once.
            self._tail = self._tail[1:]
        arrived, pieces, at = self._arrived(PADDING), [], 0
        while True:
            data = arrived[at : len(arrived) - len(PADDING)]
            begin = self._other_messages(data)
            frames, end = split(data[begin:], *self._begins_with)
            at += begin
            if not end:
                break
            pieces.append(Frames(arrived[at:], frames.start, frames.end))
            at += end
        self._rest = data[begin:].tobytes()
        return pieces[0] if len(pieces) == 1 else Frames.joined(pieces)

    def _arrived(self, padding: bytes = b"") -> Bytes:
        received = (self._received.popleft() for _ in range(len(self._received)))
        return np.frombuffer(b"".join([self._rest, *received, padding]), np.uint8)

    def _other_messages(self, data: Bytes) -> int:
        """Take note of what is not data; where it ends."""
        at = 0
        while len(data) - at >= 5 and data[at] != _COPY_DATA[0]:
            kind = data[at : at + 1].tobytes()
            end = at + 1 + int.from_bytes(data[at + 1 : at + 5].tobytes(), "big")
            if end > len(data):
                break
            if kind == _ERROR:
                self._refuse(data[at + 5 : end].tobytes())
            self._started = self._started or kind in _COPY_RESPONSES
            self.ended = self.ended or kind == _READY
            at = end
        return at

    def _refuse(self, body: bytes) -> None:
        fields = {field[:1]: field[1:].decode(errors="replace") for field in body.split(b"\0") if field}
        raise Refused(fields.get(b"C", ""), fields.get(b"M", ""))

    def write(self, message: bytes) -> None:
        self._send(_message(_COPY_DATA, message))

    def finish_writing(self) -> None:
        self._send(_message(_COPY_DONE, b""))

    def _send(self, data: bytes) -> None:
        while data:
            try:
                data = data[self._socket.send(data) :]
            except BlockingIOError:
                _, writable, _ = select.select([], [self], [], _WRITABLE_WITHIN)
                if not writable:
                    raise _broken("the server does not take what is sent to it") from None
            except OSError as error:
                raise _broken(str(error)) from error

    def close(self) -> None:
        self._socket.close()


class _LibpqCopy(Copy):
    def __init__(self, pg: pq.abc.PGconn, command: bytes) -> None:
        self._pg = pg
        self._messages: deque[bytes] = deque()
        self._more = True
        """libpq may hold messages that it has not handed out."""
        result = pg.exec_(command)
        if result.status not in (pq.ExecStatus.COPY_OUT, pq.ExecStatus.COPY_BOTH):
            raise _refusal(result)

    def fileno(self) -> int:
        return self._pg.socket

    def receive(self) -> int:
        size = 0
        for _ in range(_READINGS):
            self._pg.consume_input()
        for _ in range(_AT_ONCE):
            count, message = self._pg.get_copy_data(1)
            if count <= 0:
                break
            self._messages.append(bytes(message))
            size += count
        self._more = count > 0
        if count < 0:
            self._end()
        return size

    def wait(self, timeout: float | None = None) -> None:
        if not self._more:
            super().wait(timeout)

    def frames(self) -> Frames:
        return Frames.of([self._messages.popleft() for _ in range(len(self._messages))])

    def _end(self) -> None:
        self.ended = True
        failed = pq.ExecStatus.FATAL_ERROR
        if refusals := [_refusal(result) for result in self._results() if result.status == failed]:
            raise refusals[0]

    def _results(self) -> Iterator[pq.abc.PGresult]:
        """Waited for here: libpq would wait with Python's lock held, and every thread with it."""
        while True:
            while self._pg.is_busy():
                select.select([self], [], [])
                self._pg.consume_input()
            result = self._pg.get_result()
            if result is None:
                return
            yield result

    def write(self, message: bytes) -> None:
        self._pg.put_copy_data(message)
        self._pg.flush()

    def finish_writing(self) -> None:
        self._pg.put_copy_end()
        self._pg.flush()


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4, "big") + body


def _refusal(result: pq.abc.PGresult) -> Refused:
    state = result.error_field(pq.DiagnosticField.SQLSTATE)
    message = result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or result.error_message
    return Refused((state or b"").decode(), message.decode(errors="replace").strip().split("\n")[0])


def _broken(said: str) -> ServerUnreachable:
    return ServerUnreachable(
        f"the connection to the source broke: {said}",
        hint="see the server's log; the work can be started again.",
    )
