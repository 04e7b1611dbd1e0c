"""Device reports and deadlines folded into actions, once each.

Invariants:
    A report is folded in the transaction that marks it; a crash before the commit folds it again, once.
    One folder at a time (an advisory lock), so that one vehicle's reports are applied in their order.
    Every outcome of a vehicle is a fact, caused by the wave that reached it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from ringroad.kernel.clock import Ids
from ringroad.kernel.facts import Fact, FactKind
from ringroad.ship.claims import SuccessRule
from ringroad.ship.judged import beside, is_refusal
from ringroad.ship.model import CLOSED_STATES, AssignmentState
from ringroad.ship.report import (
    DETAIL_CHARS_MAX,
    Evidence,
    Move,
    Refused,
    decide_report,
    detail_kept,
    read_evidence,
    takes_part,
)
from ringroad.ship.retry import RetryPolicy, RetryReason, decide_retry, not_delivered, reason_of
from ringroad.ship.store.batches import RECONCILER, append_by_wave, wave_fact_id
from ringroad.ship.store.judging import judge_refusals
from ringroad.ship.store.locks import keep_campaigns_of
from ringroad.ship.store.precedence import go_on_after
from ringroad.ship.store.reading import SQL
from ringroad.ship.store.returns import order_back_late
from ringroad.ship.store.statements import (
    STATEMENTS,
    STATING,
    apply_statement,
    note_answer,
    states_release,
)
from ringroad.storage.db import Connection
from ringroad.storage.ledger import append_fact, append_facts, last_of

FOLD_LOCK = 0x52494E47_00000001  # advisory lock of the one folder
FOLD_ROWS_MAX = 5_000  # reports per transaction; half a second of work
EXPIRE_ROWS_MAX = 5_000  # vehicles per transaction

BLOCKED = "ROLLBACK_FAILED"
BY_WORD = SuccessRule(success="word")  # of plans from before there were claims
CONFIRMED = "claimed, and says that it runs it"

_BATCH_OF = {
    AssignmentState.ACTIVE: FactKind.VEHICLES_ACTIVE,
    AssignmentState.CANCELLED: FactKind.VEHICLES_CANCELLED,
}
_FACT_OF = {
    AssignmentState.INSTALLED: FactKind.VEHICLE_UPDATED,
    AssignmentState.DOWNLOADED: FactKind.VEHICLE_DOWNLOADED,
    AssignmentState.FAILED: FactKind.VEHICLE_UPDATE_FAILED,
    AssignmentState.ROLLED_BACK: FactKind.VEHICLE_ROLLED_BACK,
    AssignmentState.EXPIRED: FactKind.VEHICLE_DEADLINE_PASSED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """What one call of `fold_reports` did."""

    read: int = 0
    applied: int = 0
    refused: int = 0
    busy: bool = False  # another folder is at work


@dataclass(slots=True)
class _Action:
    """One action while its reports are folded."""

    row: Mapping[str, Any]
    state: AssignmentState
    rule: SuccessRule
    detail: str = ""
    at: datetime | None = None
    event_at: datetime | None = None
    moved: bool = field(default=False)
    began: bool = field(default=False)
    claimed: bool = field(default=False)  # by a report of now or of earlier
    verdict: str = ""  # by which it is let go
    refused: str = ""  # the code by which the vehicle said no before it touched anything
    reason: RetryReason | None = None  # of its failure, where it may pass by itself
    again_at: datetime | None = None
    overtaken: bool = False  # by something else that the vehicle was told


def fold_reports(conn: Connection, ids: Ids, *, now: datetime, rows_max: int = FOLD_ROWS_MAX) -> Folded:
    """Fold the oldest unapplied reports into their actions; inside a transaction of the caller.

    Unknown, foreign and closed actions are refused; the report stays, with the reason in `outcome`.
    """
    if not SQL.try_lock(conn, key=FOLD_LOCK):
        return Folded(busy=True)
    reports = list(SQL.unapplied_reports(conn, rows_max=rows_max))
    if not reports:
        return Folded()
    actions = _actions_of(conn, reports)
    of_vehicle = _by_vin(actions.values())
    outcomes: list[str] = []
    blocked: dict[str, _Action] = {}
    for report in reports:
        claims = _claims_of(of_vehicle.get(report["vin"], [])) if report["kind"] in STATING else []
        if said := next(filter(None, (_confirm(conn, ids, one, report, now=now) for one in claims)), None):
            outcomes.append(said)
            continue
        if report["kind"] == "fetched":  # by the gateway; read with the action
            outcomes.append("noted")
            continue
        if report["kind"] in STATEMENTS:
            outcomes.append(apply_statement(conn, ids, report, now=now))
            continue
        action = actions.get(report["action_id"])
        if action and (action.row["vin"] != report["vin"] or action.row["offered_at"] is None):
            action = None  # foreign, or never offered to anybody
        only = action is not None and action.row["download_only"]
        rule = action.rule if action else SuccessRule()
        evidence, detail = read_evidence(
            report["kind"], report["body"], download_only=only, success=rule.success
        )
        decision = decide_report(action.state if action else None, evidence, detail)
        match decision:
            case Refused(reason):
                outcomes.append(reason)
                if action and evidence is Evidence.BLOCKED:
                    blocked[report["vin"]] = action  # whatever became of it: the vehicle needs service
            case Move() if action:
                outcomes.append("applied")
                action.state, action.moved = decision.state, True
                action.detail = detail_kept(
                    decision, declined=action.row["declined"], gave_way=action.row["gave_way"]
                )
                action.at = report["received_at"]
                action.began = action.began or decision.began
                action.claimed = action.claimed or decision.claimed
                action.overtaken = decision.overtaken or bool(
                    action.row["gave_way"] and evidence is Evidence.CANCELLED
                )
                action.reason = reason_of(report["body"]) if evidence is Evidence.FAILED else None
                said_no = evidence is Evidence.FAILED and is_refusal(report["body"])
                action.refused = report["body"]["code"] if said_no else ""
                action.event_at = min(report["event_at"], report["received_at"])
                note_answer(conn, ids, report, now=now)
                if decision.blocks_vehicle:
                    blocked[report["vin"]] = action
    moved = _go_on(conn, ids, [action for action in actions.values() if action.moved], now=now)
    _let_go(conn, moved, now=now)
    for action in moved:
        action.again_at = _again_at(action, now=now)
    _write_moves(conn, ids, [action for action in moved if action.again_at is None], now=now)
    _try_again(conn, ids, [action for action in moved if action.again_at is not None], now=now)
    _block(conn, ids, blocked, now=now)
    _free(conn, ids, reports, now=now)
    SQL.mark_applied(conn, now=now, ids=[row["id"] for row in reports], outcomes=outcomes)
    applied = sum(outcome == "applied" for outcome in outcomes)
    return Folded(read=len(reports), applied=applied, refused=len(reports) - applied)


def expire_deadlines(conn: Connection, ids: Ids, *, now: datetime, rows_max: int = EXPIRE_ROWS_MAX) -> int:
    """Close actions whose deadline passed without an outcome; inside a transaction of the caller.

    One that its driver declined or its fleet put off is cancelled, which is no failure; the others expired.
    """
    closed = list(SQL.expire_deadlines(conn, now=now, rows_max=rows_max))
    for by in ("rule:declined", "rule:put_off"):
        gone = (row for row in closed if row["let_go_by"] == by)
        append_by_wave(conn, ids, FactKind.VEHICLES_CANCELLED, gone, actor=by, now=now)
    expired = [
        (row, AssignmentState.EXPIRED, row["deadline_at"], {"began": row["began_at"] is not None})
        for row in closed
        if row["state"] == AssignmentState.EXPIRED
    ]
    append_outcomes(conn, ids, expired, now=now)
    for campaign_id in sorted({row["campaign_id"] for row in closed}):
        SQL.notify_assignment(conn, campaign_id=campaign_id)
    return len(closed)


def append_outcome(
    conn: Connection, ids: Ids, action_id: int, state: AssignmentState, *, reason: str, now: datetime
) -> None:
    """Append the fact of an outcome that was decided here, not by the vehicle."""
    rows = SQL.lock_actions(conn, action_ids=[action_id])
    append_outcomes(conn, ids, [(row, state, now, {"detail": reason}) for row in rows], now=now)


def append_outcomes(
    conn: Connection,
    ids: Ids,
    outcomes: Iterable[tuple[Mapping[str, Any], AssignmentState, datetime, Mapping[str, Any]]],
    *,
    now: datetime,
) -> None:
    """Append one fact per vehicle that reached an outcome, caused by the wave that reached it."""
    causes: dict[tuple[str, int], list[str]] = {}
    facts = []
    for row, state, at, more in outcomes:
        kind = _FACT_OF.get(state)
        if kind is None:
            continue
        if row["kind"] == "rollback" and state is AssignmentState.INSTALLED:
            kind = FactKind.VEHICLE_ROLLED_BACK  # a signed return that worked
        wave = (row["campaign_id"], row["wave"])
        if wave not in causes:
            found = wave_fact_id(conn, *wave)
            causes[wave] = [found] if found else []
        # A vehicle's clock may be ahead of ours, or never have been set: nothing ends before it was offered.
        event_at = max(min(at, now), min(row["offered_at"] or at, now))
        body = {"campaign_id": row["campaign_id"], "wave": row["wave"], "action_id": row["action_id"]}
        if row["kind"] == "rollback":
            body["kind"] = "rollback"
        facts.append(
            Fact(
                id=ids.new("fact"),
                kind=kind,
                subject=row["vin"],
                lap_id=row["lap_id"],
                causes=tuple(causes[wave]),
                actor=f"vehicle:{row['vin']}" if state is not AssignmentState.EXPIRED else "rule:deadline",
                work_started_at=min(row["offered_at"] or event_at, event_at),
                event_at=event_at,
                recorded_at=now,
                body={**body, "release_id": row["release_id"], **more},
            )
        )
    append_facts(conn, facts)


def _actions_of(conn: Connection, reports: Sequence[Mapping[str, Any]]) -> dict[int, _Action]:
    """Lock the actions that reports are about: by their number, or as what a vehicle claims and now says it runs.

    Their campaigns first: none is paused or ended while these are written.
    """
    action_ids = {row["action_id"] for row in reports if row["action_id"] is not None}
    if stating := sorted({row["vin"] for row in reports if row["kind"] in STATING}):
        action_ids |= {row["action_id"] for row in SQL.claims_of(conn, vins=stating)}
    consenting = {row["vin"] for row in reports if row["kind"] == "auto_confirm"}  # also to what is not named
    keep_campaigns_of(conn, action_ids=action_ids, vins=consenting)
    found = {}
    for row in SQL.lock_actions(conn, action_ids=sorted(action_ids)):
        rule = SuccessRule() if row["has_rules"] else BY_WORD
        if row["success"]:
            rule = msgspec.convert(row["success"], SuccessRule)
        claimed = row["claimed_at"] is not None
        found[row["action_id"]] = _Action(
            row=row, state=AssignmentState(row["state"]), rule=rule, claimed=claimed
        )
    return found


def _by_vin(actions: Iterable[_Action]) -> dict[str, list[_Action]]:
    found: dict[str, list[_Action]] = {}
    for action in actions:
        found.setdefault(action.row["vin"], []).append(action)
    return found


def _claims_of(actions: Iterable[_Action]) -> list[_Action]:
    """Return what a vehicle says it did and has not confirmed, what it said last first.

    More than one where an old one was never confirmed: what it states that it runs tells which of them it did.

    Args:
        actions: of the one vehicle.
    """
    unconfirmed = AssignmentState.INSTALLED, AssignmentState.FAILED, AssignmentState.ROLLED_BACK
    claims = [each for each in actions if each.claimed and each.state not in unconfirmed]
    return sorted(
        claims, key=lambda each: (each.row["claimed_at"] or each.at, each.row["action_id"]), reverse=True
    )


def _confirm(
    conn: Connection, ids: Ids, claim: _Action, report: Mapping[str, Any], *, now: datetime
) -> str | None:
    """Take a device's word of what it runs for a claim of its; None: it says nothing of that."""
    vin, release_id = report["vin"], claim.row["release_id"]
    if not states_release(conn, report, claim.rule, action_id=claim.row["action_id"], release_id=release_id):
        return None
    at = min(report["event_at"], report["received_at"])
    if claim.state in CLOSED_STATES:  # after its deadline: what it runs is known again, the outcome stays
        SQL.set_installed_from_release(
            conn, vins=[vin], release_ids=[release_id], packages=[claim.row["packages"]], ats=[now]
        )
        if SQL.set_vehicle_releases(conn, vins=[vin], release_ids=[release_id]):
            late = (claim.row, AssignmentState.INSTALLED, at, {"late": True})
            append_outcomes(conn, ids, [late], now=now)
            order_back_late(conn, ids, [claim.row], now=now)
        return "late"
    claim.state, claim.detail, claim.moved = AssignmentState.INSTALLED, CONFIRMED, True
    claim.at, claim.event_at = report["received_at"], at
    return "applied"


def _write_moves(conn: Connection, ids: Ids, moved: Sequence[_Action], *, now: datetime) -> None:
    if not moved:
        return
    SQL.apply_moves(
        conn,
        action_ids=[action.row["action_id"] for action in moved],
        states=[action.state.value for action in moved],
        details=[action.detail for action in moved],
        ats=[action.at for action in moved],
        closed=[action.state in CLOSED_STATES for action in moved],
        began=[action.began for action in moved],
        claimed=[action.claimed for action in moved],
    )
    installed = [action for action in moved if action.state is AssignmentState.INSTALLED]
    if installed:  # only DDI confirms by report; its vehicles have no manifest
        vins, releases = ([action.row[name] for action in installed] for name in ("vin", "release_id"))
        packages = [action.row["packages"] for action in installed]
        ats = [action.at for action in installed]  # as the actions finish, see images_before
        SQL.set_installed_from_release(conn, vins=vins, release_ids=releases, packages=packages, ats=ats)
        SQL.set_vehicle_releases(conn, vins=vins, release_ids=releases)
        order_back_late(conn, ids, [action.row for action in installed], now=now)
    batches = [
        (kind, [action for action in moved if action.state is state and action.row["state"] != state])
        for state, kind in _BATCH_OF.items()
    ]
    claims = [action for action in moved if action.claimed and action.row["claimed_at"] is None]
    for kind, into in (*batches, (FactKind.VEHICLES_CLAIMED, claims)):
        newest = max((action.event_at for action in into if action.event_at), default=now)
        append_by_wave(
            conn,
            ids,
            kind,
            [{**action.row, "verdict": action.verdict} for action in into],
            actor=RECONCILER,
            now=now,
            event_at=min(newest, now),
        )
    append_outcomes(
        conn,
        ids,
        [(action.row, action.state, action.event_at or now, {"detail": action.detail}) for action in moved],
        now=now,
    )
    for campaign_id in sorted({action.row["campaign_id"] for action in moved}):
        SQL.notify_assignment(conn, campaign_id=campaign_id)


def _let_go(conn: Connection, moved: Sequence[_Action], *, now: datetime) -> None:
    """Cancel instead of fail what vehicles refused, where what is known of them today says the same."""
    refused = [
        action
        for action in moved
        if action.refused
        and not action.began
        and action.row["began_at"] is None
        and action.row["kind"] != "rollback"
        and action.row["step"] <= 1  # behind a confirmed step, a refusal says that what was confirmed is gone
    ]
    told = [{**action.row, "code": action.refused, "said": action.detail} for action in refused]
    found = judge_refusals(conn, told, now=now) if told else {}
    for action in refused:
        if why := found.get(action.row["action_id"]):
            action.state, action.verdict = AssignmentState.CANCELLED, why
            action.detail = beside(why, action.detail)


def _go_on(conn: Connection, ids: Ids, moved: Sequence[_Action], *, now: datetime) -> list[_Action]:
    """Let what vehicles dropped for something else wait for its turn again; return the other moves."""
    dropped = [
        action.row
        for action in moved
        if action.overtaken
        and (action.row["gave_way"] or not (action.began or action.row["began_at"]))
        and action.row["kind"] != "rollback"
    ]
    waits = go_on_after(conn, ids, dropped, now=now) if dropped else set()
    return [action for action in moved if action.row["action_id"] not in waits]


def _again_at(action: _Action, *, now: datetime) -> datetime | None:
    """Decide whether an action that ended is tried again, and when."""
    row = action.row
    if action.state is not AssignmentState.FAILED or row["retry"] is None:
        return None
    began = action.began or row["began_at"] is not None
    fetched = row["fetched"] or action.claimed
    lost = not_delivered(action.reason, began=began, keeps_old=action.rule.keeps_old, fetched=fetched)
    # A client may say nothing before it failed: with the whole image it may have installed it.
    unsaid = action.reason == "not_begun" and fetched and not row["download_only"]
    action.reason = lost or action.reason
    return decide_retry(
        msgspec.convert(row["retry"], RetryPolicy),
        attempt=row["attempt"],
        began=(began or unsaid) and lost is None,
        reason=action.reason,
        seed=f"{row['campaign_id']}:{row['vin']}",
        now=now,
    )


def _try_again(conn: Connection, ids: Ids, failed: Sequence[_Action], *, now: datetime) -> None:
    """Let vehicles wait for their next attempt; the one that failed is a fact of its own."""
    if not failed:
        return
    rows = SQL.try_again(
        conn,
        action_ids=[action.row["action_id"] for action in failed],
        details=[_waits(action) for action in failed],
        ats=[action.at for action in failed],
        again_ats=[action.again_at for action in failed],
    )
    following = {row["failed"]: row["following"] for row in rows}
    facts = []
    for action in failed:
        row, at = action.row, action.event_at or now
        wave = wave_fact_id(conn, row["campaign_id"], row["wave"])
        event_at = max(min(at, now), min(row["offered_at"] or at, now))
        facts.append(
            Fact(
                id=ids.new("fact"), kind=FactKind.VEHICLE_ATTEMPT_FAILED, subject=row["vin"], lap_id=row["lap_id"],
                causes=(wave,) if wave else (), actor=f"vehicle:{row['vin']}",
                work_started_at=min(row["offered_at"] or event_at, event_at), event_at=event_at, recorded_at=now,
                body={
                    "campaign_id": row["campaign_id"], "wave": row["wave"], "action_id": row["action_id"],
                    "release_id": row["release_id"], "attempt": row["attempt"], "reason": action.reason,
                    "detail": action.detail, "again_at": action.again_at.isoformat() if action.again_at else None,
                    "next_action_id": following[row["action_id"]],
                },
            )
        )  # fmt: skip
    append_facts(conn, facts)
    for campaign_id in sorted({action.row["campaign_id"] for action in failed}):
        SQL.notify_assignment(conn, campaign_id=campaign_id)


def _waits(action: _Action) -> str:
    again = f"{action.again_at:%d %b %H:%M} UTC" if action.again_at else ""
    return f"attempt {action.row['attempt']} failed, again from {again}: {action.detail}"[:DETAIL_CHARS_MAX]


def _block(conn: Connection, ids: Ids, blocked: Mapping[str, _Action], *, now: datetime) -> None:
    """Keep vehicles whose roll-back failed from every further campaign; once each."""
    if not blocked:
        return
    for row in list(SQL.block_vehicles(conn, vins=sorted(blocked), reason=BLOCKED)):
        vin, action = row["vin"], blocked[row["vin"]]
        append_fact(
            conn, ids, kind=FactKind.VEHICLE_BLOCKED, subject=vin, actor=f"vehicle:{vin}", now=now,
            lap_id=action.row["lap_id"], causes=last_of(conn, vin),
            body={"reason": BLOCKED, "campaign_id": action.row["campaign_id"], "action_id": action.row["action_id"]},
        )  # fmt: skip


def _free(conn: Connection, ids: Ids, reports: Sequence[Mapping[str, Any]], *, now: datetime) -> None:
    """Let vehicles that were blocked, and say last that they rest, take part in campaigns, whatever became of the action."""
    freed: set[str] = set()
    for report in reports:
        if takes_part(report["body"]):
            freed.add(report["vin"])
        elif report["body"].get("state") == BLOCKED:
            freed.discard(report["vin"])
    for row in list(SQL.free_vehicles(conn, vins=sorted(freed), reason=BLOCKED)) if freed else ():
        vin = row["vin"]
        append_fact(
            conn, ids, kind=FactKind.VEHICLE_UNBLOCKED, subject=vin, actor=f"vehicle:{vin}", now=now,
            causes=last_of(conn, vin), body={"reason": BLOCKED},
        )  # fmt: skip
