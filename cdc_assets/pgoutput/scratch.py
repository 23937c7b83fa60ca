"""
A file for what does not fit in memory, which has no name.

However the process ends, the file is gone with it. It is in the folder that Python takes for
temporary files, which TMPDIR names.

https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import weakref
from collections.abc import Iterator
from typing import IO

import pyarrow as pa

from ..errors import SpoolFull


class Scratch:
    """Record batches, each found again by where it was put."""

    def __init__(self) -> None:
        with _writing():
            self._file: IO[bytes] = tempfile.TemporaryFile(prefix="cdc-")  # noqa: SIM115
        self.close = weakref.finalize(self, _close, self._file)

    def put(self, batch: pa.RecordBatch) -> int:
        """Where it is; `SpoolFull` if there is no room."""
        with _writing():
            at = self._file.seek(0, os.SEEK_END)
            with pa.ipc.new_stream(self._file, batch.schema) as writer:
                writer.write_batch(batch)
            self._file.flush()
        return at

    def get(self, at: int) -> pa.RecordBatch:
        self._file.seek(at)
        with pa.ipc.open_stream(self._file) as reader:
            return reader.read_next_batch()


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpoolFull(
            f"a large transaction cannot be set aside in {tempfile.gettempdir()}: {error.strerror}",
            hint="make room there, or have TMPDIR name another folder and start again.",
        ) from error


def _close(file: IO[bytes]) -> None:
    """Also where the disk was full, and something waits to be written."""
    with contextlib.suppress(OSError):
        file.close()
