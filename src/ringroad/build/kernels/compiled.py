"""Compile a numerical function to machine code, once per machine.

`@compiled` is numba's `njit` with what all kernels share: the machine code is kept, and Python's lock is let go
while it runs, so that a search never stops the other threads of its process.

Machine code is kept below the Python environment (`sys.prefix`), in a folder named by the text of this package,
so that a new release never runs old code. `NUMBA_CACHE_DIR` names another folder. Where the environment cannot
be written, kernels are compiled at each start. Never in a folder that others can write: what lies there is run.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])

_NJIT: Any = numba.njit  # its stubs do not know every option


def cache_folder(prefix: Path, *, writable: Callable[[Path], bool]) -> Path | None:
    """Return where machine code is kept, or None if it cannot be.

    Args:
        prefix: the Python environment.
        writable: says whether this process may write to a folder.
    """
    if not writable(prefix):
        return None
    texts = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        texts.update(path.read_bytes())
    return prefix / "var" / "cache" / "ringroad" / texts.hexdigest()[:16]


def _may_write(folder: Path) -> bool:
    return os.access(folder, os.W_OK)


_GIVEN = numba.config.CACHE_DIR  # type: ignore[attr-defined] # numba sets its settings by name
_FOLDER = Path(_GIVEN) if _GIVEN else cache_folder(Path(sys.prefix), writable=_may_write)
if _FOLDER is not None:
    numba.config.CACHE_DIR = str(_FOLDER)  # type: ignore[attr-defined]


def is_kept() -> bool:
    """Say whether machine code was kept before, so that nothing has to be compiled."""
    return _FOLDER is not None and _FOLDER.is_dir()


def compiled(function: F) -> F:
    """Return `function` as machine code, made at its first call."""
    return cast("F", _NJIT(cache=_FOLDER is not None, nogil=True)(function))


def part(function: F) -> F:
    """Return a part of a compiled function, which makes no arrays and no views of any.

    numba need not count references to the arrays such a part is given, which makes small ones ten times faster.
    """
    return cast("F", _NJIT(cache=_FOLDER is not None, nogil=True, _nrt=False, forceinline=True)(function))
