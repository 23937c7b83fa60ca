"""
Patterns mean the tables they seem to mean.
"""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_assets.errors import ConfigError
from cdc_assets.model import TableName
from cdc_assets.postgres.patterns import Patterns

ORDERS, ITEMS, AUDIT = (
    TableName("public", "orders"),
    TableName("public", "items"),
    TableName("public", "audit"),
)
OTHER, ODD = TableName("private", "orders"), TableName("My schema", 'a.b*"c"')
TABLES = [ORDERS, ITEMS, AUDIT, OTHER, ODD]

identifiers = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
table_names = st.builds(TableName, identifiers, identifiers)


def matched(*texts: str) -> list[TableName]:
    patterns = Patterns.parse(texts)
    return [table for table in TABLES if patterns.match(table)]


@pytest.mark.parametrize(
    ("texts", "tables"),
    [
        (["public.orders"], [ORDERS]),
        (["public.*"], [ORDERS, ITEMS, AUDIT]),
        (["*.orders"], [ORDERS, OTHER]),
        (["p*.o*s"], [ORDERS, OTHER]),
        (["*.*"], TABLES),
        (["public.order"], []),
        (["ublic.orders"], []),
        (["public.Orders"], []),
        ([], []),
        ([" public.orders "], [ORDERS]),
    ],
    ids=str,
)
def test_a_star_stands_for_any_part_of_a_name(texts, tables):
    assert matched(*texts) == tables


@pytest.mark.parametrize(
    ("texts", "tables"),
    [
        (["public.*", "-public.audit"], [ORDERS, ITEMS]),
        (["public.*", "- public.audit"], [ORDERS, ITEMS]),
        (["-public.audit", "public.*"], [ORDERS, ITEMS, AUDIT]),
        (["*.*", "-public.*", "public.items"], [ITEMS, OTHER, ODD]),
        (["-public.orders"], []),
    ],
    ids=str,
)
def test_of_the_patterns_that_match_the_last_decides(texts, tables):
    assert matched(*texts) == tables


def test_a_quoted_part_is_taken_as_it_is():
    assert matched('"My schema"."a.b*""c"""') == [ODD]
    assert matched('"My schema"."a*"') == []
    assert matched('"My schema".*') == [ODD]
    assert matched('*."a.b*""c"""') == [ODD]


def test_a_name_without_quotes_may_have_spaces_and_other_characters():
    name = TableName("Größe", "Order lines-2")

    assert Patterns.parse(["Größe.Order lines-2"]).match(name)
    assert not Patterns.parse(["Größe.Order lines+2"]).match(name)


@given(table_names)
def test_a_table_is_matched_by_its_name_in_quotes_and_no_other_is(table):
    quoted = ".".join('"{}"'.format(part.replace('"', '""')) for part in table)
    patterns = Patterns.parse([quoted])

    assert patterns.match(table)
    assert patterns.named == [table]
    assert not patterns.match(TableName(table.schema + "x", table.name))
    assert not patterns.match(TableName(table.schema, "x" + table.name))


@given(table_names)
def test_a_table_is_matched_by_its_name_as_sql_writes_it(table):
    assert Patterns.parse([str(table)]).match(table)


def test_tables_called_by_name_have_to_be_there():
    patterns = Patterns.parse(["public.*", "private.orders", '"My schema"."a*"', "-public.audit"])

    assert patterns.named == [OTHER, TableName("My schema", "a*")]


def test_a_table_called_by_name_and_then_excluded_need_not_be_there():
    assert Patterns.parse(["public.orders", "-public.*"]).named == []


def test_a_wildcard_that_matches_nothing_is_reported():
    patterns = Patterns.parse(["public.*", "shop.*", "*.invoices", "-old.*", "public.missing"])

    assert patterns.unmatched(TABLES) == ["shop.*", "*.invoices"]


@pytest.mark.parametrize(
    "text", ["", "orders", "a.b.c", ".orders", "public.", "-", '"public.orders', 'a."b"c', "a.b\n.c"]
)
def test_what_is_not_a_table_is_refused_with_the_form_it_should_have(text):
    with pytest.raises(ConfigError, match=re.escape(f'"{text}"')) as refused:
        Patterns.parse([text])

    assert "schema.table" in refused.value.hint
