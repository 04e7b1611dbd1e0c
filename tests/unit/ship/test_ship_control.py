from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from ringroad.ship.control import (
    OTHER_SOFTWARE,
    REASONS_MAX,
    StratumLeft,
    episodes_of,
    most_first,
    no_control_for,
    too_few_left,
)
from ringroad.ship.gate import GatePolicy
from ringroad.ship.guard import Metric, MetricName, SequentialPolicy
from ringroad.ship.plan import PlanRequest

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
FAULTS = SequentialPolicy(metrics=(Metric(name=MetricName.FAULT, margin_milli=1_250),))
INSTALLS = SequentialPolicy(metrics=(Metric(name=MetricName.INSTALL_FAILED, margin_milli=1_250),))


def request(policy: SequentialPolicy | None = FAULTS) -> PlanRequest:
    return PlanRequest(query="all", gate=GatePolicy(sequential=policy))


@pytest.mark.parametrize(
    ("held", "treated", "left", "says"),
    [
        (20, 40, 20, ""),
        (20, 40, 10, ""),  # half of what was approved is enough where the plan was accepted as small
        (20, 40, 9, "9 of 20"),
        (20, 40, 0, "0 of 20"),
        (30_000, 970_000, 20_000, ""),
        (20_000, 980_000, 19_999, ""),  # fewer than advised by now: a warning to who plans, no reason to stop
        (20_000, 980_000, 10_000, ""),
        (20_000, 980_000, 9_999, "9999 of 20000"),
        (3_200, 980_000, 2_880, ""),  # a tenth may go, whatever the rest can tell
        (3_200, 980_000, 2_879, "of 3200 vehicles"),  # tells nothing by now, and the plan's did
        (3_000, 980_000, 1_500, ""),  # told nothing from the beginning, and was approved so
        (1, 40, 0, "0 of 1"),
        (0, 40, 0, ""),  # nobody was held back: the plan was blocked, or compares nothing
    ],
)
def test_a_control_group_that_shrank_is_too_small_below_half_or_where_it_cannot_decide_any_more(
    held: int, treated: int, left: int, says: str
) -> None:
    found = too_few_left(request(), held=held, treated=treated, left=left)
    assert found.startswith(says) if says else found == ""


@pytest.mark.parametrize(
    ("city", "van", "says"),
    [
        (60, 60, ""),
        (30, 60, ""),
        (29, 60, "29 of 60 vehicles of the control group in city are left"),
        (60, 0, "0 of 60 vehicles of the control group in van are left"),
    ],
)
def test_a_stratum_that_is_read_alone_needs_half_of_its_controls_too(city: int, van: int, says: str) -> None:
    strata = {"van": StratumLeft(held=60, left=van), "city": StratumLeft(held=60, left=city)}
    found = too_few_left(request(), held=20_000, treated=980_000, left=19_900, strata=strata)
    assert found.startswith(says) if says else found == ""
    assert too_few_left(request(INSTALLS), held=20_000, treated=980_000, left=19_900, strata=strata) == ""


@pytest.mark.parametrize("policy", [None, INSTALLS])
def test_where_nothing_is_compared_with_it_a_control_group_is_never_too_small(
    policy: SequentialPolicy | None,
) -> None:
    assert too_few_left(request(policy), held=20, treated=40, left=0) == ""


def test_fewer_that_are_left_never_make_a_control_group_large_enough() -> None:
    for held in (3, 20, 1_000, 40_000):
        said = [
            bool(too_few_left(request(), held=held, treated=960_000, left=left)) for left in range(held + 1)
        ]
        assert said == sorted(said, reverse=True)
        assert said[0]
        assert not said[-1]


@pytest.mark.parametrize(
    ("waiting", "changed_at", "reason"),
    [
        (
            None,
            None,
            None,
        ),  # changed before the comparison began, as its like in a wave did, which is offered it
        (None, NOW, OTHER_SOFTWARE),
        ("already_installed", None, "already_installed"),
        ("already_installed", NOW, "already_installed"),
        ("unknown: brake", NOW, "unknown: brake"),
    ],
)
def test_a_control_vehicle_is_let_go_as_a_waiting_one_would_be_and_for_any_other_software_later(
    waiting: str | None, changed_at: datetime | None, reason: str | None
) -> None:
    assert no_control_for(waiting, changed_at=changed_at) == reason


def test_the_reasons_that_are_told_are_limited_and_count_everybody() -> None:
    reasons = Counter({f"mismatch: {number}": number for number in range(1, 61)})
    said = most_first(reasons)
    assert len(said) == REASONS_MAX + 1
    assert next(iter(said.items())) == ("mismatch: 60", 60)
    assert said["other"] == sum(range(1, 11))
    assert sum(said.values()) == reasons.total()
    assert list(most_first(Counter({"a": 1, "b": 2})).items()) == [("b", 2), ("a", 1)]


@pytest.mark.parametrize("since_s", [0, 1, 3_599, 3_600, 9_000])
def test_each_vehicle_is_watched_without_a_gap_in_windows_that_change_at_a_moment_of_its_own(
    since_s: int,
) -> None:
    changes = set()
    for each in range(500):
        found = list(
            episodes_of(
                "campaign_1", f"VIN{each}", window_us=3_600, started_us=10_000, since_us=10_000 + since_s,
                until_us=25_000, spread=True,
            )
        )  # fmt: skip
        assert 10_000 <= found[0][0] <= 10_000 + since_s < found[0][1]
        assert found[-1][0] <= 25_000 < found[-1][1]
        assert all(over == begins for (_, over), (begins, _) in pairwise(found))
        assert all(over - begins == 3_600 for begins, over in found[1:])
        changes.add((found[-1][0] - 10_000) % 3_600 * 60 // 3_600)
    assert changes == set(range(60))


def test_a_plan_from_before_keeps_the_windows_that_it_was_counted_by() -> None:
    for vin in ("VIN1", "VIN2"):
        assert list(
            episodes_of(
                "campaign_1",
                vin,
                window_us=100,
                started_us=1_000,
                since_us=1_150,
                until_us=1_300,
                spread=False,
            )
        ) == [(1_100, 1_200), (1_200, 1_300), (1_300, 1_400)]
