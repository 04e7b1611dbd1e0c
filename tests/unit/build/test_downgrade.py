"""A release that goes back says which ECUs, from what and why; what is decided are digests."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from ringroad.build.downgrade import LIFETIME, check_downgrade, decide_downgrades
from ringroad.build.model import Package
from ringroad.build.release import blocks
from ringroad.build.release_shape import check_shape
from ringroad.build.repository.decide import check_published, merge_downgrades, merge_images
from ringroad.kernel.errors import Conflict, InvalidInput
from ringroad.trust import sign
from ringroad.trust.metadata import OVER_MAX, Downgrade, Targets, Terms, parse_file
from support.uptane import target

NOW = datetime(2026, 11, 26, tzinfo=UTC)


def package(version: str, *, counter: int = 1, ecu: str = "brake") -> Package:
    return Package(
        id=f"{ecu}-{version}", programme_id="p", ecu=ecu, name=ecu, version=version, filename=f"{ecu}-{version}.bin",
        format="bin", hardware_ids=("hw",), image_sha256=f"{ecu}{version}".encode().hex().ljust(64, "0"),
        image_sha512="", image_bytes=1, release_counter=counter, added_at=NOW,
    )  # fmt: skip


def document(package_id: str = "brake-2.0", **mark: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "variants": {"city": {"brake": package_id}, "long": {"brake": package_id}},
        "groups": [{"name": "all", "ecus": ["brake"]}],
    }
    return made | ({"downgrade": {"reason": "noise", **mark}} if mark else {})


KNOWN = [package(version) for version in ("1.0", "2.0", "2.1", "2.2", "3.0")]
BY_ID = {each.id: each for each in KNOWN}


def codes(given: dict[str, Any], known: list[Package] = KNOWN, **running: list[str]) -> set[str]:
    return {each.code for each in check_downgrade(given, {each.id: each for each in known}, known, running)}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (document(ecus={"brake": ">=2.1"}), set()),
        (document(ecus={"brake": "*"}), set()),
        (document(ecus={"brake": ">=4"}), {"downgrade_of_nothing"}),
        (document("brake-3.0", ecus={"brake": "*"}), {"downgrade_of_nothing"}),
        (document(ecus={"brake": "newer"}), {"downgrade_unreadable"}),
        (document(ecus={"seat": "*"}), {"downgrade_untouched"}),
    ],
)
def test_what_a_release_says_of_going_back_is_checked(given: dict[str, Any], expected: set[str]) -> None:
    assert codes(given) == expected
    assert blocks(check_downgrade(given, BY_ID, KNOWN, {})) is bool(expected)


def test_no_decision_reaches_a_package_of_a_higher_counter() -> None:
    known = [package("2.0"), package("2.1", counter=2)]
    assert codes(document(ecus={"brake": "*"}), known) == {"downgrade_of_nothing"}
    raised = [package("2.0", counter=2), package("2.1", counter=2)]
    assert codes(document(ecus={"brake": "*"}), raised) == set()


def test_a_decision_has_a_limit_of_images() -> None:
    known = [package("1.0"), *(package(f"2.{number}") for number in range(OVER_MAX + 1))]
    assert codes(document("brake-1.0", ecus={"brake": "*"}), known) == {"downgrade_too_wide"}
    assert codes(document("brake-1.0", ecus={"brake": "!=2.7"}), known) == set()


def test_a_release_that_is_older_than_what_runs_is_warned_of_unless_it_is_marked() -> None:
    assert codes(document(), brake=["1.0", "2.0", "nightly"]) == set()
    assert codes(document(), brake=["2.1"]) == {"downgrade_unmarked"}
    assert not blocks(check_downgrade(document(), BY_ID, KNOWN, {"brake": ["2.1"]}))
    assert codes(document(ecus={"brake": ">=2.1"}), brake=["2.1"]) == set()


@pytest.mark.parametrize(
    "mark",
    [
        {},
        {"reason": "noise"},
        {"reason": "", "ecus": {"brake": "*"}},
        {"reason": "  ", "ecus": {"brake": "*"}},
        {"reason": "noise", "ecus": {}},
        {"reason": "noise", "ecus": {"brake": ""}},
        {"reason": "noise", "ecus": ["brake"]},
        {"reason": "noise", "ecus": {"brake": "*"}, "approved_by": "me"},
        "noise",
    ],
)
def test_a_mark_without_reason_or_ecus_or_with_more_is_malformed(mark: object) -> None:
    assert [each.code for each in check_shape(document() | {"downgrade": mark})] == ["malformed"]


def decide(given: dict[str, Any]) -> tuple[Downgrade, ...]:
    return decide_downgrades("release_1", given, BY_ID, KNOWN, asked_by="ole", approved_by="ines", now=NOW)


def test_what_is_decided_are_the_digests_of_this_moment_until_an_end() -> None:
    (made,) = decide(document(ecus={"brake": ">=2.1, <3"}))
    assert set(made.over.values()) == {"2.1", "2.2"}
    assert set(made.over) == {BY_ID["brake-2.1"].image_sha256, BY_ID["brake-2.2"].image_sha256}
    assert made.sha256 == BY_ID["brake-2.0"].image_sha256
    assert (made.asked_by, made.approved_by, made.reason) == ("ole", "ines", "noise")
    assert made.expires == (NOW + LIFETIME).strftime("%Y-%m-%dT%H:%M:%SZ")
    with pytest.raises(InvalidInput):
        decide(document())


def published(*, terms: Terms | None = None, downgrades: tuple[Downgrade, ...] = ()) -> Targets:
    image = replace(target("brake").image(), terms=terms)
    unsigned = sign.build_image_targets(
        version=1, expires=NOW + LIFETIME, targets=[image], downgrades=downgrades
    )
    return parse_file(sign.sign(unsigned, ()), Targets).signed


def test_an_image_that_was_published_before_there_were_terms_gets_them_once() -> None:
    bare, terms = target("brake").image(), Terms(version="2.0.0")
    named = replace(bare, terms=terms)
    assert merge_images(published(), [named]) == (named,)
    assert merge_images(published(terms=terms), [named]) == (named,)
    for other in (bare, replace(bare, terms=Terms(version="9.0.0"))):
        with pytest.raises(Conflict):
            merge_images(published(terms=terms), [other])


def test_a_director_may_leave_the_terms_out_and_may_not_change_them() -> None:
    bare = target("brake").image()
    check_published(published(terms=Terms(version="2.0.0")), [bare])
    check_published(published(), [bare])
    with pytest.raises(InvalidInput):
        check_published(published(terms=Terms(version="2.0.0")), [replace(bare, terms=Terms(version="9"))])
    with pytest.raises(InvalidInput):
        check_published(published(), [replace(bare, terms=Terms(version="2.0.0"))])


def test_decisions_hold_until_they_end_or_are_left_out() -> None:
    one = decide(document(ecus={"brake": "*"}))
    assert merge_downgrades(published(downgrades=one), None, now=NOW) == one
    assert merge_downgrades(published(downgrades=one), None, now=NOW + LIFETIME) == ()
    assert merge_downgrades(published(downgrades=one), [], now=NOW) == ()
    assert merge_downgrades(None, one, now=NOW) == one
