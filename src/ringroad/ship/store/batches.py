"""Facts about many vehicles at once: who was offered a release, told to cancel, withheld, cancelled.

An outcome of a vehicle is a fact of its own (`reports.py`). What happens to many at once, because of one act or in one
round, is one fact about the campaign that names the actions: a campaign of a million vehicles would otherwise write
several million facts that say nothing more, and the ledger would keep every VIN once more, for ever.
Action numbers are written as ranges, since a wave is numbered in a row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from ringroad.kernel.clock import Ids
from ringroad.kernel.facts import Fact, FactKind
from ringroad.ship.model import Campaign
from ringroad.ship.store.reading import SQL
from ringroad.storage.db import Connection
from ringroad.storage.ledger import append_fact, causes_of

RANGES_PER_FACT_MAX = 1_000  # ranges of action numbers; 22 kB of text at most
RECONCILER = "system:reconciler"  # who does what no person asked for
CANCEL_DEADLINE_S = 86_400  # seconds a withheld vehicle has to confirm a cancel

Range = tuple[int, int]  # first and last action


def append_batch(
    conn: Connection,
    ids: Ids,
    kind: FactKind,
    actions: Iterable[int],
    *,
    campaign_id: str,
    lap_id: str | None,
    actor: str,
    now: datetime,
    causes: Sequence[str],
    event_at: datetime | None = None,
    body: Mapping[str, Any] | None = None,
) -> None:
    """Append what happened to these actions of one campaign: one fact, or as many as their ranges need."""
    found = ranges(actions)
    for start in range(0, len(found), RANGES_PER_FACT_MAX):
        part = found[start : start + RANGES_PER_FACT_MAX]
        append_fact(
            conn,
            ids,
            kind=kind,
            subject=campaign_id,
            actor=actor,
            now=now,
            lap_id=lap_id,
            causes=causes,
            event_at=event_at,
            body={
                "vehicles": sum(last - first + 1 for first, last in part),
                "actions": " ".join(
                    f"{first}" if first == last else f"{first}-{last}" for first, last in part
                ),
                **(body or {}),
            },
        )


def append_by_wave(
    conn: Connection,
    ids: Ids,
    kind: FactKind,
    rows: Iterable[Mapping[str, Any]],
    *,
    actor: str,
    now: datetime,
    event_at: datetime | None = None,
) -> None:
    """Append what happened to actions of several campaigns, caused by the wave, or by the halt for a return.

    Args:
        conn: a connection in the transaction that moved them.
        ids: for facts.
        kind: what happened.
        rows: action_id, campaign_id, wave, kind and lap_id of each; the verdict of who was let go by one.
        actor: who or what did it.
        now: the server's time.
        event_at: when the newest of it happened, where that is another time.
    """
    groups: dict[tuple[str, int, str, str | None], list[int]] = {}
    verdicts: dict[tuple[str, int, str, str | None], Counter[str]] = {}
    for row in rows:
        key = (row["campaign_id"], row["wave"], row["kind"], row["lap_id"])
        groups.setdefault(key, []).append(row["action_id"])
        if row.get("verdict"):
            verdicts.setdefault(key, Counter())[row["verdict"]] += 1
    for key, actions in groups.items():
        campaign_id, wave, action_kind, lap_id = key
        if action_kind == "rollback":
            causes = causes_of(conn, [(FactKind.CAMPAIGN_RETURN_ORDERED, campaign_id)]) or causes_of(
                conn, [(FactKind.CAMPAIGN_HALTED, campaign_id)]
            )
        else:
            causes = [found] if (found := wave_fact_id(conn, campaign_id, wave)) else []
            if kind is FactKind.VEHICLES_OFFERED:  # what gave way to a recall is offered again
                causes += causes_of(conn, [(FactKind.VEHICLES_PREEMPTED, campaign_id)])
        append_batch(
            conn, ids, kind, actions, campaign_id=campaign_id, lap_id=lap_id, actor=actor, now=now,
            causes=causes, event_at=event_at,
            body={"wave": wave, "kind": action_kind, **({"verdicts": verdicts[key]} if key in verdicts else {})},
        )  # fmt: skip


def wave_fact_id(conn: Connection, campaign_id: str, wave: int) -> str | None:
    """Return the id of the fact that started a wave."""
    found: str | None = SQL.wave_fact_id(conn, campaign_id=campaign_id, wave=wave)
    return found


def withhold(conn: Connection, ids: Ids, campaign: Campaign, cause: Fact, *, now: datetime) -> None:
    """Take back what was offered and not begun, for as long as the campaign is paused."""
    withheld = SQL.withhold_offers(conn, campaign_id=campaign.id)
    _append_act(conn, ids, FactKind.VEHICLES_WITHHELD, withheld, campaign=campaign, cause=cause, now=now)
    SQL.notify_assignment(conn, campaign_id=campaign.id)


def withdraw(
    conn: Connection, ids: Ids, campaign: Campaign, cause: Fact, *, reason: str, now: datetime
) -> None:
    """End a campaign for its vehicles: cancel those that never heard of it, tell the others to cancel."""
    given: dict[str, Any] = {"campaign_id": campaign.id, "reason": reason, "now": now}
    cancelled = SQL.cancel_pending(conn, **given)
    _append_act(conn, ids, FactKind.VEHICLES_CANCELLED, cancelled, campaign=campaign, cause=cause, now=now)
    cancelling = SQL.cancel_open(conn, **given, deadline_s=CANCEL_DEADLINE_S)
    _append_act(conn, ids, FactKind.VEHICLES_CANCELLING, cancelling, campaign=campaign, cause=cause, now=now)
    SQL.notify_assignment(conn, campaign_id=campaign.id)


def ranges(actions: Iterable[int]) -> list[Range]:
    """Return the same numbers as ranges, in order, each number once."""
    ordered = sorted(set(actions))
    breaks = [index for index, (one, next_) in enumerate(pairwise(ordered), 1) if next_ != one + 1]
    edges = [0, *breaks, len(ordered)]
    return [(ordered[start], ordered[end - 1]) for start, end in pairwise(edges) if start < end]


def _append_act(
    conn: Connection,
    ids: Ids,
    kind: FactKind,
    actions: Sequence[int] | None,
    *,
    campaign: Campaign,
    cause: Fact,
    now: datetime,
) -> None:
    append_batch(
        conn, ids, kind, actions or (), campaign_id=campaign.id, lap_id=campaign.lap_id, actor=cause.actor,
        now=now, causes=[cause.id],
    )  # fmt: skip
