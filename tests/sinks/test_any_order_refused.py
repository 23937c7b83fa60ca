"""
Whatever is refused meanwhile, every row is in one of two places, and in the copy in the end.
"""

from __future__ import annotations

import tempfile
from itertools import count
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.stateful import precondition, rule, run_state_machine_as_test
from test_any_order import NAME, AnyOrder, duckdb, in_parts, memory

from cdc_assets.sinks.duckdb.sink import DuckDBSink
from cdc_assets.sinks.memory import MemorySink


class AnyOrderRefused(AnyOrder):
    """Somebody forbids rows without a body, and allows them again."""

    @precondition(lambda self: self.is_there and all(body is not None for _, body in self.held().values()))
    @rule()
    def rows_without_a_body_are_forbidden(self) -> None:
        if isinstance(self.sink, MemorySink):
            self.sink.refuse = lambda table, row: "it has no body" if row["body"] is None else None
        else:
            self.by_hand("SET")

    @precondition(lambda self: self.is_there)
    @rule()
    def they_are_allowed_again(self) -> None:
        if isinstance(self.sink, MemorySink):
            self.sink.refuse = lambda table, row: None
        else:
            self.by_hand("DROP")

    @precondition(lambda self: self.is_there)
    @rule()
    def what_was_refused_is_tried_again(self) -> None:
        before = len(self.sink.quarantined())
        taken, refused = self.sink.retry(NAME)
        assert (taken + refused, refused) == (before, len(self.sink.quarantined()))

    @property
    def is_there(self) -> bool:
        return self.in_step or self.left_behind is not None

    def by_hand(self, what: str) -> None:
        assert isinstance(self.sink, DuckDBSink)
        with self.sink.file.writing() as transaction:
            transaction.run(f"ALTER TABLE destination.{NAME} ALTER body {what} NOT NULL")

    def compare(self, source: dict[int, tuple[str, str | None]]) -> None:
        refused = {each.key["id"] for each in self.sink.quarantined()}
        assert self.held() == {key: row for key, row in source.items() if key not in refused}
        assert all(source[key][1] is None for key in refused)
        held = self.sink.tables(counted=True)[NAME]
        assert (held.rows, held.quarantined) == (len(self.held()), len(refused))

    def finish(self) -> None:
        super().finish()
        self.they_are_allowed_again()
        self.sink.retry(NAME)
        assert self.sink.quarantined() == []
        assert self.held() == self.source.at(self.source.head)


@pytest.mark.parametrize(("kind", "examples"), [(memory, 150), (duckdb, 15), (in_parts, 15)])
def test_in_any_order_every_row_is_in_one_of_two_places(kind, examples):
    with tempfile.TemporaryDirectory() as folder:
        paths = (Path(folder) / str(number) for number in count())
        run_state_machine_as_test(
            lambda: AnyOrderRefused(kind(next(paths))),
            settings=settings(max_examples=examples, stateful_step_count=25, deadline=None),
        )
