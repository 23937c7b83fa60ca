"""
Messages to batches: the one place that remembers what came before.

Feed it every message of the stream in order; take a batch when there is a
commit to end it at. It does no I/O, so a recorded stream replays through it
byte for byte.

A batch's messages are looked at all together: which of them are rows, of which
table, in which transaction are vectors. Python handles one at a time only the
few that are neither a row nor the bounds of a transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from ..errors import ProtocolError, UnfaithfulValue
from ..model import LSN, Ack, ChangeBatch, Commits, Table, TableChanges, TextColumn
from ..model.changes import Bytes, Ints, LSNs
from . import messages, rows
from .cells import uint64_at
from .envelope import HEAD, among, logged, see_that_known
from .envelope import kinds as kinds_of
from .frames import Frames
from .spool import Spool

_COMMIT_END, _COMMIT_TIME = 10, 18
"""Bytes from the start of a Commit: its end LSN and its time, microseconds since 2000."""
_KEEPALIVE_END = 1
_EPOCH = 946_684_800_000_000
"""2000-01-01, in microseconds since 1970."""
_COMMIT_TO_COME = logged(bytes([messages.COMMIT]) + bytes(16) + b"\1" + bytes(8))
"""In place of a Commit that has not come: the end is not known, but there is one."""


_IS_ROW, _IS_CHANGE, _IS_CONTROL, _IS_KNOWN = map(among, (b"IUD", b"IUDT", b"RT", b"\0BCIUDRTYO"))

Describe = Callable[[messages.Relation, Table | None], Table | None]
"""Makes a table of what the log says of one, which leaves out a good deal, given its definition
before; None for one whose changes are not wanted."""


class Assembler:
    def __init__(
        self,
        describe: Describe,
        start: LSN = LSN(0),
        compute: rows.Compute = lambda *_: None,
        as_text: set[TextColumn] | None = None,
    ) -> None:
        """`as_text`: columns whose values stay text; those that need it are added."""
        self._describe, self._compute = describe, compute
        self._as_text = as_text if as_text is not None else set()
        self._tables: dict[int, Table | None] = {}
        self._partitions: dict[int, set[int]] = {}
        """By partitioned table: of which partitions the messages of the last batch speak."""
        self._doubtful: dict[int, messages.Relation] = {}
        """What the log says of tables of which that leaves something open."""
        self._whole: list[Frames] = []
        """Messages that make whole transactions."""
        self._open: list[Frames] = []
        """Messages of a transaction whose end has not come."""
        self._inside = False
        """Whether the last message was one of these."""
        self.open_size = 0
        """Bytes of them, as they were received, that are held in memory."""
        self._aside: Spool | None = None
        """What came before them of the same transaction, or of the first one in `_whole`."""
        self._position = start
        self.taken = start
        """Where the last batch ended."""
        self.has_changes = False
        """Whether the next batch says more than that nothing happened."""
        self._open_has_changes = False

    def feed(self, frames: Frames) -> None:
        """Add messages as they came: log data and keepalives, heads included."""
        if not len(frames):
            return
        kinds = kinds_of(frames)
        logged = np.flatnonzero(kinds)
        commits = np.flatnonzero(kinds == messages.COMMIT)
        # A keepalive says nothing of a transaction that is being sent.
        if len(logged):
            self._inside = bool(kinds[logged[-1]] != messages.COMMIT)
        whole = len(frames) if not self._inside else int(commits[-1]) + 1 if len(commits) else 0
        if whole:
            self._whole += [*self._open, frames.part(0, whole)]
            self._open, self.open_size = [], 0
            self._position = max(self._position, _end(frames, whole - 1, kinds[whole - 1]))
            self.has_changes |= self._open_has_changes or bool(_IS_CHANGE[kinds[:whole]].any())
            self._open_has_changes = False
        if whole < len(frames):
            self._open.append(frames.part(whole, len(frames)))
            self.open_size += len(self._open[-1].data)
            self._open_has_changes |= bool(_IS_CHANGE[kinds[whole:]].any())

    def set_aside(self, piece: int) -> None:
        """Decode what has come of the open transaction, so many bytes at a time, and put it on disk.

        Only if there is no batch to take: messages are decoded in their order. `SpoolFull` if the
        disk does not take it.
        """
        assert not self._whole
        self._aside = self._aside or Spool()
        frames = Frames.joined(self._open)
        self._open, self.open_size = [], 0
        for part in frames.pieces(piece):
            stream = _Stream.of(Frames.joined([part, _COMMIT_TO_COME]), self._aside.messages)
            for run in self._runs(stream):
                if changes := self._changes(run):
                    self._aside.add(changes)
            self._aside.messages += len(stream.row_at)

    @property
    def has_batch(self) -> bool:
        return bool(self._whole)

    @property
    def position(self) -> LSN:
        """The LSN that the next batch has."""
        return self._position

    @property
    def size(self) -> int:
        """Bytes of the next batch, as they were received."""
        return sum(len(piece.data) for piece in self._whole)

    def take(self, ack: Callable[[LSN], Ack]) -> ChangeBatch:
        """The transactions fed since the last take. There is one only if `has_batch`."""
        assert self._whole
        aside, self._aside = self._aside, None
        stream = _Stream.of(Frames.joined(self._whole), aside.messages if aside else 0)
        self._whole, self.has_changes = [], False
        changes = tuple(changes for run in self._runs(stream) if (changes := self._changes(run)))
        batch = ChangeBatch(
            changes=aside.committed(stream.commit(0), changes) if aside else changes,
            since=self.taken,
            lsn=self._position,
            commits=Commits(stream.commit_ends, stream.commit_times),
            ack=ack(self._position),
        )
        self.taken = batch.lsn
        return batch

    def _changes(self, run: _Run) -> TableChanges | None:
        """A column is kept as text from the first value on that its type here cannot hold."""
        while table := run.table and run.table.keeping_as_text(self._as_text):
            table = table.speaking_of(self._partitions.get(table.oid, ()))
            try:
                return replace(run, table=table).changes(self._compute)
            except UnfaithfulValue as error:
                column = TextColumn(table.oid, error.number, error.type_oid)
                if column in self._as_text:
                    raise
                self._as_text.add(column)
        return None

    def _runs(self, stream: _Stream) -> Iterator[_Run]:
        """The rows of each table together, cut where it is redefined or truncated."""
        oids = rows.relation_oids(stream.data, stream.row_at)
        by_table = np.argsort(oids, kind="stable")
        present, first, count = np.unique(oids[by_table], return_index=True, return_counts=True)
        where = {
            oid: by_table[begin : begin + size]
            for oid, begin, size in zip(present.tolist(), first, count, strict=True)
        }
        self._settle_doubts(where)
        self._partitions = _partitions(stream, oids)
        cuts = self._cuts(stream)
        for oid in dict.fromkeys([*cuts, *where]):
            if oid not in self._tables and oid not in cuts:
                raise ProtocolError(f"a change came for relation {oid} before its definition")
            numbers = where.get(oid, np.zeros(0, np.int64))
            run = _Run(self._tables.get(oid), None, stream)
            begin = 0
            for cut in cuts.get(oid, []):
                end = int(np.searchsorted(numbers, cut.row))
                yield replace(run, numbers=numbers[begin:end])
                run, begin = cut.run, end
                self._tables[oid] = run.table
            yield replace(run, numbers=numbers[begin:])

    def _settle_doubts(self, present: Collection[int]) -> None:
        """What could not be told of a table may be plain by now, if it was seeded since."""
        for oid in self._doubtful.keys() & present:
            self._tables[oid] = self._describe(self._doubtful[oid], None)

    def _cuts(self, stream: _Stream) -> dict[int, list[_Cut]]:
        """By table: before which row what follows is another run."""
        cuts: dict[int, list[_Cut]] = {}
        tables = dict(self._tables)
        for place in stream.control.tolist():
            message = stream.message(place)
            row = int(np.searchsorted(stream.row_place, place))
            if message[0] == messages.RELATION:
                relation = messages.relation(message)
                table = self._describe(relation, tables.get(relation.oid))
                self._doubtful.pop(relation.oid, None)
                if table and table.doubt:
                    self._doubtful[relation.oid] = relation
                if relation.oid in tables and tables[relation.oid] == table:
                    continue
                tables[relation.oid] = table
                cuts.setdefault(relation.oid, []).append(_Cut(row, _Run(table, None, stream)))
            else:
                for oid in messages.truncated(message):
                    run = _Run(tables.get(oid), stream.commit_after(place), stream)
                    cuts.setdefault(oid, []).append(_Cut(row, run))
        return cuts


def _partitions(stream: _Stream, oids: Ints) -> dict[int, set[int]]:
    """Before the first change to a partition the server describes the partition too; the change itself
    is one of the root. So what is described, and not what the next change is about, is a partition."""
    found: dict[int, set[int]] = {}
    ends = np.sort(np.concatenate([stream.control, stream.commit_place]))
    for place in stream.control.tolist():
        row = int(np.searchsorted(stream.row_place, place))
        end = int(np.searchsorted(ends, place, "right"))
        follows = row < len(oids) and (end == len(ends) or stream.row_place[row] < ends[end])
        message = stream.message(place)
        if follows and message[0] == messages.RELATION:
            described, root = messages.relation(message).oid, int(oids[row])
            if described != root:
                found.setdefault(root, set()).add(described)
    return found


def _end(frames: Frames, number: int, kind: int) -> LSN:
    """Up to where the log is known after a message: a Commit or a keepalive."""
    at = HEAD + _COMMIT_END if kind == messages.COMMIT else _KEEPALIVE_END
    return LSN.from_bytes(frames[number][at : at + 8], "big")


@dataclass(frozen=True)
class _Stream:
    """Messages that make whole transactions, and where in them is what."""

    frames: Frames
    row_place: Ints
    """Which of the messages are rows; `row_at`, where in the data they start."""
    row_at: Ints
    control: Ints
    commit_place: Ints
    commit_ends: LSNs
    commit_times: Ints
    rows_before: int
    """How many rows of the first transaction came earlier."""

    @classmethod
    def of(cls, frames: Frames, rows_before: int) -> _Stream:
        kinds = kinds_of(frames)
        see_that_known(kinds, _IS_KNOWN[kinds])
        row_place = np.flatnonzero(_IS_ROW[kinds])
        commit_place = np.flatnonzero(kinds == messages.COMMIT)
        commits = frames.start[commit_place] + HEAD
        return cls(
            frames=frames,
            row_place=row_place,
            row_at=frames.start[row_place] + HEAD,
            control=np.flatnonzero(_IS_CONTROL[kinds]),
            commit_place=commit_place,
            commit_ends=uint64_at(frames.data, commits + _COMMIT_END),
            commit_times=uint64_at(frames.data, commits + _COMMIT_TIME).astype(np.int64) + _EPOCH,
            rows_before=rows_before,
        )

    @property
    def data(self) -> Bytes:
        return self.frames.data

    def message(self, place: int) -> bytes:
        return self.frames[place][HEAD:]

    def commit(self, number: int) -> tuple[LSN, int]:
        """Where one ended, and when."""
        return LSN(self.commit_ends[number]), int(self.commit_times[number])

    def commit_after(self, place: int) -> LSN:
        return LSN(self.commit_ends[np.searchsorted(self.commit_place, place)])


@dataclass(frozen=True)
class _Run:
    """Some rows of one table, under one definition of it; not wanted if that is None."""

    table: Table | None
    truncated: LSN | None
    stream: _Stream
    numbers: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """Which of the stream's rows."""

    def changes(self, compute: rows.Compute) -> TableChanges | None:
        if self.table is None or not (len(self.numbers) or self.truncated):
            return None
        stream = self.stream
        decoded = rows.decode(stream.data, stream.row_at[self.numbers], self.table, compute)
        numbers = self.numbers[decoded.message]
        transaction = np.searchsorted(stream.commit_place, stream.row_place[numbers])
        ends = np.searchsorted(stream.row_place, stream.commit_place)
        starts = np.concatenate([[-stream.rows_before], ends])
        return TableChanges(
            table=replace(self.table, doubt=decoded.doubt) if decoded.doubt else self.table,
            rows=decoded.rows,
            ops=decoded.ops,
            lsns=stream.commit_ends[transaction],
            ordinals=numbers - starts[transaction],
            times=stream.commit_times[transaction],
            moved=decoded.moved,
            unchanged=decoded.unchanged,
            truncated=self.truncated,
        )


class _Cut(NamedTuple):
    row: int
    """The first row that the run is about."""
    run: _Run
