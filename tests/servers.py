"""
One running server of each installed version, for the whole session.
"""

from cdc_assets.testing import PostgresServer, installations

OLDEST_AND_NEWEST = sorted({min(installations()), max(installations())})
"""What is between them has the catalog of one or the other."""

_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "on",
    "max_wal_size": "1GB",
    "log_min_messages": "warning",
    "max_prepared_transactions": "20",
}
_servers: dict[int, PostgresServer] = {}


def running_server(version: int) -> PostgresServer:
    """The session's server of this version, started when first asked for."""
    if version not in _servers:
        _servers[version] = PostgresServer(version, _SETTINGS)
        _servers[version].start()
    return _servers[version]


def remove_servers() -> None:
    for server in _servers.values():
        server.remove()
