"""
The configuration: one schema for the component YAML, `definitions.py` and the command line.

Any value may be `{env: NAME}`. Secrets and places are looked up when they are used,
and never shown; the rest when the configuration is read.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from .errors import ConfigError

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|h|d)?\Z")
_UNITS = {"ms": 0.001, None: 1.0, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_GROWTH = re.compile(r"(?P<size>.+?)\s*/\s*(?P<per>\w+)\s+over\s+(?P<window>.+)\Z")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _name_the_nearest_known_key(cls, data: Any) -> Any:
        known = {field.alias or name for name, field in cls.model_fields.items()}
        for key in data if isinstance(data, Mapping) else ():
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.0)
                raise ValueError(f'unknown key "{key}"; the nearest known one is "{near[0]}"')
        return data


class Env(_Model):
    """The name of an environment variable, in place of a value."""

    env: str

    def resolve(self) -> str:
        if value := os.environ.get(self.env):
            return value
        raise ConfigError(
            f"environment variable {self.env} is {'not set' if value is None else 'empty'}",
            hint=f"set it where this runs:  export {self.env}=...",
        )


def _seconds(value: Any) -> Any:
    """`0.5`, `500ms`, `10s`, `5min`, `1h`."""
    if not isinstance(value, str):
        return value
    if match := _DURATION.match(value.strip()):
        return float(match[1]) * _UNITS[match[2]]
    raise ValueError("not a duration: write it as 500ms, 10s, 5min or 1h")


Duration = Annotated[float, BeforeValidator(_seconds), Field(ge=0)]
"""Seconds, or a number with ms, s, min, h or d."""
Late = Env | SecretStr
"""A string, or the name of the variable that has it; looked up when it is used."""


def resolve(value: Late) -> str:
    return value.resolve() if isinstance(value, Env) else value.get_secret_value()


class Source(_Model):
    conninfo: Late
    """https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING"""
    tables: tuple[str, ...] = Field(min_length=1)
    """`schema.table`, `*` as a wildcard, a leading `-` to exclude; the last that matches decides."""
    slot_wait: Duration = 60.0
    """How long a new slot, or a snapshot, waits for the transactions that are writing just then."""
    takeover_wait: Duration = 10.0
    """How long to wait for the slot of a consumer that was killed a moment ago."""


class DuckDBDestination(_Model):
    type: Literal["duckdb"]
    path: Late
    """Of the file; relative to the configuration's folder. It is made if it is missing."""
    lock_timeout: Duration = 60.0
    """How long to wait for another process that holds the file."""
    memory_limit: ByteSize = ByteSize(1 << 30)
    """What DuckDB may use before it spills to disk beside the file."""


class PostgresDestination(_Model):
    type: Literal["postgres"]
    conninfo: Late


class DeltaDestination(_Model):
    type: Literal["delta"]
    uri: Late
    storage_options: dict[str, str] = Field(default_factory=dict)


Destination = Annotated[
    DuckDBDestination | PostgresDestination | DeltaDestination, Field(discriminator="type")
]
Mode = Literal["mirror", "soft_delete", "append", "history"]


class Columns(_Model):
    exclude: tuple[str, ...] = ()
    """Not copied: neither read by a snapshot nor decoded from the log."""
    hash: tuple[str, ...] = ()
    """The SHA-256 of the value's text is copied in its place."""

    @model_validator(mode="after")
    def _say_one_thing_of_a_column(self) -> Columns:
        if both := sorted({*self.exclude} & {*self.hash}):
            raise ValueError(f"column {both[0]} is in exclude and in hash; leave it in one of them")
        return self


class TableOptions(_Model):
    mode: Mode | None = None
    columns: Columns = Columns()


class Batch(_Model):
    """More in a batch is more a second; less is sooner there."""

    max_bytes: ByteSize = ByteSize(32 << 20)
    """Of log. A transaction is never divided, so a batch can be larger."""
    max_delay: Duration = 0.1
    """How long a change waits for others to share its batch."""


class Seed(_Model):
    chunk_bytes: ByteSize = ByteSize(64 << 20)
    """Of a table, on the source's disk. A table has at most 2,000 chunks, so they can be larger."""
    readers: int = Field(default=2, ge=1, le=16)
    """Connections that read chunks at the same time."""


class Growth(_Model):
    """Growth of the lag that is worth an alarm: `5MiB/min over 10min`."""

    bytes_per_second: float
    window: float
    """Seconds."""


def _growth(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if not (match := _GROWTH.match(value.strip())):
        raise ValueError('write it as "5MiB/min over 10min"')
    size = TypeAdapter(ByteSize).validate_python(match["size"])
    per, window = _seconds(f"1{match['per']}"), _seconds(match["window"])
    return Growth(bytes_per_second=size / per, window=window)


class LagPolicy(_Model):
    """When the checks on the slot say WARN, and when ERROR."""

    warn: ByteSize = ByteSize(64 << 20)
    """Bytes of log not confirmed."""
    error: ByteSize = ByteSize(1 << 30)
    warn_seconds: Duration = 60.0
    """Age of the oldest transaction not confirmed."""
    error_seconds: Duration = 600.0
    growth: Annotated[Growth, BeforeValidator(_growth)] = Growth(
        bytes_per_second=(5 << 20) / 60, window=600.0
    )


class Stream(_Model):
    """The long-running op."""

    max_run_seconds: Duration = 3600.0
    """After which it ends, with success, and is started again; so it picks up new code."""
    emit_every: Duration = 30.0
    """Between materializations of a table, and between observations of the slot."""
    supervise_every: Duration = 30.0
    """Between looks of the supervisor sensor; Dagster's least is 5 s."""
    stale_after: Duration = 120.0
    """Without a sign of life after which a run that is not streaming is replaced."""


class CdcConfig(_Model):
    name: str = Field(pattern=r"^[a-z0-9_]{1,50}$")
    """Names slot and publication (`cdc_<name>`), and is the first part of every asset key."""
    source: Source
    destination: Destination
    mode: Mode = "mirror"
    on_continuity_lost: Literal["stop", "reseed"] = "stop"
    """What is done when changes are gone that the copies have not got: say so and stop, or copy
    everything again."""
    on_row_refused: Literal["quarantine", "stop"] = "quarantine"
    """What is done when the destination refuses a row: keep it there beside the copy, and go on with the
    others; or say so and stop, with nothing of its batch written."""
    tables: dict[str, TableOptions] = Field(default_factory=dict)
    """Options of single tables, by `schema.table`."""
    batch: Batch = Batch()
    seed: Seed = Seed()
    lag: LagPolicy = LagPolicy()
    stream: Stream = Stream()
    _folder: Path = PrivateAttr(default_factory=Path.cwd)

    @model_validator(mode="before")
    @classmethod
    def _look_up_variables(cls, data: Any) -> Any:
        return _looked_up(data, ())

    @property
    def folder(self) -> Path:
        """Where the configuration is, which its paths are relative to."""
        return self._folder

    def path(self, value: Late) -> Path:
        """A path of the configuration, which is relative to its folder."""
        if not (text := resolve(value)):
            raise ConfigError("the destination's path is empty", hint="name a file in destination.path.")
        try:
            return self._folder / Path(text).expanduser()
        except RuntimeError:
            raise ConfigError(f"{text}: there is no such home folder", hint="write the whole path.") from None


_LATE = {("source", "conninfo"), ("destination", "path"), ("destination", "conninfo"), ("destination", "uri")}


def _looked_up(data: Any, place: tuple[str, ...]) -> Any:
    if isinstance(data, Mapping):
        if set(data) == {"env"} and place not in _LATE:
            return Env(env=data["env"]).resolve()
        return {key: _looked_up(value, (*place, str(key))) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_looked_up(value, place) for value in data]
    return data


def parse(data: Any, folder: Path | None = None, called: str = "the configuration") -> CdcConfig:
    """Check what was read; the first thing that is wrong is said in one line."""
    try:
        config = CdcConfig.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        keys = ".".join(str(part) for part in first["loc"] if part not in _TAGS)
        said = _SAID.get(first["type"]) or first["msg"].removeprefix("Value error, ")
        if first["loc"][-1:] == ("Env",):
            said = "must be a string, or {env: NAME}"
        raise ConfigError(f"{called}: {keys + ': ' if keys else ''}{said}", hint=_HINT) from None
    if folder:
        config._folder = folder
    return config


def load(path: Path) -> CdcConfig:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}", hint="name another with --config FILE."
        ) from error
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not YAML: not text in UTF-8", hint=_HINT) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(
            f"{path}{where}: not YAML: {getattr(error, 'problem', None) or 'cannot be read'}",
            hint=_HINT,
        ) from None
    return parse(data, path.absolute().parent, str(path))


_TAGS = ("duckdb", "postgres", "delta", "Env", "SecretStr")
"""What pydantic adds to say which of several forms it tried."""
_SAID = {
    "missing": "is missing",
    "tuple_type": "must be a list",
    "model_type": "must be keys and values",
    "model_attributes_type": "must be keys and values",
    "dict_type": "must be keys and values",
    "string_type": "must be a string",
}
"""What pydantic says in the words of Python, by its kind of error."""
_HINT = "the README has a table of all keys, and an example."
