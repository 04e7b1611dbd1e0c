"""Plan a campaign: load facts, plan, check, make current. What the API, the CLI and the demo call.

The decisions are `ship.plan` and `ship.check`; the writes are `ship.store`; the order is here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from psycopg.errors import SerializationFailure

from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict
from ringroad.loop.latest import latest_for
from ringroad.ship import store
from ringroad.ship.check import check_plan, soonest_end
from ringroad.ship.model import CampaignState
from ringroad.ship.plan import PlanRequest, Population, make_plan
from ringroad.ship.query import names_in, parse_query
from ringroad.ship.store.evidence import read_past
from ringroad.ship.store.fleet import require_lists
from ringroad.ship.store.planning import say_step
from ringroad.ship.store.reading import SavedPlan
from ringroad.ship.store.schedules import count_own_hours, count_unheard
from ringroad.ship.store.selecting import gather
from ringroad.ship.store.targets import deal, measure, read_dealt
from ringroad.ship.unheard import heard_before
from ringroad.storage.db import Connection, transaction
from ringroad.storage.lake import Lake

PLANNABLE = (CampaignState.DRAFT, CampaignState.PLANNED, CampaignState.APPROVED)


def create_campaign(
    conn: Connection, ids: Ids, *, name: str, release_id: str, actor: str, now: datetime
) -> store.Campaign:
    """Create a campaign in draft; it belongs to the lap of its release.

    Raises:
        NotFound: there is no such release.
        InvalidInput: the name is empty or too long.
    """
    with transaction(conn):
        release = store.read_release(conn, release_id)
        return store.create_campaign(
            conn, ids, name=name, release_id=release.id, lap_id=release.lap_id, actor=actor, now=now
        )


def plan_campaign(
    conn: Connection,
    ids: Ids,
    *,
    campaign_id: str,
    generation: int,
    request: PlanRequest,
    actor: str,
    now: datetime,
    lake: Lake | None = None,
    certificates: Mapping[str, datetime] | None = None,
) -> SavedPlan:
    """Plan over the vehicles as they are known now; the plan becomes current unless a finding blocks.

    Without `lake` nothing is known of telemetry; `certificates` are those that vehicles trust, and when they end.

    Returns:
        The stored plan with its findings; blocked plans are returned too, and are not current.

    Raises:
        NotFound: there is no such campaign.
        QueryError: the query cannot be read.
        InvalidInput: it names a list that there is not.
        Conflict: the campaign moved on since `generation`, or has started.
    """
    query = parse_query(request.query)
    latest = latest_for(lake, query, now=now) if lake else None
    with transaction(conn):
        # One snapshot for all facts: vehicles, packages and other campaigns are judged as of one moment.
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        campaign = store.read_campaign(conn, campaign_id)
        _expect_plannable(campaign, generation)
        require_lists(conn, names_in(query, "list"))
        release = store.read_release(conn, campaign.release_id)
        images = store.read_images(conn, release.programme_id)
        past = read_past(conn, release.programme_id)
        say_step(conn, campaign_id, 1)
        populations = _saying(
            conn, campaign_id, gather(conn, query, programme_id=release.programme_id, latest=latest)
        )
        plan = make_plan(
            request, release, populations, images, now=now, past=past,
            earlier=store.read_signed_releases(conn, release.programme_id),
        )  # fmt: skip
        plan_id = ids.new("plan")
        say_step(conn, campaign_id, 3)
        deal(conn, plan, plan_id=plan_id)
        say_step(conn, campaign_id, 4)
        busy = store.count_busy(conn, campaign_id, plan_id, ("match", "control"))
        skip_unknown = store.count_skip_unknown(conn, plan_id) if request.urgency == "download_only" else 0
        facts = replace(
            busy,
            skip_unknown=skip_unknown,
            halted_before=store.read_halted_before(conn, release.id),
            dealt=read_dealt(conn, plan_id),
            own_hours=count_own_hours(conn, plan_id),
            unheard=count_unheard(conn, plan_id, before=heard_before(request, now=now)),
            expires=store.read_expiries(conn),
            certificates=certificates or {},
            certificates_ending=store.count_certificates_ending(conn, plan_id, before=soonest_end(plan)),
        )
        findings = check_plan(plan, release, facts)
        measure(conn)
        try:
            return store.save_plan(conn, ids, campaign, plan, findings, plan_id=plan_id, actor=actor, now=now)
        except SerializationFailure as error:
            raise Conflict(
                f"campaign {campaign_id} changed", hint="read it again, then decide again", detail=str(error)
            ) from error


def _expect_plannable(campaign: store.Campaign, generation: int) -> None:
    if campaign.state not in PLANNABLE:
        raise Conflict(
            f"campaign {campaign.name} is {campaign.state}; its plan is fixed",
            code="campaign_state",
            hint="make a new campaign",
        )
    if campaign.generation != generation:
        raise Conflict(f"campaign {campaign.id} changed", hint="read it again, then decide again")


def _saying(conn: Connection, campaign_id: str, populations: Iterator[Population]) -> Iterator[Population]:
    """Hand populations on, and say so when the first is there: they are told apart by then."""
    for number, each in enumerate(populations):
        if number == 0:
            say_step(conn, campaign_id, 2)
        yield each
