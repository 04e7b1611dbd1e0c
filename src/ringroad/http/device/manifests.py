"""A vehicle version manifest on its way in: verified against the inventory, then applied, in one transaction.

Source: Uptane 2.1, 5.3.2.1 (the Director checks every manifest; one that fails is dropped).
"""

from __future__ import annotations

from datetime import datetime

import structlog

from ringroad.http.device.store import SQL
from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import NotFound
from ringroad.ship.store.reading import read_inventory
from ringroad.ship.store.reports import apply_manifest
from ringroad.storage.db import Connection, transaction
from ringroad.trust.keys import parse_public_key
from ringroad.trust.manifest import InventoryKey, decode_manifest, verify_manifest

log = structlog.get_logger()


class ManifestIntake:
    """Takes manifests of vehicles that were authenticated by their token."""

    def __init__(self, ids: Ids) -> None:
        self._ids = ids

    def __call__(self, conn: Connection, vin: str, body: bytes, now: datetime) -> None:
        """Verify and apply one manifest; the same bytes again are answered like the first time.

        Raises:
            NotFound: no such vehicle.
            Untrusted: the manifest fails a check; it changes nothing.
        """
        with transaction(conn):
            # The vehicle is locked first, so that two manifests cannot both follow the same predecessor.
            if SQL.lock_vehicle(conn, vin=vin) is None:
                raise NotFound("no such vehicle")
            rows, last = read_inventory(conn, vin)
            previous = decode_manifest(last) if last is not None else None
            if last == body:
                return
            manifest = verify_manifest(
                body,
                vin=vin,
                inventory=[
                    InventoryKey(
                        serial=row["serial"],
                        key=parse_public_key(row["public_key"]),
                        is_primary=row["is_primary"],
                    )
                    for row in rows
                ],
                previous=previous,
                now=now,
            )
            result = apply_manifest(conn, self._ids, manifest=manifest, body=body, now=now)
        log.info("manifest", vin=vin, result=str(result))
