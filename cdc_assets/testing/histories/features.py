"""
What a history may contain, each by a name, so that it can be left out.
"""

from __future__ import annotations

from enum import StrEnum


class Feature(StrEnum):
    LARGE_VALUES = "large values"
    GENERATED_COLUMNS = "generated columns"
    ODD_TIMES = "odd times"
    """Infinity, years before 1 and after 9999, 24:00: what Python has no values for."""
    UNTYPED_VALUES = "untyped values"
    """NaN in numeric(p, s), intervals of more than 292 years of hours."""
    EQUAL_KEYS = "equal keys"
    """Keys that are equal and written differently: 1.0 and 1.00."""
    BYSTANDERS = "bystanders"
    """Tables that cannot be mirrored, and must not stand in the way."""
    KEYLESS_TABLES = "keyless tables"
    PARTITIONS = "partitions"
    DEFERRABLE_KEYS = "deferrable keys"
    FOREIGN_KEYS = "foreign keys"

    TRUNCATE = "truncate"
    SAVEPOINTS = "savepoints"
    TWO_PHASE = "two-phase commit"
    DEFINITIONS_IN_TRANSACTIONS = "definitions in transactions"

    ADD_COLUMN = "add column"
    ADD_COLUMN_CONSTANT = "add column with a constant default"
    ADD_COLUMN_VOLATILE = "add column with a volatile default"
    DROP_COLUMN = "drop column"
    RENAME_COLUMN = "rename column"
    WIDEN_TYPE = "widen type"
    REWRITE_TYPE = "rewrite type"
    REPLACE_COLUMN = "replace column"
    """Dropped and added in one transaction, under the same name with the same type."""
    NEW_TABLE = "new table"
    DROP_TABLE = "drop table"
    RECREATE_TABLE = "recreate table"
    RENAME_TABLE = "rename table"
    SWAP_TABLES = "swap tables"
    """Two tables take each other's name."""
    RENAME_PARTITIONED = "rename partitioned table"
    """And swap: a stream that has spoken of one under its old name goes on to do so."""
    CHANGE_KEY = "change key"
    CHANGE_IDENTITY = "change identity"
    ADD_ENUM_VALUE = "add enum value"
    RENAME_ENUM_VALUE = "rename enum value"
    CREATE_PARTITION = "create partition"
    ATTACH_PARTITION = "attach partition"
    DETACH_PARTITION = "detach partition"
    DROP_PARTITION = "drop partition"
    TRUNCATE_PARTITION = "truncate partition"
    REWRITE_TABLE = "rewrite table"
    """VACUUM FULL."""


ALL = frozenset(Feature)
