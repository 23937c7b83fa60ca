"""
From a configuration to a capture and a sink.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial

from .config import CdcConfig, DuckDBDestination, resolve
from .errors import ConfigError
from .model import Sink
from .postgres.patterns import Pattern, Patterns
from .postgres.treatment import Treatment
from .postgres.wal import WalCapture


@dataclass(frozen=True)
class Pipeline:
    config: CdcConfig
    capture: WalCapture

    @property
    def starts_anew(self) -> bool:
        """Whether everything is copied again where changes are gone, without being asked."""
        return self.config.on_continuity_lost == "reseed"

    @cached_property
    def sink(self) -> Sink:
        """Made when it is first used: its library takes its time, and where it is may be known only there."""
        return _sink(self.config)


def build(config: CdcConfig) -> Pipeline:
    """Nothing is connected to yet, and no secret looked up."""
    _refuse_what_is_not_built(config)
    return Pipeline(config, _capture(config))


def _capture(config: CdcConfig) -> WalCapture:
    patterns = Patterns.parse(config.source.tables)
    if all(pattern.excludes for pattern in patterns.patterns):
        raise ConfigError("source.tables only excludes tables", hint='say first what to copy: "public.*".')
    return WalCapture(
        name=config.name,
        conninfo=partial(resolve, config.source.conninfo),
        patterns=patterns,
        mentioned={
            Pattern.parse(text, "tables").table(): Treatment(
                frozenset(options.columns.exclude), frozenset(options.columns.hash)
            )
            for text, options in config.tables.items()
        },
        batch_bytes=config.batch.max_bytes,
        batch_delay=config.batch.max_delay,
        chunk_bytes=config.seed.chunk_bytes,
        slot_wait=config.source.slot_wait,
        takeover_wait=config.source.takeover_wait,
    )


def _sink(config: CdcConfig) -> Sink:
    from .sinks.duckdb.sink import DuckDBSink

    destination = config.destination
    assert isinstance(destination, DuckDBDestination)
    return DuckDBSink(
        config.path(destination.path),
        config.name,
        lock_timeout=destination.lock_timeout,
        memory_limit=f"{destination.memory_limit}B",
        stops_at_refused_rows=config.on_row_refused == "stop",
    )


def _refuse_what_is_not_built(config: CdcConfig) -> None:
    if not isinstance(config.destination, DuckDBDestination):
        raise ConfigError(f"destination type {config.destination.type} is not built yet", hint="use duckdb.")
    modes = {config.mode, *(options.mode for options in config.tables.values() if options.mode)}
    if others := modes - {"mirror"}:
        raise ConfigError(f"mode {min(others)} is not built yet", hint="use mirror.")
