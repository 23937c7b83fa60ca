"""
How fast we are, beside what PostgreSQL itself can do, in the same run on the same machine.
"""
