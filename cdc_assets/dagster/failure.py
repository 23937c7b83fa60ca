"""
Our errors, as Dagster shows them.
"""

from __future__ import annotations

import dagster as dg

from ..errors import CdcError


def failure(error: CdcError) -> dg.Failure:
    """The hint in a line of its own. Not retried: the engine has done that, or it would not help."""
    return dg.Failure(
        description=f"{error}\nHINT:  {error.hint}" if error.hint else str(error),
        metadata={"cdc/hint": error.hint} if error.hint else {},
        allow_retries=False,
    )
