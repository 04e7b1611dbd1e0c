"""What the demo prints at the end: how long each stage took, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ringroad.adapt.verdict import measure_text


def lap_lines(result: Mapping[str, Any]) -> list[str]:
    """Return the lines of a finished lap: a table of stages, rework, and the verdict with its numbers."""
    lap = result["lap"]
    lines = [f"lap {lap['lap_id']}", f"  {'stage':<8}{'took':>9}{'working':>10}{'waiting':>10}"]
    lines += [
        f"  {stage['stage']:<8}{_s(stage['elapsed_us'])}{_s(stage['working_us'], 10)}{_s(stage['waiting_us'], 10)}"
        for stage in lap["stages"]
    ]
    rework, approvals = lap["rework"], lap["approvals"]
    lines.append(f"  {'lap':<8}{_s(lap['elapsed_us'])}")
    lines.append(
        f"  approvals {approvals['given']}, releases again {rework['releases_again']},"
        f" campaigns halted {rework['campaigns_halted']}, vehicles rolled back {rework['vehicles_rolled_back']},"
        f" replans {rework['replans']}"
    )
    outcome = result["outcome"]
    lines.append(f"  verdict {outcome['verdict']}: {measure_text(outcome['measure'])}")
    return lines


def _s(microseconds: int, width: int = 9) -> str:
    return f"{microseconds / 1e6:>{width - 2}.1f} s"
