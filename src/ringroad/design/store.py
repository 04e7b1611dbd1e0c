"""The design stage's I/O: findings accepted or rejected, changes proposed and approved.

Every write compares the generation the caller saw, and appends its fact in the same transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ringroad.design.accept import Accept, decide_acceptance
from ringroad.design.approve import Refuse, decide_approval
from ringroad.design.model import (
    CHANGES_PER_FINDING_MAX,
    REASON_CHARS_MAX,
    TARGET_CHARS_MAX,
    TITLE_CHARS_MAX,
    AcceptRule,
    ApprovalPolicy,
    Change,
    FindingView,
)
from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound
from ringroad.kernel.facts import Fact, FactKind
from ringroad.kernel.limits import PAGE_ROWS_MAX
from ringroad.storage.db import Connection, expect_one, load_queries, of_row, transaction
from ringroad.storage.ledger import append_fact, causes_of, last_of, latest_setback

SQL = load_queries("ringroad.design")

_REFUSALS = {
    "not_proposed": "it is not waiting for approval",
    "rule_not_configured": "this rule is not configured to approve",
    "four_eyes": "whoever proposed a change cannot approve it",
}


def accept_finding(
    conn: Connection,
    ids: Ids,
    *,
    finding_id: str,
    generation: int,
    actor: str,
    now: datetime,
    reason: str = "",
    work_started_at: datetime | None = None,
) -> None:
    """Accept an open finding: something will be done about it.

    Raises:
        NotFound: there is no such finding.
        Conflict: it is not open any more, or moved on since `generation`.
    """
    finding = _finding(conn, finding_id)
    with transaction(conn):
        rows = SQL.accept_finding(
            conn, finding_id=finding_id, generation=generation, reason=_text("reason", reason)
        )
        expect_one(rows, f"finding {finding_id}")
        _append(
            conn, ids, FactKind.FINDING_ACCEPTED, finding, actor=actor, now=now, body={"reason": reason},
            causes=last_of(conn, finding_id), work_started_at=work_started_at,
        )  # fmt: skip


def reject_finding(
    conn: Connection,
    ids: Ids,
    *,
    finding_id: str,
    generation: int,
    actor: str,
    now: datetime,
    reason: str,
    work_started_at: datetime | None = None,
) -> None:
    """Reject a finding, with the changes still proposed for it; the evidence so far is spent.

    Raises:
        NotFound: there is no such finding.
        InvalidInput: no reason was given.
        Conflict: it is rejected or closed already, or moved on since `generation`.
    """
    finding = _finding(conn, finding_id)
    if not reason.strip():
        raise InvalidInput("a reason is needed", hint="say why the finding is wrong or not worth a change")
    with transaction(conn):
        rows = SQL.reject_finding(
            conn, finding_id=finding_id, generation=generation, reason=_text("reason", reason), now=now
        )
        expect_one(rows, f"finding {finding_id}")
        fact = _append(
            conn, ids, FactKind.FINDING_REJECTED, finding, actor=actor, now=now, body={"reason": reason},
            causes=last_of(conn, finding_id), work_started_at=work_started_at,
        )  # fmt: skip
        why = "its finding was rejected"
        for row in list(SQL.reject_proposed_changes(conn, finding_id=finding_id, reason=why)):
            _append(
                conn, ids, FactKind.CHANGE_REJECTED, _change(row), actor=actor, now=now, body={"reason": why},
                causes=[fact.id],
            )  # fmt: skip


def accept_by_rule(conn: Connection, ids: Ids, rule: AcceptRule, *, now: datetime) -> list[str]:
    """Let a rule decide on all open findings.

    Returns:
        Ids of the findings it accepted; the others wait for a person.
    """
    accepted = []
    for row in list(SQL.open_findings(conn, rows_max=PAGE_ROWS_MAX)):
        finding = of_row(FindingView, row)
        decision = decide_acceptance(rule, finding)
        if isinstance(decision, Accept):
            accept_finding(
                conn,
                ids,
                finding_id=finding.id,
                generation=finding.generation,
                actor=rule.actor,
                now=now,
                reason=f"rule {rule.name}",
            )
            accepted.append(finding.id)
    return accepted


def propose_change(
    conn: Connection,
    ids: Ids,
    *,
    finding_id: str,
    title: str,
    ecu: str,
    target: str,
    actor: str,
    now: datetime,
    work_started_at: datetime | None = None,
) -> Change:
    """Propose a change that answers an accepted finding, and what became of the change before it.

    Args:
        conn: the record.
        ids: source of ids.
        finding_id: what it answers.
        title: one line.
        ecu: component it changes, by its name in the programme.
        target: what must be true afterwards, readable.
        actor: who proposes.
        now: time of the proposal.
        work_started_at: when work on the proposal began.

    Raises:
        NotFound: there is no such finding.
        InvalidInput: a text is empty or too long, or the programme has no such ECU.
        Conflict: the finding is not accepted, or has `CHANGES_PER_FINDING_MAX` changes.
    """
    finding = _finding(conn, finding_id)
    title, target = _needed("title", title), _needed("target", target)
    if not SQL.has_ecu(conn, programme_id=finding.programme_id, ecu=ecu):
        raise InvalidInput(f"programme {finding.programme_id} has no ECU {ecu[:40]!r}")
    with transaction(conn):
        SQL.lock_finding(conn, finding_id=finding_id)
        if _finding(conn, finding_id).state != "accepted":
            raise Conflict(f"finding {finding_id} is not accepted", hint="accept it first")
        if SQL.count_changes(conn, finding_id=finding_id) >= CHANGES_PER_FINDING_MAX:
            raise Conflict(f"finding {finding_id} has {CHANGES_PER_FINDING_MAX} changes already")
        change_id = ids.new("change")
        SQL.insert_change(
            conn,
            id=change_id,
            finding_id=finding_id,
            lap_id=finding.lap_id,
            title=title,
            ecu=ecu,
            target=target,
            proposed_by=actor,
            proposed_at=now,
        )
        change = get_change(conn, change_id)
        setback = latest_setback(conn, finding.lap_id)
        _append(
            conn, ids, FactKind.CHANGE_PROPOSED, change, actor=actor, now=now,
            causes=[
                *causes_of(conn, [(FactKind.FINDING_ACCEPTED, finding_id)]),
                *([setback.id] if setback else []),
            ],
            work_started_at=work_started_at,
            body={"finding_id": finding_id, "title": title, "ecu": ecu, "target": target},
        )  # fmt: skip
        return change


def approve_change(
    conn: Connection,
    ids: Ids,
    *,
    change_id: str,
    generation: int,
    actor: str,
    now: datetime,
    policy: ApprovalPolicy | None = None,
    work_started_at: datetime | None = None,
) -> Change:
    """Approve a proposed change.

    Raises:
        NotFound: there is no such change.
        Forbidden: the actor proposed it, or is a rule that may not approve.
        Conflict: it is not proposed any more, or moved on since `generation`.
    """
    change = get_change(conn, change_id)
    decision = decide_approval(policy or ApprovalPolicy(), change, actor=actor)
    if isinstance(decision, Refuse):
        message = f"change {change_id}: {_REFUSALS[decision.reason]}"
        if decision.reason == "not_proposed":
            raise Conflict(message, code=decision.reason)
        raise Forbidden(message, hint="ask another approver", code=decision.reason)
    with transaction(conn):
        rows = SQL.approve_change(conn, change_id=change_id, generation=generation, actor=actor, now=now)
        expect_one(rows, f"change {change_id}")
        _append(
            conn, ids, FactKind.CHANGE_APPROVED, change, actor=actor, now=now,
            causes=last_of(conn, change_id), work_started_at=work_started_at,
            body={"ecu": change.ecu, "target": change.target},
        )  # fmt: skip
        return get_change(conn, change_id)


def reject_change(
    conn: Connection, ids: Ids, *, change_id: str, generation: int, actor: str, now: datetime, reason: str
) -> Change:
    """Reject a change; its finding stays accepted and can get another one.

    Raises:
        NotFound: there is no such change.
        InvalidInput: no reason was given.
        Conflict: it is rejected or done already, or moved on since `generation`.
    """
    change = get_change(conn, change_id)
    reason = _needed("reason", reason)
    with transaction(conn):
        rows = SQL.reject_change(conn, change_id=change_id, generation=generation, reason=reason)
        expect_one(rows, f"change {change_id}")
        _append(
            conn, ids, FactKind.CHANGE_REJECTED, change, actor=actor, now=now, body={"reason": reason},
            causes=last_of(conn, change_id),
        )  # fmt: skip
        return get_change(conn, change_id)


def get_change(conn: Connection, change_id: str) -> Change:
    """Return one change.

    Raises:
        NotFound: there is none with this id.
    """
    row = SQL.change(conn, change_id=change_id)
    if row is None:
        raise NotFound(f"there is no change {change_id!r}")
    return _change(row)


def list_changes(
    conn: Connection,
    *,
    state: str | None = None,
    finding_id: str | None = None,
    before_id: str | None = None,
    rows_max: int = 100,
) -> list[Change]:
    """Return changes, newest first; pass the last id on for the next page."""
    return [
        _change(row)
        for row in SQL.changes(
            conn,
            state=state,
            finding_id=finding_id,
            before_id=before_id,
            rows_max=min(rows_max, PAGE_ROWS_MAX),
        )
    ]


def _finding(conn: Connection, finding_id: str) -> FindingView:
    row = SQL.finding(conn, finding_id=finding_id)
    if row is None:
        raise NotFound(f"there is no finding {finding_id!r}")
    return of_row(FindingView, row)


def _change(row: Mapping[str, Any]) -> Change:
    return Change(**{name: row[name] for name in Change.__dataclass_fields__})


def _append(
    conn: Connection,
    ids: Ids,
    kind: FactKind,
    about: FindingView | Change,
    *,
    actor: str,
    now: datetime,
    causes: Sequence[str],
    body: Mapping[str, Any],
    work_started_at: datetime | None = None,
) -> Fact:
    """Append what became of a finding or a change, in its lap."""
    return append_fact(
        conn, ids, kind=kind, subject=about.id, actor=actor, now=now, lap_id=about.lap_id, causes=causes,
        work_started_at=work_started_at, body=body,
    )  # fmt: skip


_CHARS_MAX = {"title": TITLE_CHARS_MAX, "target": TARGET_CHARS_MAX, "reason": REASON_CHARS_MAX}


def _text(name: str, text: str) -> str:
    if len(text) > _CHARS_MAX[name] or "\0" in text:
        raise InvalidInput(f"{name} is too long", hint=f"at most {_CHARS_MAX[name]} characters")
    return text.strip()


def _needed(name: str, text: str) -> str:
    if not text.strip():
        raise InvalidInput(f"{name} is empty")
    return _text(name, text)
