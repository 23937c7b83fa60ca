"""
The words the rest of the package speaks in. Imports nothing but NumPy and Arrow.
"""

from .audit import AT_SOURCE as AT_SOURCE
from .audit import COPIES as COPIES
from .audit import PRINT as PRINT
from .audit import Audit as Audit
from .audit import Differences as Differences
from .audit import Judgement as Judgement
from .capture import ChangeCapture as ChangeCapture
from .capture import Chunk as Chunk
from .capture import Position as Position
from .capture import Selection as Selection
from .capture import Snapshot as Snapshot
from .changes import DELETE as DELETE
from .changes import INSERT as INSERT
from .changes import UPDATE as UPDATE
from .changes import Ack as Ack
from .changes import ChangeBatch as ChangeBatch
from .changes import Commit as Commit
from .changes import Commits as Commits
from .changes import TableChanges as TableChanges
from .evolution import Evolution as Evolution
from .evolution import evolution as evolution
from .held import Held as Held
from .held import TableState as TableState
from .lag import Lag as Lag
from .lsn import LSN as LSN
from .net import NetChanges as NetChanges
from .net import net as net
from .quarantine import Quarantined as Quarantined
from .quarantine import Retried as Retried
from .sink import Applied as Applied
from .sink import Part as Part
from .sink import Sink as Sink
from .table import Column as Column
from .table import Evidence as Evidence
from .table import File as File
from .table import Generated as Generated
from .table import Missing as Missing
from .table import ReplicaIdentity as ReplicaIdentity
from .table import Table as Table
from .table import TableName as TableName
from .table import TextColumn as TextColumn
