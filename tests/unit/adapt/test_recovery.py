"""What became of a stopped campaign's vehicles: every end, and what is never claimed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.adapt.model import UpdateCounts
from ringroad.adapt.recovery import (
    VehicleGroup,
    decide_recovery,
    decide_updates,
    recovery_body,
    standing,
    updates_body,
)
from ringroad.adapt.verdict import measure_text
from ringroad.kernel.errors import InvalidInput

STATES = (
    "pending", "offered", "active", "cancelling", "installed", "failed", "rolled_back", "cancelled", "expired",
)  # fmt: skip
BACK = VehicleGroup(
    vehicles=1, state="rolled_back", began=True, blocked=False, native=True, shown="other", return_state=None
)


@pytest.mark.parametrize(
    ("group", "end"),
    [
        (BACK, "recovered"),
        (replace(BACK, shown="none"), "unknown"),  # its word alone
        (replace(BACK, shown="release"), "not_recovered"),  # against its word
        (replace(BACK, blocked=True), "not_recovered"),
        (replace(BACK, native=False, shown="none"), "recovered"),  # over DDI its word is all there is
        (replace(BACK, began=False), "recovered"),  # nobody heard that it began; it was undone all the same
        (replace(BACK, state="failed"), "recovered"),
        (replace(BACK, state="failed", began=False, shown="none"), "untouched"),
        (replace(BACK, state="failed", began=False, blocked=True), "not_recovered"),
        (replace(BACK, state="cancelled", began=False), "untouched"),
        (replace(BACK, state="cancelled", shown="none"), "unknown"),
        (replace(BACK, state="expired", shown="none"), "unknown"),  # fell silent while installing
        (replace(BACK, state="expired", native=False, shown="none"), "unknown"),
        (replace(BACK, state="expired", shown="other"), "recovered"),
        (replace(BACK, state="expired", shown="release"), "kept"),  # late, but it works
        (replace(BACK, state="expired", began=False), "untouched"),
        (replace(BACK, state="installed", shown="release"), "kept"),
        (replace(BACK, state="installed", moved_on_to="1.7.0"), "moved_on"),
        (replace(BACK, state="installed", moved_on_to=""), "moved_on"),  # to software of no release
        (replace(BACK, state="installed", return_state="failed", moved_on_to="1.7.0"), "not_recovered"),
        (replace(BACK, state="installed", return_state="pending"), "unknown"),
        (replace(BACK, state="installed", return_state="offered"), "unknown"),
        (replace(BACK, state="installed", return_state="installed"), "recovered"),
        (replace(BACK, state="installed", return_state="failed"), "not_recovered"),
        (replace(BACK, state="installed", return_state="expired"), "not_recovered"),
        (
            replace(BACK, state="expired", shown="release", return_state="offered"),
            "unknown",
        ),  # confirmed late
        (replace(BACK, state="expired", shown="other", return_state="installed"), "recovered"),
        (replace(BACK, state="expired", shown="release", return_state="failed"), "not_recovered"),
        (replace(BACK, state="active", shown="other"), "unknown"),
        (replace(BACK, state="cancelling", began=False), "unknown"),
        (replace(BACK, state="pending", began=False), "unknown"),  # withheld; it may have begun all the same
    ],
)
def test_each_vehicle_has_one_end(group: VehicleGroup, end: str) -> None:
    found = decide_recovery([group])
    names = ("recovered", "not_recovered", "unknown", "kept", "moved_on", "untouched")
    assert [name for name in names if getattr(found, name)] == [end]


@pytest.mark.parametrize(
    ("groups", "word", "reason"),
    [
        ([], "recovered", "none_touched"),
        ([replace(BACK, state="cancelled", began=False, vehicles=9)], "recovered", "none_touched"),
        ([BACK, replace(BACK, state="installed")], "recovered", ""),
        ([replace(BACK, vehicles=99), replace(BACK, shown="none")], "unknown", "not_heard_of"),
        (
            [replace(BACK, vehicles=99), replace(BACK, shown="none"), replace(BACK, blocked=True)],
            "not_recovered",
            "",
        ),
    ],
)
def test_the_worst_vehicle_gives_the_word(groups: list[VehicleGroup], word: str, reason: str) -> None:
    found = decide_recovery(groups)
    assert (found.word, found.reason) == (word, reason)


any_groups = st.lists(
    st.builds(
        VehicleGroup,
        vehicles=st.integers(1, 1_000_000),
        state=st.sampled_from(STATES),
        began=st.booleans(),
        blocked=st.booleans(),
        native=st.booleans(),
        shown=st.sampled_from(["none", "release", "other"]),
        return_state=st.none() | st.sampled_from(STATES),
        moved_on_to=st.none() | st.sampled_from(["", "1.7.0"]),
    ),
    max_size=12,
)


@given(any_groups)
def test_every_vehicle_is_counted_once_and_order_does_not_matter(groups: list[VehicleGroup]) -> None:
    found = decide_recovery(groups)
    counted = found.recovered + found.not_recovered + found.unknown + found.kept + found.untouched
    counted += found.moved_on
    assert counted == sum(group.vehicles for group in groups)
    assert decide_recovery(groups[::-1]) == found


@given(any_groups)
def test_taking_evidence_away_never_makes_a_vehicle_recovered(groups: list[VehicleGroup]) -> None:
    silent = [replace(group, shown="none") for group in groups]
    assert decide_recovery(silent).recovered <= decide_recovery(groups).recovered


def test_the_numbers_read_as_a_person_would_say_them() -> None:
    kept = replace(BACK, state="installed", vehicles=1_200)
    body = recovery_body(decide_recovery([kept, BACK]))
    body["vehicles"] = dict(sorted(body["vehicles"].items()))  # a database gives them in an order of its own
    assert measure_text(body) == "1 recovered, 1,200 kept"
    gone = [replace(kept, moved_on_to=version) for version in ("1.7.0", "1.8.0", "1.7.0", "")]
    body = recovery_body(decide_recovery([BACK, *gone]))
    told = "1 recovered, 1,200 moved on, 2,400 moved on to 1.7.0, 1,200 moved on to 1.8.0"
    assert (measure_text(body), standing(body)) == (told, "recovered")
    assert measure_text(recovery_body(decide_recovery([]))) == "no vehicle was reached"
    sides = UpdateCounts(harmed=2, reported=2), UpdateCounts(harmed=0, reported=12)
    told = "before 2 of 2 vehicles were harmed; after 0 of 12 vehicles were harmed"
    assert measure_text(updates_body(decide_updates(*sides))) == told


def test_an_empty_group_is_refused() -> None:
    with pytest.raises(InvalidInput):
        replace(BACK, vehicles=0)


@pytest.mark.parametrize(
    ("before", "after", "word", "reason"),
    [
        ((2, 2), (0, 12), "better", ""),
        ((2, 2), (1, 100), "better", ""),
        ((1, 10), (1, 10), "unknown", "not_distinguishable"),
        ((1, 100), (1, 10), "unknown", "not_distinguishable"),
        ((0, 10), (0, 10), "unknown", "before_missing"),
        ((2, 2), (0, 0), "unknown", "after_missing"),
    ],
)
def test_only_a_lower_share_of_harmed_vehicles_is_better(
    before: tuple[int, int], after: tuple[int, int], word: str, reason: str
) -> None:
    sides = [UpdateCounts(harmed=harmed, reported=reported) for harmed, reported in (before, after)]
    found = decide_updates(*sides)
    assert (found.word, found.reason) == (word, reason)


@pytest.mark.parametrize(("harmed", "reported"), [(-1, 0), (3, 2)])
def test_counts_that_contradict_each_other_are_refused(harmed: int, reported: int) -> None:
    with pytest.raises(InvalidInput):
        UpdateCounts(harmed=harmed, reported=reported)
