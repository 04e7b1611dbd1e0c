"""`ringroad campaign`: take a release to vehicles in waves, behind a gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
import msgspec

from ringroad.cli.campaign_approve import approve
from ringroad.cli.campaign_conduct import conduct_body, conducted
from ringroad.cli.campaign_guard import compared_text, guard_body, guarded, readings_text, unread_text
from ringroad.cli.campaign_return import read_recovery, return_vehicles
from ringroad.cli.campaign_text import (
    campaign_head,
    difference_text,
    ends_text,
    gate_text,
    let_go_text,
    next_text,
    plan_text,
    plan_verdict,
    preview_text,
    replay_text,
    resolutions_text,
    was_stopped,
    waves_text,
    why_text,
)
from ringroad.cli.campaign_watch import watch_campaign
from ringroad.cli.client import Client
from ringroad.cli.complete import complete_query
from ringroad.cli.fleet_lists import pointing
from ringroad.cli.groups import EXIT_NO, ClientGroup, example, limited, show_page, with_client
from ringroad.cli.names import programme_of, read_duration_s, read_permille, read_wave
from ringroad.cli.planning import PLAN_S_MAX, planning_shown, plans_shown
from ringroad.cli.shell import Shell
from ringroad.cli.tables import blocks, problems, table, tail, when
from ringroad.cli.waiting import why_it_waits
from ringroad.http.auth import Role
from ringroad.http.console.conduct import TOLD, state_told
from ringroad.http.console.why import waits_for
from ringroad.http.views import AssignmentView
from ringroad.kernel.errors import InvalidInput, NotFound
from ringroad.kernel.limits import PAGE_ROWS_MAX
from ringroad.ship.reason_words import reason_words

STATES = ("draft", "planned", "approved", "running", "paused", "halted", "aborted", "finished")
VEHICLE_STATES = (
    "pending", "offered", "active", "claimed", "cancelling", "downloaded", "installed", "failed", "rolled_back", "cancelled", "expired",
)  # fmt: skip


@click.group("campaign", cls=ClientGroup)
def group() -> None:
    """Campaigns: plan, check, approve, run, watch.

    \b
    draft -> planned -> approved -> running -> finished
                                    running <-> paused
                                    running -> halted (by the gate), aborted (by a person)
    """  # noqa: D301 - \b is click's sign for "do not wrap"


group.add_command(approve)
group.add_command(return_vehicles)


@group.command("create", epilog=example("ringroad campaign create 'Winter, brakes' --release 2.1.0"))
@click.argument("name")
@click.option("--release", required=True, help="The signed release that it ships.")
@with_client
def create(shell: Shell, client: Client, *, name: str, release: str) -> None:
    """Create a campaign in draft."""
    row = client.find("/releases", release, names=("version", "name"))
    done = client.post("/campaigns", {"name": name, "release_id": row["id"]})
    short = tail(done["id"])
    shell.show(
        done,
        text=f"campaign {done['id']} is {done['state']}\n"
        f"next: ringroad campaign plan {short} --query all --wave 10 --wave 25%",
    )


@group.command(
    "preview",
    epilog=example(
        "ringroad campaign preview 'variant = touring and ecu.brake.version < 2.1.0 and region in (NO, SE)'"
    ),
)
@click.argument("query", shell_complete=complete_query)
@click.option("--programme", help="The vehicle programme; default: the only one.")
@with_client
def preview(shell: Shell, client: Client, *, query: str, programme: str | None) -> None:
    """Try a QUERY: which vehicles match, which do not, and why."""
    body = {"query": query, "programme_id": programme_of(client, programme)}
    with pointing(query):
        found = client.post("/vehicles/preview", body)
    shell.show(found, text=preview_text(found))


@group.command(
    "plan",
    epilog=example(
        "ringroad campaign plan winter --query 'region = NO' --wave 10 --wave 20% \\",
        "    --failed-max 2% --reports-min 5 --soak 1h --silence-max 1d --deadline 7d",
        "ringroad campaign plan winter --query all --wave 10 --wave 10%@2027-01-11T08:00Z",
        "ringroad campaign plan winter --query all --control 20000 --harm 35-400",
        "ringroad campaign plan winter --query all --hours 22:00-05:00 --time-zone Europe/Oslo",
    ),
)
@click.argument("campaign")
@click.option(
    "--query",
    required=True,
    shell_complete=complete_query,
    help="Which vehicles; try it with `campaign preview`.",
)
@click.option(
    "--wave",
    "waves",
    multiple=True,
    help="Vehicles or a share: 20 or 10%, or from a date on: 10%@2027-01-11T08:00Z; the rest is a last wave.",
)
@click.option("--failed-max", default="2%", show_default=True, help="Share of failures that halts.")
@click.option(
    "--reports-min", type=int, default=1, show_default=True, help="Outcomes before a wave is judged."
)
@click.option("--soak", default="0s", show_default=True, help="How long the new software must have run.")
@click.option("--silence-max", default="1d", show_default=True, help="Age of the newest report, at most.")
@click.option("--silent-max", default="50%", show_default=True, help="Share that may not answer at all.")
@click.option("--deadline", default="7d", show_default=True, help="For each vehicle, from its offer.")
@click.option(
    "--seed",
    help="Anything; deals vehicles out to waves.  [default: of the plan before, else the campaign's own]",
)
@click.option("--late-joiners", is_flag=True, help="Vehicles that the query selects only later join it.")
@click.option("--rollback-installed", is_flag=True, help="After a halt, tell updated vehicles to return.")
@conducted
@guarded
@with_client
def plan(
    shell: Shell,
    client: Client,
    /,
    *,
    campaign: str,
    query: str,
    waves: tuple[str, ...],
    failed_max: str,
    reports_min: int,
    soak: str,
    silence_max: str,
    silent_max: str,
    deadline: str,
    seed: str | None,
    rollback_installed: bool,
    late_joiners: bool,
    **more: Any,
) -> int:
    """Plan over the vehicles as they are known now.

    With --control some vehicles are held back, drawn by lot; the campaign halts when the updated ones fare worse.

    Exit status 1 when the check blocks the plan.
    """
    row = client.find("/campaigns", campaign)
    body: dict[str, Any] = {
        "query": query,
        "gate": {
            "failed_permille_max": read_permille(failed_max, of="--failed-max"),
            "reports_min": reports_min,
            "soak_s": read_duration_s(soak),
            "silence_s_max": read_duration_s(silence_max),
            "silent_permille_max": read_permille(silent_max, of="--silent-max"),
        },
        "vehicle_deadline_s": read_duration_s(deadline),
        "seed": seed,
        "rollback_installed": rollback_installed,
        "late_joiners": "included" if late_joiners else "frozen",
        "generation": row["generation"],
    }
    body |= conduct_body(more)
    asked = guard_body(more, waves=bool(waves))
    if "sequential" in asked:
        body["gate"]["sequential"] = asked.pop("sequential")
    body |= asked
    if waves:
        body["waves"] = [read_wave(each) for each in waves]
    with pointing(query), planning_shown(client, row["id"]):
        made = client.send("POST", f"/campaigns/{row['id']}/plan", body=body, wait_s=PLAN_S_MAX)
    return _show_plan(shell, made, name=row["name"], short=tail(row["id"]))


@group.command("check", epilog=example("ringroad campaign check winter"))
@click.argument("campaign")
@with_client
def check(shell: Shell, client: Client, *, campaign: str) -> int:
    """Show the newest plan and what the checker says.

    Exit status 1 when it blocks.
    """
    row = client.find("/campaigns", campaign)
    plans = client.get(f"/campaigns/{row['id']}/plans", limit=1)
    if not plans:
        raise NotFound(
            f"{row['name']} has no plan", hint=f"ringroad campaign plan {tail(row['id'])} --query ..."
        )
    newest = plans[0] | {"current": plans[0]["id"] == row["plan_id"]}
    return _show_plan(shell, newest, name=row["name"], short=tail(row["id"]))


@group.command(
    "diff",
    epilog=example("ringroad campaign diff winter", "ringroad campaign diff winter --older 1 --newer 4"),
)
@click.argument("campaign")
@click.option("--older", type=click.IntRange(1), help="A plan's generation; default: the one before.")
@click.option("--newer", type=click.IntRange(1), help="A plan's generation; default: the newest.")
@with_client
def diff(shell: Shell, client: Client, *, campaign: str, older: int | None, newer: int | None) -> None:
    """Show what a new plan changes: field by field, and vehicles that join, leave or move."""
    row = client.find("/campaigns", campaign)
    found = client.get(f"/campaigns/{row['id']}/difference", older=older, newer=newer)
    shell.show(found, text=difference_text(found))


@group.command("start", epilog=example("ringroad campaign start winter --watch"))
@click.argument("campaign")
@click.option("--watch", "watching", is_flag=True, help="And watch it until it ends.")
@with_client
def start(shell: Shell, client: Client, *, campaign: str, watching: bool) -> int:
    """Start an approved campaign with its first wave."""
    row = client.find("/campaigns", campaign)
    done = _move(shell, client, row, "start", follow="" if watching else "watch", quiet=watching)
    return watch_campaign(shell, client, done["id"]) if watching else 0


@group.command("pause", epilog=example("ringroad campaign pause winter --reason 'service desk is full'"))
@click.argument("campaign")
@click.option("--reason", default="by hand", help="Why, for the record.")
@with_client
def pause(shell: Shell, client: Client, *, campaign: str, reason: str) -> None:
    """Offer nothing more until resumed; vehicles at work go on."""
    _move(shell, client, client.find("/campaigns", campaign), "pause", reason=reason, follow="resume")


@group.command(
    "resume",
    epilog=example("ringroad campaign resume winter", "ringroad campaign resume winter --without-reports"),
)
@click.argument("campaign")
@click.option(
    "--without-reports",
    is_flag=True,
    help="An approver accepts that the gate misses reports for good, or that a metric is not known.",
)
@click.option(
    "--beyond-budget",
    is_flag=True,
    help="An approver accepts that the budget of harm is spent, until as much more is proved.",
)
@with_client
def resume(
    shell: Shell, client: Client, *, campaign: str, without_reports: bool, beyond_budget: bool
) -> None:
    """Go on with a paused campaign."""
    if without_reports and beyond_budget:
        raise InvalidInput(
            "--without-reports or --beyond-budget, not both", hint="the campaign says why it paused"
        )
    verb = "resume-without-reports" if without_reports else "resume"
    verb = "resume-beyond-budget" if beyond_budget else verb
    _move(shell, client, client.find("/campaigns", campaign), verb, follow="watch")


@group.command("abort", epilog=example("ringroad campaign abort winter --reason 'wrong region'"))
@click.argument("campaign")
@click.option("--reason", default="by hand", help="Why, for the record.")
@click.option("--tell", default="", help="Why, for the drivers and fleets of its vehicles.")
@with_client
def abort(shell: Shell, client: Client, *, campaign: str, reason: str, tell: str) -> None:
    """End a campaign for good; vehicles that have not begun are withdrawn."""
    row = client.find("/campaigns", campaign)
    _move(shell, client, row, "abort", reason=reason, extra={"told": tell} if tell else None)


@group.command("watch", epilog=example("ringroad campaign watch winter"))
@click.argument("campaign")
@with_client
def watch(shell: Shell, client: Client, *, campaign: str) -> int:
    """Show live progress until it ends.

    Exit status 1 when it halts or is aborted.
    Ctrl-C stops the watching, not the campaign.
    """
    return watch_campaign(shell, client, client.find("/campaigns", campaign)["id"])


@group.command("list", epilog=example("ringroad campaign list --state running"))
@click.option("--state", type=click.Choice(STATES), help="Only in this state.")
@limited()
@with_client
def list_campaigns(shell: Shell, client: Client, *, state: str | None, limit: int, offset: int) -> None:
    """List campaigns, newest first."""
    rows = client.get("/campaigns", state=state, limit=limit, offset=offset)
    text = table(
        ("id", "name", "release", "state", "wave", "vehicles", "installed", "failed", "created"),
        (
            (
                tail(row["id"]),
                row["name"],
                row["release_version"],
                row["state"],
                row["wave"],
                row["vehicles"],
                *ends_text(row),
                when(row["created_at"]),
            )
            for row in rows
        ),
        empty="no campaign"
        if rows or client.get("/me")["role"] == Role.FLEET
        else "no campaign; ringroad campaign create NAME --release VERSION",
    )
    show_page(shell, rows, text=text, limit=limit, offset=offset)


@group.command("show", epilog=example("ringroad campaign show winter"))
@click.argument("campaign")
@with_client
def show(shell: Shell, client: Client, *, campaign: str) -> None:
    """Show a campaign: state, plan, waves, the gate's last word; of a stopped one, what became of its vehicles.

    CAMPAIGN is an id, its end, or the name.
    """
    row = client.find("/campaigns", campaign)
    whole = (
        client.get("/me")["role"] != Role.FLEET
    )  # the operator of a fleet has no business with plan and gate
    plans = plans_shown(client, row) if whole else []
    waves = client.get(f"/campaigns/{row['id']}/progress")
    decisions = client.get(f"/campaigns/{row['id']}/gate-decisions", limit=1) if whole else []
    recovery = read_recovery(client, row["id"]) if whole and was_stopped(row) else None
    parts = [
        campaign_head(row, plans[0] if plans else None, recovery),
        waves_text(waves),
        gate_text(decisions, last=True),
        next_text(row, recovery) if whole else "",
    ]
    value = row | {"plans": plans, "waves": waves, "gate": decisions, "recovery": recovery}
    shell.show(value, text="\n\n".join(part for part in parts if part))


@group.command("vehicles", epilog=example("ringroad campaign vehicles winter --state failed"))
@click.argument("campaign")
@click.option("--state", type=click.Choice(VEHICLE_STATES), help="Only in this state.")
@limited()
@with_client
def vehicles(
    shell: Shell, client: Client, *, campaign: str, state: str | None, limit: int, offset: int
) -> None:
    """List a campaign's vehicles and where each stands."""
    row = client.find("/campaigns", campaign)
    rows = client.get(f"/campaigns/{row['id']}/assignments", state=state, limit=limit, offset=offset)
    text = table(
        ("vin", "action", "wave", "told", "state", "detail", "offered", "last report"),
        (
            (
                each["vin"],
                each["action_id"],
                each["wave"],
                TOLD[each["kind"]],
                state_told(each["kind"], each["state"]),
                waits_for(msgspec.convert(each, AssignmentView, strict=False), now=shell.clock.now())
                or reason_words(each["state_detail"]),
                when(each["offered_at"]),
                when(each["last_report_at"]),
            )
            for each in rows
        ),
        empty="no vehicle in this state"
        if state
        else "no vehicle; they are assigned when the campaign starts",
    )
    show_page(shell, rows, text=text, limit=limit, offset=offset)


@group.command(
    "why", epilog=example("ringroad campaign why winter", "ringroad campaign why winter WRR1ZZZ00PA000007")
)
@click.argument("campaign")
@click.argument("vin", required=False)
@limited()
@with_client
def why(shell: Shell, client: Client, *, campaign: str, vin: str | None, limit: int, offset: int) -> None:
    """Say why vehicles are or are not in a campaign: all, those alike together, or the one with this VIN."""
    row = client.find("/campaigns", campaign)
    if vin:
        found = client.get(f"/campaigns/{row['id']}/vehicles/{vin}")
        shell.show(found, text=why_text(found, vin=vin, waits=why_it_waits(shell, client, found, vin=vin)))
        return
    rows = client.get(f"/campaigns/{row['id']}/resolutions", limit=limit, offset=offset)
    let_go = [] if offset else client.get(f"/campaigns/{row['id']}/let-go")
    text = "\n\n".join(part for part in (resolutions_text(rows), let_go_text(let_go)) if part)
    show_page(shell, rows, text=text, limit=limit, offset=offset)


@group.command(
    "gate", epilog=example("ringroad campaign gate winter", "ringroad campaign gate winter --replay")
)
@click.argument("campaign")
@click.option("--replay", is_flag=True, help="Decide again on what was recorded with each, and compare.")
@limited(20)
@with_client
def gate(shell: Shell, client: Client, *, campaign: str, replay: bool, limit: int, offset: int) -> int:
    """List what the gate decided, on which evidence, newest first.

    Exit status 1 when a replay comes out otherwise.
    """
    row = client.find("/campaigns", campaign)
    if replay:
        found = client.get(f"/campaigns/{row['id']}/gate-decisions/replay", limit=min(limit + offset, 1000))[
            offset:
        ]
        show_page(shell, found, text=replay_text(found), limit=limit, offset=offset)
        return EXIT_NO if any(each["same"] is False for each in found) else 0
    rows = client.get(f"/campaigns/{row['id']}/gate-decisions", limit=min(limit + offset, 1000))[offset:]
    moving = rows and row["state"] in {"running", "paused"}
    now = waves_text(client.get(f"/campaigns/{row['id']}/progress")) if moving else ""
    text = "\n\n".join(part for part in (now and f"now\n{now}", gate_text(rows)) if part)
    show_page(shell, rows, text=text, limit=limit, offset=offset)
    return 0


@group.command(
    "evidence",
    epilog=example("ringroad campaign evidence winter", "ringroad campaign evidence winter --replay"),
)
@click.argument("campaign")
@click.option("--replay", is_flag=True, help="Compute the newest reading again from its counts, and compare.")
@limited(20)
@with_client
def evidence(shell: Shell, client: Client, *, campaign: str, replay: bool, limit: int, offset: int) -> int:
    """Show how updated vehicles fare against the control group, and installations against the past, and what halted.

    Rate ratios come with 95 % bounds that hold at any time.

    Exit status 1 when a replay comes out otherwise.
    """
    row = client.find("/campaigns", campaign)
    path = f"/campaigns/{row['id']}/readings"
    rows = client.get(path, limit=min(limit + offset, PAGE_ROWS_MAX))[offset:]
    if not replay:
        found = client.get(f"/campaigns/{row['id']}/compared")
        parts = (compared_text(found, row), readings_text(rows)) if found else (unread_text(),)
        show_page(shell, rows, text="\n\n".join(parts), limit=limit, offset=offset)
        return 0
    if not rows:
        raise NotFound(f"nothing was read of {row['name']} yet")
    found = client.get(f"{path}/{rows[0]['id']}/replay")
    words = "comes out of its counts again" if found["same"] else "does not come out of its counts again"
    shell.show(found, text=f"reading {found['id']} {words}")
    return 0 if found["same"] else EXIT_NO


def _show_plan(shell: Shell, made: Mapping[str, Any], *, name: str, short: str) -> int:
    found = made["findings"] or []
    stopped = blocks(found) or not made["current"]
    verdict = plan_verdict(made, stopped=stopped, name=name, short=short)
    parts = [plan_text(made["document"]), problems(found), verdict]
    shell.show(made, text="\n\n".join(part for part in parts if part))
    return EXIT_NO if stopped else 0


def _move(
    shell: Shell,
    client: Client,
    row: Mapping[str, Any],
    verb: str,
    *,
    reason: str | None = None,
    follow: str = "",
    quiet: bool = False,
    extra: Mapping[str, object] | None = None,
) -> Mapping[str, Any]:
    # What stops harm must not fail because somebody else was quicker: those go without a generation.
    body: dict[str, object] = {"generation": row["generation"]} if reason is None else {"reason": reason}
    body |= extra or {}
    done: Mapping[str, Any] = client.post(f"/campaigns/{row['id']}/{verb}", body)
    if not quiet:
        next_ = f"\nnext: ringroad campaign {follow} {tail(row['id'])}" if follow else ""
        shell.show(done, text=f"{row['name']} is {done['state']}{next_}")
    return done
