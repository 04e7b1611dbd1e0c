"""What a sequential gate counts and reads: rows that are only ever added."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from psycopg.types.json import Jsonb

from ringroad.kernel.arm_counts import CONTROL, TREATED
from ringroad.kernel.errors import Conflict, NotFound
from ringroad.ship.control import SPREAD, episodes_of
from ringroad.ship.gate import Evidence
from ringroad.ship.guard import MetricName, Past, Reading, SequentialPolicy
from ringroad.ship.known import pace
from ringroad.ship.model import Campaign
from ringroad.ship.ramp import HarmBudget, Ramp, RampState
from ringroad.ship.store.control import read_control
from ringroad.ship.store.reading import SQL, SavedPlan
from ringroad.ship.ticks import TickRow, readings_of
from ringroad.storage.db import Connection
from ringroad.storage.lake import from_us, to_us

LAST_ID = 2**63 - 1  # all rows
PAST_CAMPAIGNS_MAX = 20  # finished campaigns of a programme that tell how installations usually end


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedReading:
    """One stored reading: what all metrics said at one time, and over which counts."""

    id: int
    through_us: int
    last_tick_id: int
    readings: tuple[Reading, ...]
    policy: SequentialPolicy
    refused: str
    read_at: datetime


def read_past(conn: Connection, programme_id: str) -> dict[str, Past]:
    """Return how installations of the programme's finished campaigns ended, by metric."""
    row = SQL.past_installations(conn, programme_id=programme_id, campaigns_max=PAST_CAMPAIGNS_MAX)
    installed, failed, rolled_back = row["installed"], row["failed"], row["rolled_back"]
    return {
        MetricName.INSTALL_FAILED: Past(failed=failed, tried=installed + failed + rolled_back),
        MetricName.ROLLED_BACK: Past(failed=rolled_back, tried=installed + rolled_back),
    }


def compared_campaigns(conn: Connection, *, rows_max: int) -> list[str]:
    """Return campaigns under way whose gate compares with a control group; paused ones too, for their harm."""
    return [row["id"] for row in SQL.compared_campaigns(conn, rows_max=rows_max)]


def read_episodes(
    conn: Connection, campaign: Campaign, plan: SavedPlan, *, since_us: int, started_us: int, until_us: int
) -> list[dict[str, Any]]:
    """Return who was watched from when to when, in both arms: rows for `storage.arms.episodes_table`.

    An updated vehicle is watched for one window from its confirmed update; a vehicle of the control group for
    one window after the other since the campaign began (`control.episodes_of`), until it was let go.

    Args:
        conn: a connection.
        campaign: a running one.
        plan: its plan, with a sequential gate.
        since_us: episodes that were over by then are left out; microseconds since 1970.
        started_us: when the campaign began.
        until_us: no episode begins from then on.
    """
    policy = plan.request.gate.sequential
    if policy is None:
        return []
    window_us = policy.window_s * 1_000_000
    by = plan.request.stratify_by
    episodes = []
    for row in SQL.updated_vehicles(conn, campaign_id=campaign.id, since=from_us(since_us - window_us)):
        from_ = to_us(row["finished_at"])
        episodes.append(_episode(row, by, TREATED, from_, from_ + window_us))
    for row in SQL.control_vehicles(conn, plan_id=plan.id):
        ends_us = to_us(row["let_go_at"]) if row["let_go_at"] else LAST_ID  # no control from then on
        for from_, over in episodes_of(
            campaign.id, row["vin"], window_us=window_us, started_us=started_us, since_us=since_us,
            until_us=until_us, spread=plan.document.get("episodes") == SPREAD,
        ):  # fmt: skip
            if from_ < ends_us:
                cut = over - from_ < window_us
                episodes.append(_episode(row, by, CONTROL, from_, min(over, ends_us)) | {"cut": cut})
    return episodes


def read_ticks(
    conn: Connection, campaign_id: str, *, since_tick: int = 0, last_id: int = LAST_ID
) -> tuple[list[TickRow], int]:
    """Return the recorded rows from a tick on, up to an id, and the newest id among them (0 without any)."""
    rows, newest = [], 0
    for row in SQL.gate_ticks(conn, campaign_id=campaign_id, since_tick=since_tick, last_id=last_id):
        newest = max(newest, row["id"])
        rows.append(
            TickRow(
                metric=MetricName(row["metric"]),
                tick=row["tick"],
                stratum=row["stratum"],
                counts=tuple(row["counts"]),
            )
        )
    return rows, newest


def record_reading(
    conn: Connection,
    campaign_id: str,
    policy: SequentialPolicy,
    fresh: Iterable[TickRow],
    *,
    through_us: int,
    now: datetime,
) -> SavedReading:
    """Append the fresh counts and what all counts together say, in the caller's transaction.

    Raises:
        Conflict: somebody else read the same stretch; nothing may be kept.
    """
    given = [
        {"metric": row.metric, "tick": row.tick, "stratum": row.stratum, "counts": row.counts}
        for row in fresh
    ]
    SQL.insert_gate_ticks(conn, campaign_id=campaign_id, rows=Jsonb(given), now=now)
    rows, last_tick_id = read_ticks(conn, campaign_id)
    readings = readings_of(policy, rows, strata=read_strata(conn, campaign_id))
    refused = next((reading.metric for reading in readings if reading.exceeded), "")
    reading_id = SQL.insert_gate_reading(
        conn, campaign_id=campaign_id, through_us=through_us, last_tick_id=last_tick_id, refused=refused, now=now,
        readings=Jsonb(msgspec.to_builtins(readings)), policy=Jsonb(msgspec.to_builtins(policy)),
    )  # fmt: skip
    if reading_id is None:
        raise Conflict(f"the evidence of {campaign_id} was read by somebody else", hint="read it again")
    return SavedReading(
        id=reading_id, through_us=through_us, last_tick_id=last_tick_id, readings=readings, policy=policy,
        refused=refused, read_at=now,
    )  # fmt: skip


def read_through(conn: Connection, campaign_id: str, *, until_us: int) -> int:
    """Return through when a campaign's evidence was read, microseconds since 1970; 0 before the first reading.

    What a clock that was ahead read through a time later than `until_us` is left out.
    """
    return SQL.read_through(conn, campaign_id=campaign_id, until_us=until_us) or 0


def read_reading(conn: Connection, campaign_id: str, reading_id: int) -> SavedReading:
    """Return one reading of a campaign.

    Raises:
        NotFound: there is none.
    """
    row = SQL.reading(conn, campaign_id=campaign_id, reading_id=reading_id)
    if row is None:
        raise NotFound(f"no reading {reading_id} of campaign {campaign_id[:80]!r}")
    return _reading(row)


def replay(conn: Connection, campaign_id: str, saved: SavedReading) -> tuple[Reading, ...]:
    """Compute a reading again from the counts that it had."""
    rows, _ = read_ticks(conn, campaign_id, last_id=saved.last_tick_id)
    return readings_of(saved.policy, rows, strata=read_strata(conn, campaign_id))


def read_strata(conn: Connection, campaign_id: str) -> tuple[str, ...]:
    """Return the strata that a campaign's plan reads alone, by their names; a plan that runs never changes."""
    return tuple(SQL.plan_strata(conn, campaign_id=campaign_id) or ())


def read_evidence(conn: Connection, campaign: Campaign, plan: SavedPlan) -> Evidence | None:
    """Return what the gate may know; None where it has rules only."""
    if plan.request.gate.sequential is None:
        return None
    past = msgspec.convert(plan.document.get("past", {}), dict[str, Past])
    short = read_control(conn, campaign, plan).too_few
    row = SQL.newest_reading(conn, campaign_id=campaign.id)
    if row is None:
        return Evidence(past=past, control_short=short)
    saved = _reading(row)
    return Evidence(
        id=saved.id,
        readings=saved.readings,
        read_at=saved.read_at,
        refused=row["ever_refused"] or "",
        past=past,
        control_short=short,
        exposed=_exposed(conn, campaign),
    )


def read_ramp(
    conn: Connection, campaign: Campaign, plan: SavedPlan, *, through: datetime, now: datetime
) -> Ramp | None:
    """Return where a campaign stands on its ramp; None where it has waves.

    Args:
        conn: a connection.
        campaign: a running one.
        plan: its plan.
        through: until when the newest reading knows what happened.
        now: the server's time.
    """
    budget: HarmBudget | None = plan.request.ramp
    policy = plan.request.gate.sequential
    if budget is None or policy is None:
        return None

    def state(through: datetime) -> RampState:
        row = SQL.ramp_state(
            conn, campaign_id=campaign.id, through=through, window_s=policy.window_s, now=now
        )
        return RampState(**row)

    unseen, seen_us = _last_seen(conn, campaign, policy)
    # The tick under way is read when it is over.
    blind = bool(unseen) and seen_us + policy.tick_s * 1_000_000 < to_us(through)
    return Ramp(
        budget=budget,
        state=state(through),
        used=SQL.newest_growth(conn, campaign_id=campaign.id) or 0,
        harm_holds=True,
        unseen=unseen if blind else "",
        unseen_milli=state(from_us(seen_us)).in_flight_milli if blind else 0,
        steps=True,
        limit=harm_limit(conn, campaign, budget),
        budgets=1 + SQL.harm_accepted(conn, campaign_id=campaign.id)["times"],
    )


def harm_limit(conn: Connection, campaign: Campaign, budget: HarmBudget) -> int:
    """Return how many failures beyond control pause a campaign once they are proved."""
    return budget.harmed_last + int(SQL.harm_accepted(conn, campaign_id=campaign.id)["harmed"])


def seen_since(conn: Connection, campaign: Campaign, policy: SequentialPolicy, moment: datetime) -> bool:
    """Tell whether both arms were seen in every metric that sets the pace of a ramp, in ticks that ended after a moment."""
    return to_us(moment) < _last_seen(conn, campaign, policy)[1]


def _last_seen(conn: Connection, campaign: Campaign, policy: SequentialPolicy) -> tuple[str, int]:
    """Return the metric that sets the pace and was seen longest ago in one arm, and the end of that tick in microseconds.

    An empty name where none sets it, or one was never seen.
    """
    metrics = [metric.name.value for metric in pace(policy)]
    rows = list(SQL.last_seen(conn, campaign_id=campaign.id, metrics=metrics))
    if not rows or any(row["tick"] is None for row in rows):
        return "", 0
    oldest = min(rows, key=lambda row: row["tick"])
    return oldest["metric"], (oldest["tick"] + 1) * policy.tick_s * 1_000_000


def _exposed(conn: Connection, campaign: Campaign) -> dict[str, tuple[int, int]]:
    """Return the exposure of each metric, by the reading on which the campaign's wave was released."""
    released = SQL.readings_of_advance(conn, campaign_id=campaign.id) or ()
    return {each["metric"]: (each["treated_exposure"], each["control_exposure"]) for each in released}


def _reading(row: Mapping[str, Any]) -> SavedReading:
    return SavedReading(
        id=row["id"],
        through_us=row["through_us"],
        last_tick_id=row["last_tick_id"],
        readings=msgspec.convert(row["readings"], tuple[Reading, ...]),
        policy=msgspec.convert(row["policy"], SequentialPolicy),
        refused=row["refused"],
        read_at=row["read_at"],
    )


def _episode(
    row: Mapping[str, Any], by: Sequence[str], arm: str, from_us_: int, to_us_: int
) -> dict[str, Any]:
    return {
        "vin": row["vin"],
        "arm": arm,
        "stratum": "/".join(str(row[name]) for name in by),
        "from_us": from_us_,
        "to_us": to_us_,
    }
