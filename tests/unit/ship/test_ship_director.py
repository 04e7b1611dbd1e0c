from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from ringroad.protocol.preconditions import evaluate, parse_precondition
from ringroad.protocol.vehicle import OBEYS_CONDUCT, Conduct, VehiclePackage
from ringroad.ship.director import Content, NoContent, decide_content, decide_return
from ringroad.ship.model import (
    Before,
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
IMAGES = KnownImages(
    counter_of={"a@2": 2, "b@2": 2},
    packages={(ecu, f"{ecu}@{version}"): package(ecu, version, 2) for ecu in "ab" for version in ("0", "1")},
)
ONLY_A = release("1", 2, ecus=("a",))  # a release that holds one of the two


def ran(version: str) -> Before:
    """The record that an ECU ran this version before."""
    return Before(image_sha256=version, known=True)


def returned(
    previous: ReleaseFacts | None,
    before: Mapping[str, Before],
    *,
    vehicle: VehicleFacts | None = None,
    bad: ReleaseFacts = BAD,
    images: KnownImages = IMAGES,
) -> Content | NoContent:
    return decide_return(vehicle or car("2"), bad, previous, images, before, action_id=8)


def files(content: Content | NoContent) -> set[str]:
    assert isinstance(content, Content)
    return {target.filename for target in content.targets}


def test_a_return_touches_exactly_what_the_bad_release_touched() -> None:
    content = returned(release("1", 2), {})
    assert files(content) == {"a-1.bin", "b-1.bin"}
    assert isinstance(content, Content)
    assert content.package is not None
    assert content.package.rollback is True
    assert content.packages == {"a": "a-1", "b": "b-1"}


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ({"b": ran("b@0")}, {"a-1.bin", "b-0.bin"}),  # of a release before the one before
        (
            {"a": ran("a@0"), "b": ran("b@0")},
            {"a-0.bin", "b-0.bin"},
        ),  # what is on record goes before what was planned
        ({"b": Before(image_sha256=None, known=True)}, {"a-1.bin", "b-2.bin"}),  # it ran this one all along
    ],
)
def test_each_ecu_returns_to_what_that_ecu_ran_though_the_release_before_did_not_hold_it(
    before: Mapping[str, Before], expected: set[str]
) -> None:
    content = returned(ONLY_A, before)
    assert files(content) == expected
    assert isinstance(content, Content)
    assert content.package is not None
    assert (content.package.release_id, content.package.rollback) == ("release_1", True)


@pytest.mark.parametrize(
    ("vehicle", "previous", "before", "reason"),
    [
        (car("2"), release("1", 1), {}, "release_counter: a"),  # would go below what the ECU committed
        (car("1"), release("1", 2), {}, "not_on_release: a"),  # it returned by itself
        (car("2"), ONLY_A, {}, "before_unknown: b"),
        (car("2"), ONLY_A, {"b": Before(image_sha256=None, known=False)}, "before_unknown: b"),
        (car("2"), ONLY_A, {"b": ran("b@workshop")}, "image_not_ours: b"),
        (
            car("2"),
            release("1", 2),
            {"b": ran("b@workshop")},
            "image_not_ours: b",
        ),  # and not what was planned once
        (car("2"), ONLY_A, {"b": ran("a@0")}, "image_not_ours: b"),  # an image of another ECU
        (car("2"), None, {"a": ran("a@0"), "b": ran("b@0")}, "no_previous_release"),
        (car("2"), ONLY_A, dict.fromkeys("ab", Before(image_sha256=None, known=True)), "nothing_to_undo"),
    ],
)
def test_a_return_that_an_ecu_would_refuse_or_that_nobody_knows_is_not_signed(
    vehicle: VehicleFacts, previous: ReleaseFacts | None, before: Mapping[str, Before], reason: str
) -> None:
    assert returned(previous, before, vehicle=vehicle) == NoContent(reason)


def test_no_record_leads_below_a_committed_counter() -> None:
    low = dataclasses.replace(IMAGES, packages={("b", "b@0"): package("b", "0", 1)})
    assert returned(ONLY_A, {"b": ran("b@0")}, images=low) == NoContent("release_counter: b")


@pytest.mark.parametrize(("counter", "version"), [(2, "1"), (1, "1.5")])
def test_of_packages_of_one_image_a_vehicle_returns_to_the_one_of_its_release_if_the_ecu_takes_it(
    counter: int, version: str
) -> None:
    same = package(
        "b", "1.5", 9, image_sha256="b@1"
    )  # a newer release holds the image again, under its own version
    images = dataclasses.replace(IMAGES, packages={**IMAGES.packages, ("b", "b@1"): same})
    previous = dataclasses.replace(
        ONLY_A, variants={"city": {"a": package("a", "1", 2), "b": package("b", "1", counter)}}
    )
    assert files(returned(previous, {"b": ran("b@1")}, images=images)) == {"a-1.bin", f"b-{version}.bin"}


@pytest.mark.parametrize(
    ("told", "version"), [("b-1.bin", "1"), ("b-1.5.bin", "1.5"), ("", "1.5"), ("b-2.bin", "1.5")]
)
def test_where_the_release_before_is_partial_it_returns_to_the_package_that_the_vehicle_named(
    told: str, version: str
) -> None:
    old, same = package("b", "1", 2), package("b", "1.5", 9, image_sha256="b@1")
    images = dataclasses.replace(
        IMAGES,
        packages={**IMAGES.packages, ("b", "b@1"): same},
        named={("b", "b@1", each.filename): each for each in (old, same)},
    )
    before = {"b": dataclasses.replace(ran("b@1"), filename=told)}
    assert files(returned(ONLY_A, before, images=images)) == {"a-1.bin", f"b-{version}.bin"}
    low = dataclasses.replace(images, named={("b", "b@1", "b-1.bin"): package("b", "1", 1)})
    assert files(returned(ONLY_A, before, images=low)) == {"a-1.bin", "b-1.5.bin"}  # the ECU refuses that one


def test_ecus_of_several_releases_go_back_as_they_came_the_last_first_under_the_conditions_of_both() -> None:
    bad = release(
        "2", 2, ecus=("a", "b"), groups=(Group(name="one", ecus=("b",)), Group(name="two", ecus=("a",), after=("one",))),
        post_checks=(("a", "self_test"), ("b", "version")), preconditions=("Vehicle.Speed == 0", "A == 1"),
    )  # fmt: skip
    previous = release(
        "1", 2, ecus=("a",), groups=(), post_checks=(("a", "version"),), preconditions=("A == 1", "B == 1")
    )
    content = returned(previous, {"b": ran("b@0")}, bad=bad)
    assert isinstance(content, Content)
    told = content.package
    assert told is not None
    assert [(group.name, group.ecus, group.after) for group in told.groups] == [
        ("two", ["Sa"], []),
        ("one", ["Sb"], ["two"]),
    ]
    assert {(check.ecu, check.kind) for check in told.post_checks} == {("Sa", "version"), ("Sb", "version")}
    assert told.preconditions == ["A == 1", "B == 1", "Vehicle.Speed == 0"]
