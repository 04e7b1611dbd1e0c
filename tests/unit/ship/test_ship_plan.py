from __future__ import annotations

import dataclasses
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.hours import Window
from ringroad.kernel.versions import CLAUSES_MAX
from ringroad.ship.check import CheckFacts, blocks, check_plan
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
    Judgement,
    Plan,
    PlanRequest,
    Target,
    WaveSize,
    deal_waves,
    digest_targets,
    judge_vehicle,
    make_plan,
)
from ringroad.ship.ramp import HarmBudget

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
    assert judge_vehicle(vehicle, given_release, IMAGES) == Judgement(verdict=verdict, reason=reason)


def plan(cars: list[VehicleFacts], given_release: ReleaseFacts | None = None, **request: Any) -> Plan:
    asked = PlanRequest(**{"query": "all", "waves": (WaveSize(vehicles=2),), **request})
    return make_plan(asked, given_release or release(), cars, IMAGES, now=NOW)


@given(st.permutations(range(30)), st.text(max_size=5))
def test_the_order_of_vehicles_does_not_change_the_plan(order: list[int], seed: str) -> None:
    assert plan([car(n) for n in order], seed=seed) == plan([car(n) for n in range(30)], seed=seed)


def test_another_seed_deals_other_vehicles_into_the_first_wave() -> None:
    cars = [car(number) for number in range(200)]
    first = [{t.vin for t in plan(cars, seed=seed).targets if t.wave == 1} for seed in "abc"]
    assert len({frozenset(vins) for vins in first}) == 3


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 60), min_size=1),
    st.lists(st.integers(1, 50), max_size=4),
    st.text(max_size=3),
)
def test_every_vehicle_gets_one_wave_and_each_wave_its_share_of_each_stratum(
    strata_sizes: dict[str, int], sizes: list[int], seed: str
) -> None:
    strata: dict[tuple[str, ...], list[str]] = {
        (name,): [f"{name}{number}" for number in range(count)] for name, count in strata_sizes.items()
    }
    dealt = deal_waves([WaveSize(vehicles=size) for size in sizes], strata, seed=seed)
    wave_of, counts = dealt.wave_of, dealt.wave_vehicles
    assert not dealt.control
    total = sum(strata_sizes.values())
    assert sum(counts) == len(wave_of) == total
    assert all(count > 0 for count in counts)
    assert Counter(wave_of.values()) == dict(enumerate(counts, 1))
    for index, size in enumerate(sizes[: len(counts) - 1]):
        assert counts[index] == size
    for name, count in strata_sizes.items():
        first = sum(wave_of[vin] == 1 for vin in strata[(name,)])
        assert abs(first - counts[0] * count / total) <= len(strata_sizes) + 1


@settings(max_examples=40, deadline=None)  # a shared machine may be slow
@given(
    st.dictionaries(st.sampled_from("ab"), st.integers(1, 60), min_size=1),
    st.integers(1, 80),
    st.text(max_size=3),
)
def test_the_control_group_is_drawn_by_the_same_lot_and_its_share_is_that_of_each_stratum(
    strata_sizes: dict[str, int], held: int, seed: str
) -> None:
    strata: dict[tuple[str, ...], list[str]] = {
        (name,): [f"{name}{number}" for number in range(count)] for name, count in strata_sizes.items()
    }
    dealt = deal_waves([WaveSize(vehicles=5)], strata, seed=seed, control=WaveSize(vehicles=held))
    total = sum(strata_sizes.values())
    assert len(dealt.control) == min(held, total)
    assert dealt.control.isdisjoint(dealt.wave_of)
    assert len(dealt.control) + len(dealt.wave_of) == total == len(set(dealt.rank_of.values()))
    for name, count in strata_sizes.items():
        mine = sum(vin in dealt.control for vin in strata[(name,)])
        assert abs(mine - len(dealt.control) * count / total) <= len(strata_sizes) + 1
    backwards = {key: vins[::-1] for key, vins in reversed(strata.items())}
    assert dealt == deal_waves([WaveSize(vehicles=5)], backwards, seed=seed, control=WaveSize(vehicles=held))


def test_a_plan_holds_a_control_group_back_and_names_it() -> None:
    found = plan(
        [car(number) for number in range(50)], control=WaveSize(permille=200), waves=(WaveSize(vehicles=4),)
    )
    assert (found.count("control"), found.count("match"), found.wave_vehicles) == (10, 40, (4, 36))
    held = {target.vin: target.wave for target in found.targets if target.verdict == "control"}
    assert set(held.values()) == {0}
    other = plan([car(number) for number in range(50)], control=WaveSize(permille=200), seed="2")
    assert held.keys() != {target.vin for target in other.targets if target.verdict == "control"}


def test_a_campaign_with_a_budget_of_harm_has_one_wave_in_the_order_of_the_lot() -> None:
    cars = [car(number) for number in range(50)]
    found = plan(cars, ramp=HarmBudget(), control=WaveSize(vehicles=10), gate=SEQUENTIAL)
    assert found.wave_vehicles == (40,)
    ranks = sorted(target.rank for target in found.targets if target.wave)
    assert ranks == list(range(11, 51))
    by_rank = [target.vin for target in sorted(found.targets, key=lambda each: each.rank)]
    assert by_rank != sorted(by_rank)


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


def codes(found: Plan, given_release: ReleaseFacts | None = None, **facts: Any) -> dict[str, Severity]:
    findings = check_plan(found, given_release or release(), CheckFacts(**facts))
    return {finding.code: finding.severity for finding in findings}


def test_a_good_plan_has_no_findings() -> None:
    assert codes(plan([car(number) for number in range(60)])) == {}


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
    assert blocks(check_plan(found, given_release, CheckFacts(**facts))) is (
        severity is B or B in codes(found, given_release, **facts).values()
    )


def test_a_ramp_needs_no_first_wave_that_is_small() -> None:
    found = plan(CARS, gate=SEQUENTIAL, control=WaveSize(vehicles=20), ramp=HarmBudget(harmed_first=1))
    assert codes(found) == {"control_group_small": W}


def test_the_checker_does_not_trust_the_planner() -> None:
    good = plan(CARS)
    moved = (dataclasses.replace(good.targets[0], wave=1 + good.targets[0].wave % 2), *good.targets[1:])
    forged = dataclasses.replace(good, targets=moved)
    assert codes(forged) == {"targets_changed": B, "waves_differ": B}
    twice = (dataclasses.replace(good.targets[0], rank=good.targets[1].rank), *good.targets[1:])
    assert codes(dataclasses.replace(good, targets=twice)) == {"targets_changed": B, "waves_differ": B}
    dealt_twice = dataclasses.replace(good, targets=twice, targets_sha256=digest_targets(twice))
    assert codes(dealt_twice) == {"waves_differ": B}
    stranger = (*good.targets, Target(vin="Z", verdict="mismatch", reason="x", wave=1))
    sneaked = dataclasses.replace(good, targets=stranger, targets_sha256=digest_targets(stranger))
    assert codes(sneaked)["waves_differ"] is B
