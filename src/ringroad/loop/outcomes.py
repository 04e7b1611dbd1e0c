"""Measure what came of finished campaigns: `ship` says which ended, `adapt` measures and records.

Invariant: a verdict that cannot be given yet leaves no trace; after a day it is recorded once as unknown.
"""

from __future__ import annotations

from datetime import timedelta

import structlog

from ringroad.adapt.model import VerdictPolicy
from ringroad.adapt.store import due_outcomes, list_outcomes, measure_outcome
from ringroad.kernel.clock import Clock, Ids
from ringroad.kernel.errors import Conflict
from ringroad.ship import store
from ringroad.storage.db import Connection
from ringroad.storage.lake import Lake

LOG = structlog.get_logger(__name__)

UNKNOWN_AFTER_S = 86_400  # seconds after the campaign ended


def measure_due(
    conn: Connection, lake: Lake, ids: Ids, clock: Clock, *, policy: VerdictPolicy | None = None
) -> int:
    """Measure every outcome that is due; return how many were recorded.

    Raises:
        Unavailable: the lake or the record does not answer; the next call does the rest.
    """
    recorded = 0
    for campaign_id, finding_id in due_outcomes(conn):
        now = clock.now()
        ended = store.read_campaign(conn, campaign_id).finished_at or now
        known = bool(list_outcomes(conn, campaign_id=campaign_id, finding_id=finding_id, rows_max=1))
        waited = timedelta(seconds=UNKNOWN_AFTER_S) < now - ended
        try:
            verdict = measure_outcome(
                conn,
                lake,
                ids,
                campaign_id=campaign_id,
                finding_id=finding_id,
                now=now,
                policy=policy,
                record_unknown=waited and not known,
            )
        except Conflict as conflict:  # measured by somebody else meanwhile
            LOG.info("outcome moved on", campaign_id=campaign_id, detail=conflict.message)
            continue
        if verdict.word != "unknown" or (waited and not known):
            recorded += 1
            LOG.info("outcome", campaign_id=campaign_id, finding_id=finding_id, verdict=verdict.word)
    return recorded
