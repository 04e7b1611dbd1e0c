"""A line that bears vehicles: programme, plant with a gate, a baseline, and births at the store."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ringroad.build import birth, store, store_plant
from ringroad.build.as_built import BuiltPart, Checked
from ringroad.build.images import read_image
from ringroad.build.plant.read import read_plant
from ringroad.build.plant.store import choose_plant, save_plant
from ringroad.storage.db import Connection
from support.mes import CLOCK, IDS, new_order, wren

PLANT = (Path(__file__).parents[2] / "examples" / "first" / "plant.toml").read_text(encoding="utf-8")
CHECKS = ("leak", "torque", "software")
STATION, END = "marriage", "flash_and_test"


def who() -> dict[str, Any]:
    """Return who does it, and when."""
    return {"actor": "tester", "now": CLOCK.now()}


def line_with_baseline(conn: Connection, *, gates: bool = True, rxswins: dict[str, str] | None = None) -> str:
    """Import programme and plant, and set a baseline; return the release's id."""
    wren(conn)
    if gates:
        save_plant(conn, IDS, plant=read_plant(PLANT), generation=0, **who())
        choose_plant(conn, IDS, plant_id="wren-mother", programme_id="wren", **who())
    return new_baseline(conn, "1.0", counter=1, rxswins=rxswins or {"braking": "R13H-0042"})


def new_release(conn: Connection, version: str, *, counter: int, rxswins: dict[str, str]) -> str:
    """Sign a release of both ECUs; return its id."""
    ids = {
        ecu: store.add_package(
            conn, IDS, programme_id="wren", ecu=ecu, name=ecu, image=read_image(f"{ecu} {version}".encode()),
            version=version, release_counter=counter, **who(),
        ).id
        for ecu in ("brake", "gateway")
    }  # fmt: skip
    document = {"variants": {"van": ids}, "groups": [{"name": "all", "ecus": list(ids)}], "rxswins": rxswins}
    made = store.create_release(
        conn, IDS, programme_id="wren", name="first", version=version, document=document, **who()
    )
    checked = store.check_release(conn, IDS, release_id=made.id, generation=1, **who())
    assert checked.state == "checked", checked.findings
    store.mark_signed(conn, IDS, release_id=made.id, generation=2, image_targets_version=counter, **who())
    return made.id


def new_baseline(conn: Connection, version: str, *, counter: int, rxswins: dict[str, str]) -> str:
    """Make a release what the line flashes; return its id."""
    release_id = new_release(conn, version, counter=counter, rxswins=rxswins)
    before = store.get_baseline(conn, "wren")
    store.set_baseline(
        conn,
        IDS,
        programme_id="wren",
        release_id=release_id,
        generation=before.generation if before else 0,
        **who(),
    )
    return release_id


def started_order(conn: Connection) -> str:
    """Order a van that enters the line at once; return the order's id."""
    order_id = new_order(conn)
    store_plant.start_order(conn, IDS, order_id=order_id, **who())
    return order_id


def passed(
    *, failing: Sequence[str] = (), at: datetime | None = None, checks: Sequence[str] = CHECKS
) -> list[Checked]:
    """Return the results of the gate's checks."""
    return [Checked(check=c, station=END, passed=c not in failing, at=at or CLOCK.now()) for c in checks]


def fitted(order_id: str, lot: str, *, part: str = "battery", **more: Any) -> BuiltPart:
    """Return a part that was fitted now."""
    given: dict[str, Any] = {
        "id": f"{order_id}-{part}-{lot}", "order_id": order_id, "station": STATION, "part": part, "lot": lot,
        "fitted_at": CLOCK.now(), **more,
    }  # fmt: skip
    return BuiltPart(**given)


def registration(conn: Connection, vin: str, **changes: Any) -> dict[str, Any]:
    """Return what `register_vehicle` takes for a van with the baseline."""
    baseline = store.get_baseline(conn, "wren")
    assert baseline
    targets = store.baseline_targets(conn, "wren", "van")
    hardware = {"gateway": "gateway-hw-1", "brake": "nrf52840-brake-1"}
    return {
        "vin": vin, "programme_id": "wren", "variant": "van", "gateway": "native",
        "token_sha256": hashlib.sha256(vin.encode()).digest(),
        "ecus": [
            birth.NewEcu(serial=f"{vin}-{name}", name=name, hardware_id=hardware[name], public_key={"k": name},
                         key_id=name, is_primary=name == "gateway")
            for name in hardware
        ],
        "installed": [
            birth.Installed(serial=f"{vin}-{name}", filename=targets[name].filename, version=targets[name].version,
                            image_sha256=targets[name].image_sha256)
            for name in hardware
        ],
        "release_id": baseline.release_id, **who(), **changes,
    }  # fmt: skip


def born(
    conn: Connection,
    vin: str,
    *,
    parts: Sequence[tuple[str, str]] = (),
    failed_first: Sequence[str] = (),
    **more: Any,
) -> str:
    """Let a van be born with parts, each a name and a lot; return its order."""
    order_id = started_order(conn)
    now = CLOCK.now()
    tests = [*passed(failing=failed_first, at=now - timedelta(seconds=9)), *passed(at=now)]
    built = birth.AsBuilt(
        parts=[fitted(order_id, lot, part=part) for part, lot in parts], tests=tests, **more
    )
    birth.register_vehicle(conn, IDS, **registration(conn, vin, order_id=order_id, as_built=built))
    return order_id


def registration_body(conn: Connection, vin: str, *, order_id: str) -> dict[str, Any]:
    """Return the same as a body of ``POST /api/v1/vehicles``."""
    given = registration(conn, vin)
    ecus = [
        {"serial": e.serial, "name": e.name, "hardware_id": e.hardware_id, "public_key": e.public_key, "key_id": e.key_id,
         "is_primary": e.is_primary, "filename": i.filename, "version": i.version, "image_sha256": i.image_sha256}
        for e, i in zip(given["ecus"], given["installed"], strict=True)
    ]  # fmt: skip
    kept = {name: given[name] for name in ("vin", "programme_id", "variant", "gateway", "release_id")}
    return kept | {"token_sha256": given["token_sha256"].hex(), "ecus": ecus, "order_id": order_id}
