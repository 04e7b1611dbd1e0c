from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from ringroad.protocol.preconditions import evaluate, parse_precondition
from ringroad.protocol.vehicle import OBEYS_CONDUCT, Conduct, VehiclePackage
from ringroad.ship.director import Content, NoContent, decide_content, decide_return
from ringroad.ship.model import (
    EcuDesign,
    EcuFacts,
    Group,
    KnownImages,
    PackageFacts,
    ReleaseFacts,
    VehicleFacts,
)
from ringroad.trust.canonical import encode_canonical


def package(ecu: str, version: str, counter: int, **more: Any) -> PackageFacts:
    return PackageFacts(
        **{
            "id": f"{ecu}-{version}", "ecu": ecu, "version": version, "filename": f"{ecu}-{version}.bin",
            "format": "ihex", "hardware_ids": ("HW",), "image_sha256": f"{ecu}@{version}", "image_sha512": "5",
            "image_bytes": 10, "release_counter": counter, **more,
        }
    )  # fmt: skip


def release(version: str, counter: int, ecus: tuple[str, ...] = ("a", "b", "c"), **more: Any) -> ReleaseFacts:
    return ReleaseFacts(
        **{
            "id": f"release_{version}", "programme_id": "p", "version": version, "state": "signed",
            "variants": {"city": {ecu: package(ecu, version, counter) for ecu in ecus}},
            "groups": (Group(name="one", ecus=("b", "x", "a"), after=("gone",)), Group(name="none", ecus=("x",))),
            "post_checks": (("a", "self_test"), ("x", "version")),
            "ecus": {"a": EcuDesign(storage="ab"), "b": EcuDesign(storage="inplace")}, **more,
        }
    )  # fmt: skip


def car(version: str = "1") -> VehicleFacts:
    ecus = {
        name: EcuFacts(name=name, serial=f"S{name}", hardware_id="HW", image_sha256=f"{name}@{version}")
        for name in "abcd"
    }
    return VehicleFacts(vin="V", programme_id="p", variant="city", ecus=ecus)


@pytest.mark.parametrize(
    ("notes", "lines"),
    [
        ("Softer brakes.", ["Softer brakes."]),
        ("Softer brakes.\r\n\nA\u0308 new\tmap.\x07", ["Softer brakes.", "", "\u00c4 newmap."]),
        ("", []),
    ],
)
def test_release_notes_of_several_lines_can_be_signed(notes: str, lines: list[str]) -> None:
    content = decide_content(car(), release("2", 2, notes=notes), action_id=7)
    assert isinstance(content, Content)
    assert content.package is not None
    encode_canonical(msgspec.to_builtins(content.package))
    assert content.package.notes.splitlines() == lines


def test_only_terms_that_an_old_vehicle_must_not_overlook_hold_it_back() -> None:
    def content(conduct: Conduct) -> VehiclePackage:
        found = decide_content(
            car(), release("2", 2, preconditions=("Vehicle.Speed == 0",)), action_id=7, conduct=conduct
        )
        assert isinstance(found, Content)
        assert found.package is not None
        return found.package

    for conduct in (Conduct(), Conduct(urgency="soft", install_s=60)):
        assert content(conduct).preconditions == ["Vehicle.Speed == 0"]
    for conduct in (Conduct(urgency="download_only"), Conduct(consent=["install"])):
        held = content(conduct)
        assert held.preconditions == ["Vehicle.Speed == 0", OBEYS_CONDUCT]
        assert held.conduct == conduct
        # The grammar of vehicles from before can read the term, and no signal of theirs fulfils it.
        refusal = evaluate(parse_precondition(OBEYS_CONDUCT).expression, {}, now=datetime.now(UTC))
        assert refusal is not None
        assert refusal.text == "Ringroad.ObeysConduct == true, but the value is missing"


def test_content_names_serials_and_keeps_only_ecus_the_vehicle_gets_images_for() -> None:
    content = decide_content(car(), release("2", 2), action_id=7)
    assert isinstance(content, Content)
    assert {target.serial: target.ecu_target.mode for target in content.targets} == {
        "Sa": "ab",
        "Sb": "inplace",
        "Sc": "inplace",  # not described: the careful way
    }
    package_ = content.package
    assert package_ is not None
    assert [(group.name, group.ecus, group.after) for group in package_.groups] == [
        ("one", ["Sb", "Sa"], []),
        ("c", ["Sc"], []),
    ]
    assert [(check.ecu, check.kind) for check in package_.post_checks] == [("Sa", "self_test")]
    assert (package_.action_id, package_.release_id, package_.rollback) == (7, "release_2", False)


@pytest.mark.parametrize(
    ("vehicle", "given_release", "reason"),
    [
        (dataclasses.replace(car(), variant="van"), release("2", 2), "variant_not_in_release: van"),
        (dataclasses.replace(car(), ecus={"a": car().ecus["a"]}), release("2", 2), "no_ecu: b"),
        (
            car(),
            release("2", 2, variants={"city": {"a": package("a", "2", 2, hardware_ids=("X",))}}),
            "hardware: a HW",
        ),
    ],
)
def test_a_vehicle_that_does_not_fit_gets_no_content(
    vehicle: VehicleFacts, given_release: ReleaseFacts, reason: str
) -> None:
    assert decide_content(vehicle, given_release, action_id=1) == NoContent(reason)


BAD = release("2", 2, ecus=("a", "b"))
IMAGES = KnownImages(counter_of={"a@2": 2, "b@2": 2})


def test_a_return_touches_exactly_what_the_bad_release_touched() -> None:
    content = decide_return(car("2"), BAD, release("1", 2), IMAGES, action_id=8)
    assert isinstance(content, Content)
    assert content.package is not None
    assert content.package.rollback is True
    assert {target.filename for target in content.targets} == {"a-1.bin", "b-1.bin"}


@pytest.mark.parametrize(
    ("vehicle", "previous", "reason"),
    [
        (car("2"), release("1", 1), "release_counter: a"),  # would go below what the ECU committed
        (car("1"), release("1", 2), "not_on_release: a"),  # it returned by itself
        (car("2"), release("1", 2, ecus=("a",)), "no_previous_package: b"),
    ],
)
def test_a_return_that_an_ecu_would_refuse_is_not_signed(
    vehicle: VehicleFacts, previous: ReleaseFacts, reason: str
) -> None:
    assert decide_return(vehicle, BAD, previous, IMAGES, action_id=8) == NoContent(reason)
