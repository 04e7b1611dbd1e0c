"""What a vehicle says that is no report on an update's course: that it agrees, always agrees, or what it runs.

Folded by `fold_reports`, in its transaction. Each is a fact; what cannot be applied is kept and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from psycopg.types.json import Jsonb

from ringroad.kernel.clock import Ids
from ringroad.kernel.facts import FactKind
from ringroad.ship.claims import Awaited, SuccessRule, confirms
from ringroad.ship.report import declined_by
from ringroad.ship.store.reading import SQL
from ringroad.storage.db import Connection, of_row
from ringroad.storage.ledger import append_fact, last_of

STATEMENTS: Final = frozenset({"confirmation", "auto_confirm", "installed"})
STATING: Final = frozenset({"config", "installed"})  # say what a device runs, or may
APPLIED: Final = "applied"
SECOND_THOUGHT_S: Final = (
    86_400  # seconds for which a driver who said no may still say yes; then it is an outcome
)
_ANSWERS: Final = {"consent_given": FactKind.VEHICLE_CONSENTED, "consent_denied": FactKind.VEHICLE_DECLINED}


def apply_statement(conn: Connection, ids: Ids, report: Mapping[str, Any], *, now: datetime) -> str:
    """Take over one statement; return its outcome."""
    match report["kind"]:
        case "confirmation":
            return _consent(conn, ids, report, now=now)
        case "auto_confirm":
            return _always(conn, ids, report, now=now)
        case _:
            return _installed(conn, ids, report, now=now)


def states_release(
    conn: Connection, report: Mapping[str, Any], rule: SuccessRule, *, action_id: int, release_id: str
) -> bool:
    """Tell whether a report says that a vehicle runs what an action put on it."""
    body = report["body"]
    if report["kind"] == "installed":
        row = SQL.stated_release(conn, vin=report["vin"], name=body.get("name"), version=body.get("version"))
        return row is not None and row["release_id"] == release_id
    data = body.get("data")
    if body.get("mode") == "remove" or not isinstance(data, dict) or not rule.attributes:
        return False
    awaited = [of_row(Awaited, row) for row in SQL.awaited(conn, action_id=action_id)]
    return confirms(rule, data, awaited)


def note_answer(conn: Connection, ids: Ids, report: Mapping[str, Any], *, now: datetime) -> None:
    """Put on record what the driver of a native vehicle said to its update: who, when, to which release notes."""
    body = report["body"]
    kind = _ANSWERS.get(body.get("code") or "") if body.get("gateway") == "native" else None
    if kind is None or report["kind"] == "closed":  # the end that a no leads to says it again
        return
    said = {"action_id": report["action_id"], "said": str(body.get("detail", ""))}
    _append(conn, ids, kind, report, said, now=now)


def _consent(conn: Connection, ids: Ids, report: Mapping[str, Any], *, now: datetime) -> str:
    """Agree to one action, or decline it: it then waits a day for another word, and no longer than its deadline."""
    action_id, vin, body = report["action_id"], report["vin"], report["body"]
    agrees = body.get("confirmation") == "confirmed"
    given = {"action_id": action_id, "vin": vin}
    if agrees:
        rows = SQL.consent_action(conn, **given, now=now)
    else:
        declined = declined_by("its driver")
        rows = SQL.decline_action(
            conn, **given, now=now, second_thought_s=SECOND_THOUGHT_S, declined=declined
        )
    if rows == 0:
        return "not_asked"
    kind = FactKind.VEHICLE_CONSENTED if agrees else FactKind.VEHICLE_DECLINED
    _append(conn, ids, kind, report, {"action_id": action_id}, now=now)
    return APPLIED


def _always(conn: Connection, ids: Ids, report: Mapping[str, Any], *, now: datetime) -> str:
    """Agree to everything from now on and to what waits, or to nothing more without being asked."""
    vin, body = report["vin"], report["body"]
    document = None
    if body.get("active"):
        document = {name: body[name] for name in ("initiator", "remark") if name in body}
        document["activatedAt"] = int(report["received_at"].timestamp() * 1000)
    if SQL.set_auto_confirm(conn, vin=vin, document=Jsonb(document) if document else None) == 0:
        return "unchanged"
    if document:
        SQL.consent_waiting(conn, vin=vin, now=now)
    _append(conn, ids, FactKind.VEHICLE_STANDING_CONSENT, report, {"active": document is not None}, now=now)
    return APPLIED


def _installed(conn: Connection, ids: Ids, report: Mapping[str, Any], *, now: datetime) -> str:
    """Take over which release a DDI vehicle says it runs, unless an update of it is open."""
    vin, body = report["vin"], report["body"]
    row = SQL.stated_release(conn, vin=vin, name=body.get("name"), version=body.get("version"))
    if row is None:
        return "no_release"
    if row["open"]:
        return "action_open"
    release_id = row["release_id"]
    SQL.set_installed_from_release(conn, vins=[vin], release_ids=[release_id], packages=[None], ats=[now])
    if SQL.set_vehicle_releases(conn, vins=[vin], release_ids=[release_id]) == 0:
        return "unchanged"
    _append(conn, ids, FactKind.VEHICLE_STATED, report, {"release_id": release_id}, now=now)
    return APPLIED


def _append(
    conn: Connection,
    ids: Ids,
    kind: FactKind,
    report: Mapping[str, Any],
    body: Mapping[str, Any],
    *,
    now: datetime,
) -> None:
    vin = report["vin"]
    append_fact(
        conn, ids, kind=kind, subject=vin, actor=f"vehicle:{vin}", now=now, causes=last_of(conn, vin), body=dict(body)
    )  # fmt: skip
