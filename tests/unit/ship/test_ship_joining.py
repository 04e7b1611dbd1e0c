from __future__ import annotations

import hashlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.ship.joining import Bound, Part, part_of, why_after_the_plan
from ringroad.ship.model import CampaignState
from ringroad.ship.resolve import Resolution

SEED = "s"


def digest(vin: str) -> str:
    return hashlib.sha256(f"{SEED}:{vin}".encode()).hexdigest()


def dealt(vins: list[str], cuts: list[int]) -> tuple[dict[str, Part], list[Bound]]:
    """Cut one stratum, in the order of its hashes, into the control group and waves."""
    ordered = sorted(vins, key=digest)
    parts: dict[str, Part] = {}
    bounds = []
    start = 0
    for wave, size in enumerate(cuts):
        mine = ordered[start : start + size] if wave + 1 < len(cuts) else ordered[start:]
        start += size
        parts |= dict.fromkeys(mine, Part(wave=wave))
        if mine:
            bounds.append(Bound(stratum="city", part=Part(wave=wave), last=digest(mine[-1])))
    return parts, bounds


def joins(
    vin: str, bounds: list[Bound], *, stratum: str = "city", control: int = 0, waves: tuple[int, ...] = (1,)
) -> Part:
    return part_of(vin, stratum, seed=SEED, bounds=bounds, control=control, waves=waves)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=4), st.integers(1, 60))
def test_a_vehicle_of_the_plan_would_get_the_part_that_it_has(cuts: list[int], count: int) -> None:
    parts, bounds = dealt([f"V{number}" for number in range(count)], cuts)
    assert {vin: joins(vin, bounds[::-1]) for vin in parts} == parts


def test_joiners_get_the_shares_of_their_stratum_and_nobody_chooses() -> None:
    _, bounds = dealt([f"V{number}" for number in range(2_000)], [400, 200, 1_400])
    other = Bound(stratum="van", part=Part(wave=2), last="f" * 64)
    found = Counter(joins(f"J{number}", [*bounds, other]).wave for number in range(5_000))
    assert 800 < found[0] < 1_200  # a fifth is held back
    assert 350 < found[1] < 650
    assert joins("J1", [*bounds, other]) == joins("J1", [other, *bounds])  # whenever it comes


@pytest.mark.parametrize(("control", "waves"), [(200, (100, 700)), (0, (100, 900)), (1_000, ())])
def test_a_stratum_that_the_plan_did_not_have_gets_the_shares_of_all(
    control: int, waves: tuple[int, ...]
) -> None:
    total = control + sum(waves)
    found = Counter(
        joins(f"J{n}", [], stratum="new", control=control, waves=waves).wave for n in range(4_000)
    )
    for wave, size in enumerate((control, *waves)):
        assert abs(found[wave] / 4_000 - size / total) < 0.04, found


def test_the_seed_decides() -> None:
    _, bounds = dealt([f"V{number}" for number in range(100)], [50, 50])
    one = [joins(f"J{n}", bounds) for n in range(50)]
    other = [part_of(f"J{n}", "city", seed="t", bounds=bounds, control=0, waves=(1,)) for n in range(50)]
    assert one != other


def test_a_part_is_a_wave_or_the_control_group() -> None:
    assert [Part(wave=wave).verdict for wave in (0, 1, 7)] == ["control", "match", "match"]


FITS = Resolution(verdict="match", steps=("release_2",))
LED = Resolution(verdict="match", steps=("release_1", "release_2"))
OLD = Resolution(verdict="mismatch", reason="hardware: head old", sentence="Its head is old.")


@pytest.mark.parametrize(
    ("state", "today", "late", "free", "says"),
    [
        ("planned", FITS, False, True, "A new plan takes it in."),
        ("approved", FITS, True, True, "A new plan takes it in."),
        ("running", FITS, False, True, "The campaign's vehicles are frozen"),
        ("running", FITS, True, True, "It joins: within seconds"),
        ("paused", FITS, True, True, "It joins when the campaign goes on."),
        ("running", FITS, True, False, "Another campaign is at work on it"),
        ("running", LED, True, True, "It would need another release first"),
        ("halted", FITS, True, True, "The campaign is halted"),
        ("finished", FITS, False, True, "The campaign is finished"),
        ("running", OLD, True, True, "The release does not fit it: Its head is old."),
        ("planned", OLD, False, True, "The release does not fit it: Its head is old."),
        ("planned", Resolution(verdict="already_installed"), False, True, "It has the release already"),
        ("running", Resolution(verdict="already_installed"), True, True, "It has the release already"),
        ("planned", Resolution(verdict="unknown", reason="head"), False, True, "Too little is known of it"),
    ],
)
def test_of_a_vehicle_that_is_selected_only_now_it_is_said_what_becomes_of_it(
    state: str,
    today: Resolution,
    late: bool,  # noqa: FBT001 - a table
    free: bool,  # noqa: FBT001
    says: str,
) -> None:
    said = why_after_the_plan(CampaignState(state), today, late_joiners=late, free=free)
    assert said.removeprefix("The query selects it now; it did not when the plan was made. ").startswith(says)
