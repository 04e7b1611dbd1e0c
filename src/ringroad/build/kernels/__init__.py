"""Machine code: the loops that Python is too slow for, each compiled once per machine (`compiled.py`).

Not for the server: numba and LLVM cost 100 MB of memory and a second of start. `sequence/solve.py` and the twin call in here.
"""
