"""A decision comes out of what was recorded with it, and of nothing less."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from ringroad.ship.gate import GatePolicy, Halt
from ringroad.ship.replay import decide_again, word_of
from ringroad.ship.wave_facts import WaveFacts

NOW = datetime(2026, 11, 26, tzinfo=UTC)
WAVE = msgspec.to_builtins(
    WaveFacts(vehicles_targeted=10, vehicles_failed=5, newest_report_at=NOW, evidence_since=NOW)
)
POLICY = msgspec.to_builtins(GatePolicy(failed_permille_max=100))
REST = {"last_wave": False, "withdrawn": False, "reports_waiting": False}


def recorded(**more: Any) -> dict[str, Any]:
    return {"wave": WAVE, "released": WAVE, "rest": REST, **more}


def test_what_was_recorded_gives_the_same_decision() -> None:
    found = decide_again(recorded(), POLICY, decided_at=NOW)
    assert found == Halt("too_many_failures")
    assert word_of(Halt("too_many_failures")) == ("halt", "too_many_failures")


def test_a_row_that_was_changed_comes_out_otherwise() -> None:
    kinder = {**WAVE, "vehicles_failed": 0, "vehicles_installed": 10}
    assert decide_again(recorded(wave=kinder, released=kinder), POLICY, decided_at=NOW) != Halt(
        "too_many_failures"
    )
    assert decide_again(recorded(rest={**REST, "withdrawn": True}), POLICY, decided_at=NOW) == Halt(
        "release_withdrawn"
    )


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"wave": WAVE, "released": WAVE},  # recorded before the rest was
        {"wave": WAVE, "rest": REST},
        recorded(rest={"last_wave": True}),
        recorded(wave={"vehicles_targeted": "ten"}),
        recorded(evidence=3),
    ],
)
def test_what_was_not_recorded_is_not_known(facts: dict[str, Any]) -> None:
    assert decide_again(facts, POLICY, decided_at=NOW) is None
    assert decide_again(recorded(), {"failed_permille_max": 2_000}, decided_at=NOW) is None
