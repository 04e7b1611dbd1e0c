"""What the tests against real engines share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from ringroad.storage.db import Connection, connect


@pytest.fixture
def conn(pg_url: str) -> Iterator[Connection]:
    """A connection to the test's database."""
    with closing(connect(pg_url)) as opened:
        yield opened
