"""Images in the blob store beside the packages that name them.

Whoever stores an image holds a lock until its package is committed; whoever sweeps wants that lock alone. The lock is
the connection's: when that is lost, the package is not committed either.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from ringroad.build.sweep import Sweep, decide_sweep
from ringroad.kernel.errors import Conflict
from ringroad.storage.blobs import Blobs
from ringroad.storage.db import Connection, load_queries

SQL = load_queries("ringroad.build")


@contextmanager
def storing(conn: Connection) -> Iterator[None]:
    """Keep sweepers away while an image is stored and its package is added on this connection."""
    SQL.hold_images(conn)
    try:
        yield
    finally:
        if not conn.closed:
            SQL.let_images_go(conn)


def look_at_images(conn: Connection, blobs: Blobs, *, now: datetime) -> Sweep:
    """Compare the blob store with the packages; change nothing."""
    named = frozenset(row["image_sha256"] for row in SQL.image_names(conn))
    return decide_sweep(blobs.listed(), named, now=now)


def sweep_images(conn: Connection, blobs: Blobs, *, now: datetime) -> Sweep:
    """Delete the images that no package names, and return what was found.

    Raises:
        Conflict: an image is being stored at this moment.
        Unavailable: the store does not answer; what was deleted is gone, the rest can be swept later.
    """
    if not SQL.own_images(conn):
        raise Conflict("an image is being stored", hint="nothing was removed; try again", code="images_busy")
    try:
        found = look_at_images(conn, blobs, now=now)
        for each in found.unnamed:
            blobs.delete(each.sha256)
        return found
    finally:
        if not conn.closed:
            SQL.disown_images(conn)
