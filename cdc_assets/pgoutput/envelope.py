"""
What each message of the stream comes in: a head that says whether it is of the log, or a keepalive.

https://www.postgresql.org/docs/current/protocol-replication.html
"""

from __future__ import annotations

import numpy as np

from ..errors import ProtocolError
from ..model.changes import Bools, Bytes
from .frames import Frames

HEAD = 25
"""Bytes of a log data message before the pgoutput message it carries."""
LOG_DATA, KEEPALIVE = b"wk"
_OF_NOTHING = bytes([LOG_DATA]) + bytes(HEAD - 1)


def logged(message: bytes) -> Frames:
    """A message that we make ourselves, as if it had come."""
    return Frames.of([_OF_NOTHING + message])


def kinds(frames: Frames) -> Bytes:
    """The kind of each pgoutput message; 0 for a keepalive."""
    heads = frames.data[frames.start]
    log_data = heads == LOG_DATA
    see_that_known(heads, log_data | (heads == KEEPALIVE))
    return np.where(log_data, frames.data[np.where(log_data, frames.start + HEAD, 0)], 0)


def among(kinds: bytes) -> Bools:
    """For each byte, whether it is one of `kinds`."""
    among = np.zeros(256, bool)
    among[list(kinds)] = True
    return among


def see_that_known(kinds: Bytes, known: Bools) -> None:
    if not known.all():
        unknown = chr(kinds[~known][0])
        raise ProtocolError(f"a message of kind {unknown!r}, which was not asked for, came")
