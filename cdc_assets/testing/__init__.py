"""
For tests, ours and yours: a PostgreSQL to start and to kill.
"""

from .server import PostgresServer as PostgresServer
from .server import installations as installations
