"""
A value that the type of its column here cannot hold: the column is kept as text from then on.

NaN in a numeric with a scale, an infinite interval: PostgreSQL has values that the typed columns
of a destination have not. None is altered, and none is a reason to stop; the column becomes what
holds them all, PostgreSQL's text, in place where the values there are written alike, and else by
another seed. The sink remembers it with the definition.
"""

from __future__ import annotations

from ..errors import UnfaithfulValue
from ..model import Applied, ChangeCapture, Sink, TableName, TableState


def keep_as_text(capture: ChangeCapture, sink: Sink, error: UnfaithfulValue) -> Applied:
    """Raises the error again if the column is kept as text already, or is not there any more."""
    name = TableName(*error.table)
    head = capture.head()
    held = sink.tables()
    table = capture.select(held).tables.get(name)
    if table is None or all(column.name != error.column or column.as_text for column in table.columns):
        raise error
    copy = held[name].definition if name in held and held[name].state is TableState.SEEDED else None
    if copy and error.column in copy.names:
        applied = sink.redefine([copy.keeping_as_text(error.column)])
        if name not in applied.unseeded:
            return applied
    text = table.keeping_as_text(error.column)
    sink.mark_unseeded(name, str(error))
    sink.begin_seed(text, capture.plan(text), after=head)
    return Applied(unseeded={name: str(error)})
