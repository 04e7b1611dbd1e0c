"""odxtools, which we did not write, reads the PDX of a virtual ECU, asks by it and understands every answer."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from odxtools.database import Database

from ringroad.cli.pdx_read import read_pdx
from ringroad.sim.vecu.config import EcuConfig, read_config
from ringroad.sim.vecu.describe import DATA, ROUTINES, WRITTEN, write_pdx
from ringroad.sim.vecu.ecu import VirtualEcu
from ringroad.sim.vecu.medium import MemoryMedium
from ringroad.sim.vecu.script import Behaviour, FaultRate, Script
from ringroad.vehicle.agents.wire import Did, Identity, Rid
from ringroad.vehicle.segments import content_digest
from ringroad.vehicle.uds import hmac_key

pytestmark = pytest.mark.foreign

EXAMPLE = Path(__file__).parents[2] / "examples/vecu"
IMAGE = b"an image of the brake"
CONFIG = EcuConfig(
    serial="SN1", hardware_id="HW1", vin="WRR00000000000001", layout="ab", supported_faults=("C0040-64", "P0A1F-00"),
    data={"0100": "00000001"},
)  # fmt: skip
TEXTS = {"C0040-64": "Wheel speed sensor, right front: signal not plausible", "U0100-87": "Engine is silent"}


class StandingClock:
    """No session ends, however slow the machine is."""

    def now(self) -> datetime:
        return datetime.fromtimestamp(0, UTC)

    def monotonic_s(self) -> float:
        return 0.0


def load(path: Path) -> Any:
    """odxtools' database of a file; its own loader leaves the file open."""
    database = Database()
    database.add_pdx_file(BytesIO(path.read_bytes()))
    database.refresh()
    return database


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("pdx") / "ecu.pdx"
    write_pdx(path, {"brake": (CONFIG, TEXTS), "zone-left": (CONFIG, {})})
    database = load(path)
    assert [one.long_name for one in database.base_variants] == ["brake", "zone-left"]
    return database.base_variants[0]


@pytest.fixture
def ecu() -> VirtualEcu:
    """An ECU whose image is committed, and raises a fault in every cycle."""
    sha256 = hashlib.sha256(IMAGE).hexdigest()
    faults = Behaviour(faults=(FaultRate(code="C0040-64", rate_permille=1000),))
    ecu = VirtualEcu(CONFIG, MemoryMedium(), clock=StandingClock(), script=Script(images={sha256: faults}))
    ecu.power_on()
    unlock(ecu)
    identity = Identity(
        version="1.0", sha256=bytes.fromhex(sha256), content_sha256=content_digest([(0, IMAGE)]), release_counter=1,
        hardware_id="HW1",
    )  # fmt: skip
    for request in (
        b"\x2e\xfd\x02" + identity.encode(), b"\x31\x01\xff\x00", b"\x34\x00\x44" + bytes(4) + len(IMAGE).to_bytes(4, "big"),
        b"\x36\x01" + IMAGE, b"\x37", b"\x31\x01\x02\x02" + content_digest([(0, IMAGE)]), b"\x31\x01\xff\x01",
        b"\x31\x01\x03\x01",
    ):  # fmt: skip
        assert ecu.handle(request)[-1][0] != 0x7F
    ecu.power_on()
    unlock(ecu)
    assert ecu.handle(b"\x31\x01\x03\x02")[-1][0] != 0x7F
    return ecu


def unlock(ecu: VirtualEcu) -> None:
    for request in (b"\x10\x03", b"\x10\x02"):
        ecu.handle(request)
    seed = ecu.handle(b"\x27\x01")[-1][2:]
    assert ecu.handle(b"\x27\x02" + hmac_key(CONFIG.secret)(1, seed)) == [b"\x67\x02"]


def ask(layer: Any, ecu: VirtualEcu, service: Any, **values: Any) -> dict[str, Any]:
    """Ask what odxtools encodes; return what it makes of the answer."""
    request = bytes(service.encode_request(**values))
    (message,) = layer.decode_response(ecu.handle(request)[-1], request)
    return dict(message.param_dict)


def by_name(layer: Any, name: str) -> Any:
    return next(one for one in layer.services if one.long_name == name)


def test_it_reads_every_data_identifier(layer: Any, ecu: VirtualEcu) -> None:
    read = {
        did: ask(layer, ecu, by_name(layer, f"Read {label}"))["value"] for did, (label, _) in DATA.items()
    }
    assert read[Did.VIN] == CONFIG.vin
    assert read[Did.SOFTWARE_VERSION] == "1.0"
    assert read[Did.COMMITTED_COUNTER] == 1
    assert read[Did.ACTIVE_SESSION] == 2
    assert bytes(read[Did.IMAGE_SHA256]) == hashlib.sha256(IMAGE).digest()


def test_it_reads_a_fault_with_its_text(layer: Any, ecu: VirtualEcu) -> None:
    found = ask(layer, ecu, by_name(layer, "Read faults by status"), status_mask=0x08)["faults"]
    assert [(one["code"].display_trouble_code, one["code"].text.text) for one in found] == [
        ("C0040-64", TEXTS["C0040-64"])
    ]
    ask(layer, ecu, by_name(layer, "Clear all faults"))
    assert ask(layer, ecu, by_name(layer, "Read faults by status"), status_mask=0x08)["faults"] == []


def test_it_writes_and_starts_routines(layer: Any, ecu: VirtualEcu) -> None:
    ask(layer, ecu, by_name(layer, f"Write {WRITTEN[Did.FINGERPRINT_WRITE]}"), value=b"2026")
    read = ask(layer, ecu, by_name(layer, f"Read {DATA[Did.FINGERPRINT_READ][0]}"))
    assert bytes(read["value"]) == b"2026"
    assert bytes(ask(layer, ecu, by_name(layer, "Read Data 0100"))["value"]) == b"\0\0\0\1"
    ask(layer, ecu, by_name(layer, "Write Data 0100"), value=b"\0\0\0\7")
    assert bytes(ask(layer, ecu, by_name(layer, "Read Data 0100"))["value"]) == b"\0\0\0\7"
    answers = {
        rid: ask(layer, ecu, by_name(layer, f"Start {label}"), record=b"") for rid, label in ROUTINES.items()
    }
    refused = {rid: answer["reason"] for rid, answer in answers.items() if answer["service_id"] == 0x7F}
    assert refused == {
        Rid.CHECK_MEMORY: 0x13,  # it wants a digest
        Rid.ACTIVATE: 0x22,  # the other bank holds nothing
        Rid.CHECK_DEPENDENCIES: 0x24,  # of memory that was not checked
    }
    assert bytes(answers[Rid.STATUS]["record"]) == ecu.status().encode()


def test_it_understands_a_refusal(layer: Any, ecu: VirtualEcu) -> None:
    ecu.power_on()
    assert ask(layer, ecu, by_name(layer, "Start Commit what runs"), record=b"") == {
        "service_id": 0x7F, "service": 0x31, "reason": 0x7F,
    }  # fmt: skip


def test_the_example_is_what_its_ecu_is_described_as_today(tmp_path: Path) -> None:
    config = read_config(EXAMPLE / "ecu.toml")
    write_pdx(tmp_path / "brake.pdx", {"brake": (config.ecu, config.fault_texts)})
    assert read_pdx(EXAMPLE / "brake.pdx") == read_pdx(tmp_path / "brake.pdx")
    old, new = (load(folder / "brake.pdx") for folder in (EXAMPLE, tmp_path))
    names = [[one.short_name for one in each.base_variants[0].services] for each in (old, new)]
    assert names[0] == names[1]
