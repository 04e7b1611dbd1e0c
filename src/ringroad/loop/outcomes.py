"""Measure what came of campaigns that ended: `ship` says which ended, `adapt` measures and records.

Invariant: a verdict that cannot be given yet leaves no trace; after a day it is recorded once as unknown.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import assert_never

import structlog

from ringroad.adapt.model import Due, VerdictPolicy
from ringroad.adapt.store import (
    due_outcomes,
    list_outcomes,
    measure_outcome,
    measure_recovery,
    measure_updates,
)
from ringroad.kernel.clock import Clock, Ids
from ringroad.kernel.errors import Conflict
from ringroad.ship import store
from ringroad.storage.db import Connection, apart
from ringroad.storage.lake import Lake

LOG = structlog.get_logger(__name__)

UNKNOWN_AFTER_S = 86_400  # seconds after the campaign ended


def measure_due(
    conn: Connection, lake: Lake, ids: Ids, clock: Clock, *, policy: VerdictPolicy | None = None
) -> int:
    """Measure every outcome that is due; return how many were recorded.

    One that cannot be measured is told in the log, and tried again by the next call; the others are measured.

    Raises:
        Unavailable: the lake or the record does not answer; the next call does the rest.
    """
    recorded = 0
    for due in due_outcomes(conn):
        with apart(conn, campaign_id=due.campaign_id, finding_id=due.finding_id):
            try:
                recorded += _measure_one(conn, lake, ids, due, now=clock.now(), policy=policy)
            except Conflict as conflict:  # measured by somebody else meanwhile
                LOG.info("outcome moved on", campaign_id=due.campaign_id, detail=conflict.message)
    return recorded


def _measure_one(
    conn: Connection, lake: Lake, ids: Ids, due: Due, *, now: datetime, policy: VerdictPolicy | None
) -> bool:
    """Measure one outcome; tell whether it was recorded."""
    campaign = store.read_campaign(conn, due.campaign_id)
    ended = campaign.finished_at or campaign.state_at or now
    asked = {"campaign_id": due.campaign_id, "finding_id": due.finding_id}
    known = bool(list_outcomes(conn, **asked, rows_max=1))
    unknown_too = timedelta(seconds=UNKNOWN_AFTER_S) < now - ended and not known
    word = _measure(conn, lake, ids, due, now=now, policy=policy, record_unknown=unknown_too)
    return word != "unknown" or unknown_too


def _measure(
    conn: Connection,
    lake: Lake,
    ids: Ids,
    due: Due,
    *,
    now: datetime,
    policy: VerdictPolicy | None,
    record_unknown: bool,
) -> str:
    """Take the measure that is due; return its word."""
    campaign_id, finding_id = due.campaign_id, due.finding_id
    match due.measure:
        case "faults":
            return measure_outcome(
                conn, lake, ids, campaign_id=campaign_id, finding_id=finding_id, now=now, policy=policy,
                record_unknown=record_unknown,
            ).word  # fmt: skip
        case "recovery":
            return measure_recovery(
                conn,
                ids,
                campaign_id=campaign_id,
                finding_id=finding_id,
                now=now,
                record_unknown=record_unknown,
            ).word
        case "updates":
            return measure_updates(
                conn,
                ids,
                campaign_id=campaign_id,
                finding_id=finding_id,
                now=now,
                record_unknown=record_unknown,
            ).word
    assert_never(due.measure)
