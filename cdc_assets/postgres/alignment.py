"""
Which attribute each column of a Relation message is.

The log gives columns by name, in the order of their attribute numbers, and names can
be changed and given again. Numbers cannot. Between the definition we hold and the one
the catalog has now, which may be later than the message, a number appears once and
goes once. Often only one reading is left; where there are more, none is guessed.
"""

from __future__ import annotations

from collections.abc import Collection


def aligned(
    count: int,
    held: Collection[int],
    now: Collection[int],
    left_out: Collection[int] = (),
    *,
    highest: int,
    highest_now: int,
) -> list[int] | None:
    """The attribute numbers of `count` columns, or None if that cannot be told.

    `held` are those of the definition before, `now` the catalog's, each without those `left_out`,
    which are not among the `count`; `highest` is the highest
    number there had ever been at the time of the first, `highest_now` at that of the second.
    """
    always = set(held) & set(now)
    gone = set(held) - always
    passing = set(range(highest + 1, highest_now + 1)) - set(now) - set(left_out)
    added = sorted(set(now) - always)
    more = count - len(always)
    if more == 0:
        return sorted(always)
    if not gone and not passing and 0 < more <= len(added):
        # Added one after the other, and all still there.
        return sorted(always | set(added[:more]))
    if more == len(gone) + len(passing) + len(added):
        return sorted(always | gone | passing | set(added))
    return None
