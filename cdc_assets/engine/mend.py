"""
Rows that were found to differ are copied again, by a reload of the chunks they are in.

What the source has not got is taken away at once. The rest is marked, and comes as all chunks
that are not loaded do: by whoever brings in what is unseeded, while the copy goes on following the
stream. A crash in between leaves nothing but the mark.
"""

from __future__ import annotations

from ..errors import TableRewritten
from ..model import ChangeCapture, Chunk, Sink
from .comparison import KEYS, Comparison


def mend(capture: ChangeCapture, sink: Sink, found: Comparison) -> list[Chunk] | None:
    """The chunks that are to be loaded again; None for the table as a whole, from a new seed."""
    table = sink.tables()[found.table].definition
    assert table
    if not table.key:
        sink.mark_unseeded(table.name, _REASON, in_step=True)
        return None
    for lsn, keys in found.extra:
        sink.remove(table.name, keys, at=lsn)
    planned, differing = list(sink.chunks(table.name)), set()
    try:
        with capture.snapshot([table]) as snapshot:
            for _, differ in (*found.missing, *found.changed):
                for keys in differ.to_batches(KEYS):
                    differing |= snapshot.holding(table, keys, planned)
    except TableRewritten:
        sink.mark_unseeded(table.name, _REASON, in_step=True)
        return None
    chunks = [chunk for chunk in planned if chunk in differing]
    if chunks:
        sink.begin_reload(table.name, chunks)
    return chunks


_REASON = "it differs from the source"
