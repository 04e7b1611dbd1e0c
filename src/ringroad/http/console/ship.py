"""Pages of the ship stage: fleet, vehicle, campaigns, campaign; and releases, which they ship."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import groupby
from typing import Any
from urllib.parse import urlencode

from litestar import Response
from litestar.params import FromPath

from ringroad.http import reading, reading_birth, reading_hours
from ringroad.http.auth import Account, Role
from ringroad.http.console.conduct import TOLD, approval_lines, conduct_lines, state_told
from ringroad.http.console.decided import counted, decision_lines
from ringroad.http.console.guard import (
    compared_rows,
    control_line,
    exposure_chart,
    gate_lines,
    harm_line,
    reading_charts,
    stratum_rows,
)
from ringroad.http.console.plan_form import ADVANCED, plan_fields
from ringroad.http.console.render import chart, page, segments
from ringroad.http.console.shared import ROWS, Req, asked, outcomes_shown, shown, url_of
from ringroad.http.console.why import hours_said, waits_for, why_not_updating
from ringroad.http.context import Context, Ctx
from ringroad.http.deltas import deltas_of
from ringroad.http.imports import artifact_keys
from ringroad.http.reading_compared import compared
from ringroad.http.reading_judged import let_go, with_today
from ringroad.http.views import CampaignView, FleetVersion, PlanView, VehicleResolutionView, WaveCount
from ringroad.http.views_build import ReleaseView
from ringroad.ship.reason_words import (
    BUDGET_SPENT,
    UNKNOWN_FOR_GOOD,
    is_budget_spent,
    is_for_good,
    is_harm_elsewhere,
    reason_words,
)
from ringroad.ship.store.pausing import ENDED
from ringroad.storage.db import Connection

OPEN = ("pending", "offered", "active", "cancelling")
UNDER_WAY = ("planned", "approved", "running", "paused")  # campaigns that may offer something yet
BAD = ("failed", "rolled_back")
RESOLUTIONS_SHOWN = 30  # kinds of vehicles; `ringroad campaign why` lists all
RETURNS_AT_ONCE = 20_000  # vehicles of a stopped campaign that are counted on every look; of more, when asked
READINGS_SHOWN = 300  # three days of quarters of an hour
PROGRAMMES_SHOWN = 100


@shown("/fleet", Role.FLEET)
def fleet_page(ctx: Ctx, request: Req) -> Response[str]:
    """Vehicles, filtered, and the versions on the road."""
    q = asked(request, "q", "programme_id", "variant", "release_id", "state")
    text = request.query_params.get("offset", "0")
    offset = int(text) if text.isdecimal() and len(text) < 7 else 0
    own = request.user.fleet
    with ctx.connection() as conn:
        versions = reading.fleet_versions(conn, fleet=own)
        releases = reading.releases(conn, state="signed")
        values: dict[str, Any] = {
            "o": reading.overview(conn) if own is None else reading.fleet_overview(conn, own),
            "vehicles": reading.vehicles(conn, **q, limit=ROWS, offset=offset, fleet=own),
            "variants": sorted({each.variant for each in versions}) if own else reading.variants(conn),
            "releases": [
                each for each in releases if own is None or each.id in {v.release_id for v in versions}
            ],
            "chart": _versions_chart(versions),
            "ddi_variants": reading.ddi_variants(conn) if request.user.may(Role.OPERATOR) else {},
            "hours": [
                each | {"said": hours_said(each["schedule"])}
                for each in reading_hours.own_hours(conn, fleet=own)
            ]
            if own
            else [],
            "fleet_names": reading_hours.fleet_names(conn, own) if own else [],
        }
    kept = {name: value for name, value in q.items() if value}
    return page(
        "fleet.html", load=ctx.pressure.shed, account=request.user, url=url_of(request), q=q, offset=offset, **values,
        newer=f"/fleet?{urlencode({**kept, 'offset': max(0, offset - ROWS)})}",
        older=f"/fleet?{urlencode({**kept, 'offset': offset + ROWS})}",
    )  # fmt: skip


@shown("/fleet/{vin:str}", Role.FLEET)
def vehicle_page(ctx: Ctx, request: Req, vin: FromPath[str]) -> Response[str]:
    """One vehicle: ECUs, history, reports, and why it is not updating."""
    with ctx.transaction() as conn:
        own = request.user.fleet
        v = reading.one(reading.vehicles(conn, vin=vin, fleet=own), f"vehicle {vin}")
        history = reading.assignments(conn, vin=vin, fleet=own)
        values: dict[str, Any] = {
            "ecus": reading.vehicle_ecus(conn, vin),
            "attributes": reading.vehicle_attributes(conn, vin),
            "reports": reading.vehicle_reports(conn, vin, limit=50) if own is None else [],
            "resolutions": _judged(conn, vin, now=ctx.clock.now()) if own is None else [],
            "schedule": reading_hours.vehicle_hours(conn, vin),
            "birth": reading_birth.birth_or_why(conn, vin) if own is None else None,
            "credentials": reading.vehicle_credentials(conn, vin)
            if v.gateway == "ddi" and own is None
            else None,
        }
    newest = next(iter(values["resolutions"]), None)
    why = why_not_updating(v, history[0] if history else None, newest, now=ctx.clock.now())
    return page(
        "vehicle.html",
        account=request.user,
        url=url_of(request),
        v=v,
        history=history,
        why=why,
        asked=bool(history and history[0].asked),
        hours=hours_said(values["schedule"]),
        state_told=state_told,
        **values,
    )


def _judged(conn: Connection, vin: str, *, now: datetime) -> list[VehicleResolutionView]:
    """Return what plans made of a vehicle, and of those that are not over what would be made of it today."""
    found = reading.vehicle_resolutions(conn, vin)
    judged = with_today(conn, [each for each in found if each.campaign_state in UNDER_WAY], vin=vin, now=now)
    by_campaign = {each.campaign_id: each for each in judged}
    return [by_campaign.get(each.campaign_id, each) for each in found]


@shown("/campaigns", Role.FLEET)
def campaigns_page(ctx: Ctx, request: Req) -> Response[str]:
    """Campaigns."""
    with ctx.connection() as conn:
        found = reading.campaigns(conn, limit=ROWS, fleet=request.user.fleet)
        campaigns = [reading.for_reader(each, fleet=request.user.fleet) for each in found]
        releases = reading.releases(conn, state="signed")
    return page(
        "campaigns.html", account=request.user, url=url_of(request), campaigns=campaigns, releases=releases
    )


@shown("/campaigns/{campaign_id:str}", Role.FLEET)
def campaign_page(ctx: Ctx, request: Req, campaign_id: FromPath[str]) -> Response[str]:
    """One campaign: progress, waves, gate, plan, vehicles, controls."""
    state = asked(request, "state")["state"]
    if request.user.fleet is not None:
        return _own_campaign(ctx, request, campaign_id, state, request.user.fleet)
    with ctx.connection() as conn:
        return whole_campaign(
            conn, campaign_id, state=state, account=request.user, url=url_of(request), now=ctx.clock.now()
        )


def returns_key(c: CampaignView) -> str:
    """Say when the panel of those who go back is worked out again: not with each vehicle that is back.

    Where others can be ordered back, or the last of those that were told has an end.
    """
    to_come = c.returns_ordered > c.returned + c.returns_failed
    return f"{c.returns_ordered}-{c.returns_failed}-{c.installed}-{'some' if to_come else 'all'}"


def whole_campaign(
    conn: Connection, campaign_id: str, *, state: str | None, account: Account, url: str, now: datetime
) -> Response[str]:
    """Return the page of a campaign; what it costs does not depend on how many vehicles there are."""
    c = reading.one(reading.campaigns(conn, campaign_id=campaign_id), f"campaign {campaign_id}")
    plans = reading.campaign_plans(conn, campaign_id)
    found = reading.releases(conn, release_id=c.release_id)
    release = reading.one(found, f"release {c.release_id}")
    counts = reading.campaign_progress(conn, campaign_id)
    values: dict[str, Any] = {
        "gate": reading.gate_decisions(conn, campaign_id, limit=20),
        "readings": reading.gate_readings(conn, campaign_id, limit=READINGS_SHOWN),
        "vehicles": reading.assignments(conn, campaign_id=campaign_id, state=state, limit=ROWS),
        "outcomes": outcomes_shown(conn, campaign_id=campaign_id),
        "exposure": exposure_chart(reading.exposure(conn, campaign_id)),
        "resolutions": reading.campaign_resolutions(conn, campaign_id, limit=RESOLUTIONS_SHOWN),
        "let_go": let_go(conn, campaign_id),
    }
    said = compared(conn, campaign_id)
    plan = next((item for item in plans if item.id == c.plan_id), plans[0] if plans else None)
    sent_bytes = sum(
        alike.vehicles * alike.install_bytes for alike in values["resolutions"] if alike.verdict == "match"
    )
    return page(
        "campaign.html", account=account, url=url, c=c, plans=plans, plan=plan, warnings=_warnings(plan),
        programme_id=release.programme_id, sent_bytes=sent_bytes,
        policy=gate_lines(plan.document) if plan else [], waves=dated(waves(counts) or planned_waves(plan), c, plan), state=state,
        figures=figures(c, counts, plan=plan), compared=compared_rows(said), control=control_line(said), harm=harm_line(said),
        strata=stratum_rows(values["readings"]),
        ratio_charts=reading_charts(values["readings"], plan.document if plan else None),
        controls=campaign_controls(c, account, plan=plan if plan and plan.id == plans[0].id else None), **values,
        waits={a.action_id: waits_for(a, now=now) for a in values["vehicles"]},
        conduct=conduct_lines(plan.document, whole=True) if plan else [], told_words=TOLD, state_told=state_told,
        returns_at_once=RETURNS_AT_ONCE, returns_key=returns_key(c),
        form=plan_fields(plans[0].document if plans else None), first=plan_fields(None), advanced=ADVANCED, decision_lines=decision_lines, counted=counted,
    )  # fmt: skip


def _own_campaign(
    ctx: Context, request: Req, campaign_id: str, state: str | None, fleet: str
) -> Response[str]:
    """What a campaign does to the vehicles of a fleet, and nothing more of it."""
    with ctx.connection() as conn:
        found = reading.campaigns(conn, campaign_id=campaign_id, fleet=fleet)
        whole = reading.one(found, f"campaign {campaign_id}")
        plans = reading.campaign_plans(conn, campaign_id)
        counts = reading.campaign_progress(conn, campaign_id, fleet=fleet)
        vehicles = reading.assignments(conn, campaign_id=campaign_id, state=state, limit=ROWS, fleet=fleet)
    c, plan = reading.for_reader(whole, fleet=fleet), next((p for p in plans if p.id == whole.plan_id), None)
    return page(
        "campaign_own.html", account=request.user, url=url_of(request), c=c, figures=figures(c, counts),
        waves=dated(waves(counts), c, plan), vehicles=vehicles, state=state, told_words=TOLD, state_told=state_told,
        waits={a.action_id: waits_for(a, now=ctx.clock.now()) for a in vehicles},
    )  # fmt: skip


@shown("/releases")
def releases_page(ctx: Ctx, request: Req) -> Response[str]:
    """Releases and packages."""
    with ctx.connection() as conn:
        releases = reading.releases(conn, limit=ROWS)
        packages = reading.packages(conn, limit=ROWS)
    return page(
        "releases.html", account=request.user, url=url_of(request), releases=releases, packages=packages
    )


@shown("/imports")
def imports_page(ctx: Ctx, request: Req) -> Response[str]:
    """What was qualified elsewhere: looked at, imported; and who may sign it."""
    with ctx.connection() as conn:
        programmes = reading.programmes(conn, limit=PROGRAMMES_SHOWN)
        keys = artifact_keys(conn)
    ecus = {each.id: each.document.get("ecus") or {} for each in programmes}
    return page(
        "imports.html", account=request.user, url=url_of(request), keys=keys,
        programmes=[{"id": name, "ecus": sorted(known)} for name, known in ecus.items()],
        suppliers=sorted({str(ecu.get("supplier") or "") for known in ecus.values() for ecu in known.values()} - {""}),
    )  # fmt: skip


@shown("/releases/{release_id:str}")
def release_page(ctx: Ctx, request: Req, release_id: FromPath[str]) -> Response[str]:
    """One release: what it installs, and what the check found."""
    with ctx.connection() as conn:
        r = reading.one(reading.releases(conn, release_id=release_id), f"release {release_id}")
        known = {k.id: k for k in reading.packages(conn, programme_id=r.programme_id, limit=1000)}
        deltas = deltas_of(conn, release_id, now=ctx.clock.now()) if r.state == "signed" else []
    variants = {
        variant: {ecu: known.get(package_id) for ecu, package_id in sorted(ecus.items())}
        for variant, ecus in (r.document.get("variants") or {}).items()
    }
    return page(
        "release.html", account=request.user, url=url_of(request), r=r, variants=variants, deltas=deltas,
        controls=release_controls(r, request.user),
    )  # fmt: skip


def waves(counts: Iterable[WaveCount]) -> list[dict[str, Any]]:
    """Return one bar per wave."""
    made = []
    counts = list(counts)
    back_of = {row.wave: row.returned for row in counts if row.returned}
    lost_of = {row.wave: row.lost for row in counts if row.lost}
    way_of = {row.wave: row.on_the_way for row in counts if row.on_the_way}
    for wave, rows in groupby(counts, key=lambda row: row.wave):
        by_state = {row.state: row.vehicles for row in rows}
        installed, stored = by_state.get("installed", 0), by_state.get("downloaded", 0)
        lost = lost_of.get(wave, 0)
        failed = lost + sum(by_state.get(state, 0) for state in BAD)
        silent = by_state.get("expired", 0) - lost
        under_way = sum(by_state.get(state, 0) for state in ("offered", "active", "claimed", "cancelling"))
        under_way += min(way_of.get(wave, 0), by_state.get("pending", 0))
        total, back = sum(by_state.values()), back_of.get(wave, 0)
        rest = total - installed - stored - failed - silent - under_way
        installed -= back
        done = f"{stored} of {total} downloaded" if stored else f"{installed} of {total} installed"
        made.append({
            "wave": wave,
            "text": ", ".join([done, *(f"{n} {word}" for n, word in ((back, "returned"), (failed, "failed"), (silent, "silent")) if n)]),
            "segments": segments((
                ("f-ship", installed, f"{installed} installed"),
                ("f-back", back, f"{back} returned"),
                ("f-ok", stored, f"{stored} downloaded"),
                ("f-run", under_way, f"{under_way} under way"),
                ("f-bad", failed, f"{failed} failed or rolled back"),
                ("f-warn", silent, f"{silent} silent past deadline"),
                ("f-idle", rest, f"{rest} waiting or withdrawn"),
            )),
        })  # fmt: skip
    return made


def planned_waves(plan: PlanView | None) -> list[dict[str, Any]]:
    """Return one bar per wave of a plan that has not started: nobody was told anything yet."""
    sizes = (plan.document.get("wave_vehicles") or []) if plan else []
    return [
        {
            "wave": number,
            "text": f"{vehicles} planned",
            "segments": segments((("f-idle", vehicles, f"{vehicles} planned"),)),
        }
        for number, vehicles in enumerate(sizes, 1)
    ]


def dated(rows: list[dict[str, Any]], c: CampaignView, plan: PlanView | None) -> list[dict[str, Any]]:
    """Return the waves, each that is to come with its date, if it has one (`opens_at`)."""
    request = (plan.document.get("request") or {}) if plan and c.state not in ENDED else {}
    asked = [] if request.get("ramp") else (request.get("waves") or [])
    dates = {number: size.get("not_before") for number, size in enumerate(asked, 1) if c.wave < number}
    return [row | {"opens_at": _instant(dates.get(row["wave"]))} for row in rows]


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def campaign_controls(c: CampaignView, account: Account, *, plan: PlanView | None) -> list[dict[str, str]]:
    """Return what this account may do with a campaign in this state; `plan` is its current one, if that is its newest."""
    offers: list[dict[str, str]] = []
    ready = plan is not None and plan.id == c.plan_id
    if plan and ready and c.state == "planned" and account.may(Role.APPROVER) and _asks(plan, "recall"):
        ask = f"{approval_asked(plan)}\n\nIt is an emergency recall, served before all other campaigns."
        offers.append(
            {"verb": "approve-recall", "text": "Approve emergency recall", "tone": "danger", "ask": ask}
        )
    elif plan and ready and c.state == "planned" and account.may(Role.APPROVER):
        offers.append(
            {"verb": "approve", "text": "Approve plan", "tone": "primary", "ask": approval_asked(plan)}
        )
    if c.state == "paused" and is_for_good(c.state_reason) and account.may(Role.APPROVER):
        ask = f"{_goes_on(c, plan)} Of wave {c.wave}, {reason_words(c.state_reason)}."
        offers.append(
            {
                "verb": "resume-without-reports",
                "text": "Resume without reports",
                "tone": "primary",
                "ask": ask,
            }
        )
    if c.state == "paused" and is_budget_spent(c.state_reason) and account.may(Role.APPROVER):
        again = "is proved" if c.state_reason == BUDGET_SPENT else "cannot be excluded"
        ask = f"Go on though the budget of harm is spent? More vehicles are offered the update until as much harm again {again}."
        offers.append(
            {"verb": "resume-beyond-budget", "text": "Resume beyond the budget", "tone": "danger", "ask": ask}
        )
    if account.may(Role.OPERATOR):
        if ready and c.state == "approved":
            offers.append({"verb": "start", "text": "Start", "tone": "primary", "ask": ""})
        if c.state == "running":
            offers.append({"verb": "pause", "text": "Pause", "tone": "", "ask": ""})
        if c.state == "paused" and (
            not any(is_one(c.state_reason) for is_one in (is_for_good, is_harm_elsewhere, is_budget_spent))
            or c.state_reason.startswith(UNKNOWN_FOR_GOOD)
        ):
            offers.append({"verb": "resume", "text": "Resume", "tone": "primary", "ask": ""})
        if c.state in {"planned", "approved", "running", "paused"}:
            ask = "Abort this campaign? It cannot be resumed; vehicles that have not begun are withdrawn."
            offers.append({"verb": "abort", "text": "Abort", "tone": "danger", "ask": ask})
    return offers


def _goes_on(c: CampaignView, plan: PlanView | None) -> str:
    """Return what an approver is asked who goes on without what the gate misses."""
    if plan and _asks(plan, "ramp") and c.state_reason.startswith(UNKNOWN_FOR_GOOD):
        harmed_first = plan.document["request"]["ramp"]["harmed_first"]
        return f"Go on with at most {harmed_first} more vehicles, and be asked again after them?"
    return "Go on with the next wave?"


def approval_asked(plan: PlanView) -> str:
    """Return what an approver is asked: which plan, and everything that they sign for with it."""
    lines = approval_lines(plan.document, gate_lines(plan.document))
    told = [f"{name.capitalize()}: {value}" for name, value in lines]
    return "\n".join([f"Approve generation {plan.generation} of the plan?", *told])


def release_controls(r: ReleaseView, account: Account) -> list[dict[str, str]]:
    """Return what this account may do with a release in this state."""
    offers: list[dict[str, str]] = []
    path = f"/api/v1/releases/{r.id}"
    if r.state in {"draft", "checked"} and account.may(Role.OPERATOR):
        offers.append({"verb": f"{path}/check", "text": "Check", "tone": "primary", "ask": ""})
    asks = r.document.get("downgrade") and not r.downgrades
    if r.state == "checked" and asks and account.may(Role.APPROVER) and account.name != r.created_by:
        ask = "Take these ECUs back to older software? It becomes part of what the offline keys sign."
        offers.append(
            {"verb": f"{path}/approve-downgrade", "text": "Approve going back", "tone": "danger", "ask": ask}
        )
    if r.state == "signed" and account.may(Role.APPROVER):
        if not r.on_line:
            offers.append(
                {"verb": f"{path}/baseline", "text": "Make current on the line", "tone": "", "ask": ""}
            )
        ask = "Withdraw this release? No vehicle will be offered it any more."
        offers.append({"verb": f"{path}/withdraw", "text": "Withdraw", "tone": "danger", "ask": ask})
    return offers


def _asks(plan: PlanView | None, name: str) -> bool:
    return bool(plan and plan.document.get("request", {}).get(name))


def _warnings(plan: PlanView | None) -> dict[str, str]:
    """What whoever approves the plan accepts with it: code and message, each code once."""
    found: dict[str, str] = {}
    for each in (plan.findings or []) if plan else []:
        if each["severity"] == "warning":
            found[each["code"]] = "; ".join(filter(None, (found.get(each["code"]), each["message"])))
    return found


def figures(
    c: CampaignView, counts: list[WaveCount], *, plan: PlanView | None = None
) -> list[tuple[int, str, str]]:
    """Return the number of all vehicles of a campaign, and of those in each state, which sum up to it."""
    here = f"/campaigns/{c.id}"

    def total(*states: str) -> int:
        return sum(row.vehicles for row in counts if row.state in states)

    back, lost = sum(row.returned for row in counts), sum(row.lost for row in counts)
    planned = sum((plan.document.get("wave_vehicles") or []) if plan else [])
    return [
        (c.vehicles, "vehicles", here) if c.vehicles or not planned else (planned, "planned", here),
        (total("installed") - back, "installed", f"{here}?state=installed"),
        *([(back, "returned", here)] if back else []),
        *([(stored, "downloaded", f"{here}?state=downloaded")] if (stored := total("downloaded")) else []),
        (total("active"), "working on it", f"{here}?state=active"),
        *([(claimed, "claimed", f"{here}?state=claimed")] if (claimed := total("claimed")) else []),
        (total("offered"), "offered", f"{here}?state=offered"),
        (total("pending"), "waiting", f"{here}?state=pending"),
        (total("failed"), "failed", f"{here}?state=failed"),
        (total("rolled_back"), "rolled back", f"{here}?state=rolled_back"),
        *([(lost, "lost while installing", f"{here}?state=expired")] if lost else []),
        (total("expired") - lost, "silent past deadline", f"{here}?state=expired"),
        *([(ending, "being cancelled", here)] if (ending := total("cancelling")) else []),
        (total("cancelled"), "cancelled", f"{here}?state=cancelled"),
    ]


def _versions_chart(versions: list[FleetVersion]) -> str:
    names = list(dict.fromkeys(item.version for item in versions))
    series = [
        {
            "name": variant,
            "data": [
                sum(item.vehicles for item in versions if item.version == name and item.variant == variant)
                for name in names
            ],
        }
        for variant in dict.fromkeys(item.variant for item in versions)
    ]
    return chart(names, series, unit="vehicles", stack=True, horizontal=True, integer=True)


handlers = [
    fleet_page, vehicle_page, campaigns_page, campaign_page, releases_page, imports_page,
    release_page,
]  # fmt: skip
