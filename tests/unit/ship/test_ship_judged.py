"""What was planned against what is known today: offered on, or let go; and what a refusal counts for."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ringroad.ship.judged import REFUSALS, beside, changed_elsewhere, is_refusal, let_go_for, refused_for
from ringroad.ship.model import EcuFacts, KnownImages, PackageFacts, ReleaseFacts, VehicleFacts
from ringroad.ship.resolve import Resolution, Verdict

MATCH = Resolution(verdict="match", steps=("r2", "r3"))


def of(verdict: Verdict, reason: str = "") -> Resolution:
    return Resolution(verdict=verdict, reason=reason)


def head(version: str, *, over: str = "*", counter: int = 1) -> PackageFacts:
    return PackageFacts(
        id=f"pkg_{version}", ecu="head", version=version, filename=f"{version}.bin", format="bin",
        hardware_ids=("HW-1",), image_sha256=version, image_sha512="", image_bytes=1, release_counter=counter,
        upgrades_from=over,
    )  # fmt: skip


def release(package: PackageFacts) -> ReleaseFacts:
    return ReleaseFacts(
        id=f"r{package.version}", programme_id="p", version=package.version, state="signed",
        variants={"city": {"head": package}},
    )  # fmt: skip


def car(runs: str | None, *, blocked: str | None = None) -> VehicleFacts:
    ecu = EcuFacts(name="head", serial="h", hardware_id="HW-1", version=runs, image_sha256=runs)
    return VehicleFacts(vin="V", programme_id="p", variant="city", ecus={"head": ecu}, blocked_reason=blocked)


ONE, TWO, TWO_FIVE = head("1"), head("2", over="<2"), head("2.5", over="<2.5")
THREE = head("3", over=">=2, <3", counter=2)
IMAGES = KnownImages(
    counter_of={each.image_sha256: each.release_counter for each in (ONE, TWO, TWO_FIVE, THREE)}
)
PLANNED = (release(TWO),)  # then three
ANOTHER = "mismatch: another way leads there by now"


@pytest.mark.parametrize(
    ("vehicle", "signed", "expected"),
    [
        (car("1"), PLANNED, None),
        (car("1"), (*PLANNED, release(TWO_FIVE)), None),  # the resolver would take the newer one today
        (car("2"), PLANNED, None),  # a workshop has done the first step
        (car("1"), (release(TWO_FIVE),), ANOTHER),  # the planned step is not signed any more
        (car("2.5"), PLANNED, ANOTHER),  # it would go back; three fits directly
        (car("1"), (), "mismatch: upgrades_from: head 1 is not >=2, <3"),
        (car("3"), PLANNED, "already_installed"),
        (car("4"), PLANNED, "mismatch: downgrade: head 4 to 3"),
        (car(None), PLANNED, "unknown: configuration: head never reported"),
        (car("1", blocked="ROLLBACK_FAILED"), PLANNED, "mismatch: blocked: ROLLBACK_FAILED"),
    ],
)
def test_a_vehicle_on_a_way_is_led_on_as_long_as_that_way_leads_there(
    vehicle: VehicleFacts, signed: Sequence[ReleaseFacts], expected: str | None
) -> None:
    assert let_go_for(vehicle, release(THREE), IMAGES, signed, way=["r2"]) == expected


@pytest.mark.parametrize(
    ("vehicle", "expected"),
    [
        (car("2"), None),
        (car("1"), "mismatch: upgrades_from: head 1 is not >=2, <3"),  # it was to get it at once
        (car("3"), "already_installed"),
    ],
)
def test_a_vehicle_that_was_to_get_it_at_once_is_led_over_nothing(
    vehicle: VehicleFacts, expected: str | None
) -> None:
    assert let_go_for(vehicle, release(THREE), IMAGES, PLANNED) == expected


@pytest.mark.parametrize("code", sorted(REFUSALS))
def test_a_native_vehicle_refuses_by_a_code_of_its_own(code: str) -> None:
    assert is_refusal({"gateway": "native", "state": "FAILED", "code": code})


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"gateway": "ddi", "code": "downgrade_undecided"},  # DDI names no reasons
        {"code": "downgrade_undecided"},
        {"gateway": "native", "code": "digest_differs"},
        {"gateway": "native", "code": None},
        {"gateway": "native", "code": ["downgrade_undecided"]},
        {"gateway": "native", "code": "downgrade_undecided", "ecu": "S1"},  # of one ECU, while it goes on
    ],
)
def test_anything_else_is_no_refusal(body: dict[str, object]) -> None:
    assert not is_refusal(body)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("downgrade_undecided", "downgrade: brake 3.0.0 to 2.0.0"),
        ("downgrade_undecided", "release_counter: brake runs 3"),
        ("counter_too_low", "release_counter: brake runs 3"),
        ("upgrades_from", "upgrades_from: brake 1.0.0 is not >=2"),
        ("requires", "requires: head needs brake >=2"),
        ("conflicts", "conflicts: head with brake <2"),
    ],
)
def test_a_refusal_is_let_go_with_a_verdict_that_says_the_same(code: str, reason: str) -> None:
    why = refused_for(of("mismatch", reason), code=code)
    assert why == f"mismatch: {reason}"
    assert beside(why, f"FAILED {code}") == f"mismatch: {reason}; the vehicle said FAILED {code}"
    assert len(beside(why, "x" * 1_000)) == 500


@pytest.mark.parametrize("code", sorted(REFUSALS))
@pytest.mark.parametrize(
    "today",
    [
        MATCH,
        of("already_installed"),
        of("unknown", "configuration: brake never reported"),
        of("unknown", "upgrades_from: version of brake not known"),
        of("mismatch", "blocked: ROLLBACK_FAILED"),
        of("mismatch", "hardware: brake HW-2"),
    ],
)
def test_a_verdict_that_does_not_say_the_same_excuses_no_refusal(code: str, today: Resolution) -> None:
    assert refused_for(today, code=code) is None


def test_a_refusal_by_one_reason_is_not_excused_by_another() -> None:
    today = of("mismatch", "release_counter: brake runs 3")
    assert refused_for(today, code="upgrades_from") is None


@pytest.mark.parametrize(
    ("said", "unlisted", "blamed"),
    [
        ("no_backup brake: the image it runs cannot be fetched again", ["brake"], "brake"),
        ("rollback 2.bin: release counter 1, ECU S-brake committed 3", ["brake"], "brake"),
        (
            "downgrade_undecided brake would go back from 3 to 2, beside adas",
            ["brake", "adas"],
            "brake",
        ),  # not for adas
        ("upgrades_from adas 2 may be installed only over 1", ["adas"], ""),
        (
            "requires brake requires adas >=2, and it would run 1",
            ["adas"],
            "adas",
        ),  # it may be what is required
        ("conflicts brake conflicts with head <2, and it would run 1", ["head", "brake"], "brake, head"),
        ("no_backup brake: its backup is below the committed counter", [], ""),
        ("requires brake requires adas, which the vehicle does not have", [], ""),
        ("no_backup head: the image it runs cannot be fetched again", ["brake"], ""),  # about another one
        ("no_backup brake-rear: the image it runs cannot be fetched again", ["brake"], ""),
        ("no_backup rear-brake: the image it runs cannot be fetched again", ["brake"], ""),
        ("rollback 2.bin: release counter 1, ECU S-brake-2 committed 3", ["brake"], ""),
        ("no_backup", ["brake"], ""),
    ],
)
def test_a_workshop_explains_a_refusal_only_on_an_ecu_that_it_names(
    said: str, unlisted: list[str], blamed: str
) -> None:
    code, _, detail = said.partition(" ")
    serials = {name: f"S-{name}" for name in unlisted}
    why = changed_elsewhere(code, detail, touched=["brake", "head"], unlisted=serials)
    assert why == (f"changed_elsewhere: {blamed} runs what no package holds" if blamed else None)
