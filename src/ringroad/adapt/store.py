"""The adapt stage's I/O: outcomes measured and recorded, laps timed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from psycopg.types.json import Jsonb

from ringroad.adapt.lead_time import lap_report
from ringroad.adapt.model import (
    Due,
    LapReport,
    Outcome,
    Recovery,
    UpdateCounts,
    UpdateVerdict,
    Verdict,
    VerdictPolicy,
)
from ringroad.adapt.recovery import (
    VehicleGroup,
    decide_recovery,
    decide_updates,
    recovery_body,
    updates_body,
)
from ringroad.adapt.verdict import decide_verdict, verdict_body, versions_of
from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict, Corrupt, NotFound
from ringroad.kernel.facts import Fact, FactKind
from ringroad.kernel.limits import PAGE_ROWS_MAX
from ringroad.storage.db import Connection, expect_one, load_queries, of_row, transaction
from ringroad.storage.lake import Lake, to_us
from ringroad.storage.ledger import append_fact, causes_of, read_facts
from ringroad.storage.measures import TICKS_MAX, Measurement, Window, measure_faults

SQL = load_queries("ringroad.adapt")
LOG = structlog.get_logger(__name__)

ACTOR = "system:outcome"
FACTS_PER_LAP_MAX = 1_000_000
FINISHED = frozenset({"finished"})
STOPPED = frozenset({"halted", "aborted"})
_ENDED = {
    "finished": FactKind.CAMPAIGN_FINISHED,
    "halted": FactKind.CAMPAIGN_HALTED,
    "aborted": FactKind.CAMPAIGN_ABORTED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lap:
    """One run round the loop."""

    id: str
    title: str
    opened_at: datetime


def measure_outcome(
    conn: Connection,
    lake: Lake,
    ids: Ids,
    *,
    campaign_id: str,
    finding_id: str,
    now: datetime,
    actor: str = ACTOR,
    policy: VerdictPolicy | None = None,
    record_unknown: bool = True,
    work_started_at: datetime | None = None,
) -> Verdict:
    """Take the finding's measure again on the campaign's software, and record what came of it.

    A better verdict closes the finding; after a better or worse one its approved changes are done.
    An unknown one can be measured again later.

    Args:
        conn: the record.
        lake: what the vehicles sent.
        ids: source of ids.
        campaign_id: a finished campaign.
        finding_id: the finding it answered.
        now: time of the measure.
        actor: who measures.
        policy: what a verdict must show; tick and gap are the finding's own where it has them.
        record_unknown: False waits without a trace while nothing can be said yet.
        work_started_at: when work on the measure began.

    Raises:
        NotFound: there is no such campaign or finding.
        Conflict: the campaign has not finished, is of another lap, or the verdict is recorded already.
        Unavailable: the lake cannot be read now.
    """
    rule = policy or VerdictPolicy()
    finding, campaign = _measurable(conn, campaign_id=campaign_id, finding_id=finding_id, of=FINISHED)
    versions = tuple(
        row["version"] for row in SQL.new_versions(conn, campaign_id=campaign_id, ecu=finding["ecu"])
    )
    window = _window(finding, rule, now=now)
    measurement = measure_faults(lake, window)
    verdict = _decide(finding, measurement, rule, versions=versions, until_us=window.until_us)
    if verdict.word == "unknown" and not record_unknown:
        LOG.info("outcome waits", campaign=campaign_id, finding=finding_id, reason=verdict.reason)
        return verdict
    body = verdict_body(verdict)
    measure = {
        **body,
        "new_versions": list(versions),
        "versions": _by_version(finding, measurement),
        "window": {"since_us": window.since_us, "until_us": window.until_us, "tick_us": window.tick_us},
        "queries": dict(measurement.queries),
    }
    with transaction(conn):
        _record(
            conn, ids, body, measure, finding=finding, campaign=campaign, actor=actor, now=now,
            work_started_at=work_started_at,
        )  # fmt: skip
    return verdict


def measure_recovery(
    conn: Connection,
    ids: Ids,
    *,
    campaign_id: str,
    finding_id: str,
    now: datetime,
    actor: str = ACTOR,
    record_unknown: bool = True,
) -> Recovery:
    """Count what became of the vehicles of a campaign that was stopped, and record it.

    Args:
        conn: the record.
        ids: source of ids.
        campaign_id: a halted or aborted campaign.
        finding_id: the finding of its lap, or that it opened.
        now: time of the count.
        actor: who counts.
        record_unknown: False waits without a trace while a vehicle is not heard of yet.

    Raises:
        NotFound: there is no such campaign or finding.
        Conflict: the campaign was not stopped, is of another lap, or the outcome is recorded already.
    """
    finding, campaign = _measurable(conn, campaign_id=campaign_id, finding_id=finding_id, of=STOPPED)
    with transaction(conn):
        groups = _groups(conn, campaign_id)
        recovery = decide_recovery(groups)
        if recovery.word != "unknown" or record_unknown:
            body = recovery_body(recovery)
            _record(conn, ids, body, body, finding=finding, campaign=campaign, actor=actor, now=now)
    return recovery


def read_recovery(conn: Connection, campaign_id: str) -> Recovery:
    """Count what became of the vehicles of a campaign that was stopped, as it stands; nothing is recorded.

    Raises:
        NotFound: there is no such campaign.
        Conflict: it was not stopped.
    """
    _ended(conn, campaign_id, of=STOPPED)
    return decide_recovery(_groups(conn, campaign_id))


def read_recovery_page(
    conn: Connection, campaign_id: str, *, after_vin: str, vehicles_max: int
) -> tuple[Recovery, str | None]:
    """Count what became of a stopped campaign's vehicles behind a VIN, so many at once.

    Returns:
        Of these vehicles, and the VIN that the next page begins behind; None: there is none.

    Raises:
        NotFound: there is no such campaign.
        Conflict: it was not stopped.
    """
    _ended(conn, campaign_id, of=STOPPED)
    asked = {"campaign_id": campaign_id, "after_vin": after_vin}
    last: str | None = SQL.recovery_last_vin(conn, **asked, vehicles=vehicles_max)
    return decide_recovery(_groups(conn, **asked, last_vin=last)), last


def _groups(
    conn: Connection, campaign_id: str, *, after_vin: str = "", last_vin: str | None = None
) -> list[VehicleGroup]:
    rows = SQL.recovery_groups(conn, campaign_id=campaign_id, after_vin=after_vin, last_vin=last_vin)
    return [VehicleGroup(**row) for row in rows]


def measure_updates(
    conn: Connection,
    ids: Ids,
    *,
    campaign_id: str,
    finding_id: str,
    now: datetime,
    actor: str = ACTOR,
    record_unknown: bool = True,
) -> UpdateVerdict:
    """Compare a finished campaign with the one whose halt opened the finding, and record what came of it.

    Raises:
        NotFound: there is no such campaign or finding.
        Conflict: the campaign did not finish, is of another lap, or the outcome is recorded already.
        Corrupt: the finding's evidence does not say what was harmed.
    """
    finding, campaign = _measurable(conn, campaign_id=campaign_id, finding_id=finding_id, of=FINISHED)
    seen = finding["evidence"].get("updates", {})
    if not all(isinstance(seen.get(name), int) for name in ("harmed", "reported")):
        raise Corrupt(f"the evidence of finding {finding_id} does not say what was harmed")
    with transaction(conn):
        counts = SQL.update_counts(conn, campaign_id=campaign_id)
        before = UpdateCounts(harmed=seen["harmed"], reported=seen["reported"])
        verdict = decide_updates(before, UpdateCounts(**counts))
        if verdict.word != "unknown" or record_unknown:
            body = updates_body(verdict)
            _record(conn, ids, body, body, finding=finding, campaign=campaign, actor=actor, now=now)
    return verdict


def due_outcomes(conn: Connection, *, rows_max: int = 100) -> list[Due]:
    """Return what is to be measured: of campaigns that ended, those whose outcome is missing or unknown."""
    return [Due(**row) for row in SQL.due_outcomes(conn, rows_max=min(rows_max, PAGE_ROWS_MAX))]


def list_outcomes(
    conn: Connection,
    *,
    finding_id: str | None = None,
    campaign_id: str | None = None,
    lap_id: str | None = None,
    before_id: str | None = None,
    rows_max: int = 100,
) -> list[Outcome]:
    """Return outcomes, newest first; pass the last id on for the next page."""
    return [
        of_row(Outcome, row)
        for row in SQL.outcomes(
            conn,
            finding_id=finding_id,
            campaign_id=campaign_id,
            lap_id=lap_id,
            before_id=before_id,
            rows_max=min(rows_max, PAGE_ROWS_MAX),
        )
    ]


def list_laps(conn: Connection, *, before_id: str | None = None, rows_max: int = 100) -> list[Lap]:
    """Return laps, newest first; pass the last id on for the next page."""
    return [Lap(**row) for row in SQL.laps(conn, before_id=before_id, rows_max=min(rows_max, PAGE_ROWS_MAX))]


def get_lap(conn: Connection, lap_id: str) -> Lap:
    """Return one lap.

    Raises:
        NotFound: there is none with this id.
    """
    row = SQL.lap(conn, lap_id=lap_id)
    if row is None:
        raise NotFound(f"there is no lap {lap_id!r}")
    return Lap(**row)


def lap_facts(conn: Connection, lap_id: str) -> list[Fact]:
    """Return all facts of a lap in the order they were recorded."""
    return read_facts(conn, lap_id=lap_id, rows_max=FACTS_PER_LAP_MAX)


def get_lap_report(conn: Connection, lap_id: str, *, now: datetime) -> LapReport:
    """Time one lap from its facts.

    Raises:
        NotFound: there is no such lap.
        InvalidInput: it has no facts yet.
    """
    get_lap(conn, lap_id)
    return lap_report(lap_facts(conn, lap_id), now)


def _measurable(
    conn: Connection, *, campaign_id: str, finding_id: str, of: frozenset[str]
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the finding and the ended campaign that answers it, unless the verdict is recorded already."""
    finding = SQL.finding(conn, finding_id=finding_id)
    if finding is None:
        raise NotFound(f"there is no finding {finding_id!r}")
    campaign = _ended(conn, campaign_id, of=of)
    opened_by = finding["evidence"].get("campaign_id") if campaign["lap_id"] is None else None
    if campaign["lap_id"] != finding["lap_id"] and opened_by != campaign_id:
        raise Conflict(f"campaign {campaign_id} does not answer finding {finding_id}")
    before_now = SQL.outcome_of(conn, campaign_id=campaign_id, finding_id=finding_id)
    if before_now is not None and before_now["verdict"] != "unknown" and not before_now["returned_since"]:
        raise Conflict(f"the outcome of {campaign_id} for {finding_id} is recorded already")
    return finding, campaign


def _ended(conn: Connection, campaign_id: str, *, of: frozenset[str]) -> Mapping[str, Any]:
    campaign: Mapping[str, Any] | None = SQL.campaign(conn, campaign_id=campaign_id)
    if campaign is None:
        raise NotFound(f"there is no campaign {campaign_id!r}")
    if campaign["state"] not in of:
        raise Conflict(f"campaign {campaign_id} is {campaign['state']}", hint="measure when it has ended")
    return campaign


def _window(finding: Mapping[str, Any], policy: VerdictPolicy, *, now: datetime) -> Window:
    """Measure as the finding was measured, from where its rise began until now."""
    evidence = finding["evidence"]
    asked = evidence.get("policy", {})
    since_us = evidence.get("measured_from_us")
    if not isinstance(since_us, int):
        raise Corrupt(f"the evidence of finding {finding['id']} does not say from when it was measured")
    until_us = max(to_us(now), since_us) + 1
    tick_us = int(asked.get("tick_s", policy.tick_s)) * 1_000_000
    return Window(
        programme=finding["programme_id"],
        since_us=since_us,
        until_us=until_us,
        # A campaign may take long: rather coarser ticks than no verdict.
        tick_us=max(tick_us, -(-(until_us - since_us) // TICKS_MAX)),
        gap_us=int(asked.get("gap_s", policy.gap_s)) * 1_000_000,
        ecu=finding["ecu"],
    )


def _decide(
    finding: Mapping[str, Any],
    measurement: Measurement,
    policy: VerdictPolicy,
    *,
    versions: tuple[str, ...],
    until_us: int,
) -> Verdict:
    ecu, code, affected = finding["ecu"], finding["fault_code"], finding["software_version"]
    before = versions_of(measurement.counts, ecu=ecu, code=code, versions={affected})
    after = versions_of(measurement.counts, ecu=ecu, code=code, versions=set(versions) - {affected})
    return decide_verdict(policy, before[0] if before else None, after, until_us=until_us)


def _by_version(finding: Mapping[str, Any], measurement: Measurement) -> list[dict[str, Any]]:
    """Return the counts of the finding's fault on every version that was observed, as its evidence has them."""
    return [
        {
            "software_version": count.software_version,
            "vehicles_exposed": count.vehicles_exposed,
            "vehicles_with_fault": count.vehicles_with_fault,
            "exposure_us": count.exposure_us,
        }
        for count in measurement.counts
        if (count.ecu, count.fault_code) == (finding["ecu"], finding["fault_code"])
    ]


def _record(
    conn: Connection,
    ids: Ids,
    body: Mapping[str, Any],
    measure: Mapping[str, Any],
    *,
    finding: Mapping[str, Any],
    campaign: Mapping[str, Any],
    actor: str,
    now: datetime,
    work_started_at: datetime | None = None,
) -> None:
    """Write an outcome with its fact, and what follows for the finding and its changes."""
    finding_id, campaign_id, word = finding["id"], campaign["id"], body["verdict"]
    rows = SQL.put_outcome(
        conn,
        id=ids.new("outcome"),
        campaign_id=campaign_id,
        finding_id=finding_id,
        lap_id=finding["lap_id"],
        verdict=word,
        measure=Jsonb(dict(measure)),
        now=now,
    )
    expect_one(rows, f"the outcome of {campaign_id} for {finding_id}")
    outcome_id = SQL.outcome_of(conn, campaign_id=campaign_id, finding_id=finding_id)["id"]
    measured = append_fact(
        conn,
        ids,
        kind=FactKind.OUTCOME_MEASURED,
        subject=outcome_id,
        actor=actor,
        now=now,
        lap_id=finding["lap_id"],
        causes=causes_of(
            conn, [(_ENDED[campaign["state"]], campaign_id), (FactKind.FINDING_OPENED, finding_id)]
        ),
        work_started_at=work_started_at,
        body={**body, "campaign_id": campaign_id, "finding_id": finding_id},
    )
    reason = f"{word} after {campaign_id}"
    if word == "better" and finding["state"] in {"open", "accepted"}:
        _close(conn, ids, finding, measured, reason=reason)
    if word in {"better", "worse"}:  # either way the changes were carried out
        _finish_changes(conn, ids, finding, measured, reason=reason)
    LOG.info("outcome measured", campaign=campaign_id, finding=finding_id, verdict=word)


def _close(conn: Connection, ids: Ids, finding: Mapping[str, Any], cause: Fact, *, reason: str) -> None:
    """Close a finding because of an outcome."""
    now, finding_id = cause.recorded_at, finding["id"]
    rows = SQL.close_finding(
        conn, finding_id=finding_id, generation=finding["generation"], reason=reason, now=now
    )
    expect_one(rows, f"finding {finding_id}")
    _append(conn, ids, FactKind.FINDING_CLOSED, finding_id, cause, reason=reason)


def _finish_changes(
    conn: Connection, ids: Ids, finding: Mapping[str, Any], cause: Fact, *, reason: str
) -> None:
    """Note that the approved changes of a finding are done."""
    for row in list(SQL.finish_changes(conn, finding_id=finding["id"], reason=reason)):
        _append(conn, ids, FactKind.CHANGE_DONE, row["id"], cause, reason=reason)


def _append(conn: Connection, ids: Ids, kind: FactKind, subject: str, cause: Fact, *, reason: str) -> None:
    append_fact(
        conn, ids, kind=kind, subject=subject, actor=cause.actor, now=cause.recorded_at, lap_id=cause.lap_id,
        causes=[cause.id], body={"reason": reason},
    )  # fmt: skip
