"""An order that the plan cannot bring in time is said so when it is added."""

from __future__ import annotations

from ringroad.cli.order import late_text


def test_only_new_orders_that_are_planned_late_are_named() -> None:
    leaves_at = "2026-11-26T08:00:00+00:00"
    vehicles = [
        {"order_id": order, "late": late, "leaves_at": leaves_at}
        for order, late in (("one", True), ("two", False), ("other", True))
    ]
    said = late_text(vehicles, {"one", "two"})
    assert said.startswith("\norder one is planned to leave the line late, 2026-11-26 08:00")
    assert said.count("order ") == 1
