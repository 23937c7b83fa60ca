"""
A value that the type of its column here cannot hold: the column is kept as text from then on.

NaN in a numeric with a scale, an infinite interval: PostgreSQL has values that the typed columns
of a destination have not. None is altered, and none is a reason to stop; the column becomes what
holds them all, PostgreSQL's text. The stream does so by itself, and the sink gives its copy the new
definition. A seed that comes upon one begins again.
"""

from __future__ import annotations

from ..errors import UnfaithfulValue
from ..model import ChangeCapture, Sink, Table, TextColumn


def keep_as_text(capture: ChangeCapture, sink: Sink, table: Table, error: UnfaithfulValue) -> None:
    """Begin the seed of `table` again, unless that has been done; the copy there is stays as it is."""
    column = TextColumn(table.oid, error.number, error.type_oid)
    if column in table.as_text:
        raise error
    held = sink.tables().get(table.name)
    if held is None or held.seed not in (table, None):
        return
    head = capture.head()
    text = table.keeping_as_text({column})
    sink.mark_unseeded(table.name, str(error), in_step=True)
    if chunks := capture.plan([text]).get(table.name):  # or it is planned like any other
        sink.begin_seed(text, chunks, after=head)
