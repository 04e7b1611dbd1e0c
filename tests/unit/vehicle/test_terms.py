"""The vehicle holds by itself what the offline keys say of an image: never back, never beside what it must not meet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.kernel.versions import version_key
from ringroad.protocol.vehicle import EcuTarget
from ringroad.trust.metadata import EcuRange, Terms
from ringroad.trust.state import VerifiedTarget
from ringroad.vehicle.agents.base import Failed, Reason
from ringroad.vehicle.terms import Change, Runs, check_terms


def change(
    version: str, *, back_over: tuple[str, ...] = (), returns: bool = False, signed: bool = True, **terms: Any
) -> Change:
    target = VerifiedTarget(
        serial="s", filename="brake.bin", length=1, sha256=f"sha-{version}", sha512="", hardware_ids=("hw",),
        release_counter=1, ecu_target=EcuTarget(name="brake", mode="ab", format="bin", version=version),
        terms=Terms(version=version, **terms) if signed else None, may_go_back_over=back_over,
    )  # fmt: skip
    return Change(name="brake", target=target, returns=returns)


def runs(version: str | None, **more: Any) -> Runs:
    return Runs(version=version, sha256="" if version is None else f"sha-{version}", **more)


def needs(ecu: str, versions: str) -> dict[str, Any]:
    return {"requires": [EcuRange(ecu=ecu, range=versions)]}


def hates(ecu: str, versions: str) -> dict[str, Any]:
    return {"conflicts": [EcuRange(ecu=ecu, range=versions)]}


AWAY = Runs(version=None, failed=Failed(reason=Reason.UNREACHABLE))


@pytest.mark.parametrize(
    ("wanted", "brake", "others", "code"),
    [
        (change("2.1"), runs("2.0"), {}, ""),
        (change("2.0"), runs("2.0.0"), {}, ""),  # the same version, another build
        (change("1.9"), runs("2.0"), {}, "downgrade_undecided"),
        (change("2.0-rc1"), runs("2.0"), {}, "downgrade_undecided"),
        (change("1.9", signed=False), runs("2.0"), {}, "downgrade_undecided"),
        (change("unreadable"), runs("2.0"), {}, "downgrade_undecided"),
        (change("1.9"), runs("factory"), {}, ""),  # no order: only the counter holds
        (change("1.9"), runs(None), {}, ""),  # the bootloader answers
        (change("1.9", back_over=("sha-2.0",)), runs("2.0"), {}, ""),
        (change("1.9", back_over=("sha-2.1",)), runs("2.0"), {}, "downgrade_undecided"),  # decided on another image
        (change("1.9", returns=True), runs("2.0"), {}, ""),
        (change("2.1", upgrades_from=">=2"), runs("2.0"), {}, ""),
        (change("2.1", upgrades_from=">=2"), runs("1.0"), {}, "upgrades_from"),
        (change("2.1", upgrades_from=">=2"), runs("factory"), {}, "upgrades_from"),
        (change("2.1", upgrades_from=">=2"), runs(None), {}, "upgrades_from"),
        (change("1.9", upgrades_from="<1", back_over=("sha-2.0",)), runs("2.0"), {}, ""),  # the decision says so
        (change("2.1", upgrades_from="about 2"), runs("2.0"), {}, "bad_terms"),
        (change("2.1", **needs("seat", ">=1")), runs("2.0"), {"seat": runs("1.0")}, ""),
        (change("2.1", **needs("seat", ">=1")), runs("2.0"), {"seat": runs("0.9")}, "requires"),
        (change("2.1", **needs("seat", ">=1")), runs("2.0"), {}, "requires"),
        (change("2.1", **needs("seat", ">=1")), runs("2.0"), {"seat": AWAY}, "unreachable"),
        (change("2.1", **needs("seat", ">=1")), runs("2.0"), {"seat": runs("x")}, "requires"),
        (change("2.1", **hates("seat", "<1")), runs("2.0"), {"seat": runs("1.0")}, ""),
        (change("2.1", **hates("seat", "<1")), runs("2.0"), {"seat": runs("0.9")}, "conflicts"),
        (change("2.1", **hates("seat", "<1")), runs("2.0"), {}, ""),
        (change("2.1", **hates("seat", "<1")), runs("2.0"), {"seat": AWAY}, "unreachable"),
        (change("2.1", **hates("seat", "<1")), runs("2.0"), {"seat": runs("x")}, "conflicts"),
        # What stays has terms too.
        (change("2.1"), runs("2.0"), {"seat": runs("1.0", terms=Terms(version="1.0", **hates("brake", ">2")))}, "conflicts"),
        (change("2.1"), runs("2.0"), {"seat": runs("1.0", terms=Terms(version="1.0", **needs("brake", "<=2")))}, "requires"),
        # A return to an image that met nothing then may meet something now.
        (change("1.9", returns=True, **hates("seat", ">=1")), runs("2.0"), {"seat": runs("1.0")}, "conflicts"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(
    wanted: Change, brake: Runs, others: dict[str, Runs], code: str
) -> None:
    found = check_terms([wanted], {"brake": brake, **others})
    assert (found.code if found else "") == code
    if found:
        assert "brake" in found.detail or found.code == "bad_terms"


def test_two_images_that_come_together_are_judged_as_they_will_be() -> None:
    brake = change("2.1", **needs("seat", ">=2"))
    seat = change("2.0", **hates("brake", "<2.1"))
    both = [brake, Change(name="seat", target=seat.target)]
    running = {"brake": runs("2.0"), "seat": runs("1.0")}
    assert check_terms(both, running) is None
    assert check_terms(both[1:], running) is not None
    assert check_terms(both[:1], running) is not None


VERSIONS = st.from_regex(r"[0-9]{1,2}(\.[0-9]{1,2}){0,2}(-rc[0-9])?", fullmatch=True)


@given(old=VERSIONS, new=VERSIONS, decided=st.lists(VERSIONS, max_size=3))
def test_without_a_decision_on_the_running_image_no_ecu_ever_goes_back(
    old: str, new: str, decided: list[str]
) -> None:
    wanted = change(new, back_over=tuple(f"sha-{one}" for one in decided if one != old))
    before, after = version_key(old), version_key(new)
    assert before is not None
    assert after is not None
    assert (check_terms([wanted], {"brake": runs(old)}) is not None) is (after < before)
    named = replace(wanted.target, may_go_back_over=(f"sha-{old}",))
    assert check_terms([replace(wanted, target=named)], {"brake": runs(old)}) is None
