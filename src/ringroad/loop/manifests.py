"""Accept a vehicle version manifest: verify it against the inventory, then let `ship` take it over.

Fits the native gateway's `ApplyManifest` with ``partial(accept_manifest, ids)``.

Source: Uptane 5.3.2.1: check the manifest against the inventory; refuse what is replayed or incomplete.
"""

from __future__ import annotations

import hashlib
from datetime import datetime

import structlog

from ringroad.kernel.clock import Ids
from ringroad.ship import store
from ringroad.ship.store.manifests import ManifestResult
from ringroad.storage.db import Connection, transaction
from ringroad.trust.keys import parse_public_key
from ringroad.trust.manifest import InventoryKey, decode_manifest, verify_manifest

LOG = structlog.get_logger(__name__)


def accept_manifest(ids: Ids, conn: Connection, vin: str, raw: bytes, now: datetime) -> None:
    """Verify and apply a manifest as it was received, in one transaction; the same bytes again are fine.

    Raises:
        Untrusted: a signature, counter, ECU or the vehicle is not what the inventory says.
        InvalidInput: these bytes are no manifest.
        NotFound: there is no such vehicle.
    """
    with transaction(conn):
        # Two manifests at once are judged in turn: the second is compared with the first, not beside it.
        store.lock_vehicle(conn, vin)
        inventory, last = store.read_inventory(conn, vin)
        if last is not None and hashlib.sha256(last).digest() == hashlib.sha256(raw).digest():
            return  # a retry after a lost answer
        manifest = verify_manifest(
            raw,
            vin=vin,
            inventory=[
                InventoryKey(
                    serial=row["serial"],
                    key=parse_public_key(row["public_key"]),
                    is_primary=row["is_primary"],
                )
                for row in inventory
            ],
            previous=decode_manifest(last) if last is not None else None,
            now=now,
        )
        result = store.apply_manifest(conn, ids, manifest=manifest, body=raw, now=now)
    if result is not ManifestResult.RECORDED:
        LOG.info("manifest", vin=vin, result=result.value)
