"""The shapes of read models of build, plant, signals and outcomes; the other half of `views.py`."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from ringroad.http.views import View


class ProgrammeView(View, frozen=True, kw_only=True):
    """A vehicle programme as it was imported."""

    id: str
    digest: str
    document: dict[str, Any]  # with the line of the plant that builds it here
    generation: int
    imported_at: datetime
    plant_id: str | None = None  # that plant's document; none: the programme's file says the line


class PackageView(View, frozen=True, kw_only=True):
    """A software package and what was read from its image."""

    id: str
    programme_id: str
    ecu: str
    name: str
    version: str
    filename: str
    format: str
    hardware_ids: list[str]
    image_sha256: str
    image_bytes: int
    release_counter: int
    facts: dict[str, Any]
    requires: list[Any]
    conflicts: list[Any]
    upgrades_from: str
    added_at: datetime


class AddedPackageView(PackageView, frozen=True, kw_only=True):
    """A package that was added."""

    same_bytes_as: list[str]  # versions of its ECU that have its bytes, too


class DowngradeView(View, frozen=True, kw_only=True):
    """One image that may go over newer ones, as a second person approved and the offline keys sign it."""

    release_id: str
    ecu: str
    version: str
    sha256: str
    over: dict[str, str]  # version by image
    reason: str
    asked_by: str
    approved_by: str
    expires: str


class HaltView(View, frozen=True, kw_only=True):
    """A campaign that the release halted for harm, or that was aborted while its gate saw harm."""

    campaign_id: str
    campaign_name: str
    reason: str
    halted_at: datetime | None  # or aborted
    aborted: bool = False


class ReleaseView(View, frozen=True, kw_only=True):
    """A release, its document and the findings of its last check."""

    id: str
    programme_id: str
    name: str
    version: str
    state: str
    change_id: str | None
    lap_id: str | None
    document: dict[str, Any]
    findings: Any
    generation: int
    created_by: str
    created_at: datetime
    signed_at: datetime | None
    downgrades: list[DowngradeView]  # empty until somebody approved that it takes ECUs back
    vehicles: int
    on_line: bool
    halted: list[HaltView]  # campaigns, the newest first


class DeltaView(View, frozen=True, kw_only=True):
    """What became of the delta from an image that vehicles have to one that a release brings."""

    ecu: str
    ecu_class: str  # linux or mcu
    from_version: str
    to_version: str
    vehicles: int  # that have it, of the 20,000 that changed last
    state: str  # wanted, ready or left_out
    reason: str  # why it was left out
    algorithm: str
    image_bytes: int
    delta_bytes: int | None
    full_bytes: int  # over the air, when each of these vehicles fetches the whole image
    saved_bytes: int  # of them, when each uses the delta


class OrderView(View, frozen=True, kw_only=True):
    """One ordered vehicle."""

    id: str
    programme_id: str
    variant: str
    options: list[str]
    region: str
    rush: bool
    due_at: datetime | None
    earliest_at: datetime | None  # nobody wants it before
    state: str
    vin: str | None
    received_at: datetime


class PlacedOrderView(OrderView, frozen=True, kw_only=True):
    """An order that was taken, and what its schedule means for due times."""

    late: bool  # it is planned to leave the line after it is due
    made_late: list[str]  # other orders that were in time by the schedule before and are late by the new one


class ScheduleView(View, frozen=True, kw_only=True):
    """An immutable line schedule; the newest is current."""

    id: str
    programme_id: str
    generation: int
    parent_id: str | None
    cause: str
    document: dict[str, Any]
    replan_latency_us: int
    made_at: datetime


class LineCheckView(View, frozen=True, kw_only=True):
    """What the twin said of a schedule that costs less than the running one."""

    id: str
    programme_id: str
    schedule_id: str  # the running one
    generation: int  # of the running one
    released: bool
    reason: str
    better_permille: int
    replications: int
    vehicles: int
    moved: int
    checked_us: int  # what the running schedule answers seen to this decision
    worked_us: int  # of that, searching and checking
    document: dict[str, Any]
    checked_at: datetime


class RefusedTimeView(View, frozen=True, kw_only=True):
    """A measured time that was not believed."""

    id: str
    order_id: str
    station: str
    reason: str


class TimesTaken(View, frozen=True, kw_only=True):
    """What became of a delivery of measured times."""

    taken: int
    repeated: int  # known before
    refused: list[RefusedTimeView]


class StationDriftView(View, frozen=True, kw_only=True):
    """One station of the twin against the line."""

    name: str
    vehicles: int  # times looked at
    state: str  # unmeasured, agrees or differs
    how: str  # slower, faster, wider; empty unless it differs
    cycle_s: int  # what the programme says
    spread_permille: int
    measured_cycle_s: float | None  # without what options add
    measured_spread_permille: int | None


class TwinView(View, frozen=True, kw_only=True):
    """Whether the line takes the times that its twin is told."""

    programme_id: str
    state: str
    may_release: bool
    vehicles_per_false_alarm: (
        int  # a right twin is called wrong within n vehicles with probability n by this at most
    )
    assumed: list[str]
    source: str  # who says the rest: a plant document or the programme's file
    stations: list[StationDriftView]


class WhatIfView(View, frozen=True, kw_only=True):
    """What a planner asked the twin, and what it said."""

    id: str
    programme_id: str
    station: str
    down_s: int
    asked_by: str
    asked_at: datetime
    generation: int | None  # of the schedule it was answered for
    branch: (
        dict[str, Any] | None
    )  # what it is asked from: `position`, `events` that did not happen; none: now
    answer: dict[str, Any] | None  # none until the worker has answered
    answered_at: datetime | None


class LineStopView(View, frozen=True, kw_only=True):
    """A station that stands, or stood."""

    id: str
    programme_id: str
    station: str
    kind: str
    reason: str
    options: list[str]  # that cannot pass; none: the station stands for all
    event_id: str
    began_at: datetime
    expected_s: int
    stopped_by: str
    ended_at: datetime | None  # none while it stands
    ended_by: str | None


class BlockedOption(View, frozen=True, kw_only=True):
    """An option the line cannot build now."""

    programme_id: str
    option: str
    reason: str
    since: datetime


class Baseline(View, frozen=True, kw_only=True):
    """The release that new vehicles are flashed with."""

    release_id: str
    name: str
    version: str
    generation: int
    set_at: datetime


class OutcomeView(View, frozen=True, kw_only=True):
    """What came of a campaign for a finding."""

    id: str
    campaign_id: str
    campaign_name: str
    finding_id: str
    finding_title: str
    lap_id: str
    verdict: str
    measure: dict[str, Any]
    measured_at: datetime


class NamesView(View, frozen=True, kw_only=True):
    """How many names an ECU's data and faults have, and where they come from."""

    ecu: str
    data: int
    faults: int
    source: str
    imported_by: str
    imported_at: datetime


class ComplaintView(View, frozen=True, kw_only=True):
    """One imported complaint."""

    id: str
    source: str
    make: str
    model: str
    model_year: int | None
    component: str
    vin_prefix: str
    occurred_on: date | None
    received_on: date | None
    text: str
    imported_at: datetime


class QuarantineView(View, frozen=True, kw_only=True):
    """A row that could not be read, and why."""

    id: int
    source: str
    locator: str
    reason: str
    raw: str
    received_at: datetime
