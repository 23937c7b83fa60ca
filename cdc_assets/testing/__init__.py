"""
For tests, ours and yours: a PostgreSQL to start and to kill, and a capture that needs none.
"""

from .replay import ReplayCapture as ReplayCapture
from .server import PostgresServer as PostgresServer
from .server import installations as installations
