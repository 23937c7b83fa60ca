"""
There is always a process that follows, and what ended one is known.
"""

from __future__ import annotations

from pathlib import Path

from wal_captures import eventually

from cdc_assets.points import VARIABLE
from cdc_assets.testing.faults.child import Child
from cdc_assets.testing.program import Program


def program(folder: Path, **environment: str) -> Program:
    """One that cannot do anything: there is no such server."""
    config = folder / "cdc.yaml"
    config.write_text(
        "name: shop\n"
        "source: {conninfo: 'host=127.0.0.1 port=1', tables: [public.*]}\n"
        "destination: {type: duckdb, path: copy.duckdb}\n"
    )
    return Program(config, environment)


def test_one_that_is_killed_is_followed_by_another(tmp_path):
    child = Child(program(tmp_path))
    first = child.pid
    child.kill()
    eventually(lambda: child.pid != first)
    child.finish(20)

    assert child.killed == 1


def test_one_that_says_why_it_ends_is_noted_and_followed_by_another(tmp_path):
    broken = program(tmp_path)
    broken.config.write_text("name: shop")
    child = Child(broken)
    eventually(lambda: child.endings.total() > 1)
    child.finish(20)

    assert [said[:6] for said in child.endings] == ["ERROR:"]
    assert child.wrong == []


def test_one_that_fails_without_a_word_of_ours_is_wrong(tmp_path):
    child = Child(program(tmp_path, **{VARIABLE: "nowhere"}))
    eventually(lambda: child.wrong)
    child.finish(20)

    assert "Traceback" in child.wrong[0]
