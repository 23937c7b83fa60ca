"""
Random histories of a database, mirrored while they happen, and held against what came of them.
"""

from .features import ALL as ALL
from .features import Feature as Feature
from .history import History as History
from .history import Step as Step
