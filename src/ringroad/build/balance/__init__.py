"""Line balancing: which station does which work (`problem.py`, `assign.py`, `prove.py`), and what the twin says of it (`check.py`)."""
