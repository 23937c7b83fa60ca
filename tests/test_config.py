"""
The configuration: what may be written, and what is kept to oneself.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from cdc_assets.config import CdcConfig, load, parse, resolve
from cdc_assets.errors import ConfigError


def config(folder: Path | None = None, **more: Any) -> CdcConfig:
    least = {
        "name": "shop",
        "source": {"conninfo": "host=db password=hush", "tables": ["public.*"]},
        "destination": {"type": "duckdb", "path": "data/shop.duckdb"},
    }
    return parse(least | more, folder)


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("10s", 10), ("5min", 300), ("1h", 3600), ("2d", 172_800), (3, 3)]
)
def test_a_duration_may_have_a_unit(text: object, seconds: float) -> None:
    assert config(batch={"max_delay": text}).batch.max_delay == seconds


@pytest.mark.parametrize("text", ["-1s", "5 fortnights", "", "s"])
def test_a_duration_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match=r"batch\.max_delay"):
        config(batch={"max_delay": text})


@pytest.mark.parametrize(("text", "size"), [("64MiB", 64 << 20), ("1GB", 10**9), (1024, 1024)])
def test_a_size_may_have_a_unit(text: object, size: int) -> None:
    assert config(batch={"max_bytes": text}).batch.max_bytes == size


def test_growth_is_a_size_in_a_time_over_a_time() -> None:
    growth = config(lag={"growth": "6MiB/min over 5min"}).lag.growth
    assert (growth.bytes_per_second, growth.window) == ((6 << 20) / 60, 300)


@pytest.mark.parametrize("text", ["fast", "5MiB/fortnight over 1min", "5MiB/min over a while", "/s over 1s"])
def test_growth_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match=r"lag\.growth"):
        config(lag={"growth": text})


def test_any_value_may_be_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAME", "mine")
    monkeypatch.setenv("TABLE", "public.orders")
    monkeypatch.setenv("DELAY", "2s")
    found = config(
        name={"env": "NAME"},
        batch={"max_delay": {"env": "DELAY"}},
        source={"conninfo": {"env": "LATER"}, "tables": [{"env": "TABLE"}]},
    )
    assert (found.name, found.batch.max_delay, found.source.tables) == ("mine", 2.0, ("public.orders",))


def test_a_secret_is_looked_up_when_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    found = config(source={"conninfo": {"env": "LATER"}, "tables": ["public.*"]})
    with pytest.raises(ConfigError, match="LATER is not set"):
        resolve(found.source.conninfo)
    monkeypatch.setenv("LATER", "")
    with pytest.raises(ConfigError, match="LATER is empty"):
        resolve(found.source.conninfo)
    monkeypatch.setenv("LATER", "host=db")
    assert resolve(found.source.conninfo) == "host=db"


def test_a_secret_is_not_shown() -> None:
    found = config()
    for shown in (repr(found), str(found), found.model_dump_json()):
        assert "hush" not in shown


def test_a_secret_is_not_shown_where_it_stands_in_the_wrong_place() -> None:
    with pytest.raises(ConfigError) as caught:
        config(source={"conninfo": ["host=db password=hush"], "tables": ["public.*"]})
    assert "hush" not in str(caught.value)


def test_a_path_is_relative_to_the_configuration(tmp_path: Path) -> None:
    found = config(tmp_path)
    assert found.path(found.destination.path) == tmp_path / "data/shop.duckdb"  # type: ignore[union-attr]


def test_a_path_may_be_absolute_or_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("PLACE", "~/shop.duckdb")
    found = config(tmp_path, destination={"type": "duckdb", "path": {"env": "PLACE"}})
    assert found.path(found.destination.path) == Path("/home/somebody/shop.duckdb")  # type: ignore[union-attr]


@pytest.mark.parametrize(("path", "said"), [("", "empty"), ("~nobody-of-that-name/x", "no such home")])
def test_a_path_that_is_none(path: str, said: str) -> None:
    found = config(destination={"type": "duckdb", "path": path})
    with pytest.raises(ConfigError, match=said):
        found.path(found.destination.path)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"source": {"conninfo": "host=db", "tables": "public.*"}}, "source.tables: must be a list"),
        ({"source": {"conninfo": "host=db"}}, "source.tables: is missing"),
        ({"source": {"conninfo": 5, "tables": ["a.b"]}}, "source.conninfo: must be a string, or {env: NAME}"),
        ({"source": 5}, "source: must be keys and values"),
        ({"stream": {"emit_every": "soon"}}, "stream.emit_every: not a duration"),
    ],
)
def test_what_is_wrong_is_said_in_the_words_of_the_configuration(more: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        config(**more)


def test_a_file_is_read_where_it_is(tmp_path: Path) -> None:
    file = tmp_path / "cdc.yaml"
    file.write_text(
        "name: shop\nsource: {conninfo: host=db, tables: [public.*]}\ndestination: {type: duckdb, path: d}\n"
    )
    assert load(file).folder == tmp_path


def test_a_refused_row_is_kept_aside_or_stops_the_stream(tmp_path: Path) -> None:
    assert config().on_row_refused == "quarantine"
    assert config(on_row_refused="stop").on_row_refused == "stop"
    with pytest.raises(ConfigError, match="on_row_refused"):
        config(on_row_refused="drop")
