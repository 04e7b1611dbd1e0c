"""The order of cars on one line: what is asked (`problem.py`), counted (`count.py`), repaired (`repair.py`) and searched (`solve.py`).

`csplib.py` and `roadef.py` read published instances.
"""
