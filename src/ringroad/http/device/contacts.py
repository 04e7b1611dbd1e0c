"""When vehicles were last heard of, kept coarsely: a poll writes nothing, and each vehicle one row in a few hours.

Who asks is noted in memory, once per `CONTACT_S`, and written behind, a bounded lot at a time. What a process that ends
had not written yet is noted again at the vehicle's next poll.

Invariant: a contact is of a request that proved who the vehicle is, and is never put back.
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from datetime import datetime
from typing import Final

import psycopg
import structlog

from ringroad.http.device.read_model import Device
from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import Unavailable
from ringroad.storage.db import Connection, Opener, load_queries

SQL = load_queries("ringroad.http.device")
LOG = structlog.get_logger()
CONTACT_S: Final = 6 * 3_600  # seconds for which a contact that is on record is recent enough
SPREAD: Final = 360  # moments, over which vehicles that came at once come apart by their next contact
FLUSH_S: Final = 1.0  # seconds between two lots
FLUSH_ROWS_MAX: Final = 4_000  # vehicles per lot; 40 ms of a thread's time, all of a million in five minutes


class Contacts:
    """Who was heard of and is not on record as that yet. A vehicle waits here once at most."""

    def __init__(self, open_connection: Opener, *, clock: Clock) -> None:
        self._open_connection = open_connection
        self._clock = clock
        self._conn: Connection | None = None
        self._dues = [0]  # shared among a million vehicles
        self._met: list[str] = []
        self.now_s = 1  # seconds of the monotonic clock, of the last lot

    def meet(self, vin: str, device: Device) -> None:
        """Note a vehicle whose contact is due: `device.contact_due_s` is over."""
        device.contact_due_s = self._dues[zlib.crc32(vin.encode()) % len(self._dues)]
        self._met.append(vin)

    async def run(self) -> None:
        """Write until cancelled."""
        try:
            while True:
                self._turn()
                if self._met:
                    lot, self._met = self._met[:FLUSH_ROWS_MAX], self._met[FLUSH_ROWS_MAX:]
                    if not await asyncio.to_thread(self._store, lot, self._clock.now()):
                        self._met = lot + self._met
                await asyncio.sleep(FLUSH_S)
        finally:
            self._disconnect()

    def _turn(self) -> None:
        """Look at the clock, for all that ask until the next lot."""
        self.now_s = int(self._clock.monotonic_s()) + 1
        first = self.now_s // 60
        if self._dues[0] // 60 != first + CONTACT_S // 60:
            self._dues = [60 * (first + CONTACT_S // 60 + more) for more in range(SPREAD)]

    def _store(self, lot: list[str], now: datetime) -> bool:
        """Write a lot in one transaction; say whether it is written. Never raises."""
        try:
            if self._conn is None or self._conn.closed:
                self._conn = self._open_connection()
            SQL.note_contacts(self._conn, vins=lot, now=now, recent_s=CONTACT_S)
        except (psycopg.Error, Unavailable, OSError) as error:
            LOG.warning("contacts wait", vehicles=len(lot), detail=str(error))
            self._disconnect()
            return False
        return True

    def _disconnect(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            with contextlib.suppress(psycopg.Error, OSError):
                conn.close()
