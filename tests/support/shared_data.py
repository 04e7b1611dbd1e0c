"""Published data that the repository does not hold: tests on it are skipped where it is absent."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "shared" / "data"


def shared_data(name: str) -> Path:
    """Return a file or folder of the data beside the repository, or skip the test."""
    if not (FOLDER / name).exists():
        pytest.skip(f"{name} is not in ../shared/data")
    return FOLDER / name
