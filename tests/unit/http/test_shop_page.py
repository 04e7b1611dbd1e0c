"""A shop's plan as the plant page draws it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ringroad.http.console.shops import LABEL, TASKS_SHOWN, WIDTH, gantt
from ringroad.http.views_shop import ShopTaskView

NOW = datetime(2026, 11, 26, 8, 0, 20, tzinfo=UTC)


def task(order: str, resource: str, start_s: int, end_s: int, *, product: str = "door") -> ShopTaskView:
    return ShopTaskView(
        task=f"{order}/{product}/draw", order_id=order, product=product, step="draw", resource=resource,
        starts_at=NOW + timedelta(seconds=start_s), ends_at=NOW + timedelta(seconds=end_s), is_fixed=start_s < 0,
    )  # fmt: skip


def test_bars_begin_now_stand_on_their_resource_and_late_ones_are_marked() -> None:
    drawn = gantt(
        [task("o1", "press", -30, 30), task("o2", "saw", 30, 60, product="roof")], ["press", "saw"],
        late={("o2", "roof")}, now=NOW,
    )  # fmt: skip
    one, two = drawn["bars"]
    assert (one["x"], one["late"], two["late"]) == (LABEL, False, True)
    assert one["width"] == two["width"] == (WIDTH - LABEL) / 2
    assert two["y"] > one["y"]
    assert one["tone"] != two["tone"]
    assert one["title"].endswith("fixed")
    assert [each["text"] for each in drawn["ticks"]] == [
        "08:00:30",
        "08:00:40",
        "08:00:50",
        "08:01:00",
        "08:01:10",
    ]
    assert drawn["left_out"] == 0


def test_where_nothing_is_to_be_done_nothing_is_drawn_and_of_much_the_first() -> None:
    assert gantt([], ["press"], late=set(), now=NOW) == {}
    many = [
        task(f"o{number}", "press", 90_000 * number, 90_000 * number + 9) for number in range(TASKS_SHOWN + 3)
    ]
    drawn = gantt(many, ["press"], late=set(), now=NOW)
    assert (len(drawn["bars"]), drawn["left_out"]) == (TASKS_SHOWN, 3)
    assert 1 <= len(drawn["ticks"]) <= 60
    assert all(LABEL <= each["x"] <= WIDTH for each in drawn["bars"])
