"""
A source and a destination in memory, which note what happens in one list.
"""

import pytest
from changes import ITEMS, record_batch
from journals import JournalSink

from cdc_assets.testing import ReplayCapture


@pytest.fixture
def capture() -> ReplayCapture:
    """A source with one table, of two chunks."""
    rows = [record_batch(ITEMS, [(1, "a", "")]), record_batch(ITEMS, [(2, "b", "")])]
    return ReplayCapture([ITEMS], rows={ITEMS.name: rows})


@pytest.fixture
def sink(capture: ReplayCapture) -> JournalSink:
    return JournalSink(capture)
