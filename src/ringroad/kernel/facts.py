"""The loop on one page: what each stage hands to the next.

A fact says that something happened: who did it, when it happened, when we wrote it down,
what it is about, and which earlier facts caused it.
Facts are appended in the transaction that makes them true, and never changed.
Lead time, waiting, approvals and rework are pure functions of facts (`adapt/lead_time.py`).

::

    signal.observed ─► finding.opened ─► finding.accepted ─► change.proposed ─► change.approved
          ▲                                                                        │
          │                                                                        ▼
    outcome.measured ◄─ campaign.finished ◄─ vehicle.updated ◄─ campaign.* ◄─ release.signed
          │                                                        │               │
          └─► worse: the next lap's signal    campaign.halted ◄────┘               ▼
                                  └─► finding.reopened             schedule.replanned, vehicle.born

Invariant: a fact of a lap names at least one cause, except the first signal of a lap that nothing caused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from ringroad.kernel.errors import InvalidInput

HOUSE = "house"
HALTED_CAMPAIGN = "halted-campaign"  # the rule in the evidence of a finding that a halted campaign opened
CAUSES_MAX = 64  # facts; a cause list longer than this belongs into the evidence, not the graph


class Stage(StrEnum):
    """The five stages of a lap, in order."""

    SIGNAL = "signal"
    DESIGN = "design"
    BUILD = "build"
    SHIP = "ship"
    ADAPT = "adapt"


class FactKind(StrEnum):
    """Everything that can happen. The part before the dot names the thing.

    ``vehicles.`` is what happened to many vehicles of one campaign at once: one fact, about the campaign, that names
    their actions.
    """

    SIGNAL_OBSERVED = "signal.observed"
    TELEMETRY_LOST = "telemetry.lost"
    TELEMETRY_BACK = "telemetry.back"
    DEMAND_SET = "demand.set"
    DEMAND_IMPORTED = "demand.imported"
    DEMAND_SIGNALLED = "demand.signalled"
    DEMAND_ASKED = "demand.asked"
    DEMAND_FORECAST = "demand.forecast"
    DEMAND_FAILED = "demand.failed"
    DEMAND_SHIFTED = "demand.shifted"
    FINDING_OPENED = "finding.opened"
    FINDING_REOPENED = "finding.reopened"
    FINDING_ACCEPTED = "finding.accepted"
    FINDING_REJECTED = "finding.rejected"
    FINDING_CLOSED = "finding.closed"
    CHANGE_PROPOSED = "change.proposed"
    CHANGE_APPROVED = "change.approved"
    CHANGE_REJECTED = "change.rejected"
    CHANGE_DONE = "change.done"
    PROGRAMME_IMPORTED = "programme.imported"
    PLANT_IMPORTED = "plant.imported"
    PLANT_LEARNED = "plant.learned"
    PLANT_SUMS_TOLD = "plant.sums_told"
    PLANT_CHOSEN = "plant.chosen"
    SITE_ADDED = "site.added"
    SITE_REMOVED = "site.removed"
    SITE_KEY_CERTIFIED = "site.key_certified"
    SITE_KEY_REVOKED = "site.key_revoked"
    SITE_BIRTH_SETTLED = "site.birth_settled"
    SITE_PUT_ASIDE = "site.put_aside"
    SITE_ASIDE_SETTLED = "site.aside_settled"
    PLANT_SHIFTED = "plant.shifted"
    PLANT_WORLD_SHOWN = "plant.world_shown"
    LINE_WORK_TOLD = "line.work_told"
    LINE_BALANCED = "line.balanced"
    IMPROVEMENT_PROPOSED = "improvement.proposed"
    IMPROVEMENT_PROVED = "improvement.proved"
    IMPROVEMENT_REFUSED = "improvement.refused"
    IMPROVEMENT_REJECTED = "improvement.rejected"
    IMPROVEMENT_ACCEPTED = "improvement.accepted"
    IMPROVEMENT_LOOKED_AT = "improvement.looked_at"
    IMPROVEMENT_KEPT = "improvement.kept"
    IMPROVEMENT_WITHDRAWN = "improvement.withdrawn"
    PACKAGE_ADDED = "package.added"
    ARTIFACT_KEY_ADDED = "artifact_key.added"
    ARTIFACT_KEY_REVOKED = "artifact_key.revoked"
    RELEASE_CREATED = "release.created"
    RELEASE_CHECKED = "release.checked"
    RELEASE_DOWNGRADE_APPROVED = "release.downgrade_approved"
    RELEASE_SIGNED = "release.signed"
    RELEASE_WITHDRAWN = "release.withdrawn"
    DELTA_MADE = "delta.made"
    DELTA_LEFT_OUT = "delta.left_out"
    BASELINE_SET = "baseline.set"
    ORDER_RECEIVED = "order.received"
    ORDER_STARTED = "order.started"
    ORDER_REOPENED = "order.reopened"
    ORDER_CANCELLED = "order.cancelled"
    OPTION_BLOCKED = "option.blocked"
    OPTION_UNBLOCKED = "option.unblocked"
    STATION_STOPPED = "station.stopped"
    STATION_RESUMED = "station.resumed"
    QUALITY_ALARMED = "quality.alarmed"
    QUALITY_CLOSED = "quality.closed"
    GATE_CHOSE = "gate.chose"
    LOT_CONTAINED = "lot.contained"
    LOT_RELEASED = "lot.released"
    SHIPMENT_ANNOUNCED = "shipment.announced"
    SHIPMENT_MOVED = "shipment.moved"
    SHIPMENT_LOST = "shipment.lost"
    STOCK_TOLD = "stock.told"
    SCHEDULE_REPLANNED = "schedule.replanned"
    SCHEDULE_KEPT = "schedule.kept"
    SHOP_ASKED = "shop.asked"
    SHOP_PLANNED = "shop.planned"
    SHOP_KEPT = "shop.kept"
    RESOURCE_STOPPED = "resource.stopped"
    RESOURCE_RESUMED = "resource.resumed"
    VEHICLE_BORN = "vehicle.born"
    CAMPAIGN_CREATED = "campaign.created"
    CAMPAIGN_PLANNED = "campaign.planned"
    CAMPAIGN_APPROVED = "campaign.approved"
    CAMPAIGN_STARTED = "campaign.started"
    CAMPAIGN_WAVE_STARTED = "campaign.wave_started"
    CAMPAIGN_GREW = "campaign.grew"
    CAMPAIGN_CONTROL_LET_GO = "campaign.control_let_go"
    CAMPAIGN_HARM_HELD = "campaign.harm_held"
    CAMPAIGN_HARM_PASSED = "campaign.harm_passed"
    CAMPAIGN_PAUSED = "campaign.paused"
    CAMPAIGN_RESUMED = "campaign.resumed"
    CAMPAIGN_HALTED = "campaign.halted"
    CAMPAIGN_ABORTED = "campaign.aborted"
    CAMPAIGN_RETURN_ORDERED = "campaign.return_ordered"
    CAMPAIGN_FINISHED = "campaign.finished"
    VEHICLE_UPDATED = "vehicle.updated"
    VEHICLE_DOWNLOADED = "vehicle.downloaded"
    VEHICLE_UPDATE_FAILED = "vehicle.update_failed"
    VEHICLE_ATTEMPT_FAILED = "vehicle.attempt_failed"
    VEHICLE_OVERTAKEN = "vehicle.overtaken"
    VEHICLE_ROLLED_BACK = "vehicle.rolled_back"
    VEHICLE_DEADLINE_PASSED = "vehicle.deadline_passed"
    VEHICLE_BLOCKED = "vehicle.blocked"
    VEHICLE_UNBLOCKED = "vehicle.unblocked"
    VEHICLE_CONSENTED = "vehicle.consented"
    VEHICLE_DECLINED = "vehicle.declined"
    VEHICLE_STANDING_CONSENT = "vehicle.standing_consent"
    VEHICLE_STATED = "vehicle.stated"
    VEHICLE_REGISTERED = "vehicle.registered"
    VEHICLE_INVITED = "vehicle.invited"
    VEHICLE_ENROLLED = "vehicle.enrolled"
    VEHICLE_SHUT_OUT = "vehicle.shut_out"
    VEHICLES_OFFERED = "vehicles.offered"
    VEHICLES_ACTIVE = "vehicles.active"
    VEHICLES_CLAIMED = "vehicles.claimed"
    VEHICLES_WITHHELD = "vehicles.withheld"
    VEHICLES_PREEMPTED = "vehicles.preempted"
    VEHICLES_CANCELLING = "vehicles.cancelling"
    VEHICLES_CANCELLED = "vehicles.cancelled"
    VEHICLES_TIME_ZONE_SET = "vehicles.time_zone_set"
    VEHICLE_SCHEDULED = "vehicle.scheduled"
    VEHICLES_SCHEDULED = "vehicles.scheduled"
    VEHICLES_JOINED = "vehicles.joined"
    VEHICLES_TAGGED = "vehicles.tagged"
    VEHICLES_UNTAGGED = "vehicles.untagged"
    LIST_CHANGED = "list.changed"
    LIST_REMOVED = "list.removed"
    NAMES_CHANGED = "names.changed"
    NAMES_REMOVED = "names.removed"
    OUTCOME_MEASURED = "outcome.measured"
    DIAGNOSIS_ASKED = "diagnosis.asked"
    DIAGNOSIS_OPENED = "diagnosis.opened"
    DIAGNOSIS_DECLINED = "diagnosis.declined"
    DIAGNOSIS_CLOSED = "diagnosis.closed"
    DIAGNOSIS_EXPIRED = "diagnosis.expired"
    DIAGNOSIS_REQUESTED = "diagnosis.requested"
    DIAGNOSIS_ANSWERED = "diagnosis.answered"
    DIAGNOSIS_UNANSWERED = "diagnosis.unanswered"
    DIAGNOSIS_CANCELLED = "diagnosis.cancelled"
    DIAGNOSIS_FORGOTTEN = "diagnosis.forgotten"
    ACCOUNT_CREATED = "account.created"
    ACCOUNT_CHANGED = "account.changed"
    ACCOUNT_TOKEN_MADE = "account.token_made"  # noqa: S105 - a kind of fact
    ACCOUNT_TOKENS_ENDED = "account.tokens_ended"
    GATEWAY_TOKEN_CREATED = "gateway_token.created"  # noqa: S105 - a kind of fact
    GATEWAY_TOKEN_REVOKED = "gateway_token.revoked"  # noqa: S105 - a kind of fact
    ACCOUNT_PASSWORD_SET = "account.password_set"  # noqa: S105 - a kind of fact
    WEBHOOK_CREATED = "webhook.created"
    WEBHOOK_CHANGED = "webhook.changed"
    WEBHOOK_ENABLED = "webhook.enabled"
    WEBHOOK_DISABLED = "webhook.disabled"
    WEBHOOK_SECRET_ROTATED = "webhook.secret_rotated"  # noqa: S105 - a kind of fact
    WEBHOOK_REPLAYED = "webhook.replayed"
    WEBHOOK_DELETED = "webhook.deleted"


STAGE_OF: Mapping[FactKind, Stage | None] = MappingProxyType(
    {
        FactKind.SIGNAL_OBSERVED: Stage.SIGNAL,
        FactKind.TELEMETRY_LOST: Stage.SIGNAL,
        FactKind.TELEMETRY_BACK: Stage.SIGNAL,
        FactKind.DEMAND_SET: Stage.SIGNAL,
        FactKind.DEMAND_IMPORTED: Stage.SIGNAL,
        FactKind.DEMAND_SIGNALLED: Stage.SIGNAL,
        FactKind.DEMAND_ASKED: Stage.SIGNAL,
        FactKind.DEMAND_FORECAST: Stage.SIGNAL,
        FactKind.DEMAND_FAILED: Stage.SIGNAL,
        FactKind.DEMAND_SHIFTED: Stage.SIGNAL,
        FactKind.FINDING_OPENED: Stage.SIGNAL,
        FactKind.FINDING_REOPENED: Stage.SIGNAL,
        FactKind.FINDING_ACCEPTED: Stage.DESIGN,
        FactKind.FINDING_REJECTED: Stage.DESIGN,
        FactKind.FINDING_CLOSED: Stage.ADAPT,
        FactKind.CHANGE_PROPOSED: Stage.DESIGN,
        FactKind.CHANGE_APPROVED: Stage.DESIGN,
        FactKind.CHANGE_REJECTED: Stage.DESIGN,
        FactKind.CHANGE_DONE: Stage.ADAPT,
        FactKind.PROGRAMME_IMPORTED: Stage.BUILD,
        FactKind.PLANT_IMPORTED: Stage.BUILD,
        FactKind.PLANT_LEARNED: Stage.BUILD,
        FactKind.PLANT_SUMS_TOLD: Stage.BUILD,
        FactKind.PLANT_CHOSEN: Stage.BUILD,
        FactKind.SITE_ADDED: Stage.BUILD,
        FactKind.SITE_REMOVED: Stage.BUILD,
        FactKind.SITE_KEY_CERTIFIED: Stage.BUILD,
        FactKind.SITE_KEY_REVOKED: Stage.BUILD,
        FactKind.SITE_BIRTH_SETTLED: Stage.BUILD,
        FactKind.SITE_PUT_ASIDE: Stage.BUILD,
        FactKind.SITE_ASIDE_SETTLED: Stage.BUILD,
        FactKind.PLANT_SHIFTED: Stage.BUILD,
        FactKind.PLANT_WORLD_SHOWN: Stage.BUILD,
        FactKind.LINE_WORK_TOLD: Stage.BUILD,
        FactKind.LINE_BALANCED: Stage.BUILD,
        FactKind.IMPROVEMENT_PROPOSED: Stage.BUILD,
        FactKind.IMPROVEMENT_PROVED: Stage.BUILD,
        FactKind.IMPROVEMENT_REFUSED: Stage.BUILD,
        FactKind.IMPROVEMENT_REJECTED: Stage.BUILD,
        FactKind.IMPROVEMENT_ACCEPTED: Stage.BUILD,
        FactKind.IMPROVEMENT_LOOKED_AT: Stage.ADAPT,
        FactKind.IMPROVEMENT_KEPT: Stage.ADAPT,
        FactKind.IMPROVEMENT_WITHDRAWN: Stage.ADAPT,
        FactKind.PACKAGE_ADDED: Stage.BUILD,
        FactKind.ARTIFACT_KEY_ADDED: Stage.BUILD,
        FactKind.ARTIFACT_KEY_REVOKED: Stage.BUILD,
        FactKind.RELEASE_CREATED: Stage.BUILD,
        FactKind.RELEASE_CHECKED: Stage.BUILD,
        FactKind.RELEASE_DOWNGRADE_APPROVED: Stage.BUILD,
        FactKind.RELEASE_SIGNED: Stage.BUILD,
        FactKind.RELEASE_WITHDRAWN: Stage.BUILD,
        FactKind.DELTA_MADE: Stage.BUILD,
        FactKind.DELTA_LEFT_OUT: Stage.BUILD,
        FactKind.BASELINE_SET: Stage.BUILD,
        FactKind.ORDER_RECEIVED: Stage.BUILD,
        FactKind.ORDER_STARTED: Stage.BUILD,
        FactKind.ORDER_REOPENED: Stage.BUILD,
        FactKind.ORDER_CANCELLED: Stage.BUILD,
        FactKind.OPTION_BLOCKED: Stage.BUILD,
        FactKind.OPTION_UNBLOCKED: Stage.BUILD,
        FactKind.STATION_STOPPED: Stage.BUILD,
        FactKind.STATION_RESUMED: Stage.BUILD,
        FactKind.QUALITY_ALARMED: Stage.BUILD,
        FactKind.QUALITY_CLOSED: Stage.BUILD,
        FactKind.GATE_CHOSE: Stage.BUILD,
        FactKind.LOT_CONTAINED: Stage.BUILD,
        FactKind.LOT_RELEASED: Stage.BUILD,
        FactKind.SHIPMENT_ANNOUNCED: Stage.BUILD,
        FactKind.SHIPMENT_MOVED: Stage.BUILD,
        FactKind.SHIPMENT_LOST: Stage.BUILD,
        FactKind.STOCK_TOLD: Stage.BUILD,
        FactKind.SCHEDULE_REPLANNED: Stage.BUILD,
        FactKind.SCHEDULE_KEPT: Stage.BUILD,
        FactKind.SHOP_ASKED: Stage.BUILD,
        FactKind.SHOP_PLANNED: Stage.BUILD,
        FactKind.SHOP_KEPT: Stage.BUILD,
        FactKind.RESOURCE_STOPPED: Stage.BUILD,
        FactKind.RESOURCE_RESUMED: Stage.BUILD,
        FactKind.VEHICLE_BORN: Stage.BUILD,
        FactKind.CAMPAIGN_CREATED: Stage.SHIP,
        FactKind.CAMPAIGN_PLANNED: Stage.SHIP,
        FactKind.CAMPAIGN_APPROVED: Stage.SHIP,
        FactKind.CAMPAIGN_STARTED: Stage.SHIP,
        FactKind.CAMPAIGN_WAVE_STARTED: Stage.SHIP,
        FactKind.CAMPAIGN_GREW: Stage.SHIP,
        FactKind.CAMPAIGN_CONTROL_LET_GO: Stage.SHIP,
        FactKind.CAMPAIGN_HARM_HELD: Stage.SHIP,
        FactKind.CAMPAIGN_HARM_PASSED: Stage.SHIP,
        FactKind.CAMPAIGN_PAUSED: Stage.SHIP,
        FactKind.CAMPAIGN_RESUMED: Stage.SHIP,
        FactKind.CAMPAIGN_HALTED: Stage.SHIP,
        FactKind.CAMPAIGN_ABORTED: Stage.SHIP,
        FactKind.CAMPAIGN_RETURN_ORDERED: Stage.SHIP,
        FactKind.CAMPAIGN_FINISHED: Stage.SHIP,
        FactKind.VEHICLE_UPDATED: Stage.SHIP,
        FactKind.VEHICLE_DOWNLOADED: Stage.SHIP,
        FactKind.VEHICLE_UPDATE_FAILED: Stage.SHIP,
        FactKind.VEHICLE_ATTEMPT_FAILED: Stage.SHIP,
        FactKind.VEHICLE_OVERTAKEN: Stage.SHIP,
        FactKind.VEHICLE_ROLLED_BACK: Stage.SHIP,
        FactKind.VEHICLE_DEADLINE_PASSED: Stage.SHIP,
        FactKind.VEHICLE_BLOCKED: Stage.SHIP,
        FactKind.VEHICLE_UNBLOCKED: Stage.SHIP,
        FactKind.VEHICLE_CONSENTED: Stage.SHIP,
        FactKind.VEHICLE_DECLINED: Stage.SHIP,
        FactKind.VEHICLE_STANDING_CONSENT: Stage.SHIP,
        FactKind.VEHICLE_STATED: Stage.SHIP,
        FactKind.VEHICLE_REGISTERED: Stage.BUILD,
        FactKind.VEHICLE_INVITED: None,
        FactKind.VEHICLE_ENROLLED: None,
        FactKind.VEHICLE_SHUT_OUT: None,
        FactKind.VEHICLES_OFFERED: Stage.SHIP,
        FactKind.VEHICLES_ACTIVE: Stage.SHIP,
        FactKind.VEHICLES_CLAIMED: Stage.SHIP,
        FactKind.VEHICLES_WITHHELD: Stage.SHIP,
        FactKind.VEHICLES_PREEMPTED: Stage.SHIP,
        FactKind.VEHICLES_CANCELLING: Stage.SHIP,
        FactKind.VEHICLES_CANCELLED: Stage.SHIP,
        FactKind.VEHICLES_TIME_ZONE_SET: Stage.SHIP,
        FactKind.VEHICLE_SCHEDULED: Stage.SHIP,
        FactKind.VEHICLES_SCHEDULED: Stage.SHIP,
        FactKind.VEHICLES_JOINED: Stage.SHIP,
        FactKind.VEHICLES_TAGGED: Stage.SHIP,
        FactKind.VEHICLES_UNTAGGED: Stage.SHIP,
        FactKind.LIST_CHANGED: Stage.SHIP,
        FactKind.LIST_REMOVED: Stage.SHIP,
        FactKind.NAMES_CHANGED: Stage.SIGNAL,
        FactKind.NAMES_REMOVED: Stage.SIGNAL,
        FactKind.OUTCOME_MEASURED: Stage.ADAPT,
        FactKind.ACCOUNT_TOKEN_MADE: None,
        FactKind.ACCOUNT_TOKENS_ENDED: None,
        FactKind.DIAGNOSIS_ASKED: Stage.SIGNAL,
        FactKind.DIAGNOSIS_OPENED: Stage.SIGNAL,
        FactKind.DIAGNOSIS_DECLINED: Stage.SIGNAL,
        FactKind.DIAGNOSIS_CLOSED: Stage.SIGNAL,
        FactKind.DIAGNOSIS_EXPIRED: Stage.SIGNAL,
        FactKind.DIAGNOSIS_REQUESTED: Stage.SIGNAL,
        FactKind.DIAGNOSIS_ANSWERED: Stage.SIGNAL,
        FactKind.DIAGNOSIS_UNANSWERED: Stage.SIGNAL,
        FactKind.DIAGNOSIS_CANCELLED: Stage.SIGNAL,
        FactKind.DIAGNOSIS_FORGOTTEN: Stage.SIGNAL,
        FactKind.GATEWAY_TOKEN_CREATED: None,
        FactKind.GATEWAY_TOKEN_REVOKED: None,
        FactKind.ACCOUNT_CREATED: None,
        FactKind.ACCOUNT_CHANGED: None,
        FactKind.ACCOUNT_PASSWORD_SET: None,
        FactKind.WEBHOOK_CREATED: None,
        FactKind.WEBHOOK_CHANGED: None,
        FactKind.WEBHOOK_ENABLED: None,
        FactKind.WEBHOOK_DISABLED: None,
        FactKind.WEBHOOK_SECRET_ROTATED: None,
        FactKind.WEBHOOK_REPLAYED: None,
        FactKind.WEBHOOK_DELETED: None,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing that happened.

    Attributes:
        id: unique, sortable by creation, ``fact_...``.
        kind: what happened.
        subject: id of the finding, change, release, campaign, vehicle... it is about.
        lap_id: the lap it belongs to; None for facts outside any lap (a programme import).
        causes: ids of earlier facts that led to this one.
        actor: account, ``rule:<name>``, ``vehicle:<vin>`` or ``system:<process>``.
        work_started_at: when somebody or something began to work on it; equals `event_at` for instant facts.
        event_at: when it happened, by the clock of the actor.
        recorded_at: when the ledger wrote it down; never before the causes' `recorded_at`.
        body: evidence in JSON types; personal data only as digests.
    """

    id: str
    kind: FactKind
    subject: str
    lap_id: str | None
    causes: tuple[str, ...]
    actor: str
    work_started_at: datetime
    event_at: datetime
    recorded_at: datetime
    body: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse facts that could not be ordered or traced."""
        for name in ("work_started_at", "event_at", "recorded_at"):
            if getattr(self, name).tzinfo is None:
                raise InvalidInput(f"fact {self.kind}: {name} has no time zone", hint="use UTC")
        if self.event_at < self.work_started_at:
            raise InvalidInput(f"fact {self.kind}: work_started_at is after event_at")
        if not self.actor:
            raise InvalidInput(f"fact {self.kind}: an actor is needed")
        if len(self.causes) > CAUSES_MAX:
            raise InvalidInput(f"fact {self.kind}: {len(self.causes)} causes, limit {CAUSES_MAX}")
        if self.id in self.causes:
            raise InvalidInput(f"fact {self.kind}: a fact cannot cause itself")

    @property
    def stage(self) -> str:
        """The stage whose work this fact is; `HOUSE` for what is no stage's: who may do what."""
        stage = STAGE_OF[self.kind]
        return stage.value if stage else HOUSE
