"""Parts on their way to the line: milestones of legs, when they arrive, who waits for them, and where they are put.

Pure, except `store.py`. What is not here: the sequence (`sequence/`, `plan_line.py`), which is handed a
`PartAvailability` for each order.
"""
