"""From telemetry in the stream to a measured outcome, on real PostgreSQL, NATS and Parquet files."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import nats
import pytest
from psycopg.types.json import Jsonb

from ringroad.adapt.model import Due, VerdictPolicy
from ringroad.adapt.store import due_outcomes, get_lap_report, list_laps, list_outcomes, measure_outcome
from ringroad.design.model import AcceptRule, ApprovalPolicy
from ringroad.design.store import (
    accept_by_rule,
    accept_finding,
    approve_change,
    get_change,
    list_changes,
    propose_change,
    reject_change,
    reject_finding,
)
from ringroad.kernel.clock import SystemClock
from ringroad.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound
from ringroad.kernel.facts import FactKind, Stage
from ringroad.loop.acceptance import accept_findings
from ringroad.signal.detect import DetectPolicy
from ringroad.signal.ingest import IngestLimits
from ringroad.signal.model import Finding
from ringroad.signal.store import (
    count_quarantine,
    detect_now,
    get_finding,
    import_complaints,
    land,
    list_complaints,
    list_components,
    list_findings,
    list_quarantine,
    run_ingest,
)
from ringroad.signal.store_setbacks import answer_setbacks
from ringroad.storage.broker import STREAM
from ringroad.storage.db import Connection, connect
from ringroad.storage.lake import Lake
from ringroad.storage.ledger import append_fact, latest_fact, open_lap, read_facts
from ringroad.storage.streams import CONSUMER, StreamMessage
from support.telemetry import waiting_messages

pytestmark = pytest.mark.engines

T0 = datetime(2026, 11, 20, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
POLICY = DetectPolicy(tick_s=600, recent_s=3_600, window_s=86_400)
VINS = [f"WRRTEST00000{number:05d}" for number in range(40)]


class ScriptedIds:
    """Ids that count up."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def new(self, prefix: str) -> str:
        return f"{prefix}_{next(self._numbers):06d}"


class ScriptedClock:
    """A clock that stands until it is set."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    def monotonic_s(self) -> float:
        return self.at.timestamp()


@pytest.fixture
def conn(pg_url: str) -> Iterator[Connection]:
    with connect(pg_url) as conn:
        conn.execute(
            "INSERT INTO programme (id, digest, source, document, imported_at) VALUES ('p1', '', '', %s, %s)",
            (Jsonb({"ecus": {"brake": {}}}), T0),
        )
        for vin in VINS:
            conn.execute(
                "INSERT INTO vehicle (vin, programme_id, variant, gateway, token_sha256, primary_serial, born_at)"
                " VALUES (%s, 'p1', 'base', 'native', '', 'x', %s)",
                (vin, T0),
            )
        yield conn


def batch(vin: str, number: int, at: datetime, version: str, *, faulty: bool = False) -> bytes:
    fault = {"at": at.isoformat(), "ecu": "brake", "code": "P1", "status": 9, "software_version": version}
    return json.dumps(
        {
            "vin": vin,
            "batch": number,
            "made_at": at.isoformat(),
            "software": {"brake": version},
            "samples": [{"at": at.isoformat(), "path": "Vehicle.Speed", "value": 1.0}],
            "faults": [fault] if faulty else [],
        }
    ).encode()


def stored(payload: bytes, seq: int, at: datetime, *, vin: str | None = None) -> StreamMessage:
    name = vin or json.loads(payload)["vin"]
    return StreamMessage(subject=f"ringroad.v1.{name}.telemetry", payload=payload, seq=seq, received_at=at)


def drive(
    conn: Connection, lake: Lake, *, start_minute: int, minutes: int, version: str, faulty: int, seq: int
) -> int:
    """Let every vehicle report each ten minutes; the first `faulty` of them fail once, one every minute."""
    messages = []
    for minute in range(start_minute, start_minute + minutes, 10):
        at = T0 + minute * MINUTE
        for index, vin in enumerate(VINS):
            seq += 1
            fails = index < faulty and minute == start_minute + 10 * (1 + index % (minutes // 10 - 1))
            messages.append(stored(batch(vin, seq, at, version, faulty=fails), seq, at))
    land(conn, lake, messages, limits=IngestLimits())
    return seq


def open_one(conn: Connection, lake: Lake, ids: ScriptedIds, clock: ScriptedClock) -> Finding:
    """A field where one version's faults rise in the last hour, and the finding it opens."""
    seq = drive(conn, lake, start_minute=0, minutes=600, version="1.0", faulty=1, seq=0)
    drive(conn, lake, start_minute=600, minutes=60, version="1.0", faulty=20, seq=seq)
    clock.at = T0 + 661 * MINUTE
    (finding,) = detect_now(conn, lake, ids, clock, policy=POLICY)
    return finding


def test_a_rising_rate_opens_one_finding_with_evidence_a_lap_and_two_facts(
    conn: Connection, tmp_path: Path
) -> None:
    ids, clock, lake = ScriptedIds(), ScriptedClock(T0), Lake(tmp_path)
    finding = open_one(conn, lake, ids, clock)
    assert (finding.ecu, finding.software_version, finding.fault_code) == ("brake", "1.0", "P1")
    assert finding.state == "open"
    evidence = finding.evidence
    assert evidence["against"] == "own_past"
    assert evidence["population"]["vehicles_exposed"] == 40
    assert evidence["counts"]["treated"] >= 18
    assert "SELECT" in evidence["queries"]["cells"]
    assert evidence["ratio"]["low_milli"] > 2_000
    assert detect_now(conn, lake, ids, clock, policy=POLICY) == []  # live: not opened again
    assert [item.id for item in list_findings(conn, state="open")] == [finding.id]
    assert get_finding(conn, finding.id) == finding
    signal, opened = read_facts(conn, lap_id=finding.lap_id)
    assert (signal.kind, opened.kind) == (FactKind.SIGNAL_OBSERVED, FactKind.FINDING_OPENED)
    assert opened.causes == (signal.id,)
    assert signal.event_at < opened.event_at == clock.at
    assert not any(vin in json.dumps(dict(evidence)) for vin in VINS)


def test_a_programme_that_cannot_be_looked_at_keeps_no_other_from_it(
    conn: Connection, tmp_path: Path
) -> None:
    conn.execute(
        "INSERT INTO programme (id, digest, source, document, imported_at) SELECT 'p0', digest, source, document,"
        " imported_at FROM programme"
    )
    conn.execute("UPDATE vehicle SET programme_id = 'p0' WHERE right(vin, 1)::int % 2 = 0")
    conn.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no room'; END $$;"
        "CREATE TRIGGER refuse BEFORE INSERT ON finding FOR EACH ROW WHEN (NEW.programme_id = 'p0')"
        " EXECUTE FUNCTION refuse()"
    )
    ids, clock, lake = ScriptedIds(), ScriptedClock(T0), Lake(tmp_path)
    finding = open_one(conn, lake, ids, clock)
    assert [item.id for item in list_findings(conn)] == [finding.id]
    assert finding.programme_id == "p1"
    conn.execute("DROP TRIGGER refuse ON finding")
    (mended,) = detect_now(conn, lake, ids, clock, policy=POLICY)
    assert mended.programme_id == "p0"


def test_a_rejected_findings_evidence_is_spent(conn: Connection, tmp_path: Path) -> None:
    ids, clock, lake = ScriptedIds(), ScriptedClock(T0), Lake(tmp_path)
    finding = open_one(conn, lake, ids, clock)
    with pytest.raises(InvalidInput):
        reject_finding(conn, ids, finding_id=finding.id, generation=1, actor="ada", now=clock.at, reason=" ")
    reject_finding(
        conn, ids, finding_id=finding.id, generation=1, actor="ada", now=clock.at, reason="bad sensor"
    )
    clock.at += MINUTE
    assert detect_now(conn, lake, ids, clock, policy=POLICY) == []
    assert get_finding(conn, finding.id).state_reason == "bad sensor"


def test_an_empty_lake_or_an_unknown_programme_opens_nothing(conn: Connection, tmp_path: Path) -> None:
    assert detect_now(conn, Lake(tmp_path), ScriptedIds(), ScriptedClock(T0), policy=POLICY) == []


def test_acceptance_and_approval_need_the_right_people_and_the_right_generation(
    conn: Connection, tmp_path: Path
) -> None:
    ids, clock, lake = ScriptedIds(), ScriptedClock(T0), Lake(tmp_path)
    finding = open_one(conn, lake, ids, clock)
    now = clock.at
    wording: dict[str, Any] = {
        "finding_id": finding.id,
        "title": "Fix",
        "ecu": "brake",
        "target": "No P1",
        "now": now,
    }
    with pytest.raises(Conflict):  # not accepted yet
        propose_change(conn, ids, actor="ada", **wording)
    with pytest.raises(Conflict):
        accept_finding(conn, ids, finding_id=finding.id, generation=9, actor="ada", now=now)
    with pytest.raises(NotFound):
        accept_finding(conn, ids, finding_id="finding_none", generation=1, actor="ada", now=now)
    weak = AcceptRule(name="strict", log_e_micronats_min=10**9, vehicles_with_fault_min=1)
    assert accept_by_rule(conn, ids, weak, now=now) == []
    rule = AcceptRule(name="strong", log_e_micronats_min=5_000_000, vehicles_with_fault_min=5)
    assert accept_by_rule(conn, ids, rule, now=now) == [finding.id]
    with pytest.raises(InvalidInput):
        propose_change(conn, ids, actor="ada", **(wording | {"ecu": "radio"}))
    with pytest.raises(InvalidInput):
        propose_change(conn, ids, actor="ada", **(wording | {"title": " "}))
    change = propose_change(conn, ids, actor="ada", **wording)
    with pytest.raises(Forbidden):
        approve_change(conn, ids, change_id=change.id, generation=1, actor="ada", now=now)
    with pytest.raises(Forbidden):
        approve_change(conn, ids, change_id=change.id, generation=1, actor="rule:fast", now=now)
    with pytest.raises(Conflict):
        approve_change(conn, ids, change_id=change.id, generation=2, actor="bob", now=now)
    assert get_change(conn, change.id).state == "proposed"
    approved = approve_change(conn, ids, change_id=change.id, generation=1, actor="bob", now=now)
    assert (approved.state, approved.approved_by, approved.generation) == ("approved", "bob", 2)
    with pytest.raises(Conflict):
        approve_change(conn, ids, change_id=change.id, generation=2, actor="eve", now=now)
    second = propose_change(conn, ids, actor="rule:fast", **wording)
    fast = ApprovalPolicy(self_approving_rules=frozenset({"fast"}))
    approve_change(conn, ids, change_id=second.id, generation=1, actor="rule:fast", now=now, policy=fast)
    reject_change(conn, ids, change_id=second.id, generation=2, actor="bob", now=now, reason="not that way")
    assert [item.state for item in list_changes(conn, finding_id=finding.id)] == ["rejected", "approved"]
    facts = read_facts(conn, lap_id=finding.lap_id)
    assert all(fact.causes for fact in facts[1:])


def test_a_change_after_a_halt_names_the_halt_as_its_cause(conn: Connection, tmp_path: Path) -> None:
    ids, clock = ScriptedIds(), ScriptedClock(T0)
    finding = open_one(conn, Lake(tmp_path), ids, clock)
    accept_finding(conn, ids, finding_id=finding.id, generation=1, actor="ada", now=clock.at)
    halted = append_fact(
        conn, ids, kind=FactKind.CAMPAIGN_HALTED, subject="campaign_1", actor="a", now=clock.at,
        lap_id=finding.lap_id,
    )  # fmt: skip
    change = propose_change(
        conn,
        ids,
        finding_id=finding.id,
        title="Again",
        ecu="brake",
        target="No P1",
        actor="ada",
        now=clock.at,
    )
    (proposed,) = read_facts(conn, subject=change.id)
    accepted = latest_fact(conn, kind=FactKind.FINDING_ACCEPTED, subject=finding.id)
    assert accepted
    assert proposed.causes == (accepted.id, halted.id)


def test_an_outcome_that_stays_unknown_keeps_no_other_waiting(conn: Connection, tmp_path: Path) -> None:
    ids, clock, lake = ScriptedIds(), ScriptedClock(T0), Lake(tmp_path)
    finding = open_one(conn, lake, ids, clock)
    accept_finding(conn, ids, finding_id=finding.id, generation=1, actor="ada", now=clock.at)
    ship(conn, ids, finding, version="2.0", at=clock.at)
    conn.execute(
        "INSERT INTO campaign (id, name, release_id, lap_id, state, created_by, created_at)"
        " SELECT 'campaign_2', name, release_id, lap_id, state, created_by, created_at FROM campaign"
    )
    conn.execute("UPDATE campaign SET state = 'finished'")
    later = T0 + 1_300 * MINUTE
    for name in ("campaign_1", "campaign_2", "campaign_1"):
        assert due_outcomes(conn, rows_max=1) == [due(name, finding)]
        verdict = measure_outcome(conn, lake, ids, campaign_id=name, finding_id=finding.id, now=later)
        assert verdict.word == "unknown"
        later += MINUTE


def due(campaign_id: str, finding: Finding) -> Due:
    return Due(campaign_id=campaign_id, finding_id=finding.id, measure="faults")


def ship(conn: Connection, ids: ScriptedIds, finding: Finding, *, version: str, at: datetime) -> None:
    """What build and ship would have written: a package, a signed release, a finished campaign."""
    conn.execute(
        "INSERT INTO software_package (id, programme_id, ecu, name, version, filename, format, hardware_ids,"
        " image_sha256, image_sha512, image_bytes, release_counter, added_at)"
        " VALUES ('pkg_2', 'p1', 'brake', 'brake', %s, 'b2', 'bin', '{}', '', '', 1, 2, %s)",
        (version, at),
    )
    conn.execute(
        "INSERT INTO release (id, programme_id, name, version, state, lap_id, document, created_by, created_at)"
        " VALUES ('release_2', 'p1', 'r', '2', 'signed', %s, %s, 'ada', %s)",
        (finding.lap_id, Jsonb({"variants": {"base": {"brake": "pkg_2"}}}), at),
    )
    conn.execute(
        "INSERT INTO campaign (id, name, release_id, lap_id, state, created_by, created_at)"
        " VALUES ('campaign_1', 'c', 'release_2', %s, 'running', 'ada', %s)",
        (finding.lap_id, at),
    )
    for kind, subject, minute in (
        (FactKind.RELEASE_SIGNED, "release_2", 0),
        (FactKind.VEHICLE_UPDATED, VINS[0], 20),
        (FactKind.CAMPAIGN_FINISHED, "campaign_1", 30),
    ):
        append_fact(
            conn,
            ids,
            kind=kind,
            subject=subject,
            actor="test",
            now=at + minute * MINUTE,
            lap_id=finding.lap_id,
        )


def test_a_fixed_fleet_gets_the_verdict_better_and_the_lap_is_timed(conn: Connection, tmp_path: Path) -> None:
    ids, clock, lake = ScriptedIds(), ScriptedClock(T0), Lake(tmp_path)
    finding = open_one(conn, lake, ids, clock)
    now = clock.at
    accept_finding(conn, ids, finding_id=finding.id, generation=1, actor="ada", now=now)
    change = propose_change(
        conn, ids, finding_id=finding.id, title="Fix", ecu="brake", target="No P1", actor="ada", now=now
    )
    approve_change(conn, ids, change_id=change.id, generation=1, actor="bob", now=now)
    ship(conn, ids, finding, version="2.0", at=T0 + 670 * MINUTE)
    later = T0 + 1_300 * MINUTE
    asked: dict[str, Any] = {"campaign_id": "campaign_1", "finding_id": finding.id, "now": later}
    with pytest.raises(Conflict):  # still running
        measure_outcome(conn, lake, ids, **asked)
    conn.execute("UPDATE campaign SET state = 'finished'")
    assert due_outcomes(conn) == [due("campaign_1", finding)]
    assert measure_outcome(conn, lake, ids, record_unknown=False, **asked).reason == "after_missing"
    assert list_outcomes(conn) == []
    assert measure_outcome(conn, lake, ids, **asked).word == "unknown"
    drive(conn, lake, start_minute=700, minutes=600, version="2.0", faulty=0, seq=10_000)
    verdict = measure_outcome(conn, lake, ids, policy=VerdictPolicy(), **asked)
    assert verdict.word == "better"
    assert (verdict.after.vehicles_exposed, verdict.after.vehicles_with_fault) == (40, 0)
    assert verdict.before.vehicles_with_fault >= 18
    with pytest.raises(Conflict):
        measure_outcome(conn, lake, ids, **asked)
    (outcome,) = list_outcomes(conn, finding_id=finding.id)
    assert outcome.measure["interval_milli"][1] < 1_000
    assert get_finding(conn, finding.id).state == "closed"
    assert get_change(conn, change.id).state == "done"
    *_, measured, closed, done = read_facts(conn, lap_id=finding.lap_id)
    assert [(fact.kind, fact.subject, fact.causes) for fact in (closed, done)] == [
        (FactKind.FINDING_CLOSED, finding.id, (measured.id,)),
        (FactKind.CHANGE_DONE, change.id, (measured.id,)),
    ]
    assert due_outcomes(conn) == []
    report = get_lap_report(conn, finding.lap_id, now=later)
    assert not report.is_open
    stages = {item.stage: item.elapsed_us // 60_000_000 for item in report.stages}
    assert stages[Stage.SHIP] == 20
    assert stages[Stage.ADAPT] == 1_300 - 690
    assert [lap.id for lap in list_laps(conn)] == [finding.lap_id]
    with pytest.raises(NotFound):
        get_lap_report(conn, "lap_none", now=later)


def make_it_worse(
    conn: Connection, lake: Lake, ids: ScriptedIds, clock: ScriptedClock
) -> tuple[Finding, str]:
    """A fix that made it worse: a finding, its change carried out, every vehicle of the new version with the fault."""
    finding = open_one(conn, lake, ids, clock)
    accept_finding(conn, ids, finding_id=finding.id, generation=1, actor="ada", now=clock.at)
    change = propose_change(
        conn, ids, finding_id=finding.id, title="Fix", ecu="brake", target="No P1", actor="ada", now=clock.at
    )
    approve_change(conn, ids, change_id=change.id, generation=1, actor="bob", now=clock.at)
    ship(conn, ids, finding, version="2.0", at=T0 + 670 * MINUTE)
    conn.execute("UPDATE campaign SET state = 'finished'")
    drive(conn, lake, start_minute=800, minutes=20, version="2.0", faulty=40, seq=10_000)
    clock.at = T0 + 830 * MINUTE
    return finding, change.id


def measure(conn: Connection, lake: Lake, ids: ScriptedIds, finding: Finding, at: datetime) -> str:
    return measure_outcome(conn, lake, ids, campaign_id="campaign_1", finding_id=finding.id, now=at).word


def test_a_worse_outcome_opens_a_finding_about_the_new_version_in_the_next_lap(
    conn: Connection, tmp_path: Path
) -> None:
    ids, clock, lake = ScriptedIds(), ScriptedClock(T0), Lake(tmp_path)
    finding, change_id = make_it_worse(conn, lake, ids, clock)
    assert answer_setbacks(conn, ids, now=clock.at) == []  # nothing was measured yet
    assert measure(conn, lake, ids, finding, clock.at) == "worse"
    assert get_change(conn, change_id).state == "done"
    clock.at += MINUTE
    (next_id,) = answer_setbacks(conn, ids, now=clock.at)
    opened = get_finding(conn, next_id)
    assert (opened.ecu, opened.software_version, opened.fault_code) == ("brake", "2.0", "P1")
    assert opened.title.startswith("P1 on brake with software 2.0: ")
    assert opened.evidence["population"] == {
        "vehicles_exposed": 40, "vehicles_with_fault": 40, "exposure_us": 40 * 600_000_000,
    }  # fmt: skip
    assert opened.evidence["ratio"]["low_milli"] > 1_000
    assert "SELECT" in opened.evidence["queries"]["cells"]
    assert opened.evidence["policy"] == finding.evidence["policy"]
    closed = get_finding(conn, finding.id)
    assert (closed.state, closed.state_reason) == ("closed", f"worse after campaign_1; goes on as {next_id}")
    # The old lap ended with its outcome, the new one began with it.
    outcome = latest_fact(conn, kind=FactKind.OUTCOME_MEASURED, subject=list_outcomes(conn)[0].id)
    assert outcome
    signal, told = read_facts(conn, lap_id=opened.lap_id)
    assert (signal.causes, told.causes) == ((outcome.id,), (signal.id, outcome.id))
    assert opened.lap_id != finding.lap_id
    assert get_lap_report(conn, finding.lap_id, now=clock.at).ended_at == outcome.event_at
    later = get_lap_report(conn, opened.lap_id, now=clock.at + MINUTE)
    assert (later.started_at, later.is_open) == (outcome.event_at, True)
    # Neither the next look nor the detector opens it again.
    assert answer_setbacks(conn, ids, now=clock.at) == []
    assert detect_now(conn, lake, ids, clock, policy=POLICY) == []
    assert len(list_findings(conn)) == 2


def test_a_worse_outcome_of_a_version_that_was_found_already_is_noted_there(
    conn: Connection, tmp_path: Path
) -> None:
    ids, clock, lake = ScriptedIds(), ScriptedClock(T0), Lake(tmp_path)
    finding, _ = make_it_worse(conn, lake, ids, clock)
    open_lap(conn, lap_id="lap_2", title="found already", now=clock.at)  # the detector was faster
    conn.execute(
        "INSERT INTO finding (id, lap_id, title, programme_id, ecu, software_version, fault_code, state, evidence,"
        " opened_at) SELECT 'finding_2', 'lap_2', title, programme_id, ecu, '2.0', fault_code, 'open', evidence, opened_at"
        " FROM finding"
    )
    found = get_finding(conn, "finding_2")
    assert measure(conn, lake, ids, finding, clock.at) == "worse"
    assert answer_setbacks(conn, ids, now=clock.at) == []
    outcome = latest_fact(conn, kind=FactKind.OUTCOME_MEASURED, subject=list_outcomes(conn)[0].id)
    assert outcome
    assert read_facts(conn, lap_id=found.lap_id)[-1].causes == (outcome.id,)
    assert get_finding(conn, finding.id).state_reason == f"worse after campaign_1; goes on as {found.id}"
    assert {item.id for item in list_findings(conn)} == {finding.id, found.id}
    assert answer_setbacks(conn, ids, now=clock.at) == []


def test_an_unknown_or_better_outcome_opens_nothing(conn: Connection, tmp_path: Path) -> None:
    ids, clock, lake = ScriptedIds(), ScriptedClock(T0), Lake(tmp_path)
    finding = open_one(conn, lake, ids, clock)
    accept_finding(conn, ids, finding_id=finding.id, generation=1, actor="ada", now=clock.at)
    ship(conn, ids, finding, version="2.0", at=T0 + 670 * MINUTE)
    conn.execute("UPDATE campaign SET state = 'finished'")
    clock.at = T0 + 1_300 * MINUTE
    for expected, state in (("unknown", "accepted"), ("better", "closed")):
        assert measure(conn, lake, ids, finding, clock.at) == expected
        assert answer_setbacks(conn, ids, now=clock.at) == []
        assert get_finding(conn, finding.id).state == state
        drive(conn, lake, start_minute=700, minutes=600, version="2.0", faulty=0, seq=10_000)
    assert len(list_findings(conn)) == 1
    assert len(list_laps(conn)) == 1


def test_the_stream_lands_in_the_lake_once_and_bad_messages_in_quarantine(
    pg_url: str, conn: Connection, nats_url: str, tmp_path: Path
) -> None:
    lake = Lake(tmp_path)
    at = datetime.now(UTC)

    def landed() -> bool:
        return len(lake.read(lambda view: view.rows(view.table("exposure")))) > 1

    async def scenario() -> None:
        client = await nats.connect(nats_url)
        js = client.jetstream()
        with suppress(nats.js.errors.NotFoundError):
            await js.delete_consumer(STREAM, CONSUMER)
        await js.purge_stream(STREAM)
        sent = [
            (VINS[0], batch(VINS[0], 1, at, "1.0")),
            (VINS[0], batch(VINS[0], 1, at, "1.0")),  # sent twice
            (VINS[1], batch(VINS[2], 1, at, "1.0")),  # somebody else's name
            ("WRRTEST99999999999"[:17], batch("WRRTEST99999999999"[:17], 1, at, "1.0")),
            (VINS[3], b"not json"),
            (VINS[4], batch(VINS[4], 7, at, "1.0", faulty=True)),
        ]
        for vin, payload in sent:
            await js.publish(f"ringroad.v1.{vin}.telemetry", payload)
        stop, broken = asyncio.Event(), [True]

        def opener() -> Connection:
            # The record is away for the first batch: nothing may be lost.
            return (
                connect("postgresql://127.0.0.1:1/none" if broken.pop() else pg_url)
                if broken
                else connect(pg_url)
            )

        worker = asyncio.create_task(run_ingest(nats_url, lake, opener, stop, SystemClock(), ack_wait_s=2))
        async with asyncio.timeout(120):  # the broker's counts alone may be 0 between two deliveries
            while await waiting_messages(nats_url) or not landed():  # noqa: ASYNC110 - another process decides
                await asyncio.sleep(0.1)
        stop.set()
        async with asyncio.timeout(60):
            await worker
        await client.close()

    asyncio.run(scenario())
    rows = lake.read(lambda view: view.rows(view.table("exposure")))
    assert sorted((row["vin"], row["batch"]) for row in rows) == [(VINS[0], 1), (VINS[4], 7)]
    assert len(lake.read(lambda view: view.rows(view.table("faults")))) == 1
    assert {row["reason"]: row["rows"] for row in count_quarantine(conn)} == {
        "vin_mismatch": 1,
        "unknown_vehicle": 1,
        "not_json": 1,
    }
    newest = list_quarantine(conn, source="telemetry")
    assert b"not json" in {row.raw for row in newest}


def test_a_complaints_file_is_imported_once_however_often(conn: Connection, tmp_path: Path) -> None:
    def row(number: str, text: str = "IT BROKE", date: str = "20260101") -> str:
        fields = [""] * 49
        for place, value in (
            (1, "1"),
            (2, number),
            (4, "ACME"),
            (5, "X"),
            (8, date),
            (12, "BRAKES"),
            (20, text),
        ):
            fields[place - 1] = value
        return "\t".join(fields)

    lines = [row("1"), row("2"), row("1"), row("3", date="20261399"), "short", row("4", "a\0b")]
    data = "\r\n".join(lines).encode()
    first = import_complaints(conn, io.BytesIO(data), now=T0, name="a.txt")
    assert (first.rows, first.new, first.duplicates, first.quarantined) == (6, 2, 1, 3)
    again = import_complaints(conn, io.BytesIO(data), now=T0, name="a.txt")
    assert (again.rows, again.new, again.duplicates, again.quarantined) == (6, 0, 3, 3)
    assert len(list_complaints(conn, component="BRAKES")) == 2
    assert list_components(conn)[0]["complaints"] == 2
    refused = {item.locator: item.reason for item in list_quarantine(conn, source="nhtsa")}
    assert refused["a.txt:4"].startswith("date: field 8 is '20261399'")
    assert set(refused) == {"a.txt:4", "a.txt:5", "a.txt:6"}
    with pytest.raises(NotFound):
        import_complaints(conn, tmp_path / "none.txt", now=T0)


SAMPLE = Path(__file__).parents[3] / "shared/data/nhtsa_complaints_sample/nhtsa-complaints.txt"


@pytest.mark.skipif(not SAMPLE.exists(), reason=f"{SAMPLE} is absent")
def test_real_complaints_are_imported(conn: Connection) -> None:
    report = import_complaints(conn, SAMPLE, now=T0)
    assert (report.rows, report.new + report.duplicates, report.quarantined) == (101, 101, 0)


def test_a_rule_accepts_strong_evidence_into_a_change_that_a_person_must_approve(
    conn: Connection, tmp_path: Path
) -> None:
    ids, clock, lake = ScriptedIds(), ScriptedClock(T0), Lake(tmp_path)
    finding = open_one(conn, lake, ids, clock)
    now = clock.at
    weak = AcceptRule(name="rising", log_e_micronats_min=10**9, vehicles_with_fault_min=1)
    assert accept_findings(conn, ids, weak, now=now) == []
    rule = AcceptRule(name="rising", log_e_micronats_min=5_000_000, vehicles_with_fault_min=5)
    (change_id,) = accept_findings(conn, ids, rule, now=now)
    change = get_change(conn, change_id)
    assert (change.state, change.proposed_by, change.ecu) == ("proposed", "rule:rising", finding.ecu)
    with pytest.raises(Forbidden):
        approve_change(conn, ids, change_id=change_id, generation=1, actor="rule:rising", now=now)
    assert accept_findings(conn, ids, rule, now=now) == []
