"""What is said when a lot is contained: who has it now, who left with it, and whether anybody ever had it."""

from __future__ import annotations

from ringroad.cli.quality_inspect import said_text


def test_vehicles_that_left_with_a_lot_are_counted_and_a_lot_that_nobody_had_is_doubted() -> None:
    row = {"part": "battery", "lot": "B-17", "on_line": 1, "born": 12}
    said = said_text(row)
    assert "1 order on the line have it" in said
    assert "12 vehicles left the line with it" in said
    assert "ringroad trace lot B-17" in said
    assert "no vehicle ever had it" not in said
    assert "no vehicle ever had it" in said_text(row | {"on_line": 0, "born": 0})
    assert "no vehicle ever had it" not in said_text(row | {"on_line": 0})
    assert "no vehicle ever had it" not in said_text(row | {"born": 0})
