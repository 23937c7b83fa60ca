"""
The types that columns have, and values of each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random

from .features import Feature
from .names import literal

Features = frozenset[Feature]


@dataclass(frozen=True)
class Kind:
    type: str
    """As it is written in SQL."""
    usual: tuple[str, ...]
    rare: Mapping[Feature, tuple[str, ...]] = field(default_factory=dict)
    """More values, where the feature is wanted."""
    large: str = ""
    """SQL of a value that is kept out of line; {} is a number."""

    def value(self, chance: Random, features: Features) -> str:
        """SQL of a value, or of none."""
        if chance.random() < 0.08:
            return f"NULL::{self.type}"
        if self.large and Feature.LARGE_VALUES in features and chance.random() < 0.35:
            return self.large.format(chance.randrange(1000))
        rare = [value for feature, values in self.rare.items() if feature in features for value in values]
        return literal(chance.choice([*self.usual, *rare]), self.type)


_ODD_DATES = ("infinity", "-infinity", "0044-03-15 BC", "4713-01-01 BC", "10000-01-01")
_ODD_INSTANTS = (*_ODD_DATES, "0044-03-15 12:00:00.5 BC")
_TEXTS = ("", " ", "a", "é", "\U0001f418", "it's", "twelve bytes", "thirteen byte", "line\nbreak\ttab\\",
          "\\N", "NULL", '"quoted"', "{}", "x" * 300)  # fmt: skip
_LARGE_TEXT = "repeat(md5('{}'), 120)"
_JSONS = ("null", "{}", '{"b": 1,  "a": [1, 2.50, "\\u00e9"], "b": 2}', '"x"', "12345678901234567890.5")

KINDS = (
    Kind("boolean", ("true", "false")),
    Kind("smallint", ("0", "-32768", "32767")),
    Kind("integer", ("0", "-2147483648", "2147483647", "7")),
    Kind("bigint", ("0", "-9223372036854775808", "9223372036854775807")),
    Kind("real", ("0", "-0", "1e-45", "3.4028235e38", "0.1", "inf", "-inf", "nan")),
    Kind("double precision", ("0", "-0", "5e-324", "1.7976931348623157e308", "0.1", "inf", "-inf", "nan")),
    Kind("numeric", ("0", "0.00", "1e-30", "1" + "0" * 60, "-12.3400", "nan", "123456789.123456789")),
    Kind(
        "numeric(10,2)",
        ("0", "-0.01", "99999999.99", "-99999999.99", "1"),
        {Feature.UNTYPED_VALUES: ("nan",)},
    ),
    Kind("numeric(38,10)", ("0", "9" * 28 + "." + "9" * 10, "-0.0000000001")),
    Kind("numeric(50,5)", ("0", "9" * 45 + ".99999", "nan")),
    Kind("numeric(5,-2)", ("0", "1234500")),
    Kind("text", _TEXTS, large=_LARGE_TEXT),
    Kind("text", _TEXTS, large=_LARGE_TEXT),
    Kind("varchar(20)", ("", "twenty characters ok", "ÄÖÜäöü")),
    Kind("varchar(8000)", _TEXTS, large=_LARGE_TEXT),
    Kind("character(5)", ("", "a", "abcde")),
    Kind('"char"', ("a", "")),
    Kind("bytea", ("", "\\x00", "\\xdeadbeef"), large="decode(repeat(md5('{}'), 150), 'hex')"),
    Kind("date", ("2000-01-01", "1970-01-01", "0001-01-01", "9999-12-31"), {Feature.ODD_TIMES: _ODD_DATES}),
    Kind("time", ("00:00", "23:59:59.999999", "12:34:56.7"), {Feature.ODD_TIMES: ("24:00",)}),
    Kind("timetz", ("00:00+00", "23:59:59.999999-15:59", "24:00+05:30")),
    Kind(
        "timestamp",
        ("2000-01-01", "1999-12-31 23:59:59.999999", "0001-01-01", "9999-12-31 23:59:59.999999"),
        {Feature.ODD_TIMES: _ODD_INSTANTS},
    ),
    Kind("timestamp(0)", ("2024-02-29 12:34:56.5",)),
    Kind(
        "timestamptz",
        ("2000-01-01+00", "1883-11-18 12:03:57-05", "2024-03-31 01:30+01"),
        {Feature.ODD_TIMES: _ODD_INSTANTS},
    ),
    Kind(
        "interval",
        ("0", "1 year 2 months 3 days 04:05:06.789", "-1 year", "1 mon -1 day", "-00:00:00.000001",
         "100000:00:00", "1 day -24:00:00"),
        {Feature.UNTYPED_VALUES: ("3000000:00:00",)},
    ),
    Kind("uuid", ("00000000-0000-0000-0000-000000000000", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")),
    Kind("json", _JSONS, large="to_json(repeat(md5('{}'), 120))"),
    Kind("jsonb", _JSONS, large="to_jsonb(repeat(md5('{}'), 120))"),
    Kind("inet", ("192.168.0.1", "192.168.0.1/24", "::1")),
    Kind("bit varying(9)", ("", "101010101")),
    Kind("point", ("(1.5,-2)",)),
    Kind("int4range", ("empty", "[1,10)", "(,)")),
    Kind("tstzmultirange", ("{}", "{[2024-01-01 00:00+02,)}")),
    Kind("int[]", ("{}", "{1,NULL,3}", "{{1,2},{3,4}}", "[0:1]={7,8}")),
    Kind(
        "text[]",
        ("{}", '{a,"b c","d,e",NULL,"NULL","\\"","\\\\"}'),
        large="array[repeat(md5('{}'), 120), null, 'x']",
    ),
    Kind("double precision[]", ("{0.1,inf,nan,-0}",)),
)  # fmt: skip

KeyValue = Callable[[int], str]
"""From a row's number to what its key says."""
KEY_KINDS: tuple[tuple[str, KeyValue], ...] = (
    ("integer", str),
    ("integer", str),
    ("bigint", lambda n: str(n * 4_000_000_001)),
    ("smallint", str),
    ("text", lambda n: f"key {n}"),
    ("text", lambda n: f"é'\"\\{n}" if n % 2 else " " * (n + 1)),
    ("varchar(40)", lambda n: f"Key_{n}"),
    ("character(8)", lambda n: f"k{n}"),
    ("uuid", lambda n: f"00000000-0000-4000-8000-{n:012x}"),
    ("timestamptz", lambda n: f"{2000 + n // 24}-02-03 {n % 24:02}:05:06.{n:06}+00"),
    ("date", lambda n: f"{1000 + n}-02-28"),
    ("numeric(12,2)", lambda n: f"{n}.25"),
    ("bytea", lambda n: f"\\x{n:08x}"),
    ("inet", lambda n: f"10.0.{n // 256}.{n % 256}"),
    ("int4range", lambda n: f"[{n},{n + 2})"),
)
ODD_KEY_KINDS: tuple[tuple[str, KeyValue], ...] = (
    ("numeric", lambda n: f"{n // 2}.{'0' * (1 + n % 2)}"),
    ("interval", lambda n: f"{n // 2} days" if n % 2 else f"{n // 2 * 24} hours"),
)
"""Two numbers that follow each other are equal keys, written differently."""
