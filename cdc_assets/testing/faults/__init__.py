"""
Random histories under random faults: `cdc-assets sync --follow` in a process of its own, which is killed,
stopped, cut off; its server crashed. What it promises is looked at all the time, and both sides at the end.
"""
