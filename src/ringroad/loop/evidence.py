"""Evidence of running campaigns: who is watched comes from `ship`, what happened to them from the lake.

Once per tick of a campaign with a sequential gate:

1. Vehicles of the control group that got other software are let go, from then on.
2. Episodes of both arms are read from the record.
3. Each metric that has a control group is measured over the ticks of the last days, late arrivals included.
4. What is new is appended, and what all of it says; the reconciler decides on it.

Invariants:
    A stretch is read once; who comes second keeps nothing.
    What was read by a clock that was ahead keeps nobody from reading by one that is right.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import structlog

from ringroad.kernel.arm_counts import ArmCell, ArmSum
from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict
from ringroad.kernel.facts import FactKind
from ringroad.ship import store
from ringroad.ship.guard import MEANS, Metric, MetricName, SequentialPolicy
from ringroad.ship.store.batches import RECONCILER
from ringroad.ship.store.control import judge_control
from ringroad.ship.store.evidence import (
    SavedReading,
    compared_campaigns,
    read_episodes,
    read_through,
    read_ticks,
    record_reading,
)
from ringroad.ship.ticks import TickRow, mean_rows, rate_rows
from ringroad.storage.arms import ArmWindow, Event, count_events, count_silence, episodes_table, sum_samples
from ringroad.storage.db import Connection, apart, transaction
from ringroad.storage.lake import Lake, from_us, to_us
from ringroad.storage.ledger import latest_fact

LOG = structlog.get_logger(__name__)

LATE_S_MAX = 3 * 86_400  # seconds; what arrives later than this is not counted any more
CAMPAIGNS_MAX = 1_000  # running at once


def read_due(conn: Connection, ids: Ids, lake: Lake, *, now: datetime) -> int:
    """Read the evidence of every campaign whose next tick is over; return how many were read.

    A campaign whose evidence cannot be read is told in the log and gets no reading, so its gate holds.

    Raises:
        Unavailable: the lake or the record does not answer; the next call does the rest.
    """
    read = 0
    for campaign_id in compared_campaigns(conn, rows_max=CAMPAIGNS_MAX):
        reading = None
        with apart(conn, campaign_id=campaign_id):
            try:
                reading = read_campaign_evidence(conn, ids, lake, campaign_id, now=now)
            except Conflict as conflict:  # another worker was quicker
                LOG.info("evidence moved on", campaign_id=campaign_id, detail=conflict.message)
        if reading is not None:
            read += 1
            LOG.info("evidence", campaign_id=campaign_id, reading=reading.id, refused=reading.refused)
    return read


def read_campaign_evidence(
    conn: Connection, ids: Ids, lake: Lake, campaign_id: str, *, now: datetime
) -> SavedReading | None:
    """Read the evidence of one campaign; None while nothing is due, or where its gate compares nothing.

    Raises:
        NotFound: there is no such campaign.
        Conflict: somebody else read the same stretch.
        Unavailable: the lake cannot be read now.
    """
    campaign = store.read_campaign(conn, campaign_id)
    if campaign.plan_id is None:
        return None
    plan = store.read_plan(conn, campaign.plan_id)
    policy = plan.request.gate.sequential
    started = latest_fact(conn, kind=FactKind.CAMPAIGN_STARTED, subject=campaign_id)
    if policy is None or not policy.compared or started is None:
        return None
    tick_us = policy.tick_s * 1_000_000
    started_us = to_us(started.event_at) // tick_us * tick_us
    until_us = (to_us(now) - policy.late_s * 1_000_000) // tick_us * tick_us
    read_us = max(started_us, read_through(conn, campaign_id, until_us=to_us(now)))
    if until_us <= read_us:
        return None
    with transaction(conn):
        judge_control(
            conn, ids, campaign, plan, began_at=started.event_at, read_until=from_us(read_us), actor=RECONCILER, now=now
        )  # fmt: skip
    window = ArmWindow(
        programme=store.read_release(conn, campaign.release_id).programme_id,
        since_us=max(started_us, (until_us - LATE_S_MAX * 1_000_000) // tick_us * tick_us),
        until_us=until_us,
        tick_us=tick_us,
        gap_us=policy.gap_s * 1_000_000,
        window_us=policy.window_s * 1_000_000,
    )
    measure = _Measure(
        lake=lake,
        window=window,
        episodes=episodes_table(
            read_episodes(
                conn, campaign, plan, since_us=window.since_us, started_us=started_us, until_us=until_us
            )
        ),
        policy=policy,
    )
    found = [(metric.name, *measure.take(metric)) for metric in policy.compared]
    with transaction(conn):
        recorded, _ = read_ticks(conn, campaign_id, since_tick=window.since_us // tick_us)
        fresh: list[TickRow] = []
        for name, cells, sums in found:
            mine = [row for row in recorded if row.metric == name]
            fresh += mean_rows(name, sums, mine) if name in MEANS else rate_rows(name, cells, mine)
        return record_reading(conn, campaign_id, policy, fresh, through_us=until_us, now=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measure:
    """What the lake is asked about one campaign now."""

    lake: Lake
    window: ArmWindow
    episodes: pa.Table
    policy: SequentialPolicy

    def take(self, metric: Metric) -> tuple[tuple[ArmCell, ...], tuple[ArmSum, ...]]:
        """Return what was counted, or what was measured; one of them is empty."""
        if metric.name in MEANS:
            return (), sum_samples(self.lake, self.window, self.episodes, path=metric.path)
        if metric.name is MetricName.SILENCE:
            quiet_us = self.policy.quiet_s * 1_000_000
            return count_silence(self.lake, self.window, self.episodes, quiet_us=quiet_us), ()
        event = Event(path=metric.path, at_least=metric.at_least_milli / 1_000)
        return count_events(self.lake, self.window, self.episodes, event), ()
