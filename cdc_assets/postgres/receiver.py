"""
The replication connection: START_REPLICATION, and what is said while it runs.

What comes is log data or a keepalive; what goes back is a status update, the
one way PostgreSQL learns how much of its log it may forget. A thread of its own
receives and reports, so that a destination that takes long never makes the server
give up on us. It reads ahead only so far; when it stops reading it goes on
reporting. It reports often enough that no keepalive has to ask for it.

Protocol: https://www.postgresql.org/docs/current/protocol-replication.html
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Iterator
from struct import Struct

from psycopg import sql

from ..errors import CaptureError, CdcError, ServerUnreachable
from ..model import LSN
from ..pgoutput.frames import NOTHING, Frames
from ..pgoutput.progress import InProgress
from . import slot
from .copy import Copy, Refused, copy
from .session import Connection, server_errors

_READ_AHEAD = 64 << 20
"""Bytes received and not yet taken, beyond which the socket is left alone."""
_STATUS_INTERVAL = 10.0
"""Seconds between status updates, at most a third of wal_sender_timeout."""
_GOODBYE = 5.0
"""Seconds the server has to let go of the slot before the connection is simply closed."""

_STATUS = Struct(">cQQQQB").pack
_POSTGRES_EPOCH = 946_684_800

_STREAMING_SINCE = 14_00_00
_IN_PROGRESS = "proto_version '2', streaming 'on'"
"""https://www.postgresql.org/docs/current/protocol-logical-replication.html"""

_INTERNAL = "XX000"
_IN_USE = "55006"
_FINAL = ("42", "22", "55", "58", "XX")
"""Classes of SQLSTATE that trying again does not mend: a missing publication, lost log, a bug.
https://www.postgresql.org/docs/current/errcodes-appendix.html"""


class NotInProgress(CaptureError):
    """The server failed at a transaction that it was to send in progress. What is rolled back of it can name
    a table file that the catalog never had; sent after its commit, it is passed over."""


class Receiver:
    """One reader of one slot. What is confirmed only ever moves forward."""

    def __init__(
        self, connection: Connection, slot_name: str, publication: str, *, in_progress: bool
    ) -> None:
        """`in_progress`: have large transactions sent while they are, if the server can."""
        self._connection = connection
        self._may_stream = in_progress and connection.info.server_version >= _STREAMING_SINCE
        self._slot, self._publication = slot_name, publication
        self._confirmed = LSN(0)
        """Nothing yet, which leaves the slot where it is. What another consumer confirmed until a moment
        ago might be more than we know, and servers of before 2025 move a slot back if they are told to."""
        self._copy: Copy | None = None
        self._in_progress = InProgress()
        self._ended: Iterator[Frames] = iter(())
        """Of what was received, what is still to be handed out."""
        self._waiting_bytes = 0
        """Received and not taken."""
        self._enough = 1
        self._changed = threading.Condition()
        self._error: BaseException | None = None
        self._stopping = self._asking = False
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name=f"cdc-{slot_name}", daemon=True)

    def start(self) -> None:
        """Begin to stream; `SlotInUse` if another consumer holds the slot."""
        with server_errors():
            (timeout,) = self._connection.execute(
                "select setting::int from pg_settings where name = 'wal_sender_timeout'"
            ).fetchone() or (0,)
        self._interval = min(_STATUS_INTERVAL, timeout / 3000) if timeout else _STATUS_INTERVAL
        self._patience = max(timeout / 1000, 3 * self._interval)
        command = sql.SQL("START_REPLICATION SLOT {} LOGICAL 0/0 ({}, publication_names {})").format(
            sql.Identifier(self._slot),
            sql.SQL(_IN_PROGRESS if self._may_stream else "proto_version '1'"),
            sql.Literal(sql.Identifier(self._publication).as_string(self._connection)),
        )
        try:
            self._copy = copy(self._connection, command.as_bytes(self._connection), b"w", b"k")
        except Refused as error:
            raise self._refused(error) from error
        self._waiting_bytes = self._copy.early
        self._thread.start()

    def _refused(self, error: Refused) -> CdcError:
        if error.sqlstate == _IN_USE:
            return slot.in_use(self._slot, str(error).rpartition("is active for ")[2] or None)
        said = f"the stream from slot {self._slot} ended: {error}"
        if error.sqlstate == _INTERNAL and self._may_stream:
            return NotInProgress(said)
        if error.sqlstate.startswith(_FINAL):
            return CaptureError(
                said,
                hint="see the server's log. If the slot is of no use any more, make another and copy "
                "everything again:  cdc-assets teardown;  cdc-assets reseed --all",
            )
        return ServerUnreachable(said, hint="see the server's log; the stream can be started again.")

    def take(self, timeout: float, enough: int = 1) -> Frames:
        """What came since the last time; waits for `enough` bytes, at most `timeout` seconds.

        A transaction that was sent in progress comes with its commit, in several pieces.
        """
        if (piece := next(self._ended, None)) is not None:
            return piece
        self._ended = self._in_progress.ended(self._received(timeout, enough))
        return next(self._ended, NOTHING)

    def _received(self, timeout: float, enough: int) -> Frames:
        assert self._copy
        with self._changed:
            self._enough = enough
            self._changed.wait_for(lambda: self._waiting_bytes >= enough or self._error, timeout)
            self._waiting_bytes = 0
        self._wake()
        try:
            frames = self._copy.frames()
        except Refused as error:
            raise self._refused(error) from error
        if self._error and not len(frames):
            raise self._error
        return frames

    def confirm(self, lsn: LSN) -> None:
        """Tell the server, soon, that it may forget everything up to `lsn`."""
        self._confirmed = max(self._confirmed, lsn)
        self._wake()

    def ask(self) -> None:
        """Have the server say how far it has read its log."""
        self._asking = True
        self._wake()

    def close(self) -> None:
        """Report what was confirmed, let go of the slot, disconnect."""
        self._stopping = True
        self._wake()
        if self._thread.is_alive():
            self._thread.join(_GOODBYE + 1)
        if self._copy:
            self._copy.close()
        self._connection.close()
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # then it is awake
            os.write(self._wake_writer, b"!")

    def _run(self) -> None:
        assert self._copy
        try:
            with server_errors():
                self._serve(self._copy)
                self._say_goodbye(self._copy)
        except BaseException as error:
            with self._changed:
                self._error = self._refused(error) if isinstance(error, Refused) else error
                self._changed.notify_all()

    def _serve(self, running: Copy) -> None:
        reported, reported_at, heard = LSN(0), 0.0, time.monotonic()
        while not self._stopping:
            reading = self._waiting_bytes < _READ_AHEAD
            received = running.receive() if reading else 0
            now = time.monotonic()
            if received:
                heard = now
                self._hand_over(received)
            due = reported_at + self._interval
            if self._confirmed > reported or self._asking or now >= due:
                reported, reported_at = self._confirmed, now
                self._report(running)
            elif not received:
                if reading and now - heard > self._patience:
                    raise ServerUnreachable(
                        f"the source has been silent for {self._patience:.0f} s",
                        hint="see whether the network between here and the source is cut.",
                    )
                self._wait(running if reading else None, due - now)

    def _hand_over(self, received: int) -> None:
        with self._changed:
            self._waiting_bytes += received
            # Waking the taker for every handful of messages would cost more than they do.
            if self._waiting_bytes >= self._enough:
                self._changed.notify_all()

    def _report(self, running: Copy) -> None:
        asking, self._asking = self._asking, False
        at = self._confirmed
        now = int((time.time() - _POSTGRES_EPOCH) * 1e6)
        running.write(_STATUS(b"r", at, at, at, now, asking))

    def _wait(self, running: Copy | None, seconds: float) -> None:
        sources = [self._wake_reader, *([running.fileno()] if running else [])]
        ready, _, _ = select.select(sources, [], [], max(seconds, 0.0))
        if self._wake_reader in ready:
            os.read(self._wake_reader, 4096)

    def _say_goodbye(self, running: Copy) -> None:
        self._report(running)
        running.finish_writing()
        deadline = time.monotonic() + _GOODBYE
        while not running.ended and (left := deadline - time.monotonic()) > 0:
            running.wait(left)
            running.receive()
            running.frames()
