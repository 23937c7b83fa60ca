"""
A Dagster instance: its storage in PostgreSQL, its settings what a stream needs.
"""

from __future__ import annotations

from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

_VARIABLES = {
    "DAGSTER_PG_HOST": "host",
    "DAGSTER_PG_PORT": "port",
    "DAGSTER_PG_USER": "user",
    "DAGSTER_PG_PASSWORD": "password",
    "DAGSTER_PG_DB": "dbname",
}
"""What dagster.yaml reads, and what it is called in a conninfo."""
_DATABASE = "dagster"

_SETTINGS = """\
storage:
  postgres:
    postgres_db:
      hostname: {env: DAGSTER_PG_HOST}
      port: {env: DAGSTER_PG_PORT}
      username: {env: DAGSTER_PG_USER}
      password: {env: DAGSTER_PG_PASSWORD}
      db_name: {env: DAGSTER_PG_DB}
      # Without it, SQLAlchemy 2.1 takes psycopg 3, with which no event can be written.
      scheme: postgresql+psycopg2

run_queue:
  max_concurrent_runs: 6
  # One stream to a slot: the next run waits for the last one to end.
  tag_concurrency_limits:
    - key: cdc_assets/stream
      value: {applyLimitPerUniqueValue: true}
      limit: 1
  dequeue_interval_seconds: 1

run_monitoring:
  enabled: true
  poll_interval_seconds: 15
  free_slots_after_run_end_seconds: 30

retention:
  sensor:
    purge_after_days: {skipped: 1, success: 7, failure: 30}

telemetry:
  enabled: false
# Nobody who came to see the shop wants to be asked for an address first.
nux:
  enabled: false
"""


def make_instance(home: Path, admin_dsn: str) -> dict[str, str]:
    """Write dagster.yaml into `home`, and make its database; the environment it wants."""
    home.mkdir()
    (home / "dagster.yaml").write_text(_SETTINGS)
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(_DATABASE)))
    given = conninfo_to_dict(admin_dsn) | {"dbname": _DATABASE}
    return {
        "DAGSTER_HOME": str(home),
        **{variable: str(given[part]) for variable, part in _VARIABLES.items()},
    }
