"""Verified manifests, made from what the database knows of a vehicle's ECUs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ringroad.storage.db import Connection
from ringroad.trust.manifest import UNLISTED, EcuReport, InstalledImage, RunningHashes, VehicleManifest
from support.fleet import sha

_NUMBERS = itertools.count(1)


def manifest_of(conn: Connection, vin: str, version: str, ecus: Sequence[str]) -> VehicleManifest:
    """A manifest in which the named ECUs show `version`, or what nobody lists; others show what they had."""
    number = next(_NUMBERS)
    rows = conn.execute(
        "SELECT e.name, e.serial, i.filename, i.image_sha256 FROM ecu e JOIN ecu_installed i USING (vin, serial)"
        " WHERE e.vin = %s",
        [vin],
    ).fetchall()
    reports = {}
    for row in rows:
        changed = row["name"] in ecus
        reports[row["serial"]] = EcuReport(
            ecu_serial=row["serial"],
            installed_image=InstalledImage(
                filename=_filename(row["name"], version) if changed else row["filename"],
                length=1_000,
                hashes=RunningHashes(
                    sha256=sha(f"{row['name']} {version}") if changed else row["image_sha256"],
                    sha512="0" * 128,
                ),
            ),
            attacks_detected="",
            latest_time="2026-11-23T08:00:00Z",
            counter=number,
        )
    return VehicleManifest(vin=vin, primary_serial="", reports=reports, digest=f"{number:064x}")


def _filename(ecu: str, version: str) -> str:
    return UNLISTED if version == UNLISTED else f"{ecu}-{version}.bin"
