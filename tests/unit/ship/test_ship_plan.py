from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.hours import Window
from ringroad.kernel.versions import CLAUSES_MAX
from ringroad.ship.check import CheckFacts, Dealt, blocks, check_plan
from ringroad.ship.gate import GatePolicy
from ringroad.ship.guard import Metric, MetricName, SequentialPolicy
from ringroad.ship.model import (
    EcuDesign,
    EcuFacts,
    KnownImages,
    PackageFacts,
    ReleaseFacts,
    Severity,
    VehicleFacts,
)
from ringroad.ship.plan import (
    VERDICTS,
    Asked,
    Plan,
    PlanRequest,
    Population,
    WaveSize,
    asked_of,
    cut_waves,
    make_plan,
)
from ringroad.ship.query import parse_query
from ringroad.ship.ramp import HarmBudget
from ringroad.ship.resolve import resolve

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
SEQUENTIAL = GatePolicy(sequential=SequentialPolicy())
INSTALLS_ONLY = GatePolicy(
    sequential=SequentialPolicy(metrics=(Metric(name=MetricName.ROLLED_BACK, margin_milli=3_000),))
)


def package(ecu: str, version: str = "2.0.0", counter: int = 2, **more: Any) -> PackageFacts:
    return PackageFacts(
        **{
            "id": f"pkg_{ecu}", "ecu": ecu, "version": version, "filename": f"{ecu}-{version}.bin",
            "format": "bin", "hardware_ids": ("HW-1",), "image_sha256": f"{ecu}@{version}", "image_sha512": "",
            "image_bytes": 1_000_000, "release_counter": counter, **more,
        }
    )  # fmt: skip


def release(**more: Any) -> ReleaseFacts:
    packages = {"brake": package("brake"), "head": package("head")}
    return ReleaseFacts(
        **{
            "id": "release_2", "programme_id": "p", "version": "2.0.0", "state": "signed",
            "variants": {"city": packages},
            "ecus": {"brake": EcuDesign(storage="inplace"), "head": EcuDesign(storage="ab")}, **more,
        }
    )  # fmt: skip


NIGHT = Window(hours=("22:00-05:00",), time_zone="Europe/Oslo")

IMAGES = KnownImages(
    counter_of={f"{ecu}@{number}.0.0": number for ecu in ("brake", "head") for number in (1, 2)}
)


def car(number: int = 1, version: str | None = "1.0.0", **more: Any) -> VehicleFacts:
    ecus = {
        name: EcuFacts(
            name=name, serial=f"{name}-{number}", hardware_id="HW-1", version=version,
            image_sha256=None if version is None else f"{name}@{version}",
        )
        for name in ("brake", "head", "seat")
    }  # fmt: skip
    return VehicleFacts(
        **{"vin": f"V{number:05d}", "programme_id": "p", "variant": "city", "ecus": ecus, **more}
    )


def without(vehicle: VehicleFacts, ecu: str) -> VehicleFacts:
    return dataclasses.replace(vehicle, ecus={name: one for name, one in vehicle.ecus.items() if name != ecu})


def needing(ecu: str, wanted: str) -> ReleaseFacts:
    return release(variants={"city": {"head": package("head", requires=((ecu, wanted),))}})


@pytest.mark.parametrize(
    ("vehicle", "given_release", "verdict", "reason"),
    [
        (car(), release(), "match", ""),
        (car(version="2.0.0"), release(), "already_installed", ""),
        (car(programme_id="q"), release(), "mismatch", "programme: q"),
        (car(variant="van"), release(), "mismatch", "variant_not_in_release: van"),
        (car(blocked_reason="ROLLBACK_FAILED"), release(), "mismatch", "blocked: ROLLBACK_FAILED"),
        (without(car(), "head"), release(), "mismatch", "no_ecu: head"),
        (car(), release(variants={"city": {"head": package("head", hardware_ids=("HW-2",))}}), "mismatch", "hardware: head HW-1"),
        (car(version=None), release(), "unknown", "configuration: brake never reported"),
        (car(version=None, gateway="ddi"), release(), "match", ""),
        (car(version="2.0.0"), release(variants={"city": {"head": package("head", "1.5.0", counter=1)}}), "mismatch", "release_counter: head runs 2"),
        (car(), needing("seat", ">=1.0"), "match", ""),
        (car(), needing("seat", ">=1.1"), "mismatch", "requires: head needs seat >=1.1"),
        (car(), needing("roof", ">=1.1"), "mismatch", "requires: head needs roof >=1.1"),
        (car(version="odd"), needing("seat", ">=1.1"), "unknown", "requires: version of seat not known"),
        (car(version="odd"), needing("seat", "*"), "unknown", "requires: version of seat not known"),
        (car(), needing("seat", "*"), "match", ""),
        (car(), needing("seat", ",".join([">=0.1"] * CLAUSES_MAX)), "match", ""),
        (car(), needing("head", ">=2"), "match", ""),  # comes with the release
    ],
)  # fmt: skip
def test_a_vehicle_is_judged_with_a_reason(
    vehicle: VehicleFacts, given_release: ReleaseFacts, verdict: Any, reason: str
) -> None:
    found = resolve(vehicle, given_release, IMAGES)
    assert (found.verdict, found.reason) == (verdict, reason)


def populations(cars: list[VehicleFacts]) -> list[Population]:
    return [Population(kind=one.vin.encode(), vehicles=1, vehicle=one) for one in cars]


def plan(cars: list[VehicleFacts], given_release: ReleaseFacts | None = None, **request: Any) -> Plan:
    asked = PlanRequest(**{"query": "all", "waves": (WaveSize(vehicles=2),), **request})
    return make_plan(asked, given_release or release(), populations(cars), IMAGES, now=NOW)


@given(st.permutations(range(30)))
def test_the_order_of_populations_does_not_change_the_plan(order: list[int]) -> None:
    assert plan([car(n) for n in order]) == plan([car(n) for n in range(30)])


def test_a_population_is_resolved_once_and_counts_as_many_vehicles_as_it_has() -> None:
    many = [
        Population(kind=b"a", vehicles=600, vehicle=car(1)),
        Population(kind=b"b", vehicles=300, vehicle=car(2, version="2.0.0")),
        Population(kind=b"c", vehicles=100, vehicle=car(3, region="US")),
    ]
    asked = PlanRequest(query='region = ""', waves=(WaveSize(permille=10),), control=WaveSize(vehicles=100))
    found = make_plan(asked, release(), many, IMAGES, now=NOW)
    assert {verdict: found.count(verdict) for verdict in VERDICTS if found.count(verdict)} == {
        "match": 500, "control": 100, "already_installed": 300,
    }  # fmt: skip
    assert found.not_selected == {'region = ""': 100}
    assert (found.wave_vehicles, found.wave_starts) == ((6, 494), [101, 107])
    assert [each.number for each in found.resolved] == [1, 2]


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("all", Asked()),
        (
            "variant = city and ecu.brake.version < 2 and ecu.head.present = true",
            Asked(ecus=("brake", "head")),
        ),
        ("vin in (A, B) or not vin = C", Asked(vins=("A", "B", "C"))),
        ("vin ~ WRR*", Asked(vin_patterns=("WRR%",))),
        ("vin ~ WRR_* and vin = A", Asked(vins=("A",), vin_patterns=(r"WRR\_%",))),
        ("ecu.brake.serial = 7", Asked(ecus=("brake",), serials=("7",))),
        (
            "ecu.brake.serial ~ 7* or ecu.head.serial = x",
            Asked(ecus=("brake", "head"), serials=("x",), serial_patterns=("7%",)),
        ),
        ("ecu.brake.filename = x", Asked(ecus=("brake",), filenames=True)),
        ("tag = pilot or tag ~ x*", Asked(tags=("pilot",), tag_patterns=("x%",))),
        ("list not in (winter, summer)", Asked(lists=("summer", "winter"))),
        ("telemetry.Vehicle.Speed > 3", Asked()),
        ("release = r", Asked(release=True)),
        ("born < 2026-01-01", Asked(born=True)),
        ("attribute.b = 1 and attribute.a = 2", Asked(attributes=("a", "b"))),
    ],
)
def test_vehicles_are_told_apart_by_what_the_query_looks_at(query: str, asked: Asked) -> None:
    assert asked_of(parse_query(query)) == asked


@given(
    st.integers(0, 300),
    st.lists(st.integers(1, 50), max_size=4),
    st.one_of(st.none(), st.integers(1, 400)),
)
def test_the_lot_is_cut_into_the_control_group_and_waves_without_rest(
    matches: int, sizes: list[int], control: int | None
) -> None:
    request = PlanRequest(
        query="all",
        waves=tuple(WaveSize(vehicles=size) for size in sizes),
        control=WaveSize(vehicles=control) if control else None,
    )
    held, waves = cut_waves(request, matches)
    assert held == min(matches, control or 0)
    assert held + sum(waves) == matches
    assert all(waves)
    assert list(waves[: len(sizes)][:-1]) == sizes[: max(0, len(waves[: len(sizes)]) - 1)]


def test_a_campaign_with_a_budget_of_harm_has_one_wave() -> None:
    cars = [car(number) for number in range(50)]
    found = plan(cars, ramp=HarmBudget(), control=WaveSize(vehicles=10), gate=SEQUENTIAL)
    assert found.wave_vehicles == (40,)


def test_waves_by_permille_and_the_rest() -> None:
    cars = [car(number) for number in range(1_000)]
    found = plan(cars, waves=(WaveSize(permille=1), WaveSize(permille=100)))
    assert found.wave_vehicles == (1, 100, 899)
    assert plan(cars[:3], waves=(WaveSize(permille=1), WaveSize(vehicles=50))).wave_vehicles == (1, 2)


@pytest.mark.parametrize(
    "make",
    [
        WaveSize,
        lambda: WaveSize(vehicles=1, permille=1),
        lambda: WaveSize(vehicles=0),
        lambda: WaveSize(permille=1_001),
        lambda: PlanRequest(query="all", waves=(WaveSize(vehicles=1),) * 51),
        lambda: PlanRequest(query="all", vehicle_deadline_s=0),
        lambda: PlanRequest(query="all", window=Window(hours=("22:00-22:00",))),
        lambda: PlanRequest(query="all", seed="x" * 201),
        lambda: PlanRequest(query="all", ramp=HarmBudget()),  # nothing to set the pace by
        lambda: PlanRequest(query="all", ramp=HarmBudget(), gate=INSTALLS_ONLY),
    ],
)
def test_a_request_that_cannot_be_carried_out_cannot_be_made(make: Any) -> None:
    with pytest.raises(InvalidInput):
        make()


def as_planned(found: Plan) -> Dealt:
    return Dealt(
        verdicts={verdict: count for verdict in VERDICTS if (count := found.count(verdict))},
        waves=dict(enumerate(found.wave_vehicles, 1)),
        places=found.count("match") + found.count("control"),
    )


def codes(found: Plan, given_release: ReleaseFacts | None = None, **facts: Any) -> dict[str, Severity]:
    given = CheckFacts(**{"dealt": as_planned(found), **facts})
    findings = check_plan(found, given_release or release(), given)
    return {finding.code: finding.severity for finding in findings}


def test_a_good_plan_has_no_findings() -> None:
    cars = [car(number) for number in range(60)]
    assert codes(plan(cars, gate=GatePolicy(soak_s=60))) == {}


B, W, I = Severity.BLOCKING, Severity.WARNING, Severity.INFO  # noqa: E741
CARS = [car(number) for number in range(60)]


@pytest.mark.parametrize(
    ("found", "given_release", "facts", "code", "severity"),
    [
        (plan(CARS), release(state="checked"), {}, "release_not_signed", B),
        (plan(CARS), release(id="other"), {}, "release_differs", B),
        (plan([]), release(), {}, "no_targets", B),
        (plan(CARS, query="variant = van"), release(), {}, "no_targets", B),
        (plan([car(1, variant="van"), *CARS]), release(), {}, "vehicles_mismatch", W),
        (plan([car(99, version=None), *CARS]), release(), {}, "vehicles_unknown", W),
        (plan([car(99, version="2.0.0"), *CARS]), release(), {}, "vehicles_already_installed", I),
        (plan([car(99, version="0.1.0"), *CARS]), release(), {}, "no_rollback_image", B),
        (plan(CARS, waves=(WaveSize(vehicles=30),)), release(), {}, "wave_1_large", W),
        (plan(CARS, waves=()), release(), {}, "one_wave", W),
        (plan(CARS, gate=GatePolicy(reports_min=5)), release(), {}, "wave_below_reports_min", W),
        (plan(CARS, gate=GatePolicy(failed_permille_max=1_000)), release(), {}, "gate_cannot_halt", B),
        (plan(CARS, gate=GatePolicy(soak_s=60, silence_s_max=30)), release(), {}, "silence_below_soak", W),
        (plan(CARS, window=Window(hours=("22:00-22:01",))), release(), {}, "window_too_short", B),
        (plan(CARS, window=NIGHT, vehicle_deadline_s=17 * 3600), release(), {}, "deadline_before_window", B),
        (plan(CARS, vehicle_deadline_s=60), release(), {}, "deadline_short", W),
        (plan(CARS), release(), {"open_elsewhere": {"campaign_1": 3}}, "other_open_campaign", B),
        (plan(CARS, priority=2), release(), {"open_elsewhere": {"campaign_1": 3}, "level_of": {"campaign_1": 2}}, "other_open_campaign", B),
        (plan(CARS, recall=True), release(), {"open_elsewhere": {"campaign_1": 3}, "level_of": {"campaign_1": 10}}, "other_open_campaign", B),
        (plan(CARS, priority=9), release(), {"held_elsewhere": {"campaign_1": 3}}, "other_open_campaign", B),
        (plan(CARS, recall=True), release(), {"held_elsewhere": {"campaign_1": 3}}, "recall_takes_control", W),
        (plan(CARS, priority=2), release(), {"open_elsewhere": {"campaign_1": 3}}, "goes_first", I),
        (plan(CARS, priority=2), release(), {"open_elsewhere": {"campaign_1": 3}, "level_of": {"campaign_1": 9}}, "goes_second", I),
        (plan(CARS, gate=SEQUENTIAL), release(), {}, "no_control_group", B),
        (plan(CARS, gate=SEQUENTIAL, control=WaveSize(vehicles=20)), release(), {}, "control_group_small", W),
        (plan(CARS, gate=SEQUENTIAL, control=WaveSize(vehicles=40)), release(), {}, "control_group_large", W),
        (plan(CARS, control=WaveSize(vehicles=20)), release(), {}, "control_unused", W),
        (plan(CARS, control=WaveSize(vehicles=20), gate=INSTALLS_ONLY), release(), {}, "control_unused", W),
        (plan(CARS, control=WaveSize(vehicles=60)), release(), {}, "no_targets", B),
        (plan(CARS), release(), {"cancelling_elsewhere": {"campaign_1": 3}}, "cancel_awaited", I),
    ],
)  # fmt: skip
def test_the_checker_finds(
    found: Plan, given_release: ReleaseFacts, facts: dict[str, Any], code: str, severity: Severity
) -> None:
    assert codes(found, given_release, **facts).get(code) is severity
    assert blocks(check_plan(found, given_release, CheckFacts(dealt=as_planned(found), **facts))) is (
        severity is B or B in codes(found, given_release, **facts).values()
    )


@pytest.mark.parametrize("where", ["open_elsewhere", "held_elsewhere", "cancelling_elsewhere"])
@pytest.mark.parametrize("recall", [False, True])
def test_another_campaign_is_called_by_its_name(where: str, *, recall: bool) -> None:
    facts: dict[str, Any] = {where: {"campaign_1": 3, "campaign_2": 2}, "name_of": {"campaign_1": "Brakes"}}
    found = check_plan(plan(CARS, recall=recall), release(), CheckFacts(**facts))
    said = [each.message for each in found if "campaign " in each.message]
    assert [" campaign Brakes" in each for each in said] == [True, False]
    assert "campaign_2" in said[1]  # of one whose name is not known


def test_a_ramp_needs_no_first_wave_that_is_small() -> None:
    found = plan(CARS, gate=SEQUENTIAL, control=WaveSize(vehicles=20), ramp=HarmBudget(harmed_first=1))
    assert codes(found) == {"control_group_small": W, "control_cannot_decide": W, "budget_in_flight": I}


def test_the_checker_does_not_trust_the_planner() -> None:
    good = plan(CARS, control=WaveSize(vehicles=20), gate=SEQUENTIAL)
    dealt = as_planned(good)
    assert "waves_differ" not in codes(good)
    for wrong in (
        Dealt(),
        dataclasses.replace(dealt, waves={**dealt.waves, 1: 3}),
        dataclasses.replace(dealt, waves={**dealt.waves, 9: 1}),
        dataclasses.replace(dealt, places=dealt.places - 1),  # two vehicles in one place of the lot
        dataclasses.replace(dealt, strangers=1),
        dataclasses.replace(dealt, verdicts={**dealt.verdicts, "mismatch": 1}),
    ):
        assert codes(good, dealt=wrong)["waves_differ"] is B
