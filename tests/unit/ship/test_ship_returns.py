from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from ringroad.ship.model import Before, EcuFacts, KnownImages, PackageFacts, ReleaseFacts, VehicleFacts
from ringroad.ship.returns import Kept, ReturnPlan, plan_returns


def release(number: int, *, counter: int = 1, ecus: Sequence[str] = ("brake",)) -> ReleaseFacts:
    packages = {
        ecu: PackageFacts(
            id=f"pkg_{ecu}_{number}", ecu=ecu, version=f"{number}.0.0", filename=f"{ecu}.bin", format="bin",
            hardware_ids=("HW-1",), image_sha256=f"{ecu}@{number}", image_sha512="", image_bytes=1,
            release_counter=counter,
        )
        for ecu in ecus
    }  # fmt: skip
    return ReleaseFacts(
        id=f"release_{number}",
        programme_id="p",
        version=f"{number}.0.0",
        state="signed",
        variants={"city": packages},
    )


BAD = release(2)
OLD = release(1)


def car(number: int, runs: str = "brake@2") -> VehicleFacts:
    ecu = EcuFacts(name="brake", serial=f"S{number}", hardware_id="HW-1", image_sha256=runs)
    return VehicleFacts(vin=f"V{number:03}", programme_id="p", variant="city", ecus={"brake": ecu})


def planned(
    vehicles: Sequence[tuple[VehicleFacts, ReleaseFacts | None]],
    bad: ReleaseFacts = BAD,
    before: Mapping[str, Before] | None = None,
) -> ReturnPlan:
    kept = [Kept(vehicle=vehicle, previous=previous, before=before or {}) for vehicle, previous in vehicles]
    packages = {
        ("brake", package.image_sha256): package for package in (release(0).variants["city"]["brake"],)
    }
    return plan_returns(kept, bad, KnownImages(packages=packages))


def test_who_returns_to_what_and_who_cannot_is_counted_with_the_reason() -> None:
    plan = planned([
        (car(1), OLD), (car(2), OLD), (car(3, "brake@9"), OLD), (car(4), release(3, ecus=("head",))), (car(5), None),
    ])  # fmt: skip
    assert plan.to == {"1.0.0": 2}
    assert plan.packages == {"brake 1.0.0": 2}
    assert plan.cannot == {"before_unknown: brake": 1, "no_previous_release": 1}
    assert plan.vehicles == 2
    assert plan.vins == ("V001", "V002")


def test_what_is_on_record_of_an_ecu_is_what_it_returns_to() -> None:
    before = {"brake": Before(image_sha256="brake@0", known=True)}
    plan = planned([(car(1), release(3, ecus=("head",)))], before=before)
    assert (plan.to, plan.packages, plan.cannot) == ({"3.0.0": 1}, {"brake 0.0.0": 1}, {})
    assert plan.sha256 != planned([(car(1), OLD)]).sha256


def test_who_is_off_the_release_by_all_that_is_known_is_not_on_it_and_nobody_else_is_left_out() -> None:
    bad = release(2, ecus=("brake", "head"))

    def runs(head: str | None, since: ReleaseFacts | None) -> ReturnPlan:
        brake = car(1, "brake@3")
        ecu = EcuFacts(name="head", serial="H1", hardware_id="HW-1", image_sha256=head)
        vehicle = dataclasses.replace(brake, ecus={**brake.ecus, "head": ecu})
        return plan_returns([Kept(vehicle=vehicle, previous=OLD, since=since)], bad, KnownImages(packages={}))

    same = {**release(3).variants["city"], "head": bad.variants["city"]["head"]}
    with_it = dataclasses.replace(release(3), variants={"city": same})
    gone = [runs("head@3", None), runs("head@2", with_it)]
    assert [plan.cannot for plan in gone] == [{}, {}]
    left = [runs("head@2", None), runs("head@2", release(3)), runs(None, None), runs(None, with_it)]
    assert [plan.cannot for plan in left] == [{"not_on_release: brake": 1}] * 4


def test_nobody_returns_below_a_committed_counter() -> None:
    plan = planned([(car(1), OLD)], release(2, counter=2))
    assert (plan.to, plan.cannot) == ({}, {"release_counter: brake": 1})


@given(st.permutations(range(6)))
def test_the_digest_depends_on_the_vehicles_not_on_their_order(order: Sequence[int]) -> None:
    assert planned([(car(number), OLD) for number in order]) == planned(
        [(car(number), OLD) for number in range(6)]
    )


def test_another_vehicle_another_release_or_another_refusal_is_another_plan() -> None:
    other = dataclasses.replace(OLD, id="release_0")
    plans = [planned(each) for each in (
        [(car(1), OLD)], [(car(2), OLD)], [(car(1), other)], [(car(1, "brake@9"), OLD)], [(car(1), OLD), (car(2), OLD)],
    )]  # fmt: skip
    assert len({plan.sha256 for plan in plans}) == len(plans)
