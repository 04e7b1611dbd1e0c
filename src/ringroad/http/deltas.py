"""What became of the deltas of a release, for the API and the console."""

from __future__ import annotations

from datetime import datetime

from ringroad.build.deltas.store import wanted_deltas
from ringroad.http.views_build import DeltaView
from ringroad.storage.db import Connection


def deltas_of(conn: Connection, release_id: str, *, now: datetime) -> list[DeltaView]:
    """Return what became of each delta that vehicles need for a release."""
    return [
        DeltaView(
            ecu=pair.ecu, ecu_class=pair.ecu_class, from_version=pair.from_version, to_version=pair.to_version,
            vehicles=pair.vehicles, state=pair.state or "wanted", reason=pair.reason or "",
            algorithm=pair.algorithm or "", image_bytes=pair.to_bytes, delta_bytes=pair.delta_bytes,
            full_bytes=pair.full_bytes, saved_bytes=pair.saved_bytes,
        )
        for pair in wanted_deltas(conn, now=now, release_id=release_id)
    ]  # fmt: skip
