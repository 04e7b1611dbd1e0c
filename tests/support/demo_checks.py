"""What must be true at the end of a demo, whatever happened on the way."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from ringroad.kernel.facts import FactKind
from ringroad.sim.demo.story import BAD, GOOD
from support.demo_run import Demo, acknowledged_batches, acknowledged_reports, batches_in_lake, journals, rows
from support.gateways import eventually

LANDING_S_MAX = (
    150.0  # seconds until the worker has everything; a message it held when killed comes again after 30
)

HALTED = "SELECT o.verdict, o.measure FROM outcome o JOIN campaign c ON c.id = o.campaign_id WHERE c.state = 'halted'"

TIME = re.compile(r"^ *\d+\.\ds  ", re.MULTILINE)
NUMBERS = (
    (re.compile(r"http://127\.0\.0\.1:\d+"), "http://HERE"),
    (re.compile(r"replanned in \d+ ms"), "replanned in N ms"),
    (re.compile(r"[\d,]+ bytes"), "N bytes"),
    (re.compile(r"lap_[0-9a-z]{26}"), "LAP"),
    (re.compile(r"\d+ vehicles rolled back by"), "N vehicles rolled back by"),
    (re.compile(r"vehicles rolled back \d+"), "vehicles rolled back N"),
    (re.compile(r"replans \d+"), "replans N"),
    (re.compile(r"(before|after) (\(\S+\)) \d+ of \d+ (.*?) in [\d,]+ "), r"\1 \2 N of N \3 in N "),
    (re.compile(r" +[\d.]+ s\b"), " N s"),
    (re.compile(r"\d+ s in all"), "N s in all"),
)
# What is different where SWUpdate is not installed: two vehicles fewer, each with one ECU, one package fewer.
WITHOUT_BOXES = (
    ("34 packages", "33 packages"),
    ("3 packages", "2 packages"),
    ("27 vehicles, 218 ECUs", "25 vehicles, 216 ECUs"),
    ("52 vehicles drive", "50 vehicles drive"),
)


def story_of(lines: list[str]) -> str:
    """Return the transcript without what differs from run to run: times, addresses, ids, some counts."""
    kept = [line for line in lines if not re.search(r"ship +wave \d", line)]  # as often as somebody looked
    text = TIME.sub("", "\n".join(kept).strip() + "\n")
    for pattern, word in NUMBERS:
        text = pattern.sub(word, text)
    return text


def waves_of(run: Demo) -> dict[str, list[str]]:
    """Return who was in the first wave of each campaign, by campaign."""
    found = rows(
        run,
        "SELECT c.name, t.vin FROM campaign c JOIN campaign_target t ON t.plan_id = c.plan_id"
        " WHERE t.wave = 1 ORDER BY 1, 2",
    )
    waves: dict[str, list[str]] = {}
    for row in found:
        waves.setdefault(row["name"], []).append(row["vin"][-3:])
    return waves


def check_campaigns(run: Demo) -> None:
    """The first fix was halted and left on no vehicle; the second is on every vehicle."""
    states = {row["name"]: row["state"] for row in rows(run, "SELECT name, state FROM campaign")}
    assert states == {"first fix": "halted", "second fix": "finished"}
    ended = rows(
        run,
        "SELECT c.name, a.state, count(*) FROM assignment a JOIN campaign c ON c.id = a.campaign_id"
        " GROUP BY 1, 2 ORDER BY 1, 2",
    )
    by_name: dict[str, set[str]] = {}
    for row in ended:
        by_name.setdefault(row["name"], set()).add(row["state"])
    assert by_name["second fix"] == {"installed"}
    assert "rolled_back" in by_name["first fix"]
    assert by_name["first fix"] <= {"rolled_back", "cancelled"}


def check_vehicles(run: Demo, *, native: int, boxes: int) -> None:
    """Every vehicle runs the last release, the newborn ones included."""
    vehicles = rows(
        run,
        "SELECT v.vin, v.gateway, r.version AS release, v.blocked_reason,"
        " (SELECT i.version FROM ecu e JOIN ecu_installed i USING (vin, serial)"
        "  WHERE e.vin = v.vin AND e.name = CASE v.gateway WHEN 'ddi' THEN 'telebox' ELSE 'brake' END) AS runs"
        " FROM vehicle v LEFT JOIN release r ON r.id = v.release_id ORDER BY v.vin",
    )
    assert {(row["release"], row["runs"], row["blocked_reason"]) for row in vehicles} == {
        (GOOD, "1.2.0", None)
    }
    counts = [row["gateway"] for row in vehicles]
    assert (counts.count("native"), counts.count("ddi")) == (native, boxes)


def check_lap(run: Demo) -> None:
    """One lap; what was measured at its end follows from what was observed at its beginning."""
    facts = rows(run, "SELECT id, kind, causes, lap_id, body FROM fact ORDER BY seq")
    laps = {row["lap_id"] for row in facts} - {None}
    assert len(laps) == 1
    by_id = {row["id"]: row for row in facts}
    order = {row["id"]: number for number, row in enumerate(facts)}
    assert all(order[cause] < order[row["id"]] for row in facts for cause in row["causes"])
    (outcome,) = [row for row in facts if row["kind"] == FactKind.OUTCOME_MEASURED and _final(row)]
    kinds = _kinds_behind(by_id, outcome["id"])
    assert kinds >= {
        FactKind.SIGNAL_OBSERVED, FactKind.FINDING_OPENED, FactKind.FINDING_ACCEPTED, FactKind.CHANGE_PROPOSED,
        FactKind.CHANGE_APPROVED, FactKind.RELEASE_CREATED, FactKind.RELEASE_CHECKED, FactKind.RELEASE_SIGNED,
        FactKind.CAMPAIGN_CREATED, FactKind.CAMPAIGN_PLANNED, FactKind.CAMPAIGN_APPROVED, FactKind.CAMPAIGN_STARTED,
        FactKind.CAMPAIGN_FINISHED,
    }  # fmt: skip
    versions = {
        row["body"].get("version")
        for row in facts
        if row["kind"] == FactKind.RELEASE_SIGNED and row["lap_id"]
    }
    assert versions == {BAD, GOOD}
    once = [row["kind"] for row in facts if row["lap_id"] in laps]
    for kind in (FactKind.FINDING_ACCEPTED, FactKind.CHANGE_APPROVED, FactKind.CAMPAIGN_HALTED):
        assert once.count(kind) == 1
    assert once.count(FactKind.CAMPAIGN_STARTED) == once.count(FactKind.RELEASE_SIGNED) == 2


def check_setback(run: Demo) -> None:
    """The halt was the next signal: it opened the finding again; and its vehicles were counted, all recovered."""
    (halted,) = eventually(
        lambda: rows(run, HALTED), within_s=LANDING_S_MAX
    )  # the next one does not wait for it
    facts = rows(run, "SELECT id, kind, causes, body FROM fact ORDER BY seq")
    by_id = {row["id"]: row for row in facts}
    (reopened,) = [row for row in facts if row["kind"] == FactKind.FINDING_REOPENED]
    assert FactKind.CAMPAIGN_HALTED in _kinds_behind(by_id, reopened["id"])
    vehicles = halted["measure"]["vehicles"]
    assert (halted["verdict"], vehicles["not_recovered"], vehicles["unknown"]) == ("recovered", 0, 0)
    assert vehicles["recovered"] > 0


def check_processes(run: Demo, *, apart: int) -> None:
    """The vehicles that are processes of their own took part in the second campaign, and so did the boxes."""
    folders = {path.parent.name for path in (run.folder / "vehicles").glob("*/script.json")}
    assert len(folders) == apart
    second = {
        row["vin"]
        for row in rows(
            run,
            "SELECT a.vin FROM assignment a JOIN campaign c ON c.id = a.campaign_id"
            " WHERE c.name = 'second fix' AND a.state = 'installed'",
        )
    }
    ddi = {row["vin"] for row in rows(run, "SELECT vin FROM vehicle WHERE gateway = 'ddi'")}
    assert folders | ddi <= second
    spoke = {row["vin"] for row in rows(run, "SELECT DISTINCT vin FROM device_report")}
    assert folders | ddi <= spoke


def check_nothing_lost(run: Demo) -> None:
    """Whatever a vehicle was told to be safe is there, once."""
    deadline_s = time.monotonic() + LANDING_S_MAX
    while problems := [*lost_reports(run), *lost_batches(run), *unread_reports(run)]:
        # What the broker holds is safe; it is in the lake when the worker has come to it.
        assert time.monotonic() < deadline_s, problems
        time.sleep(0.5)
    refused = rows(run, "SELECT source, reason, locator FROM quarantine")
    assert not refused, refused
    said_twice = rows(
        run,
        "SELECT vin, action_id, body->>'at' AS at, body->>'state' AS state, body->>'ecu' AS ecu,"
        " body->>'ecu_state' AS ecu_state, body->>'code' AS code FROM device_report"
        " WHERE body ? 'at' GROUP BY 1, 2, 3, 4, 5, 6, 7 HAVING count(*) > 1",
    )
    assert not said_twice, said_twice


def lost_reports(run: Demo) -> list[str]:
    """Return what vehicles were told to be stored and is not."""
    stored: dict[str, set[str]] = {}
    for row in rows(run, "SELECT vin, dedupe_key FROM device_report"):
        stored.setdefault(row["vin"], set()).add(row["dedupe_key"])
    whole, lost = 0, []
    for folder in journals(run):
        wanted = acknowledged_reports(folder)
        whole += bool(wanted)
        missing = set(wanted or ()) - stored.get(folder.name, set())
        lost += [f"{folder.name} lost report {each}" for each in sorted(missing)]
    assert whole >= 12, f"only {whole} journals say something"
    return lost


def unread_reports(run: Demo) -> list[str]:
    """Return reports that are stored and that the reconciler has not come to."""
    waiting = rows(run, "SELECT vin, kind, body FROM device_report WHERE applied_at IS NULL")
    return [f"{row['vin']} waits with {row['kind']} {row['body']}" for row in waiting]


def lost_batches(run: Demo) -> list[str]:
    """Return telemetry that the broker acknowledged and the lake has not, or counts twice."""
    lake, problems = batches_in_lake(run), []
    for folder in journals(run):
        there: Mapping[tuple[int, int], int] = lake.get(folder.name, {})
        holes = set(range(1, acknowledged_batches(folder) + 1)) - {batch for batch, _ in there}
        problems += [f"{folder.name} lost batches {sorted(holes)}"] if holes else []
        doubled = [key for key, times in there.items() if times > 1]
        problems += [f"{folder.name} counted {doubled} twice"] if doubled else []
    return problems


def _final(fact: Mapping[str, Any]) -> bool:
    return bool(fact["body"].get("verdict") == "better")


def _kinds_behind(by_id: Mapping[str, Mapping[str, Any]], start: str) -> set[str]:
    seen, waiting = set(), [start]
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            waiting += by_id[current]["causes"]
    return {by_id[each]["kind"] for each in seen}
