"""What a decision of the gate rested on, in sentences: each metric, its bounds, what was asked of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ringroad.http.console.evidence import interval, odds
from ringroad.ship.compared import Compared, compared_then
from ringroad.ship.reason_words import metric_words

COUNTED: Final = (
    "targeted", "installed", "downloaded", "failed", "rolled_back", "lost", "silent", "cancelled",
)  # fmt: skip
OTHERS: Final[Mapping[str, str]] = {"control": "the control group", "past": "past installations"}


def counted(facts: Mapping[str, Any]) -> str:
    """Return the counts of vehicles that a decision saw, of its wave; empty where none were recorded."""
    wave = facts.get("wave", facts)
    if not isinstance(wave, Mapping):
        return ""
    counts = {name: wave.get(f"vehicles_{name}") for name in COUNTED}
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count)


def decision_lines(facts: Mapping[str, Any], policy: Mapping[str, Any], reason: str) -> list[str]:
    """Return a line for each metric that the gate compared, and what the comparison promises.

    A metric that halted or held the campaign comes first; patient with decisions of older versions.
    """
    rows = compared_then(facts, policy, reason=reason)
    if not rows:
        return []
    about = reason.partition(": ")[2].partition(" in ")[0]
    lines = [_metric(each) for each in sorted(rows, key=lambda each: each.metric != about)]
    evidence, alpha_ppm = facts.get("evidence") or {}, policy["sequential"]["alpha_ppm"]
    read = f"reading {evidence['id']}; " if evidence.get("id") else ""
    return [
        *lines,
        f"{read}bounds hold at every look with 95 %; a good update halts in {alpha_ppm / 10_000:g} % of campaigns",
    ]


def _metric(each: Compared) -> str:
    said, accepted = each.reading, f"up to {each.margin_milli / 1_000:g} times are accepted"
    name, others = metric_words(each.metric), OTHERS[each.against]
    ratio = interval(said.point_milli, said.low_milli or None, said.high_milli) if said and said.known else ""
    if said is None or not ratio:
        return f"{name}: nothing is known yet against {others}; {accepted}"
    of = f" of {each.tried:,}" if each.tried is not None else ""
    other = _other(said.control, each.past_tried)
    line = (
        f"{name}: {said.treated:,}{of} updated, {other}; {ratio}; {accepted};"
        f" {odds(said.log_e_micronats)} against chance, halts at {odds(each.limit_micronats)}"
    )
    worst = next((part for part in said.strata if each.margin_milli < part.low_milli), None)
    if worst is None:
        return line
    there = interval(worst.point_milli, worst.low_milli, worst.high_milli)
    return (
        f"{line}; most in {worst.stratum}: {worst.treated:,} updated, {_other(worst.control, None)}; {there}"
    )


def _other(events: int, past_tried: int | None) -> str:
    """Return how often it happened to those compared with: `past_tried` installations, or the control group."""
    if past_tried is None:
        return f"{events:,} of the control group"
    return f"{events:,} of {past_tried:,} past installations" if past_tried else "no past installations"
