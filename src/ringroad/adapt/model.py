"""Values of the adapt stage: verdicts and laps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.facts import Stage

VerdictWord = Literal["better", "worse", "unknown"]
RecoveryWord = Literal["recovered", "not_recovered", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictPolicy:
    """What a verdict must be able to show. Checked when it is made.

    Attributes:
        alpha_ppm: wrong verdicts per million; 50,000 is 5 %.
        vehicles_min: vehicles observed on the new version.
        exposure_s_min: vehicle-seconds at risk, before and after.
        silence_s_max: seconds since the newest observation of the new version.
        tick_s: seconds of one tick of the measure.
        gap_s: seconds between two observations that still count as one stretch.
    """

    alpha_ppm: int = 50_000
    vehicles_min: int = 10
    exposure_s_min: int = 3_600
    silence_s_max: int = 86_400
    tick_s: int = 3_600
    gap_s: int = 3_600

    def __post_init__(self) -> None:
        """Refuse policies that would decide on nothing."""
        if not 0 < self.alpha_ppm < 1_000_000:
            raise InvalidInput("alpha_ppm must be between 0 and 1,000,000")
        if min(self.vehicles_min, self.exposure_s_min, self.silence_s_max, self.tick_s, self.gap_s) < 1:
            raise InvalidInput("all minima must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """Counts of one side, before or after."""

    software_versions: tuple[str, ...]
    vehicles_exposed: int
    vehicles_with_fault: int
    exposure_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of a change.

    Attributes:
        word: better, worse or unknown.
        reason: why it is unknown, else empty; a stable word.
        ratio_milli: rate after / rate before in thousandths, None where it cannot be said.
        low_milli: lower end of the interval of the ratio.
        high_milli: upper end, None where there is none.
        log_e_micronats: evidence for the word (or the stronger side of it).
    """

    word: VerdictWord
    reason: str
    before: Arm
    after: Arm
    ratio_milli: int | None
    low_milli: int
    high_milli: int | None
    log_e_micronats: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What became of the vehicles that a stopped campaign had reached; see `recovery.py` for the six ends.

    Attributes:
        word: recovered, not_recovered or unknown.
        reason: a stable word where the word alone says too little, else empty.
        moved_on_to: of those that moved on, vehicles by the version of the release that they run since, if one brought it.
    """

    word: RecoveryWord
    reason: str
    recovered: int
    not_recovered: int
    unknown: int
    kept: int
    moved_on: int
    untouched: int
    moved_on_to: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateCounts:
    """Outcomes of one campaign: vehicles that were harmed, of those that gave an outcome."""

    harmed: int  # failed, rolled back, or lost while installing
    reported: int

    def __post_init__(self) -> None:
        """Refuse counts that contradict each other."""
        if not 0 <= self.harmed <= self.reported:
            raise InvalidInput("harmed vehicles are some of those that reported")


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateVerdict:
    """Whether a campaign did better than the one that was halted."""

    word: Literal["better", "unknown"]
    reason: str
    before: UpdateCounts
    after: UpdateCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """An outcome that is to be measured: the fault rate again, the vehicles' recovery, or the updates themselves."""

    campaign_id: str
    finding_id: str
    measure: Literal["faults", "recovery", "updates"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A measured verdict, as it was recorded."""

    id: str
    campaign_id: str
    finding_id: str
    lap_id: str
    verdict: str
    measure: Mapping[str, Any]
    measured_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StageReport:
    """How long a lap was in one stage; `elapsed_us == working_us + waiting_us`, always.

    Attributes:
        stage: which.
        elapsed_us: microseconds the lap was in it, over all its visits.
        working_us: of these, somebody or something worked on the lap.
        waiting_us: of these, nobody did.
        visits: how often the lap came into it; more than one is rework.
        censored: the lap is still in it, so that the final figure is at least this.
    """

    stage: Stage
    elapsed_us: int
    working_us: int
    waiting_us: int
    visits: int
    censored: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """One decision that the lap needed.

    Attributes:
        kind: of the fact that is the decision; while it is pending, of the fact that asks for it.
        subject: what was decided on: a finding, a change, a campaign.
        actor: who decided or, while it is pending, asked.
        at: when.
        verdict: given, refused or pending.
    """

    kind: str
    subject: str
    actor: str
    at: datetime
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Approvals:
    """Decisions of a person or rule that the lap needed.

    Attributes:
        given: how many said yes.
        refused: how many said no.
        pending: how many are still asked for.
        waiting_us: from the request until work on the decision began; overlapping waits count once.
        each: which ones these are, in order; the latest `APPROVALS_NAMED_MAX` of them.
    """

    given: int
    refused: int
    pending: int
    waiting_us: int
    each: tuple[Approval, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rework:
    """What had to be done again."""

    releases_again: int
    campaigns_halted: int
    vehicles_rolled_back: int
    updates_failed: int
    replans: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LapReport:
    """One lap, timed. `sum(stage.elapsed_us) == elapsed_us`, always.

    Attributes:
        milestones: when each boundary was first and last passed, by name.
        ended_at: None while the lap is open; then everything is counted until `measured_to`.
    """

    lap_id: str
    started_at: datetime
    ended_at: datetime | None
    measured_to: datetime
    elapsed_us: int
    stages: tuple[StageReport, ...]
    approvals: Approvals
    rework: Rework
    milestones: Mapping[str, datetime]

    @property
    def is_open(self) -> bool:
        """Whether the lap goes on."""
        return self.ended_at is None
