"""
What is tried again, how much later, and what is not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterable

import pytest

from cdc_assets import engine
from cdc_assets.engine import Retry
from cdc_assets.engine.unattended import Patience
from cdc_assets.errors import (
    CaptureError,
    CdcError,
    ContinuityLost,
    ServerUnreachable,
    SinkBusy,
    SinkError,
    SinkFull,
    SlotInUse,
)

QUICK = Patience(first=0.001, longest=0.01, healthy=60.0)


class Work:
    """Attempts that yield and fail as told; the last ends well, or goes on until it is closed."""

    def __init__(self, *attempts: Iterable[str | CdcError]) -> None:
        self._attempts = iter(attempts)
        self.begun = 0

    def __call__(self) -> Generator[str, None, None]:
        self.begun += 1
        for event in next(self._attempts):
            if isinstance(event, CdcError):
                raise event
            yield event


def events(work: Work, patience: Patience = QUICK) -> list[str | Retry]:
    return list(engine.unattended(work, threading.Event(), patience))


@pytest.mark.parametrize("kind", [ServerUnreachable, SinkBusy, SinkFull])
def test_what_goes_away_by_itself_is_tried_again(kind):
    error = kind("it was so")

    first, retry, last = events(Work(["first", error], ["last"]))

    assert (first, last) == ("first", "last")
    assert isinstance(retry, Retry)
    assert retry.error is error
    assert str(retry).startswith("it was so; trying again in 0.0 s")


@pytest.mark.parametrize("error", [ContinuityLost("gone"), CaptureError("no"), SinkError("no")])
def test_what_somebody_has_to_mend_stops_at_once(error):
    work = Work([error], ["never"])

    with pytest.raises(type(error)):
        events(work)

    assert work.begun == 1


def waits(work: Work, patience: Patience) -> list[float]:
    return [event.seconds for event in events(work, patience) if isinstance(event, Retry)]


def test_each_failure_doubles_the_wait_up_to_a_bound():
    found = waits(Work(*[[ServerUnreachable("")]] * 60, []), Patience(first=0.001, longest=0.004))

    longest = [0.001, 0.002] + [0.004] * 58
    assert all(most / 2 <= wait <= most for wait, most in zip(found, longest, strict=True))
    assert len({round(wait, 6) for wait in found[2:]}) > 10, "what failed together comes back apart"


def test_many_failures_are_no_number_too_large():
    assert len(waits(Work(*[[ServerUnreachable("")]] * 2000, []), Patience(0.00001, 0.00001))) == 2000


def test_after_a_while_without_failure_the_next_is_the_first_again():
    def well() -> Generator[str | CdcError, None, None]:
        time.sleep(0.05)
        yield "well"
        yield ServerUnreachable("")

    failing = [[ServerUnreachable("")]] * 4
    *_, before, after = waits(Work(*failing, well(), []), Patience(first=0.001, longest=1, healthy=0.04))

    assert before > 0.0019
    assert after <= 0.001


def test_a_slot_that_another_consumer_has_is_left_to_it():
    with pytest.raises(SlotInUse):
        events(Work([SlotInUse("by pid 1")], ["never"]))


def test_a_slot_that_was_ours_until_a_moment_ago_is_waited_for():
    """The server has not noticed yet that our connection is gone."""
    work = Work(["streamed", ServerUnreachable("")], [SlotInUse("by pid 1")], ["on it goes"])

    assert events(work)[-1] == "on it goes"


def test_but_not_for_ever():
    with pytest.raises(SlotInUse):
        events(Work(["streamed", SlotInUse("by pid 1")], ["never"]), Patience(own_slot=0.0))


def test_to_be_stopped_ends_a_wait_at_once():
    stopping = threading.Event()
    work = Work([ServerUnreachable("")], ["never"])
    began = time.monotonic()

    for event in engine.unattended(work, stopping, Patience(first=30.0)):
        assert isinstance(event, Retry)
        threading.Timer(0.05, stopping.set).start()

    assert time.monotonic() - began < 5
    assert work.begun == 1


def test_what_fails_while_it_is_being_stopped_is_not_tried_again():
    stopping = threading.Event()
    work = Work(["streamed", ServerUnreachable("")], ["never"])

    found = []
    for event in engine.unattended(work, stopping):
        found.append(event)
        stopping.set()

    assert found == ["streamed"]
