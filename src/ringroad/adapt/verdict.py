"""Did the change help? The measure that opened the finding, taken again.

Pure. Before: vehicles on the affected version, since the rise began. After: vehicles on the new versions, since the
campaign started. Both count first faults per vehicle and time at risk, per vehicle variant.

1. Without vehicles, exposure or fresh observations on the new version the verdict is unknown, with the reason.
2. Worse is looked at before better.
3. A verdict needs an e-value of 2 / alpha (two directions share it); anything less is "not_distinguishable".

Before and after are not concurrent: a season between them is not taken out, unless both versions ran side by side.

Invariant: missing or old evidence never yields better.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ringroad.adapt.model import Arm, Verdict, VerdictPolicy, VerdictWord
from ringroad.kernel.fault_counts import FaultCount, split_ticks
from ringroad.kernel.rates import Tick, log_e_above, log_e_below, pooled, rate_ratio, rejects

_ENDS = (
    "recovered",
    "not_recovered",
    "unknown",
    "kept",
    "moved_on",
    "untouched",
)  # of vehicles, as they are told


def decide_verdict(
    policy: VerdictPolicy,
    before: FaultCount | None,
    after: Sequence[FaultCount],
    *,
    until_us: int,
) -> Verdict:
    """Decide what came of a change.

    Args:
        policy: what a verdict must be able to show.
        before: counts of the affected version; None if there are none.
        after: counts of the new versions, one entry each.
        until_us: time of the verdict, microseconds since 1970.
    """
    ticks = split_ticks(
        [cell for count in after for cell in count.cells], before.cells if before is not None else ()
    )
    shared = [tick for tick in ticks if tick.treated_exposure and tick.control_exposure]
    reason = _blocked(policy, before, after, shared=shared, until_us=until_us)
    worse, better = log_e_above(shared), log_e_below(shared)
    word: VerdictWord = "unknown"
    if not reason:
        if rejects(worse, alpha_ppm=policy.alpha_ppm, hypotheses=2):
            word = "worse"
        elif rejects(better, alpha_ppm=policy.alpha_ppm, hypotheses=2):
            word = "better"
        else:
            reason = "not_distinguishable"
    ratio = rate_ratio(shared, alpha_ppm=policy.alpha_ppm)
    return Verdict(
        word=word,
        reason=reason,
        before=_arm([before] if before is not None else []),
        after=_arm(after),
        ratio_milli=ratio.point_milli,
        low_milli=ratio.low_milli,
        high_milli=ratio.high_milli,
        log_e_micronats=math.floor(max(worse, better) * 1_000_000),
    )


def versions_of(
    counts: Sequence[FaultCount], *, ecu: str, code: str, versions: Collection[str]
) -> list[FaultCount]:
    """Return the counts of one fault code on some versions of one ECU."""
    return [
        count
        for count in counts
        if (count.ecu, count.fault_code) == (ecu, code) and count.software_version in versions
    ]


def _blocked(
    policy: VerdictPolicy,
    before: FaultCount | None,
    after: Sequence[FaultCount],
    *,
    shared: Sequence[Tick],
    until_us: int,
) -> str:
    """Return why nothing can be said, or an empty text."""
    if before is None or not before.exposure_us:
        return "before_missing"
    seen_us = [count.last_observed_us for count in after if count.last_observed_us is not None]
    if not seen_us:
        return "after_missing"
    if sum(count.vehicles_exposed for count in after) < policy.vehicles_min:
        return "too_few_vehicles"
    if policy.silence_s_max * 1_000_000 < until_us - max(seen_us):
        return "silent"
    totals = pooled(shared)
    if min(totals.treated_exposure, totals.control_exposure) < policy.exposure_s_min * 1_000_000:
        return "too_little_exposure"
    return ""


def _arm(counts: Sequence[FaultCount]) -> Arm:
    return Arm(
        software_versions=tuple(count.software_version for count in counts),
        vehicles_exposed=sum(count.vehicles_exposed for count in counts),
        vehicles_with_fault=sum(count.vehicles_with_fault for count in counts),
        exposure_us=sum(count.exposure_us for count in counts),
    )


def verdict_body(verdict: Verdict) -> dict[str, Any]:
    """Return the verdict in JSON types, for the outcome and its fact."""

    def arm(side: Arm) -> dict[str, Any]:
        return {
            "software_versions": list(side.software_versions),
            "vehicles_exposed": side.vehicles_exposed,
            "vehicles_with_fault": side.vehicles_with_fault,
            "exposure_us": side.exposure_us,
        }

    return {
        "measure": "faults",
        "verdict": verdict.word,
        "reason": verdict.reason,
        "before": arm(verdict.before),
        "after": arm(verdict.after),
        "ratio_milli": verdict.ratio_milli,
        "interval_milli": [verdict.low_milli, verdict.high_milli],
        "log_e_micronats": verdict.log_e_micronats,
    }


def measure_text(body: Mapping[str, Any]) -> str:
    """Return the numbers of an outcome as a person would say them, whichever measure it was."""
    vehicles = body.get("vehicles")
    if isinstance(vehicles, Mapping):
        counts = {name.replace("_", " "): vehicles.get(name, 0) for name in _ENDS}
        for version, count in body.get("moved_on_to", {}).items():
            counts["moved on"] -= count
            counts[f"moved on to {version}"] = count
        return (
            ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
            or "no vehicle was reached"
        )
    parts = []
    for side in ("before", "after"):
        arm = body.get(side)
        if isinstance(arm, Mapping) and "vehicles_harmed" in arm:
            parts.append(
                f"{side} {arm['vehicles_harmed']} of {arm['vehicles_reported']} vehicles were harmed"
            )
        elif isinstance(arm, Mapping):
            parts.append(
                f"{side} ({', '.join(arm['software_versions'])}) {arm['vehicles_with_fault']} of"
                f" {arm['vehicles_exposed']} vehicles failed in {arm['exposure_us'] / 1e6:,.0f} vehicle-seconds"
            )
    return "; ".join(parts)
