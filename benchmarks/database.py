"""A PostgreSQL server of a benchmark's own: migrated, empty, gone afterwards."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ringroad.kernel.clock import SystemClock
from ringroad.storage.db import connect
from ringroad.storage.migrate import migrate
from ringroad.storage.postgres import Postgres


@contextmanager
def fresh_server() -> Iterator[tuple[Postgres, Path]]:
    """Start one; yields it, and the folder around it, for what else the benchmark keeps."""
    folder = Path(tempfile.mkdtemp(prefix="ringroad-bench-"))
    folder.chmod(0o711)
    server = Postgres(home=folder / "postgres", clock=SystemClock(), may_create_account=False)
    server.start()
    try:
        with connect(server.url()) as conn:
            migrate(conn, now=SystemClock().now())
        yield server, folder
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
