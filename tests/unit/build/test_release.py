"""A release passes as a whole, or each thing that is wrong with it is named."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.build.model import Ecu, Line, Package, Programme, Requirement, Severity, Station, Variant
from ringroad.build.release import blocks, check_bytes, check_release

Document = dict[str, Any]


def ecu(name: str, **more: Any) -> Ecu:
    base = Ecu(
        name=name, hardware_id=f"{name}-1", bus="DoIP", os="x", security="x", storage="inplace", storage_bytes=1000,
        supplier="x", primary=False, agent="uds",
    )  # fmt: skip
    return replace(base, **more)


PROGRAMME = Programme(
    id="p",
    name="P",
    variants={
        "city": Variant(name="city", ecus=("gw", "body"), options=()),
        "long": Variant(name="long", ecus=("gw", "body", "brake"), options=()),
    },
    ecus={
        "gw": ecu("gw", storage="ab", agent="ab", primary=True),
        "body": ecu("body"),
        "brake": ecu("brake"),
    },
    line=Line(name="l", stations=(Station(name="s", cycle_s=1),), ratios=()),
)


def package(name: str, **more: Any) -> Package:
    base = Package(
        id=f"pkg_{name}", programme_id="p", ecu=name, name=name, version="1.2", filename=f"{name}.bin", format="bin",
        hardware_ids=(f"{name}-1",), image_sha256="", image_sha512="", image_bytes=1000, release_counter=3,
        added_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    return replace(base, **more)


DOCUMENT: Document = {
    "variants": {"city": {"gw": "pkg_gw", "body": "pkg_body"}, "long": {"gw": "pkg_gw", "body": "pkg_body"}},
    "untouched": {"long": ["brake"]},
    "groups": [{"name": "a", "ecus": ["body"]}, {"name": "b", "ecus": ["gw"], "after": ["a"]}],
    "post_checks": [{"ecu": "gw", "kind": "version"}, {"ecu": "body", "kind": "self_test"}],
    "preconditions": ["Vehicle.Speed == 0"],
}
PACKAGES = {p.id: p for p in (package("gw"), package("body"), package("brake"))}


def codes(document: Document = DOCUMENT, packages: dict[str, Package] = PACKAGES, **more: Any) -> set[str]:
    found = check_release(PROGRAMME, document, packages, more.get("counters", {}), more.get("running", {}))
    return {problem.code for problem in found}


def test_a_whole_release_has_no_problem() -> None:
    assert codes() == set()
    assert codes(counters={"gw": 3}) == set()


def edit(change: Callable[[Document], object]) -> Document:
    document = copy.deepcopy(DOCUMENT)
    change(document)
    return document


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda d: d["variants"]["city"].pop("body"), "not_covered"),
        (lambda d: d["variants"].pop("city"), "not_covered"),
        (lambda d: d["untouched"]["long"].append("gw"), "covered_twice"),
        (lambda d: d["untouched"]["long"].append("door"), "unknown_ecu"),
        (lambda d: d["variants"]["city"].update(door="pkg_gw"), "unknown_ecu"),
        (lambda d: d["variants"].update(sport={}), "unknown_variant"),
        (lambda d: d["variants"]["city"].update(gw="pkg_none"), "unknown_package"),
        (lambda d: d["variants"]["city"].update(gw="pkg_body"), "wrong_ecu"),
        (
            lambda d: d.update(preconditions=["Vehicle.Speed == 0", "Vehicle.Speed ="]),
            "precondition_unreadable",
        ),
        (lambda d: d["groups"].pop(0), "group_unknown"),
        (lambda d: d["groups"][1].update(ecus=["gw", "brake"]), "group_untouched"),
        (lambda d: d["groups"][1].update(ecus=["gw", "body"]), "group_overlap"),
        (lambda d: d["groups"][0].update(ecus=[]), "group_empty"),
        (lambda d: d["groups"][0].update(after=["b"]), "group_cycle"),
        (lambda d: d["groups"][0].update(name="b"), "group_twice"),
        (lambda d: d.update(groups=[{"name": "a", "ecus": ["body"]}]), "group_missing"),
        (lambda d: d["post_checks"].append({"ecu": "gw", "kind": "smell"}), "unknown_post_check"),
        (lambda d: d["post_checks"].append({"ecu": "brake", "kind": "version"}), "post_check_untouched"),
        (lambda d: d.pop("groups"), "missing"),
        (lambda d: d.update(varants={}), "unknown_member"),
        (lambda d: d.update(variants=["city"]), "malformed"),
        (lambda d: d.update(notes=7), "malformed"),
        (
            lambda d: d.update(
                variants={}, untouched={"city": ["gw", "body"], "long": ["gw", "body", "brake"]}
            ),
            "empty",
        ),
    ],
)
def test_a_bad_document_is_blocked(change: Callable[[Document], object], code: str) -> None:
    document = edit(change)
    problems = check_release(PROGRAMME, document, PACKAGES, {}, {})
    assert code in {problem.code for problem in problems if problem.severity is Severity.BLOCKING}
    assert blocks(problems)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        (package("gw", hardware_ids=("gw-2",)), "wrong_hardware"),
        (package("gw", hardware_ids=()), "wrong_hardware"),
        (package("gw", image_bytes=1001), "too_large"),
        (package("gw", format="ihex", image_bytes=400, facts={"length": 1001}), "too_large"),
        (package("gw", format="swu"), "wrong_format"),
        (package("gw", programme_id="q"), "wrong_programme"),
        (package("gw", requires=(Requirement(ecu="body", range=">=2"),)), "dependency_unmet"),
        (package("gw", requires=(Requirement(ecu="body", range="~1"),)), "dependency_unreadable"),
        (package("gw", conflicts=(Requirement(ecu="body", range="*"),)), "conflict"),
        (package("gw", requires=(Requirement(ecu="brake", range=">=1"),)), "dependency_absent"),
    ],
)
def test_a_bad_package_is_blocked(changed: Package, code: str) -> None:
    assert code in codes(packages=PACKAGES | {changed.id: changed})


def test_a_text_image_is_measured_by_what_it_puts_on_the_ecu() -> None:
    text = package("gw", format="ihex", image_bytes=2800, facts={"length": 1000})
    assert codes(packages=PACKAGES | {text.id: text}) == set()


def test_no_way_back_below_a_signed_counter() -> None:
    assert codes(counters={"gw": 4}) == {"downgrade"}


@pytest.mark.parametrize(
    ("running", "expected"),
    [
        ({}, {"dependency_unknown"}),
        ({"brake": ["1.0", "2.0"]}, {"dependency_unmet"}),
        ({"brake": ["2.0"]}, set()),
    ],
)
def test_a_requirement_towards_an_untouched_ecu_holds_for_all_that_runs(
    running: dict[str, list[str]], expected: set[str]
) -> None:
    document = edit(lambda d: d["variants"]["city"].update(body="pkg_plain"))
    asking = package("body", requires=(Requirement(ecu="brake", range=">=2"),))
    packages = PACKAGES | {asking.id: asking, "pkg_plain": package("body", id="pkg_plain")}
    assert codes(document, packages, running=running) == expected


def test_the_primary_belongs_last_and_each_ecu_deserves_a_check() -> None:
    document = edit(lambda d: d.update(groups=[{"name": "a", "ecus": ["gw", "body"]}], post_checks=[]))
    problems = check_release(PROGRAMME, document, PACKAGES, {}, {})
    assert {problem.code for problem in problems} == {"primary_not_last", "no_post_check"}
    assert not blocks(problems)


@pytest.mark.parametrize("change", [lambda d: d.pop("preconditions"), lambda d: d.update(preconditions=[])])
def test_an_ecu_that_is_updated_in_place_without_a_precondition_is_a_warning(
    change: Callable[[Document], object],
) -> None:
    [problem] = check_release(PROGRAMME, edit(change), PACKAGES, {}, {})
    assert (problem.severity, problem.code) == (Severity.WARNING, "no_precondition")
    assert problem.message.startswith("body ")  # gw has a spare bank


@given(
    st.dictionaries(
        st.sampled_from(
            ["variants", "untouched", "groups", "post_checks", "preconditions", "notes", "rxswin", "x"]
        ),
        st.recursive(
            st.one_of(st.none(), st.integers(), st.sampled_from(["gw", "city", "pkg_gw", "name", "ecus"])),
            lambda inner: st.one_of(
                st.lists(inner, max_size=2),
                st.dictionaries(st.sampled_from(["city", "gw", "name", "ecus"]), inner, max_size=2),
            ),
            max_leaves=8,
        ),
    )
)
def test_no_document_of_any_shape_passes_by_accident_or_crashes(document: Document) -> None:
    assert blocks(check_release(PROGRAMME, document, PACKAGES, {}, {}))


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"version": "1.1", "image_sha256": "aa", "release_counter": 3}, ["leaves gw out"]),
        ({"version": "1.1", "image_sha256": "aa", "release_counter": 2}, ["again for the higher counter", "never offered it"]),
        ({"version": "1.1", "image_sha256": "ab"}, []),
        ({"version": "1.1", "image_sha256": "aa", "ecu": "body"}, []),
    ],
)  # fmt: skip
def test_a_package_with_the_bytes_of_another_version_is_warned_of(
    other: dict[str, Any], words: list[str]
) -> None:
    mine = package("gw", image_sha256="aa")
    found = check_bytes({mine.id: mine}, [mine, replace(package("gw"), id="pkg_other", **other)])
    assert not blocks(found)
    assert [problem.message for problem in found] == ["gw 1.2 for gw has the bytes of 1.1"] * bool(words)
    assert all(word in found[0].hint for word in words)
