"""
PostgreSQL's types, and for each what values it can have, as PostgreSQL reads them.

`EDGES` are values at the limits of a type, and those that something was once wrong with.
`VALUES` are strategies: the edges, and anything in between.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping

from hypothesis import strategies as st

Literals = st.SearchStrategy[str]

MAKE_TYPES = """
create type mood as enum ('sad', 'so-so', 'a "happy", one');
create domain feeling as mood;
create domain price as numeric(12, 2) default 0;
create domain discount as price check (value < 100);
create domain email as varchar(60) check (value like '%@%');
create domain many as int[];
create domain span as int4range;
create type point3 as (x int, y text, z timestamptz);
create domain place as point3;
create type visit as (at place, felt feeling[], note bytea);
create type textrange as range (subtype = text, collation = "C");
"""
"""In this order, the later made of the earlier."""

EDGES: dict[str, list[str]] = {
    "boolean": ["true", "false"],
    "smallint": ["0", "-32768", "32767"],
    "integer": ["0", "-2147483648", "2147483647"],
    "bigint": ["0", "-9223372036854775808", "9223372036854775807"],
    "oid": ["0", "4294967295"],
    "real": ["0", "-0", "1e-45", "3.4028235e38", "0.1", "inf", "-inf", "nan"],
    "double precision": ["0", "-0", "5e-324", "1.7976931348623157e308", "0.1", "inf", "-inf", "nan"],
    "numeric": ["0", "0.00", "1e-30", "1" + "0" * 60, "-12.3400", "nan", "inf", "-inf",
                "123456789.123456789", "9" * 131072 + "." + "9" * 16383],
    "numeric(10,2)": ["0", "-0.01", "99999999.99", "-99999999.99", "1"],
    "numeric(18,0)": ["0", "999999999999999999", "-999999999999999999", "10000", "12345678"],
    "numeric(18,18)": ["0", "0.000000000000000001", "-0.999999999999999999"],
    "numeric(38,10)": ["0", "9" * 28 + "." + "9" * 10, "-0.0000000001"],
    "numeric(50,5)": ["0", "9" * 45 + ".99999", "nan"],
    "numeric(5,-2)": ["0", "1234500"],
    "numeric(3,5)": ["0.00999", "-0.00001"],
    "money": ["0", "-92233720368547758.08", "92233720368547758.07", "12.34"],
    "text": ["", " ", "a", "é", "\U0001f418", "twelve bytes", "thirteen byte",
             "line\nbreak\ttab\\", "NULL", "\\N", "x" * 5000],
    "varchar(20)": ["", "twenty characters ok", "ÄÖÜäöü"],
    "character(5)": ["", "a", "abcde", "éàü"],
    "bpchar": ["", "a", "a  "],
    '"char"': ["a", "", "\\200", "\\377"],
    "name": ["a_name", "", "x" * 63],
    "bytea": ["", "\\x00", "\\xdeadbeef", "\\x" + "5c" * 3000],
    "date": ["2000-01-01", "1999-12-31", "1970-01-01", "0001-01-01", "9999-12-31", "10000-01-01",
             "5874897-12-31", "0001-12-31 BC", "0044-03-15 BC", "4714-11-24 BC", "infinity", "-infinity",
             "2024-02-29"],
    "time": ["00:00", "24:00", "23:59:59.999999", "12:34:56.7"],
    "time(3)": ["23:59:59.9999"],
    "timetz": ["00:00+00", "24:00-15:59:59", "23:59:59.999999+15:59:59", "12:00+05:30"],
    "timestamp": ["2000-01-01", "1999-12-31 23:59:59.999999", "0001-01-01", "9999-12-31 23:59:59.999999",
                  "10000-01-01", "290000-12-31", "294247-01-10 04:00:54.775806",
                  "0044-03-15 12:00 BC", "4714-11-24 BC", "infinity", "-infinity"],
    "timestamp(0)": ["2024-02-29 12:34:56.5"],
    "timestamptz": ["2000-01-01+00", "1883-11-18 12:03:57-05", "0044-03-15 12:00+00 BC",
                    "4714-11-24 00:00+00 BC", "infinity", "-infinity",
                    "2024-03-31 01:30+01", "10000-01-01 00:00+14", "294247-01-10 04:00:54.775806+00"],
    "interval": ["0", "1 year 2 months 3 days 04:05:06.789", "-1 year", "1 mon -1 day", "-00:00:00.000001",
                 "100000:00:00", "-178000 years", "1 day -24:00:00", "-1 mon 1 day -1:00",
                 "2147483647 mons 2147483647 days 9223372036854775 microseconds",
                 "-2147483648 mons -2147483648 days -9223372036854775 microseconds"],
    "interval year to month": ["1 year 2 months"],
    "uuid": ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff",
             "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
    "json": ["null", "{}", '{"b": 1,  "a": [1, 2.50, "\\u00e9"], "b": 2}', '"x"', "12345678901234567890.5",
             ' {"a":\n1e999}\t', '"\\ud800 \\u0000"'],
    "jsonb": ["null", "{}", '{"b": 1,  "a": [1, 2.50, "\\u00e9"], "b": 2}', "12345678901234567890.5",
              "1e100", "-0.0", '"\\ud83d\\udc18"'],
    "jsonpath": ["$", 'strict $."a"[*] ? (@ > 1 && @ like_regex "^x")'],
    "xml": ["<a>text &amp; more</a>", "just text", ""],
    "inet": ["192.168.0.1", "192.168.0.1/24", "::1", "::ffff:1.2.3.4/96"],
    "cidr": ["10.0.0.0/8", "2001:db8::/32", "0.0.0.0/0"],
    "macaddr": ["08:00:2b:01:02:03"],
    "macaddr8": ["08:00:2b:01:02:03:04:05"],
    "bit(3)": ["101"],
    "bit varying(9)": ["", "101010101"],
    "bit varying": ["", "1" * 3000],
    "point": ["(1.5,-2)", "(nan,-inf)", "(-0,5e-324)"],
    "line": ["{1,2,3}", "{0,-1,0.1}"],
    "lseg": ["[(0,0),(1,1)]"],
    "box": ["(1,1),(0,0)", "(inf,1),(-inf,0)"],
    "path": ["((0,0),(1,1))", "[(0,0),(1,1)]"],
    "polygon": ["((0,0),(1,1),(2,0))"],
    "circle": ["<(0,0),1>", "<(0.1,1e300),0>"],
    "tsvector": ["", "'a':1A 'fat':2B,4C", "'it''s' '\\\\' ' '"],
    "tsquery": ["", "'fat' & 'rat'", "!'a':*AB <3> ('b' | 'c')"],
    "int4range": ["empty", "[1,10)", "(,)", "[-2147483648,2147483647)"],
    "int8range": ["empty", "[1,)"],
    "numrange": ["[1.10,2.2]", "(-inf,nan)"],
    "tsrange": ['["2024-01-01 00:00:00","2024-01-02 00:00:00")', "(-infinity,infinity]"],
    "tstzrange": ["[2024-01-01 00:00+02,)"],
    "daterange": ["[2024-01-01,2024-01-05]", "[,4714-11-24 BC]"],
    "textrange": ['["",")")', '["a""\\\\","b, c"]'],
    "int4multirange": ["{}", "{[1,3),[5,9)}"],
    "int8multirange": ["{(,)}"],
    "nummultirange": ["{[1.10,2.2]}"],
    "tsmultirange": ['{[2024-01-01,"2024-01-02 12:00")}'],
    "tstzmultirange": ["{[2024-01-01 00:00+02,)}"],
    "datemultirange": ["{[2024-01-01,2024-01-05],(2025-01-01,infinity)}"],
    "textmultirange": ['{["a""","b, c"],["}",)}'],
    "pg_lsn": ["16/B374D848", "0/0", "FFFFFFFF/FFFFFFFF"],
    "pg_snapshot": ["10:20:10,14,15"],
    "txid_snapshot": ["10:20:10,14,15"],
    "xid": ["0", "4294967295"],
    "xid8": ["18446744073709551615"],
    "cid": ["4294967295"],
    "tid": ["(0,1)", "(4294967295,65535)"],
    "refcursor": ["", "a cursor"],
    "aclitem": ["postgres=arwdDxt/postgres", "=r/postgres"],
    "int2vector": ["", "1 -32768 32767"],
    "oidvector": ["", "1 4294967295"],
    "regclass": ["pg_class", "information_schema.tables"],
    "regcollation": ['"C"'],
    "regconfig": ["english"],
    "regdictionary": ["simple"],
    "regnamespace": ["public"],
    "regoper": ["pg_catalog.||/"],
    "regoperator": ["+(integer,integer)", "-(NONE,bigint)"],
    "regproc": ["now"],
    "regprocedure": ["lower(text)"],
    "regrole": ["postgres"],
    "regtype": ["integer", "timestamp with time zone", "mood"],
    "integer[]": ["{}", "{1,NULL,3}", "{{1,2},{3,4}}", "[0:1]={7,8}"],
    "text[]": ["{}", '{a,"b c","d,e",NULL,"NULL","\\"","\\\\"}'],
    "timestamptz[]": ["{2024-01-01 00:00+02}"],
    "bytea[]": ['{"\\\\xdeadbeef"}'],
    "double precision[]": ["{0.1,inf,nan}"],
    "box[]": ["{(1,1),(0,0);(2,2),(1,1)}"],
    "money[]": ['{"-1234.50"}'],
    "interval[]": ["{-1 mon 1 day -1:00}"],
    "mood": ["sad", 'a "happy", one'],
    "mood[]": ["{sad,so-so}"],
    "feeling": ["so-so"],
    "price": ["0.01", "-9999999999.99"],
    "discount": ["99.99"],
    "discount[]": ["{1.00,NULL}"],
    "email": ["a@b.example"],
    "many": ["{1,2}"],
    "span": ["[1,2)", "empty"],
    "point3": ["(1,\"a, b\",\"2024-01-01 00:00+02\")", "(,,)"],
    "point3[]": ['{"(1,\\"a \\"\\"b\\"\\"\\",)",NULL}'],
    "place": ["(1,\"a, b\",infinity)", "(,,)"],
    "visit": ['("(1,""a, b"",)","{sad}","\\\\x5c")', "(,,)"],
}  # fmt: skip

ONLY_READ = {"gtsvector", "pg_node_tree", "pg_ndistinct", "pg_dependencies", "pg_mcv_list",
             "pg_brin_bloom_summary", "pg_brin_minmax_multi_summary"}  # fmt: skip
"""Types that PostgreSQL writes values of, and reads none."""
ALL_TYPES = """
select typname from pg_type where typtype in ('b', 'r', 'm') and typcategory <> 'A'
and typnamespace = 'pg_catalog'::regnamespace and typname <> all(%s)
"""

CANNOT_BE_HELD = {
    "numeric(10,2)": ["nan"],
    "timestamp": ["294247-01-10 04:00:54.775807", "294276-12-31 23:59:59.999999"],
    "timestamptz": ["294247-01-10 04:00:54.775807+00", "294276-12-31 23:59:59.999999+00"],
    "interval": ["2147483647 mons 2147483647 days 9223372036854775807 microseconds",
                 "-2147483648 mons -9223372036854775807 microseconds", "9223372036854776 microseconds"],
}  # fmt: skip
"""Values that Arrow's type, or DuckDB's, has no room for."""

_DAY = 86_400_000_000
_LAST_DAY, _LAST_DAY_OF_A_TIMESTAMP = 2_147_483_493, 109_203_527
"""Julian days; PostgreSQL's first is 0."""


def _integers(bits: int, signed: bool = True) -> Literals:
    low = -(2 ** (bits - 1)) if signed else 0
    return st.integers(low, low + 2**bits - 1).map(str)


def _numeric(precision: int, scale: int) -> Literals:
    most = 10**precision - 1
    return st.integers(-most, most).map(lambda unscaled: f"{unscaled}e{-scale}")


def _text(most: int | None = None) -> Literals:
    characters = st.characters(codec="utf-8", exclude_characters="\0")
    specials = st.sampled_from("\"\\'{}[](),;:= \n\t")
    return st.text(st.one_of(specials, characters), max_size=most or 40)


def _money(cents: int) -> str:
    return f"{'-' if cents < 0 else ''}{abs(cents) // 100}.{abs(cents) % 100:02}"


def _clock(microseconds: int) -> str:
    seconds, fraction = divmod(microseconds, 1_000_000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{fraction:06}"


def _interval(months: int, days: int, microseconds: int) -> str:
    return f"{months} mons {days} days {microseconds} microseconds"


def _zone(seconds: int) -> str:
    sign, seconds = "-" if seconds < 0 else "+", abs(seconds)
    return f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _timestamps(zone: str = "") -> Literals:
    days = st.integers(0, _LAST_DAY_OF_A_TIMESTAMP)
    return st.builds(lambda day, time: f"J{day} {_clock(time)}{zone}", days, st.integers(0, _DAY - 1))


def _json(characters: st.SearchStrategy[str]) -> Literals:
    texts = st.text(characters, max_size=8)
    numbers = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False))
    leaves = st.one_of(st.none(), st.booleans(), numbers, texts)
    values = st.recursive(
        leaves, lambda inner: st.one_of(st.lists(inner), st.dictionaries(texts, inner)), max_leaves=8
    )
    return st.builds(
        lambda value, ascii_, indent: json.dumps(value, ensure_ascii=ascii_, indent=indent),
        values,
        st.booleans(),
        st.sampled_from([None, 0, 3]),
    )


_FLOATS = st.floats().map(repr)
_FINITE = st.floats(-1e100, 1e100).map(repr)
_POINTS = st.builds("({},{})".format, _FLOATS, _FLOATS)
_LISTS_OF_POINTS = st.lists(_POINTS, min_size=1, max_size=4).map(",".join)
_BITS = st.text("01", max_size=9)
_ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
_JSON_CHARACTERS = st.characters(codec="utf-8", exclude_characters="\0")
_LEXEMES = _text(8).map(lambda text: "'" + text.replace("\\", "\\\\").replace("'", "''") + "'")
_JULIAN_DAYS = st.integers(0, _LAST_DAY).map("J{}".format)

_SCALARS: dict[str, Literals] = {
    "boolean": st.sampled_from(["true", "false"]),
    "smallint": _integers(16),
    "integer": _integers(32),
    "bigint": _integers(64),
    "oid": _integers(32, signed=False),
    "real": st.floats(width=32).map(repr),
    "double precision": _FLOATS,
    "numeric": st.builds(
        lambda unscaled, exponent, zeros: f"{unscaled}{'0' * zeros}e{exponent}",
        st.integers(-(10**50), 10**50),
        st.integers(-300, 300),
        st.integers(0, 5),
    ),
    "numeric(10,2)": _numeric(10, 2),
    "numeric(18,0)": _numeric(18, 0),
    "numeric(18,18)": _numeric(18, 18),
    "numeric(38,10)": _numeric(38, 10),
    "numeric(50,5)": _numeric(50, 5),
    "numeric(5,-2)": _numeric(5, -2),
    "numeric(3,5)": _numeric(3, 5),
    "money": st.integers(-(2**63), 2**63 - 1).map(_money),
    "text": _text(),
    "varchar(20)": _text(20),
    "character(5)": _text(5),
    "bpchar": _text(),
    '"char"': st.one_of(st.integers(1, 127).map(chr), st.integers(128, 255).map("\\{:o}".format)),
    "name": _text(15),
    "bytea": st.binary(max_size=40).map(lambda value: "\\x" + value.hex()),
    "date": _JULIAN_DAYS,
    "time": st.integers(0, _DAY).map(_clock),
    "time(3)": st.integers(0, _DAY).map(_clock),
    "timetz": st.builds(
        lambda time, zone: _clock(time) + _zone(zone), st.integers(0, _DAY), st.integers(-57_599, 57_599)
    ),
    "timestamp": _timestamps(),
    "timestamp(0)": _timestamps(),
    "timestamptz": _timestamps("+00"),
    "interval": st.builds(
        _interval,
        st.integers(-(2**31), 2**31 - 1),
        st.integers(-(2**31), 2**31 - 1),
        st.integers(-(2**53), 2**53),
    ),
    "interval year to month": st.integers(-(2**31), 2**31 - 1).map("{} mons".format),
    "uuid": st.uuids().map(str),
    "json": _json(st.one_of(_JSON_CHARACTERS, st.just("\0"))),
    "jsonb": _json(_JSON_CHARACTERS),
    "xml": st.text(st.characters(categories=["L", "N", "P", "Z"]), max_size=20).map(
        lambda text: text.replace("&", "&amp;")
    ),
    "inet": st.builds(
        lambda address, bits: f"{address}/{min(bits, address.max_prefixlen)}", _ADDRESSES, st.integers(0, 128)
    ),
    "cidr": st.builds(
        lambda address, bits: str(
            ipaddress.ip_network((address, min(bits, address.max_prefixlen)), strict=False)
        ),
        _ADDRESSES,
        st.integers(0, 128),
    ),
    "macaddr": st.binary(min_size=6, max_size=6).map(bytes.hex),
    "macaddr8": st.binary(min_size=8, max_size=8).map(bytes.hex),
    "bit(3)": st.text("01", min_size=3, max_size=3),
    "bit varying(9)": _BITS,
    "bit varying": _BITS,
    "point": _POINTS,
    "line": st.builds("{{{},1,{}}}".format, _FINITE, _FINITE),
    "lseg": st.builds("[{},{}]".format, _POINTS, _POINTS),
    "box": st.builds("{},{}".format, _POINTS, _POINTS),
    "path": st.one_of(_LISTS_OF_POINTS.map("({})".format), _LISTS_OF_POINTS.map("[{}]".format)),
    "polygon": _LISTS_OF_POINTS.map("({})".format),
    "circle": st.builds("<{},{}>".format, _POINTS, st.floats(0).map(repr)),
    "tsvector": st.lists(
        st.builds("{}:{}{}".format, _LEXEMES.filter(lambda lexeme: lexeme != "''"), st.integers(1, 16383),
                  st.sampled_from("ABCD")),
        max_size=4,
    ).map(" ".join),
    "tsquery": st.lists(_LEXEMES.filter(lambda lexeme: lexeme != "''"), min_size=1, max_size=3).map(
        " & !".join
    ),
    "pg_lsn": st.integers(0, 2**64 - 1).map(lambda lsn: f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"),
    "xid": _integers(32, signed=False),
    "xid8": _integers(64, signed=False),
    "cid": _integers(32, signed=False),
    "tid": st.builds("({},{})".format, st.integers(0, 2**32 - 1), st.integers(0, 2**16 - 1)),
    "refcursor": _text(),
    "int2vector": st.lists(_integers(16), max_size=5).map(" ".join),
    "oidvector": st.lists(_integers(32, signed=False), max_size=5).map(" ".join),
    "discount": st.integers(-(10**12) + 1, 9_999).map(lambda unscaled: f"{unscaled}e-2"),
    "email": st.builds("{}@{}".format, _text(20), _text(20)),
}  # fmt: skip


def _value(type_: str) -> Literals:
    """Anything that a type can have; its edges, which are what goes wrong, as often as all else."""
    edges = st.sampled_from([*EDGES[type_], *CANNOT_BE_HELD.get(type_, [])])
    return st.one_of(edges, _SCALARS[type_]) if type_ in _SCALARS else edges


def _quoted(text: str) -> str:
    """As an element of an array or of a row, or as a bound of a range."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@st.composite
def _arrays(draw: st.DrawFn, elements: Literals, delimiter: str = ",") -> str:
    """Of up to three dimensions, now and then with lower bounds of their own."""
    extents = draw(st.lists(st.integers(1, 3), max_size=3))
    if not extents:
        return "{}"
    element = st.one_of(st.just("NULL"), elements.map(_quoted))

    def level(left: list[int]) -> str:
        parts = [level(left[1:]) for _ in range(left[0])] if left else []
        return "{" + delimiter.join(parts) + "}" if left else draw(element)

    body = level(extents)
    if not draw(st.booleans()):
        return body
    lower = [draw(st.integers(-5, 5)) for _ in extents]
    bounds = (f"[{low}:{low + extent - 1}]" for low, extent in zip(lower, extents, strict=True))
    return "".join(bounds) + "=" + body


def _rows(*fields: Literals) -> Literals:
    cells = [st.one_of(st.just(""), field.map(_quoted)) for field in fields]
    return st.tuples(*cells).map(lambda row: "(" + ",".join(row) + ")")


@st.composite
def _ranges(draw: st.DrawFn, bounds: st.SearchStrategy[str | int], form: str = "{}") -> str:
    """Between bounds that sort as PostgreSQL sorts them; either may be left out."""
    low, high = sorted([draw(bounds), draw(bounds)])
    shown = [draw(st.sampled_from([_quoted(form.format(bound)), ""])) for bound in (low, high)]
    return draw(st.sampled_from("[(")) + ",".join(shown) + draw(st.sampled_from("])"))


def _multiranges(ranges: Literals) -> Literals:
    return st.lists(ranges, max_size=3).map(lambda several: "{" + ",".join(several) + "}")


_INSTANTS = st.integers(0, _LAST_DAY_OF_A_TIMESTAMP)
_RANGES = {
    # PostgreSQL writes [a,b] of integers and days as [a,b+1), for which there must be room.
    "int4": _ranges(st.integers(-(2**31), 2**31 - 2)),
    "int8": _ranges(st.integers(-(2**63), 2**63 - 2)),
    "num": _ranges(st.integers(-(10**20), 10**20), "{}e-7"),
    "ts": _ranges(_INSTANTS, "J{} 12:34:56.789"),
    "tstz": _ranges(_INSTANTS, "J{} 12:34:56.789+00"),
    "date": _ranges(st.integers(0, _LAST_DAY - 1), "J{}"),
    "text": _ranges(_text(8)),
}


def _strategies() -> dict[str, Literals]:
    found = {type_: _value(type_) for type_ in EDGES}

    def also(type_: str, more: Literals) -> None:
        found[type_] = st.one_of(found[type_], more)

    for name, ranges in _RANGES.items():
        also(f"{name}range", ranges)
        also(f"{name}multirange", _multiranges(ranges))
    also("price", _numeric(12, 2))
    also("many", _arrays(found["integer"]))
    also("span", found["int4range"])
    also("feeling", found["mood"])
    also("point3", _rows(found["integer"], found["text"], found["timestamptz"]))
    also("place", found["point3"])
    also("visit", _rows(found["place"], _arrays(found["feeling"]), found["bytea"]))
    for type_ in [type_ for type_ in EDGES if type_.endswith("[]")]:
        element = type_.removesuffix("[]")
        also(type_, _arrays(found[element], ";" if element == "box" else ","))
    return found


VALUES: Mapping[str, Literals] = _strategies()
