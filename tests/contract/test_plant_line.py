"""The whole plant: real database, real firmware, real agents; a release, a line, vehicles on record."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from ringroad.build import as_built, birth, store, store_plant
from ringroad.build.images import read_image
from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.kernel.facts import FactKind
from ringroad.sim.assembly import BaselinePackage, Blueprint, Surroundings
from ringroad.sim.plant import Birth, LineOrder, LineSchedule, Plant, PlantSettings
from ringroad.sim.vecu.medium import MemoryMedium
from ringroad.storage.db import Connection, connect, transaction
from ringroad.storage.ledger import latest_fact, read_facts

pytestmark = pytest.mark.engines

EXAMPLE = (Path(__file__).parents[2] / "examples" / "road" / "programme.toml").read_text()
HOME = Surroundings(
    server_url="https://127.0.0.1:8443",
    mqtt_host="",
    mqtt_port=1883,
    ca_pem=b"ca",
    image_root=b"i",
    director_root=b"d",
)
CLOCK, IDS = SystemClock(), SystemIds()


class StoreRegistrar:
    """The server's side without HTTP in between: the same store functions its handlers call."""

    def __init__(self, conn: Connection, blobs: Mapping[str, bytes]) -> None:
        self.conn = conn
        self.blobs = blobs

    async def current_schedule(self) -> LineSchedule | None:
        found = store_plant.current_schedule(self.conn, "roadster")
        if found is None:
            return None
        waiting = {
            order.id: order for order in store_plant.waiting_orders(self.conn, programme_id="roadster")
        }
        orders = tuple(
            LineOrder(id=item.id, variant=item.variant, region=item.region, state="building" if item.state == "building" else "open")
            for item in (waiting[id_] for id_ in found.document.sequence if id_ in waiting)
        )  # fmt: skip
        return LineSchedule(
            generation=found.generation, orders=orders, release_id=found.document.baseline_release_id
        )

    async def blueprint(self, *, variant: str, region: str) -> Blueprint:
        programme = store.get_programme(self.conn, "roadster").programme
        baseline = store.get_baseline(self.conn, "roadster")
        assert baseline
        document = programme.to_document()
        targets = store.baseline_targets(self.conn, "roadster", variant)
        packages = {
            ecu: BaselinePackage(
                ecu=ecu, filename=package.filename, version=package.version, format=package.format,
                image=self.blobs[package.image_sha256], release_counter=package.release_counter,
                hardware_ids=package.hardware_ids,
            )
            for ecu, package in targets.items()
        }  # fmt: skip
        return Blueprint(
            programme_id="roadster", variant=variant, region=region, release_id=baseline.release_id,
            ecus={name: document["ecus"][name] for name in programme.variants[variant].ecus}, packages=packages,
        )  # fmt: skip

    async def passed_by(
        self, _order_id: str, _parts: Sequence[Mapping[str, Any]]
    ) -> frozenset[tuple[str, str]]:
        return frozenset()

    async def start_order(self, order_id: str) -> None:
        with transaction(self.conn):
            store_plant.start_order(self.conn, IDS, order_id=order_id, actor="system:plant", now=CLOCK.now())

    async def reopen_order(self, order_id: str) -> None:
        with transaction(self.conn):
            store_plant.reopen_order(self.conn, IDS, order_id=order_id, actor="system:plant", now=CLOCK.now())

    async def register(self, registration: Mapping[str, Any], *, order_id: str) -> None:
        given = dict(registration)
        tests = [
            as_built.Checked(**each | {"at": datetime.fromisoformat(each["at"])})
            for each in given.pop("tests")
        ]
        assert given.pop("parts") == []
        with transaction(self.conn):
            birth.register_vehicle(
                self.conn, IDS,
                ecus=[birth.NewEcu(**ecu) for ecu in given.pop("ecus")],
                installed=[birth.Installed(**image) for image in given.pop("installed")],
                token_sha256=bytes.fromhex(given.pop("token_sha256")),
                order_id=order_id, actor="system:plant", now=CLOCK.now(), as_built=birth.AsBuilt(tests=tests),
                **given,
            )  # fmt: skip


@pytest.fixture
def conn(pg_url: str) -> Iterator[Connection]:
    with connect(pg_url) as connection:
        yield connection


def firmware() -> bytes:
    package = pytest.importorskip("zephyr_4_4_0_hci_usb_nrf52840dk_default")
    found: Callable[[], bytes] = package.read_firmware_bytes
    return found()


def test_vehicles_of_both_variants_leave_the_line_with_real_firmware(
    conn: Connection, tmp_path: Path
) -> None:
    who: dict[str, Any] = {"actor": "tester", "now": CLOCK.now()}
    source = EXAMPLE.replace('[variants.box]\necus = ["telebox"]\n', "")
    source = source[: source.index("# ECU: SWUpdate client")]
    with transaction(conn):
        programme = store.import_programme(conn, IDS, source=source, **who).programme
        real, blobs, ids = firmware(), {}, {}
        for name, ecu in programme.ecus.items():
            data = real if ecu.agent == "uds" else f"two banks of {name}".encode() * 100
            facts = read_image(data)
            blobs[facts.sha256] = data
            ids[name] = store.add_package(
                conn, IDS, programme_id="roadster", ecu=name, name=name, image=facts, version="1.0",
                release_counter=1, **who,
            ).id  # fmt: skip
        document = {
            "variants": {n: {e: ids[e] for e in v.ecus} for n, v in programme.variants.items()},
            "groups": [
                {"name": "all", "ecus": sorted(ids, key=lambda name: (programme.ecus[name].primary, name))}
            ],
        }
        release = store.create_release(
            conn, IDS, programme_id="roadster", name="first", version="1.0", document=document, **who
        )
        checked = store.check_release(conn, IDS, release_id=release.id, generation=1, **who)
        assert checked.state == "checked", checked.findings
        store.mark_signed(conn, IDS, release_id=release.id, generation=2, image_targets_version=1, **who)
        store.set_baseline(conn, IDS, programme_id="roadster", release_id=release.id, generation=0, **who)
        for variant in ("city", "premium", "city"):
            store_plant.add_order(conn, IDS, programme_id="roadster", variant=variant, region="EU", **who)
        schedule = store_plant.replan(
            conn, IDS, CLOCK, programme_id="roadster", cause="new_orders", actor="system:plant",
            triggered_s=CLOCK.monotonic_s(),
        )  # fmt: skip
    births: list[Birth] = []

    async def on_birth(born: Birth) -> None:
        births.append(born)

    plant = Plant(
        settings=PlantSettings(folder=tmp_path, stations=2, takt_s=0.01, durability="buffered"),
        registrar=StoreRegistrar(conn, blobs), surroundings=HOME, clock=CLOCK, secret=secrets.token_bytes,
        vin_numbers=count(1), on_birth=on_birth, medium=lambda serial: MemoryMedium(),  # noqa: ARG005
    )  # fmt: skip
    asyncio.run(asyncio.wait_for(plant.run(births_max=3), timeout=60))
    assert [item.order_id for item in births] == list(schedule.document.sequence)
    assert sorted(len(item.registration["ecus"]) for item in births) == [4, 4, 33]
    assert store_plant.waiting_orders(conn, programme_id="roadster") == []
    for item in births:
        (fact,) = read_facts(conn, subject=item.vin)
        assert fact.kind is FactKind.VEHICLE_BORN
        started = latest_fact(conn, kind=FactKind.ORDER_STARTED, subject=item.order_id)
        assert started
        assert (len(fact.causes), fact.causes[-1]) == (3, started.id)
