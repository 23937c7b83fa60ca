"""
People in the shop: they order, pay, change their minds. Run as a program, until it is stopped.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

import psycopg

DSN_VARIABLE = "SHOP_DSN"
_A_SECOND = 60
"""Transactions."""

Shop = psycopg.Connection[tuple[object, ...]]


def _order(shop: Shop, chance: random.Random) -> None:
    with shop.transaction():
        row = shop.execute(
            "insert into orders (customer_id, note) values (%s, %s) returning id",
            [chance.randint(1, 20_000), chance.choice([None, "As soon as you can"])],
        ).fetchone()
        assert row is not None
        shop.execute(
            "insert into order_lines select %s, line, 1 + (random() * 999)::int, 1 + line, 9.99 "
            "from generate_series(1, %s) line",
            [row[0], chance.randint(1, 4)],
        )
        shop.execute(
            "update orders set total = (select sum(price * quantity) from order_lines where order_id = id) "
            "where id = %s",
            row,
        )


def _pay(shop: Shop, chance: random.Random) -> None:
    with shop.transaction():
        shop.execute(
            "with next as (select id, total from orders where status = 'new' order by id desc limit 1), "
            "paid as (update orders set status = 'paid' from next where orders.id = next.id) "
            "insert into payments (order_id, amount, method) select id, total, 'card' from next"
        )


def _move_on(shop: Shop, chance: random.Random) -> None:
    first = chance.randint(1, 100_000)
    shop.execute(
        "update orders set status = case status when 'paid' then 'packed'::order_status else 'sent' end "
        "where id between %s and %s",
        [first, first + chance.randint(0, 20)],
    )


def _price(shop: Shop, chance: random.Random) -> None:
    shop.execute("update products set price = price * 1.01 where id = %s", [chance.randint(1, 1000)])


def _visit(shop: Shop, chance: random.Random) -> None:
    shop.execute(
        "update customers set last_seen_from = '192.0.2.1', address = address || '{\"checked\": true}' "
        "where id = %s",
        [chance.randint(1, 20_000)],
    )


def _cancel(shop: Shop, chance: random.Random) -> None:
    shop.execute(
        "delete from orders where id in (select id from orders where status = 'new' order by id desc "
        "offset 20 limit 2)"
    )


_ACTIONS: dict[Callable[[Shop, random.Random], None], int] = {
    _order: 35,
    _pay: 20,
    _move_on: 20,
    _price: 10,
    _visit: 10,
    _cancel: 5,
}
"""What people do, and how often."""


def main() -> None:
    chance = random.Random(1)
    with psycopg.connect(os.environ[DSN_VARIABLE], autocommit=True) as shop:
        while True:
            began = time.monotonic()
            (action,) = chance.choices(list(_ACTIONS), list(_ACTIONS.values()))
            action(shop, chance)
            time.sleep(max(0.0, 1 / _A_SECOND - (time.monotonic() - began)))


if __name__ == "__main__":
    main()
