"""
What goes on beside everything else.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod


class Beside(ABC):
    """A thread, from `start` to `end`."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join()

    @abstractmethod
    def _run(self) -> None:
        """Until `_ended` is set."""
