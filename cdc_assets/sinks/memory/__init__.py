"""
The reference sink.
"""

from .sink import MemorySink as MemorySink
