"""Use of options out of the lake: months that are over, enough vehicles, options that the model has."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any

import pytest

from ringroad.signal.demand.panel import Key
from ringroad.signal.demand.usage import months_due, signals_of
from ringroad.storage.usage import Used

PATH = "Vehicle.Trailer.IsConnected"
USED = Used(path=PATH, variant="city", month="2026-10", told=40, used=10)
MODELS = {"city": ("tow_bar",), "sport": ()}


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("newest", "now", "since", "until"),
    [
        (None, "2026-11-26", "2023-11-01", "2026-11-01"),
        (None, "2026-12-02", "2023-11-01", "2026-11-01"),  # November is over, and may not have come yet
        (date(2026, 9, 1), "2026-11-26", "2026-08-01", "2026-11-01"),
        (date(2026, 10, 1), "2026-11-26", "2026-09-01", "2026-11-01"),
        (date(2026, 1, 1), "2026-02-03", "2025-12-01", "2026-02-01"),
    ],
)
def test_months_that_are_over_are_read_and_the_newest_again(
    newest: date | None, now: str, since: str, until: str
) -> None:
    months = months_due(newest, now=day(now))
    assert (months[0][1], months[-1][2]) == (day(since), day(until))
    assert all(end == begin for (_, _, end), (_, begin, _) in pairwise(months))
    assert [name for name, _, _ in months] == [f"{begin:%Y-%m}" for _, begin, _ in months]


def test_the_share_of_vehicles_that_used_an_option_is_told_by_model() -> None:
    (signal,) = signals_of({"tow_bar": PATH}, [USED], MODELS)
    assert (signal.key, signal.month, signal.value) == (
        Key("tow_bar", "*", "*", "city"),
        date(2026, 10, 1),
        0.25,
    )
    (late,) = signals_of({"tow_bar": PATH}, [replace(USED, told=50)], MODELS)
    assert late.id != signal.id, "vehicles that told late make another signal of the same month"
    (other,) = signals_of({"tow_bar": "Vehicle.Speed"}, [replace(USED, path="Vehicle.Speed")], MODELS)
    assert other.id != signal.id, "the same share, told by something else"


@pytest.mark.parametrize(
    "changes", [{"told": 19}, {"variant": "sport"}, {"variant": "unknown"}, {"path": "Vehicle.Speed"}]
)
def test_few_vehicles_other_models_and_other_signals_say_nothing(changes: dict[str, Any]) -> None:
    assert signals_of({"tow_bar": PATH}, [replace(USED, **changes)], MODELS) == []
