"""An order that the plan cannot bring in time is said so when it is added."""

from __future__ import annotations

from ringroad.cli.order import late_text
from ringroad.cli.schedule_text import latency_text, made_late_text


def test_only_new_orders_that_are_planned_late_are_named() -> None:
    leaves_at = "2026-11-26T08:00:00+00:00"
    vehicles = [
        {"order_id": order, "late": late, "leaves_at": leaves_at}
        for order, late in (("one", True), ("two", False), ("other", True))
    ]
    said = late_text(vehicles, {"one", "two"})
    assert said.startswith("\norder one is planned to leave the line late, 2026-11-26 08:00")
    assert said.count("order ") == 1


def test_orders_that_a_new_schedule_makes_late_are_counted_and_the_first_ones_named() -> None:
    assert made_late_text([]) == ""
    assert made_late_text(["order_one"]) == "late by it, and not by the schedule before: 1 order: order_one"
    said = made_late_text([f"order_{each}" for each in "abcdefg"])
    assert said.endswith("7 orders: order_a, order_b, order_c, order_d, order_e and 2 more")
    row = {
        "generation": 3,
        "replan_latency_us": 1_000,
        "document": {"sequence": ["a"], "held": [], "made_late": ["order_a"]},
    }
    assert latency_text(row).splitlines()[1] == made_late_text(["order_a"])
