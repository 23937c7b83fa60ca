"""
The whole thing on one machine: a PostgreSQL with a busy shop in it, a DuckDB file, Dagster.
"""
