"""What the demo says of a campaign."""

from __future__ import annotations

from ringroad.sim.demo.server import count_states

ROWS = [
    {"wave": 1, "state": "installed", "vehicles": 5},
    {"wave": 2, "state": "installed", "vehicles": 3},
    {"wave": 2, "state": "active", "vehicles": 12},
    {"wave": 3, "state": "pending", "vehicles": 32},
]


def test_a_wave_is_counted_without_those_before_it() -> None:
    assert count_states(ROWS, wave=2) == {"installed": 3, "active": 12}
    assert count_states(ROWS, wave=4) == count_states([], wave=None) == {}


def test_a_campaign_is_counted_with_all_its_waves() -> None:
    assert count_states(ROWS, wave=None) == {"installed": 8, "active": 12, "pending": 32}
