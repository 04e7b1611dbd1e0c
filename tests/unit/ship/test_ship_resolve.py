from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.ship.model import (
    EcuDesign,
    EcuFacts,
    KnownImages,
    PackageFacts,
    ReleaseFacts,
    VehicleFacts,
)
from ringroad.ship.resolve import STEPS_MAX, Resolution, resolve


def package(ecu: str, version: str, **more: Any) -> PackageFacts:
    return PackageFacts(
        **{
            "id": f"pkg_{ecu}_{version}", "ecu": ecu, "version": version, "filename": f"{ecu}-{version}.bin",
            "format": "bin", "hardware_ids": ("HW-1",), "image_sha256": f"{ecu}@{version}", "image_sha512": "",
            "image_bytes": 2_000_000, "release_counter": 1, **more,
        }
    )  # fmt: skip


def release(version: str, *packages: PackageFacts, **more: Any) -> ReleaseFacts:
    return ReleaseFacts(
        **{
            "id": f"release_{version}", "programme_id": "p", "version": version, "state": "signed",
            "variants": {"city": {each.ecu: each for each in packages}},
            "ecus": {"brake": EcuDesign(storage="inplace"), "head": EcuDesign(storage="ab")}, **more,
        }
    )  # fmt: skip


def car(**versions: str | None) -> VehicleFacts:
    ecus = {
        name: EcuFacts(
            name=name, serial=name, hardware_id="HW-1", version=version,
            image_sha256=None if version is None else f"{name}@{version}",
        )
        for name, version in versions.items()
    }  # fmt: skip
    return VehicleFacts(vin="V", programme_id="p", variant="city", ecus=ecus)


def known(*packages: PackageFacts) -> KnownImages:
    return KnownImages(
        counter_of={each.image_sha256: each.release_counter for each in packages},
        packages={(each.ecu, each.image_sha256): each for each in packages},
    )


SEAT_1 = package("seat", "1.0.0", requires=(("head", "<2"),))


@pytest.mark.parametrize(
    ("vehicle", "wanted", "reason", "sentence"),
    [
        (dataclasses.replace(car(head="1.0.0"), shut_out=True), release("2", package("head", "2.0.0")),
         "shut_out", "The vehicle is shut out: its token and certificates were ended, and it did not enrol again."),
        (car(head="1.0.0"), release("2", package("head", "2.0.0", requires=(("seat", ">=1.1"),))),
         "requires: head needs seat >=1.1", "head 2.0.0 requires seat >=1.1, but the vehicle has no ECU seat."),
        (car(head="1.0.0", seat="1.0.0"), release("2", package("head", "2.0.0", requires=(("seat", ">=1.1"),))),
         "requires: head needs seat >=1.1", "head 2.0.0 requires seat >=1.1, but the vehicle runs seat 1.0.0."),
        (car(head="1.0.0", seat="1.0.0"),
         release("2", package("head", "2.0.0", requires=(("seat", ">=3"),)), package("seat", "2.0.0")),
         "requires: head needs seat >=3", "head 2.0.0 requires seat >=3, but the release brings seat 2.0.0."),
        (car(head="1.0.0", seat="1.0.0"), release("2", package("head", "2.0.0")),
         "requires: seat needs head <2", "seat 1.0.0 requires head <2, but the release brings head 2.0.0."),
        (car(head="1.0.0", seat="0.9.0"), release("2", package("head", "2.0.0", conflicts=(("seat", "<1"),))),
         "conflicts: head with seat <1", "head 2.0.0 conflicts with seat <1, and the vehicle runs seat 0.9.0."),
        (car(head="1.0.0"), release("2", package("head", "2.0.0", upgrades_from=">=1.5")),
         "upgrades_from: head 1.0.0 is not >=1.5",
         "head 2.0.0 may be installed only over head >=1.5, but the vehicle runs head 1.0.0."),
        (car(head="1.0.0"), release("2", package("head", "2.0.0", hardware_ids=("HW-2", "HW-3"))),
         "hardware: head HW-1", "head 2.0.0 fits hardware HW-2, HW-3, but the vehicle's head is HW-1."),
        (car(head="1.0.0"), release("2", package("brake", "2.0.0")),
         "no_ecu: brake", "Release 2 has brake 2.0.0, but the vehicle has no ECU brake."),
        (car(seat="1.0.0"), release("2", package("seat", "0.5.0", release_counter=0)),
         "release_counter: seat runs 1",
         "seat 0.5.0 has release counter 0, but seat runs an image of 1; an ECU never goes back."),
    ],
)  # fmt: skip
def test_what_stands_against_a_release_is_one_sentence(
    vehicle: VehicleFacts, wanted: ReleaseFacts, reason: str, sentence: str
) -> None:
    found = resolve(vehicle, wanted, known(SEAT_1))
    assert (found.verdict, found.reason, found.sentence) == ("mismatch", reason, sentence)


@pytest.mark.parametrize(
    ("vehicle", "wanted", "sentence"),
    [
        (car(head=None), release("2", package("head", "2.0.0")), "ECU head never reported what it runs."),
        (car(head="odd"), release("2", package("head", "2.0.0", upgrades_from=">=1")),
         "head 2.0.0 may be installed only over head >=1, and it is not known which version runs."),
        (car(head="1.0.0", seat="odd"), release("2", package("head", "2.0.0", conflicts=(("seat", ">2"),))),
         "head 2.0.0 conflicts with seat >2, and it is not known which version of seat runs."),
        (car(head="1.0.0", seat=None), release("2", package("head", "2.0.0", requires=(("seat", ">2"),))),
         "head 2.0.0 requires seat >2, and it is not known which version of seat runs."),
    ],
)  # fmt: skip
def test_what_is_not_known_is_said_and_never_fits(
    vehicle: VehicleFacts, wanted: ReleaseFacts, sentence: str
) -> None:
    found = resolve(vehicle, wanted, KnownImages())
    assert (found.verdict, found.sentence, found.steps) == ("unknown", sentence, ())


def test_an_ecu_that_is_absent_meets_no_conflict_and_an_image_that_is_there_is_not_installed_over() -> None:
    careful = package("head", "2.0.0", conflicts=(("seat", "*"),), upgrades_from=">=1.5")
    wanted = release("2", careful, package("brake", "2.0.0"))
    found = resolve(car(head="2.0.0", brake="1.0.0"), wanted, KnownImages())
    assert (found.verdict, found.install_bytes, found.install_s) == ("match", 2_000_000, 62)


# Head may go from 1 to 1.5 to 3; 3 to 4 only with the seat's 2.
HEADS = [
    release("1.2", package("head", "1.2.0")),
    release("1.5", package("head", "1.5.0", upgrades_from=">=1")),
    release("3", package("head", "3.0.0", upgrades_from=">=1.5, <3")),
    release("3.1", package("seat", "2.0.0"), package("head", "3.1.0", upgrades_from=">=3")),
]
LAST = release("4", package("head", "4.0.0", upgrades_from=">=3", requires=(("seat", ">=2"),)))


def steps_of(vehicle: VehicleFacts, wanted: ReleaseFacts = LAST) -> tuple[str, ...]:
    return resolve(vehicle, wanted, KnownImages(), HEADS).steps


def test_the_shortest_way_over_earlier_releases_is_found() -> None:
    assert steps_of(car(head="1.0.0", seat="1.0.0"), HEADS[2]) == ("release_1.5", "release_3")
    assert steps_of(car(head="1.0.0", seat="1.0.0")) == (
        "release_1.5", "release_3", "release_3.1", "release_4",
    )  # fmt: skip
    assert steps_of(car(head="3.0.0", seat="1.0.0")) == ("release_3.1", "release_4")
    assert steps_of(car(head="1.0.0", seat="2.0.0")) == ("release_1.5", "release_3", "release_4")
    assert steps_of(car(head="3.0.0", seat="2.0.0")) == ("release_4",)


def test_a_way_names_its_steps_and_costs_their_sum() -> None:
    found = resolve(car(head="1.0.0", seat="2.0.0"), LAST, KnownImages(), HEADS)
    assert found.sentence == "It gets 1.5 and then 3 first, then 4."
    assert found.install_bytes == 6_000_000
    one = resolve(car(head="3.0.0", seat="2.0.0"), LAST, KnownImages(), HEADS)
    assert found.install_s == pytest.approx(3 * one.install_s, abs=2)


def test_without_a_way_the_first_obstacle_is_told() -> None:
    found = resolve(car(head="0.1.0", seat="2.0.0"), LAST, KnownImages(), HEADS[2:])
    assert found.verdict == "mismatch"
    assert found.sentence == (
        "head 4.0.0 may be installed only over head >=3, but the vehicle runs head 0.1.0,"
        " and no sequence of signed releases leads there."
        " Release 3.1 between does not fit:"
        " head 3.1.0 may be installed only over head >=3, but the vehicle runs head 0.1.0."
    )


NEEDS_2 = release("3", package("head", "3.0.0", upgrades_from=">=2"))
OTHER_HARDWARE = release("2", package("head", "2.0.0", hardware_ids=("HW-9",)))
NEEDS_SEAT = release("2.1", package("head", "2.1.0", requires=(("seat", ">=5"),)))


@pytest.mark.parametrize(
    ("between", "told"),
    [
        ([OTHER_HARDWARE], " Release 2 between does not fit: head 2.0.0 fits hardware HW-9, but the vehicle's head is HW-1."),
        (
            [OTHER_HARDWARE, NEEDS_SEAT],
            " Release 2.1 between does not fit: head 2.1.0 requires seat >=5, but the vehicle runs seat 1.0.0.",
        ),
        ([release("1.9", package("head", "1.9.0"))], ""),  # which brings nothing of what is missing
        ([release("2", package("seat", "2.0.0"))], ""),
        ([release("3.5", package("head", "3.5.0", hardware_ids=("HW-9",)))], ""),  # not between
        ([dataclasses.replace(OTHER_HARDWARE, variants={"van": OTHER_HARDWARE.variants["city"]})], ""),
    ],
)  # fmt: skip
def test_the_newest_release_between_that_would_help_is_told_with_what_stands_against_it(
    between: list[ReleaseFacts], told: str
) -> None:
    found = resolve(car(head="1.0.0", seat="1.0.0"), NEEDS_2, KnownImages(), between)
    assert (found.verdict, found.reason) == ("mismatch", "upgrades_from: head 1.0.0 is not >=2")
    assert found.sentence == (
        "head 3.0.0 may be installed only over head >=2, but the vehicle runs head 1.0.0,"
        f" and no sequence of signed releases leads there.{told}"
    )


def test_a_release_between_that_fits_and_does_not_lead_on_is_told_with_what_stands_against_the_wanted_one_then() -> (
    None
):
    wanted = release("3", package("head", "3.0.0", upgrades_from=">=2", requires=(("seat", ">=2"),)))
    found = resolve(
        car(head="1.0.0", seat="1.0.0"), wanted, KnownImages(), [release("2", package("head", "2.0.0"))]
    )
    assert found.sentence.endswith(
        " leads there. Release 2 between fits, but then: head 3.0.0 requires seat >=2, but the vehicle runs seat 1.0.0."
    )


@pytest.mark.parametrize(
    "broken",
    [
        dataclasses.replace(HEADS[1], variants={"van": HEADS[1].variants["city"]}),
        release("1.5", package("head", "1.5.0", hardware_ids=("HW-9",))),
        release("1.5", package("head", "1.5.0", release_counter=0)),  # would go back
        release("1.5", package("head", "1.5.0", release_counter=7)),  # and then there is no way on
        release("1.5", package("head", "1.5.0"), package("roof", "1.0.0")),
    ],
)
def test_a_release_that_does_not_fit_the_vehicle_is_no_step(broken: ReleaseFacts) -> None:
    images = KnownImages(counter_of={"head@1.0.0": 1, "head@1.5.0": broken.variants.get("city", {}).get("head", package("head", "1.5.0")).release_counter})  # fmt: skip
    found = resolve(car(head="1.0.0", seat="1.0.0"), HEADS[2], images, [broken])
    assert (found.verdict, found.steps) == ("mismatch", ())


def test_a_way_is_never_longer_than_a_vehicle_can_bear() -> None:
    chain = [
        release(f"{n}", package("head", f"{n}.0.0", upgrades_from=f">={n - 1}, <{n}"))
        for n in range(1, STEPS_MAX + 3)
    ]
    enough = resolve(car(head="0.0.0"), chain[STEPS_MAX - 1], KnownImages(), chain)
    assert len(enough.steps) == STEPS_MAX
    assert resolve(car(head="0.0.0"), chain[STEPS_MAX], KnownImages(), chain).verdict == "mismatch"


@given(st.permutations(HEADS))
def test_the_order_of_releases_does_not_change_the_way(order: list[ReleaseFacts]) -> None:
    vehicle = car(head="1.0.0", seat="1.0.0")
    assert resolve(vehicle, LAST, KnownImages(), order) == resolve(vehicle, LAST, KnownImages(), HEADS)


@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 6), st.integers(0, 3)), max_size=7
    ),
    st.integers(0, 6),
    st.integers(0, 3),
)
def test_every_step_of_a_way_is_possible_after_the_one_before(
    made: list[tuple[int, int, int, int]], start: int, seat: int
) -> None:
    """Walk each answer: the images of a step are there before the next one is judged, alone."""
    releases = [
        release(
            f"{n}.{version}",
            package(
                "head", f"{version}.{n}", image_sha256=f"head@{n}.{version}",
                upgrades_from=f">={low}, <={low + wide}", requires=(("seat", f">={needs}"),),
            ),
        )
        for n, (version, low, wide, needs) in enumerate(made)
    ]  # fmt: skip
    wanted = release("9", package("head", "9.0", upgrades_from=">=4"))
    vehicle = car(head=f"{start}.9", seat=f"{seat}")
    found: Resolution = resolve(vehicle, wanted, KnownImages(), releases)
    by_id = {each.id: each for each in (*releases, wanted)}
    assert not found.steps or found.steps[-1] == wanted.id
    for step in found.steps:
        assert resolve(vehicle, by_id[step], KnownImages()).verdict == "match"
        head = by_id[step].variants["city"]["head"]
        ecu = dataclasses.replace(vehicle.ecus["head"], version=head.version, image_sha256=head.image_sha256)
        vehicle = dataclasses.replace(vehicle, ecus={**vehicle.ecus, "head": ecu})
