"""Build: what the end of a site's line may flash, and vehicles that are born there, with or without its hub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ringroad.build.site.store_held import (
    LineHolds,
    check_vin,
    keep_to_tell,
    line_holds,
    must_flash,
    read_held,
)
from ringroad.build.site.store_key import read_key
from ringroad.build.store_birth import get_birth
from ringroad.build.store_packages import list_programmes
from ringroad.http.context import Context
from ringroad.protocol.site import SiteBirth, SiteTest
from ringroad.storage.db import Connection
from ringroad.storage.leaf import stored_credentials

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringroad.build.as_built import Checked
    from ringroad.http.births import NewVehicle


def is_site(ctx: Context) -> bool:
    """Say whether this installation is a site."""
    return stored_credentials(ctx.settings.site) is not None


def sealing(ctx: Context, conn: Connection) -> tuple[Any, bytes | None]:
    """Return a site's own key and the Director's word for it; nothing, while it has none."""
    held, key = read_held(conn), read_key(ctx.settings.site)
    if held is None or key is None or held.plant_key.key_id != key.public_key.keyid:
        return None, None
    return key, held.certificate


def may_flash(ctx: Context, conn: Connection, programme_id: str) -> None:
    """Go on if the line may flash; anything but a site may. Raises: Unavailable, with why and until when."""
    if is_site(ctx):
        must_flash(conn, programme_id, is_here=ctx.blobs.exists, now=ctx.clock.now())


def tell_hub(ctx: Context, conn: Connection, data: NewVehicle, tests: Sequence[Checked]) -> None:
    """Note a vehicle that was born in this transaction for the hub.

    Raises:
        Unavailable: the line may not flash, or nobody could verify the record: the vehicle is not born.
        InvalidInput: its VIN is another plant's, or what is told of it is too large.
    """
    now = ctx.clock.now()
    held = must_flash(conn, data.programme_id, is_here=ctx.blobs.exists, now=now)
    check_vin(held, data.vin)
    born = SiteBirth(
        number=1, after=0, programme_id=data.programme_id, record=get_birth(conn, data.vin).raw.decode(),
        gateway=data.gateway, token_sha256=data.token_sha256,
        public_keys={ecu.serial: ecu.public_key for ecu in data.ecus}, tags=data.tags,
        tests=[SiteTest(check=t.check, station=t.station, passed=t.passed, at=t.at) for t in tests],
    )  # fmt: skip
    keep_to_tell(conn, born, vin=data.vin, now=now)


def lines(ctx: Context, conn: Connection) -> list[LineHolds]:
    """Return what each line of this site may flash."""
    now = ctx.clock.now()
    return [
        line_holds(conn, each.programme.id, is_here=ctx.blobs.exists, now=now)
        for each in list_programmes(conn)
    ]
