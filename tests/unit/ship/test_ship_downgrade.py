"""The resolver and the checker on releases that go back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ringroad.ship.check import CheckFacts, check_plan
from ringroad.ship.model import EcuFacts, KnownImages, PackageFacts, ReleaseFacts, Severity, VehicleFacts
from ringroad.ship.plan import Plan, PlanRequest, Population, make_plan
from ringroad.ship.resolve import resolve

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def package(version: str, *, counter: int = 1, **more: Any) -> PackageFacts:
    return PackageFacts(
        id=f"pkg_{version}", ecu="brake", version=version, filename=f"{version}.bin", format="bin",
        hardware_ids=("HW-1",), image_sha256=f"brake@{version}", image_sha512="", image_bytes=1,
        release_counter=counter, **more,
    )  # fmt: skip


def release(
    given: PackageFacts, *, over: tuple[str, ...] = (), until: datetime | None = None
) -> ReleaseFacts:
    back = {("brake", given.image_sha256): frozenset(f"brake@{version}" for version in over)}
    return ReleaseFacts(
        id=f"release_{given.version}", programme_id="p", version=given.version, state="signed",
        variants={"city": {"brake": given}}, back=back if over else {}, back_until=until,
    )  # fmt: skip


def car(version: str | None) -> VehicleFacts:
    sha256 = None if version is None else f"brake@{version}"
    ecu = EcuFacts(name="brake", serial="s", hardware_id="HW-1", version=version, image_sha256=sha256)
    return VehicleFacts(vin="V", programme_id="p", variant="city", ecus={"brake": ecu})


PACKAGES = [package(version) for version in ("1.0", "2.0", "2.1", "3.0")]
IMAGES = KnownImages(
    counter_of={each.image_sha256: each.release_counter for each in PACKAGES},
    packages={(each.ecu, each.image_sha256): each for each in PACKAGES},
)


@pytest.mark.parametrize(
    ("wanted", "runs", "verdict", "reason"),
    [
        (release(package("2.0")), "2.1", "mismatch", "downgrade: brake 2.1 to 2.0"),
        (release(package("2.0"), over=("2.1",)), "2.1", "match", ""),
        (release(package("2.0"), over=("2.1",)), "3.0", "mismatch", "downgrade: brake 3.0 to 2.0"),
        (release(package("2.0"), over=("2.1",)), "1.0", "match", ""),
        (release(package("2.0", upgrades_from="<2"), over=("2.1",)), "2.1", "match", ""),
        (
            release(package("2.0", counter=0), over=("2.1",)),
            "2.1",
            "mismatch",
            "release_counter: brake runs 1",
        ),
    ],
)
def test_only_a_decision_on_the_very_image_lets_a_vehicle_back(
    wanted: ReleaseFacts, runs: str, verdict: str, reason: str
) -> None:
    found = resolve(car(runs), wanted, IMAGES)
    assert (found.verdict, found.reason) == (verdict, reason)


def test_the_reason_is_a_sentence_and_so_is_the_decision() -> None:
    refused = resolve(car("2.1"), release(package("2.0")), IMAGES)
    assert refused.sentence == (
        "brake 2.0 is older than brake 2.1, which the vehicle runs: it would be a downgrade and needs a signed decision."
    )
    taken = resolve(car("2.1"), release(package("2.0"), over=("2.1",)), IMAGES)
    assert taken.sentence == "A signed decision takes brake back from 2.1 to 2.0."
    assert taken.back == ("brake",)
    assert resolve(car("1.0"), release(package("2.0"), over=("2.1",)), IMAGES).back == ()


def test_no_way_over_other_releases_goes_back_without_a_decision() -> None:
    wanted = release(package("3.0", upgrades_from="==1.0"))
    old = release(package("1.0"))
    assert resolve(car("2.0"), wanted, IMAGES, [old]).verdict == "mismatch"
    decided = replace(old, back={("brake", "brake@1.0"): frozenset({"brake@2.0"})})
    assert resolve(car("2.0"), wanted, IMAGES, [decided]).steps == ("release_1.0", "release_3.0")


def findings(until: datetime | None, *, runs: str = "2.1") -> dict[str, tuple[Severity, str]]:
    wanted = release(package("2.0"), over=("2.1",) if until else (), until=until)
    population = Population(kind=b"k", vehicles=7, vehicle=car(runs))
    plan = make_plan(PlanRequest(query="all"), wanted, [population], IMAGES, now=NOW)
    found = check_plan(plan, wanted, CheckFacts())
    return {each.code: (each.severity, each.message) for each in found if each.code.startswith("downgrade")}


def test_the_checker_says_that_vehicles_go_back_and_when_the_decision_ends_too_early() -> None:
    assert findings(None) == {}
    far = findings(NOW + timedelta(days=100))
    assert far == {
        "downgrade": (Severity.WARNING, "vehicles go back to older software by decision, by ECU: brake (7)")
    }
    assert findings(NOW + timedelta(minutes=1))["downgrade_ends"][0] is Severity.WARNING
    assert findings(NOW)["downgrade_ended"][0] is Severity.BLOCKING


def over_a_release_that_goes_back(until: datetime) -> tuple[Plan, dict[str, tuple[Severity, str]]]:
    decided = release(package("1.0"), over=("2.0",), until=until)
    wanted = release(package("3.0", upgrades_from="==1.0"))
    population = Population(kind=b"k", vehicles=7, vehicle=car("2.0"))
    plan = make_plan(PlanRequest(query="all"), wanted, [population], IMAGES, now=NOW, earlier=[decided])
    found = check_plan(plan, wanted, CheckFacts())
    return plan, {each.code: (each.severity, each.message) for each in found}


def test_the_checker_says_that_vehicles_go_back_on_the_way() -> None:
    _, found = over_a_release_that_goes_back(NOW + timedelta(days=100))
    assert found["downgrade"][1] == "vehicles go back to older software by decision, by ECU: brake (7)"
    assert "downgrade_ends" not in found
    _, found = over_a_release_that_goes_back(NOW + timedelta(minutes=1))
    assert found["downgrade_ends"][0] is Severity.WARNING


def test_no_way_leads_over_a_decision_that_has_ended() -> None:
    plan, found = over_a_release_that_goes_back(NOW)
    assert (plan.resolved[0].resolution.verdict, plan.count("match")) == ("mismatch", 0)
    assert "downgrade" not in found


def test_a_decision_that_has_ended_lets_no_vehicle_back() -> None:
    wanted = release(package("2.0"), over=("2.1",), until=NOW)
    assert resolve(car("2.1"), wanted, IMAGES, now=NOW - timedelta(seconds=1)).verdict == "match"
    assert resolve(car("2.1"), wanted, IMAGES, now=NOW).reason == "downgrade: brake 2.1 to 2.0"
