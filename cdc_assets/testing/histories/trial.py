"""
One history from its seed to a verdict: under which conditions, and what was found.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass, replace

from . import ground
from .features import ALL, Feature
from .history import History
from .kinds import Features
from .play import Conditions, play

POSTGRESQL_S_OWN = ("could not map filenode", "unexpected duplicate for tablespace")
"""The server fails at decoding its own log, now and then, where tables are written anew. It says so
to any reader of the slot, and a copy that stops there says nothing against the copy."""


@dataclass(frozen=True)
class Verdict:
    """What speaks against the copies; nothing if they are right."""

    findings: tuple[str, ...]
    details: str = ""
    """Where an error was raised."""

    def __bool__(self) -> bool:
        return bool(self.findings)

    @property
    def kind(self) -> str:
        """The same for two that have the same cause, or so: an error, what differs, or nothing."""
        return self.findings[0].split(":")[0] if self.details else "difference" * bool(self)


@dataclass(frozen=True)
class Trial:
    history: History
    conditions: Conditions

    @classmethod
    def of(cls, seed: int, features: Features = ALL) -> Trial:
        conditions = Conditions.of(seed)
        if conditions.sink == "memory":
            features -= {Feature.ODD_TIMES}  # its values are Python's
        return cls(History.of(seed, features), conditions)

    def verdict(self, server_dsn: str) -> Verdict:
        """Found in a database of its own."""
        with ground.database(server_dsn) as dsn, ground.sink(self.conditions.sink) as sink:
            try:
                found = play(self.history, dsn, sink, self.conditions)
            except Exception as error:
                if any(words in str(error) for words in POSTGRESQL_S_OWN):
                    return Verdict(())
                said = f"{type(error).__name__}: {error}"
                return Verdict((said,), "".join(traceback.format_exception(error)))
            return Verdict(tuple(map(str, found)))

    def with_one_writer(self) -> Trial:
        """The same history, in the order in which it is written down."""
        return replace(self, conditions=replace(self.conditions, writers=1, follow=False))

    def describe(self) -> str:
        return f"seed {self.history.seed}, {self.conditions}"
