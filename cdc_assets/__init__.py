"""
PostgreSQL change data capture as Dagster assets.

The names here are imported when they are first used: the command line does not need Dagster.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import CdcConfig as CdcConfig
    from .config import load as load_config
    from .dagster import CdcTranslator as CdcTranslator
    from .dagster import build_cdc_definitions as build_cdc_definitions
    from .errors import CdcError as CdcError
    from .sinks.duckdb.turns import open_duckdb as open_duckdb

_WHERE = {
    "CdcConfig": ("config", "CdcConfig"),
    "load_config": ("config", "load"),
    "CdcTranslator": ("dagster", "CdcTranslator"),
    "build_cdc_definitions": ("dagster", "build_cdc_definitions"),
    "CdcError": ("errors", "CdcError"),
    "open_duckdb": ("sinks.duckdb.turns", "open_duckdb"),
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _WHERE[name]
    return getattr(import_module(f".{module}", __name__), attribute)


def __dir__() -> list[str]:
    return sorted(_WHERE)


__all__ = ["CdcConfig", "CdcError", "CdcTranslator", "build_cdc_definitions", "load_config", "open_duckdb"]
