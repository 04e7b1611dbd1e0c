"""The line's twin: what the arrays of a line are (`arrays.py`), many runs of it (`run.py`), and whether a plan may replace another (`judge.py`)."""
