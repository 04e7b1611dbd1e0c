"""What people write to make vehicles fail, and what they are told when a line has nothing to build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from ringroad.build.model import Line, Station
from ringroad.build.twin.drift import StationDrift
from ringroad.cli.drive import named_in
from ringroad.cli.drive_scripts import (
    FIRST_CYCLE,
    PERMILLE_DEFAULT,
    Fault,
    Scripts,
    check_faults,
    check_scripts,
    read_fault,
    read_scripts,
)
from ringroad.cli.plant import NO_ORDER, drift_text, hold_text, stations_of, why_nothing
from ringroad.http.twin import twin_view
from ringroad.kernel.clock import SystemClock
from ringroad.kernel.errors import InvalidInput, NotFound
from ringroad.sim.plant import BORN
from ringroad.sim.vecu.config import EcuConfig as EcuOfBench
from ringroad.sim.vecu.medium import MemoryMedium
from ringroad.sim.vecu.port import EcuPort
from ringroad.sim.vecu.script import Behaviour, FaultRate, Script, TornWrite, Trouble
from ringroad.vehicle.config import EcuConfig

PACKAGES = [
    {"ecu": "brake", "version": "1.0.0", "image_sha256": "a"},
    {"ecu": "brake", "version": "1.1.0", "image_sha256": "b"},
    {"ecu": "gateway", "version": "1.1.0", "image_sha256": "c"},
]


def rate(permille: int, code: str = "C0040-64") -> FaultRate:
    return FaultRate(code=code, rate_permille=permille, first_cycle=FIRST_CYCLE)


@pytest.mark.parametrize(
    ("text", "version", "permille"),
    [
        ("brake@1.1.0=C0040-64", "1.1.0", PERMILLE_DEFAULT),
        ("brake@1.1.0=C0040-64:200", "1.1.0", 200),
        (" brake@1.2.0-rc.1+4=C0040-64:1000 ", "1.2.0-rc.1+4", 1000),
        ("brake@1=C0040-64:0", "1", 0),
    ],
)
def test_a_fault_is_read(text: str, version: str, permille: int) -> None:
    assert read_fault(text) == Fault(ecu="brake", version=version, rate=rate(permille))


@pytest.mark.parametrize(
    "text",
    [
        "", "brake", "brake@1.1.0", "brake=C0040-64", "@1.1.0=C0040-64", "brake@1.1.0=", "brake@1.1.0=C0040-64:",
        "brake@1.1.0=C0040-64:1001", "brake@1.1.0=C0040-64:-1", "brake@1.1.0=C0040-64:5%", "brake@1.1.0=X9999-00",
        "brake@1.1.0=C0040", "brake@1.1.0=C0040-64 brake@1.0.0=C0040-64",
    ],
)  # fmt: skip
def test_what_is_no_fault_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        read_fault(text)
    assert refusal.value.hint


def ecu(name: str, agent: str = "uds") -> EcuConfig:
    host = "127.0.0.1" if agent == "uds" else ""
    return EcuConfig(
        name=name, serial=f"{name}-1", hardware_id="hw", mode="ab", key_file="k.pem", agent=agent, host=host
    )


FAILS, DROPS = Behaviour(self_test="fail"), (Trouble(kind="drop_request"),)


def test_a_fault_is_that_of_the_version_it_names_on_its_ecu_and_adds_to_the_script() -> None:
    faults = [read_fault("brake@1.1.0=C0040-64:7"), read_fault("gateway@1.1.0=C0040-64:8")]
    check_faults(faults, PACKAGES)
    scripts = Scripts(of_one={}, of_all=Script(images={"b": FAILS}), faults=faults)
    found = scripts.script(ecu("brake"), Script())
    assert found.behaviour("b", "1.1.0") == Behaviour(self_test="fail", faults=(rate(7),))
    assert found.behaviour("b", "1.1.1") == FAILS  # the same image, released again
    assert found.behaviour("c", "1.1.0") == Behaviour(faults=(rate(7),))
    assert scripts.script(ecu("gateway"), Script()).behaviour("c", "1.1.0") == Behaviour(faults=(rate(8),))
    assert scripts.script(ecu("door"), Script()).behaviour("c", "1.1.0") == Behaviour()


def test_a_fault_of_software_that_is_not_there_is_refused() -> None:
    with pytest.raises(NotFound):
        check_faults([read_fault("gateway@1.0.0=C0040-64")], PACKAGES)


def written(folder: Path, name: str, script: Script) -> str:
    (folder / name).write_bytes(msgspec.json.encode(script))
    return str(folder / name)


def test_a_script_is_for_the_ecu_that_it_names_and_goes_before_the_others(tmp_path: Path) -> None:
    every = Script(images={"a": FAILS}, transport=DROPS)
    one, own = Script(preconditions="refuse"), Script(images={"own": FAILS})
    given = [written(tmp_path, "every.json", every), f"brake={written(tmp_path, 'one.json', one)}"]
    scripts = read_scripts(given, [])
    assert scripts.script(ecu("brake"), own) == one
    assert scripts.script(ecu("door"), own) == every
    assert scripts.script(ecu("node", "sovd"), own) == msgspec.structs.replace(every, transport=())
    assert read_scripts(given[1:], []).script(ecu("door"), own) == own
    check_scripts(scripts, [ecu("brake"), ecu("node", "sovd"), ecu("door"), ecu("apps", "files")])
    check_scripts(scripts, [ecu("brake")])  # where each has its own, the one for all is for nobody


@pytest.mark.parametrize(
    ("given", "script", "ecus", "words"),
    [
        ("brake", Script(), [ecu("door")], "no vehicle here has an ECU brake"),
        ("node", Script(transport=DROPS), [ecu("node", "sovd"), ecu("door")], "node does not speak"),
        ("apps", Script(), [ecu("apps", "files")], "apps is no virtual ECU"),
        ("", Script(transport=DROPS), [ecu("node", "sovd"), ecu("apps", "files")], "does not speak"),
        ("", Script(), [ecu("apps", "container")], "no virtual ECU"),
    ],
)
def test_a_script_that_no_ecu_can_follow_is_refused(
    given: str, script: Script, ecus: list[EcuConfig], words: str
) -> None:
    scripts = Scripts(of_all=None if given else script, of_one={given: script} if given else {})
    with pytest.raises((InvalidInput, NotFound)) as refusal:
        check_scripts(scripts, ecus)
    assert words in refusal.value.message
    assert refusal.value.hint


@pytest.mark.parametrize("names", [("", ""), ("brake=", "brake=")])
def test_two_scripts_for_the_same_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    file = written(tmp_path, "script.json", Script())
    with pytest.raises(InvalidInput, match="two scripts"):
        read_scripts([f"{name}{file}" for name in names], [])


def test_what_of_a_script_did_not_happen_is_told() -> None:
    config = EcuOfBench(serial="E", hardware_id="hw", vin="WRR00000000000001", layout="ab", secret=b"s")
    twice = Trouble(kind="nrc", service=0x22, times=2)
    torn = TornWrite(at=3)
    port = EcuPort(
        config, MemoryMedium(), clock=SystemClock(), script=Script(transport=(twice,), torn_write=torn)
    )
    both = ["nrc at request 1 of service 0x22", "loss of power in flash write 3"]
    for left in (both, both, both[1:]):
        assert port.outstanding == left
        port.exchange(b"\x22\xf1\x8c")


def schedule(*held: str, baseline: str | None = "release_1", waiting: int = 0) -> dict[str, Any]:
    reasons = [{"order_id": f"order_{number}", "reason": reason} for number, reason in enumerate(held)]
    return {"open_orders": waiting, "document": {"baseline_release_id": baseline, "held": reasons}}


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (None, "no schedule yet"),
        (schedule("x", baseline=None), "no baseline release"),
        (schedule("sunroof is blocked: glass is late"), "1 order: sunroof is blocked: glass is late"),
        (schedule(), "no order is open"),
    ],
)
def test_a_line_without_work_says_why_and_what_to_do(found: dict[str, Any] | None, words: str) -> None:
    reason = why_nothing("meridian", found)
    assert reason is not None
    assert words in reason.message
    assert "ringroad" in reason.hint
    assert (reason.code == NO_ORDER) == (words == "no order is open")


@pytest.mark.parametrize("held", [(), ("sunroof is blocked: glass is late",)])
def test_a_line_with_work_has_nothing_in_the_way(held: tuple[str, ...]) -> None:
    assert why_nothing("meridian", schedule(*held, waiting=1)) is None


def test_held_orders_are_counted_by_reason() -> None:
    held = schedule("b", "a", "b")["document"]["held"]
    assert hold_text(held) == "1 order: a; 2 orders: b"
    assert hold_text([]) == ""


def twin(state: Any, how: Any = "", *, measured_cycle_s: float = 66.2) -> dict[str, Any]:
    drift = StationDrift(
        name="roof", vehicles=40, state=state, how=how, cycle_s=60, spread_permille=50,
        measured_cycle_s=measured_cycle_s, measured_spread_permille=48,
    )  # fmt: skip
    found: dict[str, Any] = msgspec.to_builtins(twin_view("p", (drift,), (), source="the file"))
    return found


def test_a_twin_out_of_calibration_says_what_to_write_where_and_what_then() -> None:
    said = drift_text(twin("differs", "slower"))
    assert "releases no schedule" in said
    assert 'station "roof": cycle_s = 66, spread_permille = 48' in said
    assert "ringroad programme import FILE --replace; the line is planned again with it" in said
    of_plant = drift_text(twin("differs", "slower") | {"source": "plant wren-mother"})
    assert "write into the document of plant wren-mother" in of_plant
    assert 'station "roof": cycle_s = { mean = 66, spread_permille = 48 }' in of_plant
    assert "ringroad plant import FILE --replace (or: ringroad plant learn wren-mother); the line" in of_plant
    for state, words in (("agrees", "takes the times"), ("unmeasured", "not measured enough")):
        assert "releases no schedule" not in drift_text(twin(state)), words
    assert (twin("differs", "slower")["may_release"], twin("agrees")["may_release"]) == (False, True)


LINE = Line(name="l", stations=(Station(name="roof", cycle_s=60), Station(name="a=b", cycle_s=60)), ratios=())


def test_stations_and_percents_are_read() -> None:
    assert stations_of(["roof=10", "a=b=0"], LINE) == {"roof": 10, "a=b": 0}
    assert stations_of([], LINE) == {}


@pytest.mark.parametrize("text", ["", "roof", "roof=", "roof=-5", "roof=1001", "roof=1.5", "floor=5", "=5"])
def test_what_is_no_slow_station_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        stations_of([text], LINE)


def test_vehicles_that_are_named_must_have_been_born(tmp_path: Path) -> None:
    for vin in ("V1", "V2"):
        (tmp_path / vin).mkdir()
    (tmp_path / "V1" / BORN).write_text("{}", encoding="utf-8")
    assert named_in(tmp_path, ["V1"]) == {"V1"}
    assert named_in(tmp_path, []) == frozenset()
    for strange in ("V2", "V3", "../V1", ""):
        with pytest.raises(NotFound):
            named_in(tmp_path / "V1" if strange == "../V1" else tmp_path, ["V1", strange])
