"""Shops: what is asked (`problem.py`), placed at once (`dispatch.py`), searched (`solve.py`), proved (`prove.py`), checked (`check.py`).

`bound.py` counts what any schedule needs at least; `brandimarte.py` and `document.py` read files.
"""
