from __future__ import annotations

import pytest

from ringroad.ship.compared import all_compared
from ringroad.ship.gate import installation_readings
from ringroad.ship.guard import MetricName, Past, SequentialPolicy, read_rate
from ringroad.ship.wave_facts import WaveFacts

POLICY = SequentialPolicy()
PAST: dict[str, Past] = {MetricName.INSTALL_FAILED: Past(failed=5, tried=2_000)}
FAULT = next(each for each in POLICY.metrics if each.name is MetricName.FAULT)


def test_every_metric_is_there_with_what_it_is_compared_with_also_one_that_was_never_read() -> None:
    facts = WaveFacts(vehicles_targeted=10, vehicles_installed=4, vehicles_failed=3)
    rows = all_compared(
        POLICY,
        (read_rate(FAULT, [], limit=POLICY.limit(FAULT)),),
        installation_readings(POLICY, facts, PAST),
        PAST,
        state_reason="",
    )
    assert [(row.metric, row.against, row.reading is not None) for row in rows] == [
        ("install_failed", "past", True), ("rolled_back", "past", True), ("fault", "control", True),
        ("silence", "control", False),
    ]  # fmt: skip
    assert [(row.tried, row.past_tried) for row in rows] == [(7, 2_000), (4, 0), (None, None), (None, None)]
    assert not any(row.halted for row in rows)


@pytest.mark.parametrize(
    ("reason", "halted"),
    [
        ("worse_than_before: install_failed", ["install_failed"]),
        ("worse_than_control: silence", ["silence"]),
        ("worse_than_control: silence in van/EU", ["silence"]),
        ("too_many_failures", []),
        ("by hand: fault", []),
        ("", []),
    ],
)
def test_the_metric_that_halted_is_named_and_none_else(reason: str, halted: list[str]) -> None:
    rows = all_compared(POLICY, (), (), PAST, state_reason=reason)
    assert [row.metric for row in rows if row.halted] == halted
