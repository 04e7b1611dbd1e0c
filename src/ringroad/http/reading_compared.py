"""What a campaign's gate compares now, with the control group and with the past."""

from __future__ import annotations

from ringroad.http.views import ComparedView
from ringroad.ship.compared import Compared, all_compared
from ringroad.ship.gate import installation_readings
from ringroad.ship.guard import HARM
from ringroad.ship.store.control import ControlLeft, read_control
from ringroad.ship.store.evidence import harm_limit, read_evidence
from ringroad.ship.store.reading import read_campaign, read_plan, read_waves
from ringroad.storage.db import Connection


def compared(conn: Connection, campaign_id: str) -> list[ComparedView]:
    """Return every metric that a campaign's gate compares; none for a gate of rules.

    Raises:
        NotFound: there is no such campaign.
    """
    campaign = read_campaign(conn, campaign_id)
    plan = read_plan(conn, campaign.plan_id) if campaign.plan_id else None
    if plan is None or plan.request.gate.sequential is None:
        return []
    policy, evidence = plan.request.gate.sequential, read_evidence(conn, campaign, plan)
    _, released = read_waves(conn, campaign, reports_min=plan.request.gate.reports_min)
    past = evidence.past if evidence else {}
    found = all_compared(
        policy,
        evidence.readings if evidence else (),
        () if released.contradictory else installation_readings(policy, released, past),
        past,
        state_reason=campaign.state_reason,
    )
    control = read_control(conn, campaign, plan)
    limit = harm_limit(conn, campaign, plan.request.ramp) if plan.request.ramp else None
    return [_view(each, control, limit) for each in found]


def _view(each: Compared, control: ControlLeft, limit: int | None) -> ComparedView:
    said, against_it = each.reading, each.against == "control"
    return ComparedView(
        metric=each.metric, against=each.against, margin_milli=each.margin_milli, limit_micronats=each.limit_micronats,
        log_e_micronats=said.log_e_micronats if said else None, point_milli=said.point_milli if said else None,
        low_milli=said.low_milli if said else None, high_milli=said.high_milli if said else None,
        updated=said.treated if said else None, other=said.control if said else None, updated_of=each.tried,
        other_of=each.past_tried, refused=bool(said and said.exceeded), halted=each.halted,
        control_held=control.held if against_it else None, control_left=control.left if against_it else None,
        harm_limit=limit if each.metric in HARM else None,
    )  # fmt: skip
