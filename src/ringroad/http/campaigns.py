"""Ship: what people do with campaigns. The reconciler does the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Annotated, Any

import msgspec
from litestar import Router
from litestar.params import JSONBody
from msgspec import Meta

from ringroad.http import accounts_store
from ringroad.http.auth import Role
from ringroad.http.context import Context, Ctx
from ringroad.http.routes import (
    NAME_PATTERN,
    TEXT_PATTERN,
    Approve,
    Command,
    Done,
    Generation,
    Go,
    Id,
    Ref,
    Req,
    Stop,
    Text,
    Title,
    route,
)
from ringroad.kernel.hours import HOURS_MAX, Window
from ringroad.loop import campaigns
from ringroad.loop.latest import latest_for
from ringroad.protocol.vehicle import PHASES, Phase, Urgency
from ringroad.ship import store
from ringroad.ship.complete import complete
from ringroad.ship.gate import DURATION_S_MAX, GatePolicy
from ringroad.ship.guard import (
    ALPHA_PPM_MAX,
    DEFAULT_METRICS,
    MARGIN_MILLI_MAX,
    PATH_CHARS_MAX,
    SECONDS_MAX,
    TICK_S_MAX,
    WEIGHT_MAX,
    Metric,
    MetricName,
    SequentialPolicy,
    default_margin_milli,
)
from ringroad.ship.model import Campaign
from ringroad.ship.plan import PRIORITY_MAX, LateJoiners, PlanRequest, Stratum, WaveSize
from ringroad.ship.query import QueryError, parse_query, point_at
from ringroad.ship.ramp import HARMED_MAX, HarmBudget, HarmCounts
from ringroad.ship.retry import ATTEMPTS_MAX, REASONS, WAIT_S_MAX, RetryPolicy, RetryReason
from ringroad.storage.db import one_snapshot
from ringroad.storage.lake import Lake
from ringroad.storage.latest import recent_faults, recent_paths
from ringroad.storage.pki_clients import read_expiries

QUERY_CHARS_SHOWN_MAX = 2_000  # characters of a query over the API, and in an address


class ApprovePlan(Approve, frozen=True, kw_only=True):
    """Approve the plan that was read, with the checker's warnings, named by their codes."""

    acknowledged: Annotated[list[str], Meta(max_length=100)] = msgspec.field(default_factory=list)


class NewCampaign(Command, frozen=True, kw_only=True):
    """A campaign to create, as a draft."""

    name: Title
    release_id: Ref


class Wave(Command, frozen=True, kw_only=True):
    """A wave's size: vehicles, or permille of all matches, exactly one; and when it may begin, if its gate lets it."""

    vehicles: Annotated[int, Meta(ge=1, le=1_000_000_000)] | None = None
    permille: Annotated[int, Meta(ge=1, le=1000)] | None = None
    not_before: Annotated[datetime, Meta(tz=True)] | None = None


class GuardMetric(Command, frozen=True, kw_only=True):
    """One thing that must not get worse; the margin is the metric's own unless given."""

    name: MetricName
    margin_milli: Annotated[int, Meta(ge=1_000, le=MARGIN_MILLI_MAX)] | None = None
    weight: Annotated[int, Meta(ge=1, le=WEIGHT_MAX)] = 1
    path: Annotated[str, Meta(max_length=PATH_CHARS_MAX)] = ""
    at_least_milli: Annotated[int, Meta(ge=0, le=2**53)] = 1_000


class Sequential(Command, frozen=True, kw_only=True):
    """Evidence against a control group: what must not get worse, and how it is observed."""

    alpha_ppm: Annotated[int, Meta(ge=1, le=ALPHA_PPM_MAX)] = 10_000
    metrics: Annotated[list[GuardMetric], Meta(min_length=1, max_length=len(MetricName))] = msgspec.field(
        default_factory=lambda: [GuardMetric(name=metric.name) for metric in DEFAULT_METRICS]
    )
    window_s: Annotated[int, Meta(ge=1, le=SECONDS_MAX)] = 86_400
    tick_s: Annotated[int, Meta(ge=1, le=TICK_S_MAX)] = 900
    late_s: Annotated[int, Meta(ge=0, le=SECONDS_MAX)] = 3_600
    gap_s: Annotated[int, Meta(ge=1, le=SECONDS_MAX)] = 3_600
    quiet_s: Annotated[int, Meta(ge=1, le=SECONDS_MAX)] = 43_200

    def policy(self) -> SequentialPolicy:
        """Return the policy that is asked for.

        Raises:
            InvalidInput: it could not halt, or not keep its promise.
        """
        metrics = tuple(
            Metric(
                **msgspec.structs.asdict(metric)
                | {"margin_milli": metric.margin_milli or default_margin_milli(metric.name)}
            )
            for metric in self.metrics
        )
        return SequentialPolicy(**msgspec.structs.asdict(self) | {"metrics": metrics})


class Ramp(Command, frozen=True, kw_only=True):
    """A budget of harm that sets the pace instead of waves; vehicles in flight, or all that began in the campaign."""

    harmed_first: Annotated[int, Meta(ge=1, le=HARMED_MAX)] = 35
    harmed_last: Annotated[int, Meta(ge=1, le=HARMED_MAX)] = 400
    reaction_s: Annotated[int, Meta(ge=1, le=SECONDS_MAX)] = 8_100
    counts: HarmCounts = "in_flight"


class Gate(Command, frozen=True, kw_only=True):
    """What each wave must show before the next one starts."""

    failed_permille_max: Annotated[int, Meta(ge=0, le=1000)] = 20
    reports_min: Annotated[int, Meta(ge=1, le=1_000_000_000)] = 1
    soak_s: Annotated[int, Meta(ge=0, le=DURATION_S_MAX)] = 0
    silence_s_max: Annotated[int, Meta(ge=1, le=DURATION_S_MAX)] = 86_400
    silent_permille_max: Annotated[int, Meta(ge=0, le=1000)] = 500
    sequential: Sequential | None = None


class InstallWindow(Command, frozen=True, kw_only=True):
    """When a vehicle may be told to begin, by its own clock; ``mon-fri 22:00-05:00``."""

    hours: Annotated[list[str], Meta(max_length=HOURS_MAX)] = msgspec.field(default_factory=list)
    quiet: Annotated[list[str], Meta(max_length=HOURS_MAX)] = msgspec.field(default_factory=list)
    time_zone: Annotated[str, Meta(min_length=1, max_length=64, pattern=TEXT_PATTERN)] = "UTC"

    def window(self) -> Window:
        """Return the window that is asked for.

        Raises:
            InvalidInput: it cannot be read, or is never open.
        """
        return Window(hours=tuple(self.hours), quiet=tuple(self.quiet), time_zone=self.time_zone)


class Retry(Command, frozen=True, kw_only=True):
    """Which failures, before anything was touched, are worth another attempt."""

    attempts_max: Annotated[int, Meta(ge=2, le=ATTEMPTS_MAX)] = 3
    first_s: Annotated[int, Meta(ge=1, le=WAIT_S_MAX)] = 600
    last_s: Annotated[int, Meta(ge=1, le=WAIT_S_MAX)] = 86_400
    reasons: Annotated[list[RetryReason], Meta(min_length=1, max_length=len(REASONS))] = msgspec.field(
        default_factory=lambda: list(REASONS)
    )

    def policy(self) -> RetryPolicy:
        """Return the policy that is asked for.

        Raises:
            InvalidInput: it would never end, or never begin.
        """
        return RetryPolicy(**msgspec.structs.asdict(self) | {"reasons": tuple(self.reasons)})


class NewPlan(Command, frozen=True, kw_only=True):
    """Which vehicles, in which waves, behind which gate."""

    query: Text
    waves: Annotated[list[Wave], Meta(max_length=50)] = msgspec.field(
        default_factory=lambda: [Wave(permille=20), Wave(permille=200)]
    )
    gate: Gate = Gate()
    vehicle_deadline_s: Annotated[int, Meta(ge=1, le=DURATION_S_MAX)] = 7 * 86_400
    seed: Annotated[str, Meta(min_length=1, max_length=200, pattern=TEXT_PATTERN)] | None = None
    stratify_by: Annotated[list[Stratum], Meta(max_length=3)] = msgspec.field(
        default_factory=lambda: ["variant", "region"]
    )
    rollback_installed: bool = False
    control: Wave | None = None
    ramp: Ramp | None = None
    window: InstallWindow | None = None
    priority: Annotated[int, Meta(ge=0, le=PRIORITY_MAX)] = 0
    recall: bool = False
    urgency: Urgency = "forced"
    consent: bool = False
    consent_phases: Annotated[list[Phase], Meta(max_length=len(PHASES))] = msgspec.field(
        default_factory=lambda: ["download", "install"]
    )
    retry: Retry | None = None
    late_joiners: LateJoiners = "frozen"
    generation: Generation = None


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """A stored plan; a blocked one is kept and not current, and takes the place of the one before all the same."""

    id: str
    plan_id: str
    generation: int  # of the plan; the next of its campaign is one more
    current: bool
    document: dict[str, Any]
    findings: list[dict[str, Any]]


class Query(Command, frozen=True, kw_only=True):
    """A query over the vehicles of a programme."""

    query: Text
    programme_id: Ref


class TimeZone(Command, frozen=True, kw_only=True):
    """The time zone of vehicles that a query selects."""

    query: Text
    programme_id: Ref
    time_zone: Annotated[str, Meta(min_length=1, max_length=64, pattern=TEXT_PATTERN)]


class ChangedVehicles(msgspec.Struct, frozen=True, kw_only=True):
    """How many vehicles were changed."""

    vehicles: int


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """Vehicles that one term of the query leaves out."""

    term: str
    vehicles: int
    examples: list[tuple[str, str]]  # VIN, and what it has instead


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """Who matches a query, who does not, and which term leaves them out."""

    matches: int
    not_selected: int
    unknown: int  # of those not selected, who may match: what is known of them does not say
    vins: list[str]  # the first twenty
    left_out: list[LeftOut]
    warnings: list[str]  # names that nothing has


class Unfinished(Command, frozen=True, kw_only=True):
    """A query that is being written, and where the cursor stands in it."""

    query: Annotated[str, Meta(max_length=QUERY_CHARS_SHOWN_MAX, pattern=NAME_PATTERN)]
    cursor: Annotated[int, Meta(ge=0, le=QUERY_CHARS_SHOWN_MAX)]


class QueryChoice(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that may stand at the cursor."""

    text: str
    kind: str  # field, comparison, value, word
    about: str


class Mistake(msgspec.Struct, frozen=True, kw_only=True):
    """Why the query cannot be read as it is."""

    column: int
    message: str
    hint: str
    shown: str  # the line, and a caret below it


class Choices(msgspec.Struct, frozen=True, kw_only=True):
    """What may take the place of the characters from `start` to `end`."""

    start: int
    end: int
    choices: list[QueryChoice]
    mistake: Mistake | None


@route("POST", "/campaigns", role=Role.OPERATOR, tag="ship", status=201, errors=[404, 409, 422])
def create_campaign(ctx: Ctx, request: Req, data: JSONBody[NewCampaign]) -> Done:
    """Create a campaign in draft; it belongs to the lap of its release."""
    with ctx.connection() as conn:
        made = campaigns.create_campaign(
            conn, ctx.ids, name=data.name, release_id=data.release_id, actor=request.user.name,
            now=ctx.clock.now(),
        )  # fmt: skip
    return Done(id=made.id, state=made.state)


@route("POST", "/vehicles/preview", role=Role.VIEWER, tag="ship", errors=[422])
def preview_query(ctx: Ctx, data: JSONBody[Query]) -> Preview:
    """Try a query: who matches, who does not, and why."""
    return previewed(ctx, data.query, data.programme_id)


def previewed(ctx: Context, query: str, programme_id: str) -> Preview:
    """Return who matches a query; for the API and for the console.

    Raises:
        QueryError: the query cannot be read.
    """
    latest = latest_for(Lake(ctx.settings.lake), parse_query(query), now=ctx.clock.now())
    with ctx.transaction() as conn:
        one_snapshot(conn)
        found = store.preview_query(conn, query, programme_id=programme_id, latest=latest)
    return Preview(
        matches=found.selected,
        not_selected=found.not_selected,
        unknown=found.unknown,
        vins=list(found.selected_examples),
        left_out=[
            LeftOut(term=reason.term, vehicles=reason.vehicles, examples=list(reason.examples))
            for reason in found.reasons
        ],
        warnings=list(found.warnings),
    )


@route("POST", "/vehicles/time-zone", role=Role.OPERATOR, tag="ship", errors=[422])
def set_time_zone(ctx: Ctx, request: Req, data: JSONBody[TimeZone]) -> ChangedVehicles:
    """Set the time zone of vehicles that have not told their own; windows go by it."""
    with ctx.transaction() as conn:
        one_snapshot(conn)
        vins = store.select_vins(conn, parse_query(data.query), programme_id=data.programme_id)
    with ctx.transaction() as conn:  # of its own: whom it writes may have changed since
        changed = store.set_time_zone(
            conn, ctx.ids, vins=vins, query=data.query, programme_id=data.programme_id, time_zone=data.time_zone,
            actor=request.user.name, now=ctx.clock.now(),
        )  # fmt: skip
    return ChangedVehicles(vehicles=changed)


@route("POST", "/vehicles/complete", role=Role.VIEWER, tag="ship")
def complete_query(ctx: Ctx, data: JSONBody[Unfinished]) -> Choices:
    """Say what may stand at the cursor of a query that is being written, and what is wrong with it so far."""
    return completed(ctx, data.query, data.cursor)


def completed(ctx: Context, query: str, cursor: int) -> Choices:
    """Return the choices at a cursor; for the API and for the console's query field."""
    with ctx.connection() as conn:
        lake = Lake(ctx.settings.lake)
        known = store.read_known(conn, telemetry=recent_paths(lake), faults=recent_faults(lake))
    found = complete(query, cursor, known)
    mistake = None
    try:
        parse_query(query)
    except QueryError as error:
        mistake = Mistake(
            column=error.column, message=error.message, hint=error.hint, shown=point_at(query, error.column)
        )
    return Choices(
        start=found.start,
        end=found.end,
        choices=[QueryChoice(text=each.text, kind=each.kind, about=each.about) for each in found.choices],
        mistake=mistake,
    )


@route("POST", "/campaigns/{campaign_id:str}/plan", role=Role.OPERATOR, tag="ship", errors=[404, 409, 422])
def plan_campaign(ctx: Ctx, request: Req, campaign_id: Id, data: JSONBody[NewPlan]) -> Planned:
    """Plan over the vehicles as they are known now; the checker's findings are in the answer."""
    wanted = PlanRequest(
        query=data.query,
        waves=tuple(WaveSize(**msgspec.structs.asdict(wave)) for wave in data.waves),
        gate=GatePolicy(
            **msgspec.structs.asdict(data.gate)
            | {"sequential": data.gate.sequential.policy() if data.gate.sequential else None}
        ),
        vehicle_deadline_s=data.vehicle_deadline_s,
        stratify_by=tuple(dict.fromkeys(data.stratify_by)),
        rollback_installed=data.rollback_installed,
        control=WaveSize(**msgspec.structs.asdict(data.control)) if data.control else None,
        ramp=HarmBudget(**msgspec.structs.asdict(data.ramp)) if data.ramp else None,
        window=data.window.window() if data.window else None,
        priority=data.priority,
        recall=data.recall,
        urgency=data.urgency,
        consent=data.consent,
        consent_phases=tuple(phase for phase in PHASES if phase in data.consent_phases),
        retry=data.retry.policy() if data.retry else None,
        late_joiners=data.late_joiners,
    )
    with ctx.connection() as conn:
        wanted = replace(wanted, seed=data.seed or store.usual_seed(conn, campaign_id))
        generation = data.generation or store.read_campaign(conn, campaign_id).generation
        plan = campaigns.plan_campaign(
            conn, ctx.ids, campaign_id=campaign_id, generation=generation, request=wanted,
            actor=request.user.name, now=ctx.clock.now(), lake=Lake(ctx.settings.lake),
            certificates=read_expiries(ctx.settings.pki, ctx.settings.client_ca),
        )  # fmt: skip
        current = store.read_campaign(conn, campaign_id).plan_id == plan.id
    return Planned(
        id=campaign_id, plan_id=plan.id, generation=plan.generation, current=current, document=dict(plan.document),
        findings=[dict(item) for item in plan.findings],
    )  # fmt: skip


@route("POST", "/campaigns/{campaign_id:str}/approve", role=Role.APPROVER, tag="ship", errors=[404, 409])
def approve_campaign(ctx: Ctx, request: Req, campaign_id: Id, data: JSONBody[ApprovePlan]) -> Done:
    """Approve the current plan; its maker cannot, unless they are the only one who may."""
    approve = partial(store.approve, acknowledged=data.acknowledged)
    return _move(ctx, request, campaign_id, data.generation, approve, four_eyes=True)


@route("POST", "/campaigns/{campaign_id:str}/approve-recall", role=Role.APPROVER, tag="ship", errors=[404, 409])  # fmt: skip
def approve_recall(ctx: Ctx, request: Req, campaign_id: Id, data: JSONBody[ApprovePlan]) -> Done:
    """Approve the current plan as an emergency recall; its maker cannot, not even as the only one who may approve."""
    act = partial(store.approve, four_eyes=True, recall=True, acknowledged=data.acknowledged)
    return _move(ctx, request, campaign_id, data.generation, act)


@route("POST", "/campaigns/{campaign_id:str}/start", role=Role.OPERATOR, tag="ship", errors=[404, 409])
def start_campaign(ctx: Ctx, request: Req, campaign_id: Id, data: JSONBody[Go]) -> Done:
    """Start an approved campaign with its first wave."""
    return _move(ctx, request, campaign_id, data.generation, store.start)


@route("POST", "/campaigns/{campaign_id:str}/pause", role=Role.OPERATOR, tag="ship", errors=[404, 409])
def pause_campaign(ctx: Ctx, request: Req, campaign_id: Id, data: JSONBody[Stop]) -> Done:
    """Offer nothing more until resumed; vehicles at work go on."""
    return _move(ctx, request, campaign_id, data.generation, partial(store.pause, reason=data.reason))


@route("POST", "/campaigns/{campaign_id:str}/resume", role=Role.OPERATOR, tag="ship", errors=[404, 409])
def resume_campaign(ctx: Ctx, request: Req, campaign_id: Id, data: JSONBody[Go]) -> Done:
    """Go on with a paused campaign."""
    return _move(ctx, request, campaign_id, data.generation, store.resume)


@route(
    "POST", "/campaigns/{campaign_id:str}/resume-without-reports", role=Role.APPROVER, tag="ship", errors=[404, 409]
)  # fmt: skip
def resume_without_reports(ctx: Ctx, request: Req, campaign_id: Id, data: JSONBody[Go]) -> Done:
    """Go on though reports will never come that the gate waits for; who made the plan cannot, as with approvals."""
    go_on = partial(store.resume, without_reports=True)
    return _move(ctx, request, campaign_id, data.generation, go_on, four_eyes=True)


@route(
    "POST", "/campaigns/{campaign_id:str}/resume-beyond-budget", role=Role.APPROVER, tag="ship", errors=[404, 409]
)  # fmt: skip
def resume_beyond_budget(ctx: Ctx, request: Req, campaign_id: Id, data: JSONBody[Go]) -> Done:
    """Go on though the budget of harm is spent, until as much more is proved; likewise."""
    go_on = partial(store.resume, beyond_budget=True)
    return _move(ctx, request, campaign_id, data.generation, go_on, four_eyes=True)


class Abort(Stop, frozen=True, kw_only=True):
    """End a campaign. The reason is for the record; `told`, if anything, is what drivers and fleets hear of it."""

    told: Annotated[str, Meta(min_length=1, max_length=400, pattern=TEXT_PATTERN)] | None = None


@route("POST", "/campaigns/{campaign_id:str}/abort", role=Role.OPERATOR, tag="ship", errors=[404, 409])
def abort_campaign(ctx: Ctx, request: Req, campaign_id: Id, data: JSONBody[Abort]) -> Done:
    """End a campaign for good; vehicles that have not begun are withdrawn."""
    act = partial(store.abort, reason=data.reason, told=data.told or "")
    return _move(ctx, request, campaign_id, data.generation, act)


def _move(
    ctx: Context, request: Req, campaign_id: str, generation: int | None, act: Callable[..., Campaign], *,
    four_eyes: bool = False,
) -> Done:  # fmt: skip
    """Do `act` to the campaign as it was read, or as it is now; by four eyes only where more than one may approve."""
    with ctx.transaction() as conn:
        more = {"four_eyes": accounts_store.count_approvers(conn) > 1} if four_eyes else {}
        moved = act(
            conn, ctx.ids, campaign_id=campaign_id, actor=request.user.name, now=ctx.clock.now(),
            generation=generation or store.read_campaign(conn, campaign_id).generation, **more,
        )  # fmt: skip
    return Done(id=campaign_id, state=moved.state)


router = Router(
    "/",
    route_handlers=[
        create_campaign, preview_query, set_time_zone, complete_query, plan_campaign, approve_campaign, approve_recall,
        start_campaign, pause_campaign, resume_campaign, resume_without_reports, resume_beyond_budget, abort_campaign,
    ],
)  # fmt: skip
