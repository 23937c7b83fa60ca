"""
The same failure with fewer statements.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .history import Step
from .trial import Trial, Verdict

_SYNC = ""
"""Stands for the mark of a step, which can be taken out like a statement."""
_Part = tuple[int, str]
"""Of which step, and what."""


def shrunk(trial: Trial, verdict: Verdict, server_dsn: str, *, seconds: float) -> tuple[Trial, Verdict]:
    """Take out what is not needed for a verdict of this kind, for at most so long.

    What takes more than one writer to happen stays as it is.
    """
    shrinking = _Shrinking(trial.with_one_writer(), verdict, server_dsn, time.monotonic() + seconds)
    parts = [
        (number, part)
        for number, step in enumerate(trial.history.steps)
        for part in (*step.statements, *([_SYNC] if step.sync else []))
    ]
    if not shrinking.still_fails_with(parts):
        return trial, verdict
    least = shrinking.fewer(parts)
    return shrinking.trial_of(least), shrinking.verdict


@dataclass
class _Shrinking:
    trial: Trial
    verdict: Verdict
    server_dsn: str
    deadline: float

    def fewer(self, parts: Sequence[_Part]) -> Sequence[_Part]:
        """Halves are taken out, then quarters, and in the end one by one."""
        size = len(parts) // 2
        while size:
            begin = 0
            while begin < len(parts):
                without = [*parts[:begin], *parts[begin + size :]]
                if self.still_fails_with(without):
                    parts = without
                else:
                    begin += size
            size //= 2
        return parts

    def still_fails_with(self, parts: Sequence[_Part]) -> bool:
        if time.monotonic() > self.deadline:
            return False
        verdict = self.trial_of(parts).verdict(self.server_dsn)
        if verdict.kind != self.verdict.kind:
            return False
        self.verdict = verdict
        return True

    def trial_of(self, parts: Sequence[_Part]) -> Trial:
        history = self.trial.history
        steps = [
            _only(step, [part for of, part in parts if of == number])
            for number, step in enumerate(history.steps)
        ]
        kept = tuple(step for step in steps if step.statements or step.sync)
        return replace(self.trial, history=replace(history, steps=kept))


def _only(step: Step, parts: Sequence[str]) -> Step:
    return replace(step, statements=tuple(part for part in parts if part != _SYNC), sync=_SYNC in parts)
