"""What the operator of a fleet says for a vehicle: when it may begin, and that it agrees to an update.

Whose vehicle it is, the caller has looked at. Functions run inside a transaction of the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from psycopg.types.json import Jsonb

from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.kernel.hours import OwnHours
from ringroad.protocol.vehicle import DRIVER_ALONE
from ringroad.ship.lists import digest_vins
from ringroad.ship.own_hours import LOOKED_AT_MAX
from ringroad.ship.report import declined_by
from ringroad.ship.store.reading import SQL
from ringroad.ship.store.statements import SECOND_THOUGHT_S
from ringroad.ship.unheard import Unheard
from ringroad.storage.db import Connection
from ringroad.storage.ledger import append_fact, last_of

PUT_OFF_DAYS_MAX: Final = 90  # days; a season. Whoever needs longer says it again
NAMED_MAX: Final = 1_000  # VINs in one fact
WAITING_STATES = frozenset(
    {"AWAITING_CONSENT", "STAGING", "READY", "INSTALLING"}
)  # in which a vehicle may ask


def set_schedule(
    conn: Connection, ids: Ids, *, vin: str, schedule: OwnHours | None, actor: str, now: datetime
) -> bool:
    """Let a vehicle begin only in these hours, beside those of a campaign; None: whenever a campaign may.

    Returns:
        Whether that is new.

    Raises:
        NotFound: there is no such vehicle.
        InvalidInput: it would be put off for too long.
    """
    document = _document(schedule, now=now)
    if not list(SQL.set_schedules(conn, vins=[vin], schedule=Jsonb(document) if document else None, now=now)):
        if not list(SQL.known_vins(conn, vins=[vin])):
            raise NotFound(f"no vehicle {vin[:40]!r}", hint="ringroad fleet list")
        return False
    append_fact(
        conn, ids, kind=FactKind.VEHICLE_SCHEDULED, subject=vin, actor=actor, now=now, causes=last_of(conn, vin),
        body=document or {},
    )  # fmt: skip
    return True


def set_schedules(
    conn: Connection,
    ids: Ids,
    *,
    vins: Sequence[str],
    schedule: OwnHours | None,
    subject: str,
    actor: str,
    now: datetime,
) -> int:
    """Let many vehicles begin only in these hours; one fact tells it.

    Args:
        conn: in a transaction.
        ids: for the fact.
        vins: whose; the caller has looked at whom they belong to.
        schedule: the hours; None: whenever a campaign may.
        subject: of the fact: how the vehicles were named.
        actor: who says so.
        now: the server's time.

    Returns:
        For how many that is new.

    Raises:
        InvalidInput: they would be put off for too long.
    """
    document = _document(schedule, now=now)
    rows = SQL.set_schedules(conn, vins=list(vins), schedule=Jsonb(document) if document else None, now=now)
    changed = sorted(row["vin"] for row in rows)
    if changed:
        append_fact(
            conn, ids, kind=FactKind.VEHICLES_SCHEDULED, subject=subject, actor=actor, now=now,
            causes=last_of(conn, subject),
            body={
                "schedule": document, "vehicles": len(changed), "vins": changed[:NAMED_MAX],
                "vins_sha256": digest_vins(changed),
            },
        )  # fmt: skip
    return len(changed)


def count_reached(conn: Connection, vins: Sequence[str]) -> int:
    """Count vehicles for which an update was released that they have not begun: putting it off excuses no silence."""
    found: int = SQL.count_released(conn, vins=list(vins))
    return found


def count_own_hours(conn: Connection, plan_id: str) -> dict[OwnHours, int]:
    """Count vehicles of a plan by the hours that their fleets set."""
    rows = SQL.own_hours_planned(conn, plan_id=plan_id, rows_max=LOOKED_AT_MAX)
    return {msgspec.convert(row["schedule"], OwnHours): row["vehicles"] for row in rows}


def count_unheard(conn: Connection, plan_id: str, *, before: datetime) -> Unheard:
    """Count vehicles of a plan that were never heard of, or not since a time."""
    return Unheard(**SQL.unheard_planned(conn, plan_id=plan_id, before=before))


def _document(schedule: OwnHours | None, *, now: datetime) -> dict[str, Any] | None:
    """Return hours as they are stored; those who know of no putting off read the rest."""
    if schedule is None:
        return None
    if schedule.not_before is not None and now + timedelta(days=PUT_OFF_DAYS_MAX) < schedule.not_before:
        raise InvalidInput(
            f"nobody puts updates off for more than {PUT_OFF_DAYS_MAX} days",
            hint="say it again when the time is nearer",
        )
    if schedule.not_before is not None and schedule.not_before <= now:
        schedule = replace(schedule, not_before=None)  # it is over, however long
    document: dict[str, Any] = msgspec.to_builtins(schedule)
    return {name: value for name, value in document.items() if value is not None}


def give_consent(
    conn: Connection, ids: Ids, *, vin: str, agree: bool, actor: str, now: datetime, shown: str = ""
) -> int:
    """Agree to the update that a vehicle is asked about, or decline it, on behalf of its driver.

    Args:
        conn: in a transaction of the caller.
        ids: for the fact.
        vin: of the vehicle.
        agree: or decline.
        actor: who says so, for the ledger.
        now: the time.
        shown: who said no, in words that also the vehicle's fleet reads; empty: the actor.

    Returns:
        The action it was about.

    Raises:
        Conflict: the vehicle is asked about nothing, or would not hear of it.
    """
    asked = SQL.asked_action(conn, vin=vin)
    action_id = asked["action_id"] if asked else None
    if asked and agree and asked["gateway"] == "native" and not asked["consented"]:
        _require_heard(vin, asked["state_detail"])
    if action_id is None or not _answer(conn, action_id, vin, agree=agree, who=shown or actor, now=now):
        raise Conflict(
            f"vehicle {vin[:40]} is asked about nothing",
            hint="only a campaign with consent asks, once offered",
        )
    kind = FactKind.VEHICLE_CONSENTED if agree else FactKind.VEHICLE_DECLINED
    append_fact(
        conn, ids, kind=kind, subject=vin, actor=actor, now=now, causes=last_of(conn, vin),
        body={"action_id": action_id, "on_behalf": True},
    )  # fmt: skip
    return int(action_id)


def _require_heard(vin: str, detail: str) -> None:
    """Raise unless a native vehicle waits for a word that need not be its driver's: it is the vehicle that asks."""
    if DRIVER_ALONE in detail:
        raise Conflict(
            f"vehicle {vin[:40]} takes nobody's word but its driver's",
            hint='it is set to consent = "ask"; its driver answers in the vehicle',
            code="driver_alone",
        )
    state, _, said = detail.partition(" ")
    if state not in WAITING_STATES or not said.startswith("consent "):
        raise Conflict(
            f"vehicle {vin[:40]} asks nothing now",
            hint="it says when it waits for consent: ringroad fleet show",
            code="not_asked",
        )


def _answer(conn: Connection, action_id: int, vin: str, *, agree: bool, who: str, now: datetime) -> bool:
    given = {"action_id": action_id, "vin": vin}
    if agree:
        return bool(SQL.consent_action(conn, **given, now=now))
    return bool(
        SQL.cancel_declined(conn, **given, declined=declined_by(who))
        or SQL.decline_action(
            conn, **given, now=now, second_thought_s=SECOND_THOUGHT_S, declined=declined_by(who)
        )
    )
