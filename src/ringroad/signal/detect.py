"""Does a software version fail more often than it should? Evidence in, open findings and reasoned noes out.

Pure: `store.detect_now` loads the counts and writes what is decided here.

For each ECU, software version and fault code:

1. Where other versions of the same ECU were observed on enough vehicles, the version is compared with them in the
   same ticks and in the same vehicle variant: a cold snap or a holiday hits both and cancels out.
2. Where there is no other version to compare with, its newest `recent_s` are compared with its own time before.
   This cannot tell a software fault from a season; it therefore asks for the wider `margin_alone_milli`.
3. The e-value must pass the number of candidates / alpha, on enough vehicles and enough exposure.

Invariants:
    Missing or contradictory exposure never opens a finding.
    The same counts give the same decisions, whatever their order.
    While a finding is live for a key, no second one is opened.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.fault_counts import Cell, FaultCount, concurrent_ticks, split_ticks
from ringroad.kernel.rates import RateRatio, Tick, log_e_above, pooled, rate_ratio, rejects

HOUR_US = 3_600 * 1_000_000
Key = tuple[str, str, str]  # ECU, software version, fault code


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectPolicy:
    """When faults become a finding. Checked when it is made, so that a stored policy is always valid."""

    name: str = "rising-faults"
    alpha_ppm: int = 10_000  # false findings per million looks; 10,000 is 1 %
    margin_milli: int = 1_250  # rate ratio against other versions that is still acceptable
    margin_alone_milli: int = 2_000  # the same against the version's own past
    faulty_vehicles_min: int = 3  # vehicles; fewer may share an owner, a road or a workshop
    vehicles_min: int = 10  # vehicles on the version
    control_vehicles_min: int = 5  # vehicles on other versions, else the version's own past is used
    exposure_s_min: int = 3_600  # vehicle-seconds in each arm
    window_s: int = 14 * 86_400  # seconds looked back
    recent_s: int = 86_400  # seconds that are "now" when a version is compared with its own past
    tick_s: int = 3_600  # seconds; the finer, the better shocks cancel out
    gap_s: int = 3_600  # seconds between two observations that still count as one stretch

    def __post_init__(self) -> None:
        """Refuse policies that could never decide, or would always."""
        if not 0 < self.alpha_ppm < 1_000_000:
            raise InvalidInput("alpha_ppm must be between 0 and 1,000,000")
        if min(self.margin_milli, self.margin_alone_milli) < 1_000:
            raise InvalidInput("a margin below 1,000 would call a lower rate a rise")
        if min(self.faulty_vehicles_min, self.vehicles_min, self.control_vehicles_min) < 1:
            raise InvalidInput("vehicle minima must be at least 1")
        if not 0 < self.tick_s <= self.recent_s < self.window_s:
            raise InvalidInput("tick_s <= recent_s < window_s is needed")
        if min(self.gap_s, self.exposure_s_min) < 1:
            raise InvalidInput("gap_s and exposure_s_min must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The numbers of one decision.

    Attributes:
        against: "other_versions" or "own_past".
        split_us: where "now" begins when compared with the own past.
        totals: summed counts of both arms.
        log_e_micronats: logarithm of the e-value in millionths, rounded down.
        hypotheses: how many candidates shared alpha.
    """

    against: str
    control_versions: tuple[str, ...]
    split_us: int | None
    totals: Tick
    log_e_micronats: int
    hypotheses: int
    ratio: RateRatio


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenFinding:
    """This version fails more often than it should."""

    key: Key
    count: FaultCount
    comparison: Comparison
    first_signal_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NoFinding:
    """No finding, and why: a stable word."""

    key: Key
    reason: str
    comparison: Comparison | None = None


Decision = OpenFinding | NoFinding


def decide_finding(
    policy: DetectPolicy,
    counts: Sequence[FaultCount],
    *,
    live: Collection[Key],
    until_us: int,
) -> list[Decision]:
    """Decide on every fault code of every software version.

    Args:
        policy: when faults become a finding.
        counts: one entry per ECU, version and code, in any order.
        live: keys with an open or accepted finding.
        until_us: end of the measured window, microseconds since 1970.

    Returns:
        One decision per entry with a fault, sorted by key.
    """
    ordered = sorted(counts, key=_key)
    candidates = [count for count in ordered if count.vehicles_with_fault or count.vehicles_outside]
    hypotheses = max(1, len(candidates))
    return [
        _decide_one(
            policy,
            count,
            others=[
                other
                for other in ordered
                if (other.ecu, other.fault_code) == (count.ecu, count.fault_code)
                and other.software_version != count.software_version
            ],
            is_live=_key(count) in live,
            hypotheses=hypotheses,
            until_us=until_us,
        )
        for count in candidates
    ]


def _decide_one(
    policy: DetectPolicy,
    count: FaultCount,
    *,
    others: Sequence[FaultCount],
    is_live: bool,
    hypotheses: int,
    until_us: int,
) -> Decision:
    key = _key(count)
    if is_live:
        return NoFinding(key=key, reason="already_live")
    if not count.exposure_us or count.first_fault_us is None:
        return NoFinding(key=key, reason="missing_exposure")
    if count.vehicles_exposed < policy.vehicles_min:
        return NoFinding(key=key, reason="too_few_vehicles")
    if count.vehicles_with_fault < policy.faulty_vehicles_min:
        return NoFinding(key=key, reason="too_few_faulty_vehicles")
    ticks = concurrent_ticks(count, others)
    shared = [tick for tick in ticks if tick.treated_exposure and tick.control_exposure]
    exposure_us_min = policy.exposure_s_min * 1_000_000
    is_compared = (
        sum(other.vehicles_exposed for other in others) >= policy.control_vehicles_min
        and pooled(shared).control_exposure >= exposure_us_min
    )
    split_us: int | None = None
    margin_milli = policy.margin_milli
    first_us = count.first_fault_us
    if not is_compared:
        split_us = _split_us(policy, until_us)
        margin_milli = policy.margin_alone_milli
        recent, past = _divide(count.cells, split_us // (policy.tick_s * 1_000_000))
        shared = split_ticks(recent, past)
        shared = [tick for tick in shared if tick.treated_exposure and tick.control_exposure]
        # The signal is the first fault of the rise, as exactly as the ticks can tell.
        first_us = max(
            first_us,
            min((cell.tick for cell in recent if cell.faulted), default=0) * policy.tick_s * 1_000_000,
        )
    totals = pooled(shared)
    if min(totals.treated_exposure, totals.control_exposure) < exposure_us_min:
        return NoFinding(key=key, reason="too_little_exposure")
    if totals.treated < policy.faulty_vehicles_min:
        return NoFinding(key=key, reason="too_few_faulty_vehicles")
    log_e = log_e_above(shared, margin=margin_milli / 1_000)
    comparison = Comparison(
        against="own_past" if split_us is not None else "other_versions",
        control_versions=() if split_us is not None else tuple(other.software_version for other in others),
        split_us=split_us,
        totals=totals,
        log_e_micronats=math.floor(log_e * 1_000_000),
        hypotheses=hypotheses,
        ratio=rate_ratio(shared),
    )
    if not rejects(log_e, alpha_ppm=policy.alpha_ppm, hypotheses=hypotheses):
        return NoFinding(key=key, reason="not_rising", comparison=comparison)
    return OpenFinding(key=key, count=count, comparison=comparison, first_signal_us=first_us)


def _key(count: FaultCount) -> Key:
    return (count.ecu, count.software_version, count.fault_code)


def _split_us(policy: DetectPolicy, until_us: int) -> int:
    """Return where "now" begins, on a tick's border, so that no tick is on both sides."""
    tick_us = policy.tick_s * 1_000_000
    return (until_us - policy.recent_s * 1_000_000) // tick_us * tick_us


def _divide(cells: Iterable[Cell], split_tick: int) -> tuple[list[Cell], list[Cell]]:
    recent: list[Cell] = []
    past: list[Cell] = []
    for cell in cells:
        (recent if split_tick <= cell.tick else past).append(cell)
    return recent, past
