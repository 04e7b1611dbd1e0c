"""The worker's thread that delivers webhooks: it waits for facts, and lets the deliverer do its rounds."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

from ringroad.kernel.errors import NotFound
from ringroad.publish.deliver import Deliverer, Means, take_turn
from ringroad.publish.keyfile import read_key
from ringroad.storage.db import Connection, Opener

ANSWER_S = 0.2  # seconds to wait for an answer before looking for other webhooks
QUIET_S = 1.0  # seconds between two looks when nothing wakes us: retries become due
UNSETTLED_S = 0.1  # seconds until the next look while somebody still writes facts
PAUSE_S = 0.05  # seconds between two looks in vain, however often facts wake us
SHARE_MAX = 4  # looking in vain may take a fifth of the time
END_S_MAX = 5.0  # seconds that answers under way get at the end
CHANNEL = "ringroad_fact"


def deliver_until(stop: threading.Event, open_connection: Opener, means: Means) -> None:
    """Deliver until `stop` is set, or return at once when another worker of this database delivers.

    Raises:
        Unavailable: the database went away; what was not written down is sent again.
    """
    with closing(open_connection()) as conn, closing(open_connection()) as listener:
        if not take_turn(conn):
            return
        listener.execute(f"LISTEN {CHANNEL}".encode())
        deliverer = Deliverer(means)
        while not stop.is_set():
            started_s = means.clock.monotonic_s()
            if not deliverer.round(conn, wait_s=ANSWER_S) and not deliverer.is_busy:
                stop.wait(max(PAUSE_S, (means.clock.monotonic_s() - started_s) * SHARE_MAX))
                _rest(listener, UNSETTLED_S if deliverer.is_waiting else QUIET_S)
        ends_s = means.clock.monotonic_s() + END_S_MAX
        while deliverer.is_busy and means.clock.monotonic_s() < ends_s:
            deliverer.collect(conn, wait_s=ANSWER_S)


def key_of(path: Path) -> bytes | None:
    """Return the installation's key; None: no webhook was ever made here, or it is lost. Raises: Corrupt, Unavailable."""
    try:
        return read_key(path)
    except NotFound:
        return None


def _rest(listener: Connection, seconds: float) -> None:
    """Sleep until something is notified or the time is over; drop what queued up, once is enough."""
    for _ in listener.notifies(timeout=seconds, stop_after=1):
        break
    for _ in listener.notifies(timeout=0):
        pass
