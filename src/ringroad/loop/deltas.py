"""Make the delta that most vehicles wait for, in a process of its own, and keep it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Final

import structlog

from ringroad.build.deltas.choose import NO_DELTA_STATUS, Later, Pair, choose_next, too_large, too_little
from ringroad.build.deltas.store import leave_out, save_delta, turn, wanted_deltas
from ringroad.build.store_images import storing
from ringroad.kernel.clock import Clock, Ids
from ringroad.kernel.errors import Corrupt, NotFound
from ringroad.protocol.delta.apply import ALGORITHMS
from ringroad.storage.blobs import Blobs
from ringroad.storage.db import Connection, transaction

LOG = structlog.get_logger(__name__)

MAKE_S_MAX: Final = 1800  # seconds for one delta; 128 MiB take a minute on an idle core
LOOK_S: Final = 0.2  # seconds between two looks at the process and at the stop event
DELTAS_MAX: Final = 20  # per call, so that a stop is heard between them


class _PassingError(Exception):
    """A delta could not be made, for a reason that may pass."""


def make_wanted(
    conn: Connection, blobs: Blobs, ids: Ids, clock: Clock, *, stop: threading.Event, later: Later
) -> int:
    """Make deltas until none is wanted, or for a while; return how many pairs were settled.

    What fails for a reason that may pass (no room in the temporary folder, no memory, no time) is kept in `later`, and
    the next pair is tried.

    Raises:
        Unavailable: database or blob store do not answer; the pair is tried again later.
    """
    settled = 0
    with turn(conn) as mine:
        for _ in range(DELTAS_MAX if mine else 0):
            now = clock.now()
            pair = (
                None if stop.is_set() else choose_next(later.without(wanted_deltas(conn, now=now), now=now))
            )
            if pair is None:
                break
            try:
                if not _settle(conn, blobs, pair, ids=ids, clock=clock, stop=stop):
                    break
                settled += 1
            except (_PassingError, OSError) as error:
                again = later.hold(pair, now=clock.now())
                LOG.warning(
                    "no delta yet", ecu=pair.ecu, base=pair.from_version, new=pair.to_version, error=str(error),
                    again=again.isoformat(timespec="seconds"),
                )  # fmt: skip
    return settled


def _settle(
    conn: Connection, blobs: Blobs, pair: Pair, *, ids: Ids, clock: Clock, stop: threading.Event
) -> bool:
    """Make one delta or say why there will be none; return False when the process was asked to end before.

    Raises:
        _PassingError, OSError: it may succeed another time.
    """
    reason = too_large(pair)
    with tempfile.TemporaryDirectory(prefix="ringroad-delta-") as name:
        folder = Path(name)
        algorithm = ""
        if not reason:
            try:
                _fetch(blobs, pair.from_sha256, folder / "base")
                _fetch(blobs, pair.to_sha256, folder / "new")
            except (NotFound, Corrupt) as error:
                reason = error.message
        if not reason:
            algorithm, reason = _run(pair, folder, clock, stop)
            if not algorithm and not reason:
                return False
        if algorithm:
            reason = too_little(pair, (folder / "delta").stat().st_size)
        now = clock.now()
        if reason:
            with transaction(conn):
                leave_out(conn, ids, pair, reason=reason, now=now)
        else:
            with storing(conn):
                blob = blobs.put_file(folder / "delta")
                with transaction(conn):
                    save_delta(conn, ids, pair, algorithm=algorithm, blob=blob, now=now)
        LOG.info("delta", ecu=pair.ecu, base=pair.from_version, new=pair.to_version, left_out=reason)
    return True


def _fetch(blobs: Blobs, sha256: str, path: Path) -> None:
    with path.open("wb") as file:
        for chunk in blobs.read(sha256):
            file.write(chunk)


def _run(pair: Pair, folder: Path, clock: Clock, stop: threading.Event) -> tuple[str, str]:
    """Run the process that makes it; return the name of the format, or why there is none, or neither at a stop.

    Raises:
        _PassingError: it did not end in time, was killed, or crashed.
    """
    command = [
        sys.executable, "-m", "ringroad.build.deltas.make", pair.ecu_class,
        *(str(folder / name) for name in ("base", "new", "delta")),
    ]  # fmt: skip
    started_s = clock.monotonic_s()
    errors = folder / "errors"
    with errors.open("wb") as told, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=told) as process:
        try:
            while process.poll() is None and not stop.wait(LOOK_S):
                if clock.monotonic_s() - started_s > MAKE_S_MAX:
                    raise _PassingError(f"it was not made within {MAKE_S_MAX} s")
        finally:
            if process.poll() is None:
                process.kill()
        said = process.stdout.read().decode("ascii", "replace") if process.stdout else ""
    if process.returncode == 0 and said in ALGORITHMS:
        return said, ""
    if stop.is_set():
        return "", ""
    if process.returncode == NO_DELTA_STATUS:
        return "", "what was made does not give the new image"
    detail = errors.read_text(errors="replace")[-2000:]
    raise _PassingError(f"it could not be made (status {process.returncode}): {detail}")
