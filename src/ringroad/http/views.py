"""The shapes of read models: what list operations answer and pages show. `reading.py` fills them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Base of read models."""


class Overview(View, frozen=True, kw_only=True):
    """Counts for the Loop page."""

    findings_open: int
    complaints: int
    quarantined: int
    changes_proposed: int
    changes_approved: int
    releases_open: int
    releases_signed: int
    orders_open: int
    campaigns_open: int
    campaigns_harm_holds: int = 0  # of those under way: their gates hold for harm
    vehicles_updating: int
    outcomes: int
    outcomes_better: int
    vehicles: int
    vehicles_blocked: int
    laps: int
    facts: int  # sequence number of the newest fact


class FleetOverview(View, frozen=True, kw_only=True):
    """Counts of one fleet."""

    vehicles: int
    vehicles_updating: int
    vehicles_blocked: int


class FactView(View, frozen=True, kw_only=True):
    """One fact of the ledger."""

    seq: int
    id: str
    kind: str
    stage: str
    subject: str
    lap_id: str | None
    causes: list[str]
    actor: str
    work_started_at: datetime
    event_at: datetime
    recorded_at: datetime
    body: dict[str, Any]


class LapView(View, frozen=True, kw_only=True):
    """A lap in a list."""

    id: str
    title: str
    opened_at: datetime
    finding_id: str | None
    finding_title: str | None
    finding_state: str | None
    verdict: str | None
    latest_kind: str | None


class VehicleView(View, frozen=True, kw_only=True):
    """A vehicle in a list, with its newest assignment."""

    vin: str
    programme_id: str
    variant: str
    region: str
    tags: list[str]
    gateway: str
    release_id: str | None
    release_version: str | None
    release_name: str | None
    blocked_reason: str | None
    shut_out: bool = False  # and neither enrolled nor heard of since
    born_at: datetime
    action_id: int | None
    campaign_id: str | None
    update_state: str | None
    last_report_at: datetime | None
    heard_at: datetime | None = None  # a report, or a request of it to within twelve hours; None: never
    ecus: int


class EcuView(View, frozen=True, kw_only=True):
    """An ECU of a vehicle and what it runs."""

    serial: str
    name: str
    hardware_id: str
    is_primary: bool
    added_at: datetime
    removed_at: datetime | None
    version: str | None
    filename: str | None
    image_sha256: str | None
    reported_at: datetime | None
    bus: str | None
    os: str | None
    supplier: str | None
    storage: str | None


class AssignmentView(View, frozen=True, kw_only=True):
    """One vehicle in one campaign."""

    action_id: int
    campaign_id: str
    campaign_name: str
    campaign_state: str
    release_version: str
    vin: str
    wave: int
    kind: str
    state: str
    state_detail: str
    withdrawn: str = ""  # who or what stopped its campaign, and why, if that ended it
    claimed_at: datetime | None = None  # it says success; `claimed` until it says that it runs it as well
    offered_at: datetime | None
    deadline_at: datetime | None
    last_report_at: datetime | None
    finished_at: datetime | None
    window: dict[str, Any] | None  # of the plan, while the vehicle has not begun
    own_window: dict[str, Any] | None = None  # hours that its fleet's operator set, likewise
    asked: bool = False  # over DDI: its driver is asked, and has not agreed
    withheld: bool = (
        False  # over DDI: it is told nothing, as it never said that it keeps what it may not install
    )
    recall: bool = False  # an emergency: nobody puts it off
    install_s: int | None  # how much of it an installation takes
    time_zone: str | None  # of the vehicle, if known
    released: bool  # its wave has begun
    wave_opens_at: datetime | None = None  # if not: it does not before then, by the plan
    attempt: int
    not_before: datetime | None  # of an attempt that waits for its turn
    behind: str = ""  # the campaign, by name, that has something under way at the vehicle while it waits here
    behind_state: str = ""  # of that one: a paused one holds no deadline against the vehicle


class ResolutionView(View, frozen=True, kw_only=True):
    """Vehicles that are alike, and what a plan made of them; `example` is one of them, empty where none was found.

    `control` are matches that are held back; `number` 0 are those that joined late, whatever they run.
    """

    number: int
    verdict: str
    reason: str
    sentence: str
    vehicles: int
    example: str
    steps: list[str]  # releases by version, in the order in which they are installed
    install_bytes: int
    install_s: int


class VehicleResolutionView(View, frozen=True, kw_only=True):
    """What the current plan of a campaign made of one vehicle; `not_selected` when its query leaves it out."""

    campaign_id: str
    campaign_name: str
    campaign_state: str
    release_id: str
    release_version: str
    verdict: str
    reason: str
    sentence: str
    wave: int  # 0: it takes no part
    steps: list[str]
    install_bytes: int
    install_s: int
    today: str = ""  # verdict by what is known of it now; empty where nobody asked
    today_sentence: str = ""
    state: str = ""  # of its update; empty before the start, and where it takes no part
    state_detail: str = ""
    planned_at: datetime | None = None  # when that plan was made
    joined_at: datetime | None = None  # late, while the campaign ran
    let_go_at: datetime | None = None  # from the control group; nothing is compared with it from then on
    let_go_reason: str = ""


class LetGoView(View, frozen=True, kw_only=True):
    """Vehicles that a campaign let go when they were judged again, and the verdict with its reason."""

    verdict: str
    vehicles: int
    control: bool = False  # let go from the control group; else from a wave


class ReportView(View, frozen=True, kw_only=True):
    """One acknowledged report of a vehicle."""

    id: int
    action_id: int | None
    kind: str
    event_at: datetime
    received_at: datetime
    applied_at: datetime | None
    body: dict[str, Any]


class FleetVersion(View, frozen=True, kw_only=True):
    """Vehicles of one variant on one release."""

    version: str
    release_id: str | None
    variant: str
    vehicles: int


class CampaignView(View, frozen=True, kw_only=True):
    """A campaign with its counts."""

    id: str
    name: str
    release_id: str
    release_version: str
    release_name: str
    lap_id: str | None
    state: str
    state_reason: str
    wave: int
    plan_id: str | None
    generation: int
    created_by: str
    created_at: datetime
    finished_at: datetime | None
    vehicles: int
    installed: int
    downloaded: int  # and not installed: the plan only downloads
    claimed: int = 0  # say success, and have yet to say that they run it
    failed: int  # rolled back and silent past their deadline too
    silent: int = 0  # of those: they never began, and no outcome came before the deadline
    cancelled: int = 0  # let go: withdrawn, declined, or they have it already
    returns_ordered: int = 0  # told to go back to what they ran before
    returned: int = 0  # of those: they did
    returns_failed: int = 0  # of those: it came to nothing, and can be ordered again
    gone_back: int = 0  # of those that installed it: they returned, and are not on it
    harm_holds: str | None = None  # why the gate holds it for harm; none while it does not
    telemetry_silent_since: datetime | None = None  # of one under way that compares what vehicles send


class WaveCount(View, frozen=True, kw_only=True):
    """Vehicles of one wave in one state."""

    wave: int
    state: str
    vehicles: int
    newest_report_at: datetime | None
    returned: int = 0  # of those that installed it: they went back
    lost: int = 0  # of those past their deadline: they began to install, and failed as a gate counts
    on_the_way: int = 0  # of those that wait: they were told a release on their way, or work on it


class PlanView(View, frozen=True, kw_only=True):
    """An immutable campaign plan and what the checker found."""

    id: str
    generation: int
    parent_id: str | None
    document: dict[str, Any]
    findings: Any
    made_by: str
    made_at: datetime
    approved_by: str | None
    approved_at: datetime | None


class FieldChangeView(View, frozen=True, kw_only=True):
    """One field that two plans have otherwise, in words."""

    field: str
    before: str
    after: str


class MoveView(View, frozen=True, kw_only=True):
    """Vehicles that stand elsewhere in the newer plan; `kind` is joins, leaves or moves."""

    kind: str
    before: str
    after: str
    vehicles: int
    examples: list[str]  # the first twenty by VIN


class DifferenceView(View, frozen=True, kw_only=True):
    """What sets the newer of two plans apart; generations name them."""

    older: int
    newer: int
    fields: list[FieldChangeView]
    findings_gone: list[str]
    findings_new: list[str]
    moves: list[MoveView]


class GateDecisionView(View, frozen=True, kw_only=True):
    """What the gate decided, on which evidence, under which policy."""

    id: int
    campaign_id: str
    wave: int
    decision: str
    reason: str
    facts: dict[str, Any]
    policy: dict[str, Any]
    decided_at: datetime


class GateReplayView(View, frozen=True, kw_only=True):
    """A decision of the gate, made again from what was recorded with it."""

    id: int
    decided_at: datetime
    wave: int
    decision: str
    reason: str
    again: str | None  # decision that comes out now; None: not all that the gate saw was recorded
    again_reason: str | None
    same: bool | None


class ReadingView(View, frozen=True, kw_only=True):
    """What every metric said of a campaign at one time, updated vehicles against the control group.

    Ratios in thousandths; `through_us` is until when it knows what happened, microseconds since 1970.
    """

    id: int
    campaign_id: str
    through_us: int
    readings: list[dict[str, Any]]
    refused: str
    read_at: datetime


class ComparedView(View, frozen=True, kw_only=True):
    """What one metric says of a campaign now: against its control group, or against installations of the past.

    Ratios in thousandths; what is None was not read yet, or the evidence sets no bound.
    """

    metric: str
    against: str  # control, past
    margin_milli: int  # how many times the other's rate is accepted
    limit_micronats: int  # at this or above it the campaign halts
    log_e_micronats: int | None = None
    point_milli: int | None = None
    low_milli: int | None = None
    high_milli: int | None = None
    updated: int | None = None  # vehicles with the event
    other: int | None = None  # the same in the control group, or in the past
    updated_of: int | None = None  # installations that those are out of; None where time at risk is compared
    other_of: int | None = None
    refused: bool = False  # by the evidence as it is now
    halted: bool = False  # the campaign was halted by it
    control_held: int | None = (
        None  # vehicles of the control group that the plan holds back; None: against the past
    )
    control_left: int | None = None  # of those, who are controls still
    harm_limit: int | None = (
        None  # failures beyond control, over all metrics with this, that pause it once proved
    )


class ExposureView(View, frozen=True, kw_only=True):
    """How many vehicles a campaign reached in one stretch of its time, which ends at `at`."""

    at: datetime
    offered: int
    installed: int
    failed: int  # rolled back and silent past their deadline too


class ReplayView(View, frozen=True, kw_only=True):
    """A reading as it was stored, and as it comes out of its counts again."""

    id: int
    stored: list[dict[str, Any]]
    computed: list[dict[str, Any]]
    same: bool


class FindingView(View, frozen=True, kw_only=True):
    """A finding with its evidence and what came of it."""

    id: str
    lap_id: str
    title: str
    programme_id: str
    ecu: str
    software_version: str
    fault_code: str
    fault_name: str | None
    state: str
    state_reason: str
    evidence: dict[str, Any]
    generation: int
    opened_at: datetime
    change_id: str | None
    change_state: str | None
    verdict: str | None


class ChangeView(View, frozen=True, kw_only=True):
    """A change and the releases made for it."""

    id: str
    finding_id: str
    finding_title: str
    lap_id: str
    title: str
    ecu: str
    target: str
    state: str
    generation: int
    proposed_by: str
    approved_by: str | None
    proposed_at: datetime
    approved_at: datetime | None
    release_ids: list[str] | None
