"""Results of checks come through the stream and over the API, once, or are refused one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from ringroad.build import birth
from ringroad.build.plant.read import read_plant
from ringroad.build.plant.store import save_plant
from ringroad.build.plant.store_events import list_refused
from ringroad.build.quality import store, store_gates, store_watch
from ringroad.build.quality.periods import BEHIND_LONG, first_of, period_of
from ringroad.build.quality.results import KEPT_DAYS, CheckResult
from ringroad.build.quality.store_draw import choose_for
from ringroad.build.store_birth import line_of_programme
from ringroad.build.store_plant import start_order
from ringroad.build.store_trace import Claim, take_claims
from ringroad.http.auth import Role
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.loop.mes import land_events
from ringroad.loop.quality import look_at_results
from ringroad.protocol.mes import MesEvent
from ringroad.signal.store import get_finding
from ringroad.storage.db import Connection, connect, transaction
from ringroad.storage.ledger import latest_fact, read_facts
from ringroad.storage.streams import StreamMessage
from support.births import END, PLANT, line_with_baseline, registration, started_order, who
from support.console_server import add_account, serving
from support.mes import CLOCK, IDS, new_order, wren

pytestmark = pytest.mark.engines


@pytest.fixture
def conn(pg_url: str) -> Iterator[Connection]:
    with connect(pg_url) as opened:
        with transaction(opened):
            wren(opened)
        yield opened


def started(conn: Connection) -> str:
    with transaction(conn):
        order_id = new_order(conn)
        start_order(conn, IDS, order_id=order_id, actor="tester", now=CLOCK.now())
    return order_id


def message(seq: int, sent: MesEvent) -> StreamMessage:
    payload = msgspec.json.encode(sent)
    return StreamMessage(
        subject="ringroad.mes.v1.wren", payload=payload, seq=seq, received_at=sent.at + timedelta(seconds=1)
    )


def take(conn: Connection, *results: CheckResult, programme_id: str = "wren") -> Any:
    with transaction(conn):
        return store.take_results(
            conn, programme_id=programme_id, delivered=results, actor="tester", now=CLOCK.now()
        )


def passes(conn: Connection) -> list[tuple[Any, ...]]:
    rows = conn.execute(
        "SELECT station, vehicle, lots, at_once, number FROM station_pass ORDER BY station, number"
    )
    return [tuple(row.values()) for row in rows]


def test_a_result_through_the_stream_knows_the_lots_that_went_in_before(conn: Connection) -> None:
    with transaction(conn):
        one = new_order(conn)
    now = CLOCK.now()

    def event(number: int, kind: Any, **more: Any) -> StreamMessage:
        at = now + timedelta(milliseconds=number)
        sent = MesEvent(id=f"e{number}", kind=kind, station="marriage", at=at, order_id=one, **more)
        return message(number, sent)

    told = [
        event(1, "entered"),
        event(2, "used", part="battery", lot="B-16"),
        event(3, "used", part="battery", lot="B-17"),
        event(4, "used", part="harness", lot="H-2"),
        event(5, "result", check="torque", passed=False),
        event(6, "result", check="torque", passed=True, software="1.9.0"),
        event(7, "result", check="torque"),
    ]
    land_events(conn, IDS, CLOCK, told)
    land_events(conn, IDS, CLOCK, told)  # delivered again
    found = store.list_results(conn, "wren", vehicle=one)
    assert {(each.id, each.outcome, each.attempt, each.software) for each in found} == {
        ("e5", "failed", 1, ""), ("e6", "reworked", 2, "1.9.0"),
    }  # fmt: skip
    assert found[0].lots == {"battery": "B-17", "harness": "H-2"}
    assert [each.code for each in list_refused(conn, "wren")] == ["incomplete"]
    assert passes(conn) == [("marriage", one, found[0].lots, False, 0)]


def test_a_result_that_contradicts_the_record_is_kept_among_refused_events(conn: Connection) -> None:
    one = started(conn)
    at = CLOCK.now()
    take(conn, CheckResult(id="r1", vehicle=one, station="marriage", check="torque", passed=True, at=at))
    land_events(
        conn, IDS, CLOCK,
        [
            message(1, MesEvent(id="m1", kind="entered", station="marriage", at=at, order_id=one)),
            message(2, MesEvent(
                id="r1", kind="result", station="marriage", at=at, order_id=one, check="torque", passed=False,
            )),
        ],
    )  # fmt: skip
    (refused,) = list_refused(conn, "wren")
    assert refused.code == "contradiction"
    assert "event r1 was torque of" in refused.reason
    assert len(store.list_results(conn, "wren")) == 1


def test_a_vehicle_passes_a_station_at_once_only_if_no_check_there_failed_first(conn: Connection) -> None:
    at = CLOCK.now()

    def result(vehicle: str, check: str, *, passed: bool, after_s: int, lots: dict[str, str]) -> CheckResult:
        return CheckResult(
            id=f"{vehicle}{check}{after_s}", vehicle=vehicle, station="marriage", check=check, passed=passed,
            at=at - timedelta(seconds=60 - after_s), variant="van", lots=lots,
        )  # fmt: skip

    found = take(
        conn,
        result("x1", "torque", passed=True, after_s=0, lots={"a": "1"}),
        result("x2", "torque", passed=False, after_s=2, lots={}),
        result("x2", "torque", passed=True, after_s=3, lots={}),
        result("x3", "torque", passed=True, after_s=4, lots={}),
    )
    assert len(found.taken) == 4
    take(conn, result("x1", "paint", passed=False, after_s=5, lots={"b": "2"}))
    assert passes(conn) == [
        ("marriage", "x1", {"a": "1", "b": "2"}, False, 0),
        ("marriage", "x2", {}, False, 1),
        ("marriage", "x3", {}, True, 2),
    ]


def built(conn: Connection, first: int, count: int, *, bad: Callable[[int], bool], **more: Any) -> None:
    """Tell results of vehicles that were built elsewhere, each of one check."""
    at = CLOCK.now() - timedelta(hours=1)
    for start in range(first, first + count, 500):
        found = take(
            conn,
            *(
                CheckResult(
                    id=f"r{number}", vehicle=f"x{number}", variant="van",
                    passed=not bad(number), at=at + timedelta(seconds=number),
                    **({"station": "marriage", "check": "torque", "lots": {"battery": f"B-{number % 2}"}, "software": "1.0"} | more),
                )
                for number in range(start, min(start + 500, first + count))
            ),
        )  # fmt: skip
        assert not found.refused


def test_passes_are_forgotten_with_their_results_but_for_those_that_alarms_compare(conn: Connection) -> None:
    with transaction(conn):
        conn.execute(
            "INSERT INTO station_pass SELECT 'wren', 'marriage', 'x' || number, 'wren', 'van', '', '{}', true, number, period,"
            " %s FROM unnest(%s::bigint[], %s::integer[]) AS n (number, period)",
            [
                CLOCK.now() - timedelta(days=KEPT_DAYS + 1), list(range(3_250)),
                [period_of(number) for number in range(3_250)],
            ],
        )  # fmt: skip
    built(conn, 5, 1, bad=lambda _: False)
    with transaction(conn):
        store.forget(conn, "wren", now=CLOCK.now())
    kept = [number for *_, number in passes(conn)]
    newest = period_of(3_249) - 1  # of which the first block is not full: the one before it is looked at
    assert kept == [5, *range(first_of(newest - BEHIND_LONG), 3_250)]
    assert kept[1] == 100
    built(conn, 3_300, 1, bad=lambda _: False)
    assert passes(conn)[-1][-1] == 3_250


def numbers(conn: Connection) -> dict[tuple[str, str, int], int]:
    """Return the numbers of what is watched at marriage."""
    rows = conn.execute("SELECT kind, value, period, number FROM quality_watch WHERE station = 'marriage'")
    return {(row["kind"], row["value"], row["period"]): row["number"] for row in rows}


def test_an_alarm_is_a_fact_stands_once_and_what_it_told_is_over_when_it_closes(conn: Connection) -> None:
    built(conn, 0, 400, bad=lambda number: number % 50 == 0)
    seen: dict[str, dict[str, int]] = {}
    assert look_at_results(conn, IDS, CLOCK, seen) == []
    built(conn, 400, 200, bad=lambda number: number % 6 == 1, lots={"battery": "B-9"})
    (alarm,) = look_at_results(conn, IDS, CLOCK, seen)
    assert (alarm.station, alarm.kind, alarm.value, alarm.finding_id) == (
        "marriage",
        "lot",
        "battery=B-9",
        None,
    )
    fact = latest_fact(conn, kind=FactKind.QUALITY_ALARMED, subject=alarm.id)
    assert fact is not None
    assert (fact.body["failed"], fact.body["station"]) == (33, "marriage")
    assert look_at_results(conn, IDS, CLOCK, seen) == []
    assert look_at_results(conn, IDS, CLOCK, {}) == [], "after a restart of the worker too"
    with transaction(conn), pytest.raises(InvalidInput, match="closed with a reason"):
        store_watch.close_alarm(conn, IDS, alarm_id=alarm.id, reason=" ", actor="olga", now=CLOCK.now())
    with transaction(conn):
        before = numbers(conn)
        store_watch.close_alarm(
            conn, IDS, alarm_id=alarm.id, reason="sent back", actor="olga", now=CLOCK.now()
        )
    after, newest = numbers(conn), max(period for _, _, period in before)
    assert {key for key in before if after[key] == before[key]} == {key for key in before if key[2] < newest}
    assert len(before) < max(after.values()) <= 2 * len(before), "a share of the bound is spent once"
    with transaction(conn), pytest.raises(Conflict, match="is closed"):
        store_watch.close_alarm(conn, IDS, alarm_id=alarm.id, reason="again", actor="olga", now=CLOCK.now())
    assert look_at_results(conn, IDS, CLOCK, {}) == []
    with transaction(conn), pytest.raises(NotFound):
        store_watch.get_alarm(conn, "alarm_none")


def test_a_bad_lot_alarms_also_where_its_period_ended_between_two_looks(conn: Connection) -> None:
    seen: dict[str, dict[str, int]] = {}
    built(conn, 0, 300, bad=lambda number: number % 50 == 0)
    assert look_at_results(conn, IDS, CLOCK, seen) == []
    built(conn, 300, 100, bad=lambda number: number % 50 == 0)
    built(conn, 400, 80, bad=lambda number: number % 4 == 1, lots={"battery": "L-BAD"})
    built(conn, 480, 1200, bad=lambda number: number % 50 == 0)
    (alarm,) = look_at_results(conn, IDS, CLOCK, seen)
    assert (alarm.kind, alarm.value) == ("lot", "battery=L-BAD")
    assert {period for _, _, period in numbers(conn)} == {1, 2, 3, 4, 5}
    assert look_at_results(conn, IDS, CLOCK, {}) == []


def test_a_long_backlog_is_looked_at_some_periods_at_a_time_and_to_its_end(
    conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_watch, "PERIODS_MAX", 2)
    built(conn, 0, 400, bad=lambda number: number % 50 == 0)
    built(conn, 400, 80, bad=lambda number: number % 4 == 1, lots={"battery": "L-BAD"})
    built(conn, 480, 340, bad=lambda number: number % 50 == 0)
    seen: dict[str, dict[str, int]] = {}
    assert look_at_results(conn, IDS, CLOCK, seen) == []
    (alarm,) = look_at_results(conn, IDS, CLOCK, seen)
    assert alarm.value == "battery=L-BAD"
    assert seen == {"wren": {"marriage": 41}}


def test_orders_of_vehicles_are_found_by_vin_with_an_index(conn: Connection) -> None:
    conn.execute("SET enable_seqscan = off")  # which few rows would have
    plan = conn.execute(
        f"EXPLAIN {store.SQL.orders_of_vehicles.sql}", {"programme_id": "wren", "vehicles": ["V"]}
    )
    assert "plant_order_vin_idx" in str(plan.fetchall())
    conn.rollback()


class Later:
    """The clock, some time later."""

    def __init__(self, **ahead: float) -> None:
        self.ahead = timedelta(**ahead)

    def now(self) -> datetime:
        return CLOCK.now() + self.ahead

    def monotonic_s(self) -> float:
        return CLOCK.monotonic_s() + self.ahead.total_seconds()


def told_late(conn: Connection) -> dict[str, dict[str, int]]:
    """Build 1,000 vehicles whose leak check was cut off, look, and hear it: one lot, whose period is over, leaks."""
    built(conn, 0, 400, bad=lambda number: number % 50 == 0)
    built(conn, 400, 80, bad=lambda number: number % 50 == 0, lots={"battery": "L-BAD"})
    built(conn, 480, 520, bad=lambda number: number % 50 == 0)
    seen: dict[str, dict[str, int]] = {}
    assert look_at_results(conn, IDS, CLOCK, seen) == []
    at = CLOCK.now() - timedelta(minutes=30)
    for start in range(0, 1_000, 500):
        take(
            conn,
            *(
                CheckResult(
                    id=f"l{number}", vehicle=f"x{number}", variant="van", station="marriage", check="leak", software="1.0",
                    passed=not (400 <= number < 480 and number % 4 == 1), at=at + timedelta(seconds=number),
                )
                for number in range(start, start + 500)
            ),
        )  # fmt: skip
    return seen


def test_results_that_come_after_their_period_was_looked_at_alarm_once_all_are_there(
    conn: Connection,
) -> None:
    seen = told_late(conn)
    before = numbers(conn)
    assert look_at_results(conn, IDS, CLOCK, seen) == [], "more of them may be on their way"
    later = Later(seconds=store_watch.QUIET_S + 60)
    (alarm,) = look_at_results(conn, IDS, later, seen)
    assert (alarm.station, alarm.kind, alarm.value) == ("marriage", "lot", "battery=L-BAD")
    after = numbers(conn)
    changed = {key for key in before if after[key] != before[key]}
    assert {period for _, _, period in changed} == {period_of(400)}
    assert min(after[key] for key in changed) > max(before.values()), "another share of the bound"
    assert look_at_results(conn, IDS, later, seen) == []
    assert look_at_results(conn, IDS, later, {}) == []
    assert numbers(conn) == after, "once"


def test_late_results_of_the_newest_period_need_no_other_share_and_late_ones_for_ever_wait_a_day(
    conn: Connection,
) -> None:
    seen = told_late(conn)
    at, before = CLOCK.now() - timedelta(minutes=1), numbers(conn)
    late = CheckResult(
        id="again", vehicle="x999", variant="van", station="marriage", check="seal", software="1.0", passed=False, at=at
    )  # fmt: skip
    take(conn, late)
    with transaction(conn):
        conn.execute("UPDATE quality_late SET first_at = first_at - interval '1 day'")
    (alarm,) = look_at_results(conn, IDS, Later(seconds=60), seen)
    assert alarm.value == "battery=L-BAD"
    newest = max(period for _, _, period in before)
    after = numbers(conn)
    assert {key: after[key] for key in before if key[2] == newest} == {
        key: before[key] for key in before if key[2] == newest
    }


def test_an_alarm_about_a_software_version_opens_a_finding_in_a_lap_of_its_own(conn: Connection) -> None:
    built(conn, 0, 400, bad=lambda number: number % 50 == 0)
    built(conn, 400, 200, bad=lambda number: number % 5 == 1, software="2.0")
    (alarm,) = look_at_results(conn, IDS, CLOCK, {})
    assert (alarm.kind, alarm.value) == ("software", "2.0")
    (kept,) = store_watch.list_alarms(conn, "wren")
    finding = get_finding(conn, kept.finding_id or "")
    assert (finding.state, finding.software_version, finding.fault_code) == (
        "open",
        "2.0",
        "FIRST-PASS marriage",
    )
    facts = read_facts(conn, lap_id=finding.lap_id)
    assert {each.kind for each in facts} == {FactKind.SIGNAL_OBSERVED, FactKind.FINDING_OPENED}


def test_too_many_at_once_and_a_programme_that_is_not_there_are_refused(conn: Connection) -> None:
    one = CheckResult(
        id="r", vehicle="x", station="marriage", check="c", passed=True, at=CLOCK.now(), variant="van"
    )
    with pytest.raises(InvalidInput, match="1001 results, limit 1000"):
        take(conn, *[one] * 1_001)
    with pytest.raises(NotFound):
        take(conn, one, programme_id="nowhere")


def test_results_over_the_api_are_taken_or_refused_one_by_one(
    pg_url: str, conn: Connection, tmp_path: Path
) -> None:
    one, at = started(conn), datetime.now(CLOCK.now().tzinfo)
    body = {"vehicle": one, "station": "marriage", "check": "torque", "at": at.isoformat()}
    told = [
        {**body, "id": "r1", "passed": False, "lots": {"battery": "B-17"}},
        {**body, "id": "r2", "passed": True},
        {**body, "id": "r3", "passed": True, "station": "roof"},
        {**body, "id": "r4", "passed": True, "at": (at + timedelta(hours=1)).isoformat()},
        {
            **body,
            "id": "r5",
            "passed": True,
            "vehicle": "x9",
            "variant": "van",
            "at": "0001-01-01T00:00:00+01:00",
        },
    ]
    token = add_account(pg_url, "olga", Role.OPERATOR)
    with serving(pg_url, tmp_path) as origin:
        with httpx.Client(
            base_url=f"{origin}/api/v1/programmes/wren", headers={"Authorization": f"Bearer {token}"}
        ) as client:
            answer = client.post("/station-results", json={"results": told}).json()
            assert (answer["taken"], answer["repeated"]) == (2, 0)
            reasons = [each["reason"] for each in answer["refused"]]
            assert "the line has no station 'roof'" in reasons[0]
            assert "in the future: set the station's clock" in reasons[1]
            assert "was more than 1100 days ago" in reasons[2]
            again = client.post("/station-results", json={"results": told[:2]}).json()
            assert (again["taken"], again["repeated"]) == (0, 2)
            rows = client.get("/station-results", params={"vehicle": one}).json()
            assert [(each["outcome"], each["lots"]) for each in rows] == [
                ("reworked", {}), ("failed", {"battery": "B-17"}),
            ]  # fmt: skip
            assert client.post("/station-results", json={"results": []}).status_code == 400
            yields = client.get("/yields").json()
            (station,) = [each for each in yields["levels"] if each["kind"] == "station"]
            assert (station["vehicles"], station["failed"]) == (1, 1)
            assert station["low"] < station["first_pass"] < station["high"]
            assert client.get("/quality-alarms").json() == []
            assert (
                client.post(f"{origin}/api/v1/quality-alarms/none/close", json={"reason": "x"}).status_code
                == 404
            )
            unknown = client.post("/station-results", json={"results": [{**told[0], "colour": "red"}]})
            assert unknown.status_code == 400


COSTS = 'checks = ["leak", "torque", "software"]\ninspect_cost = 1\nescape_cost = 40'


def gates(conn: Connection) -> store_gates.JudgedGate:
    (found,) = store_gates.judge_gates(conn, "wren", now=CLOCK.now())
    return found


def test_a_claim_of_the_field_moves_the_gate_that_should_have_caught_it(pg_url: str, tmp_path: Path) -> None:
    with connect(pg_url) as conn:
        with transaction(conn):
            line_with_baseline(conn)
            assert store_gates.judge_gates(conn, "wren", now=CLOCK.now())[0].costs is None
            changed = read_plant(PLANT.replace('checks = ["leak", "torque", "software"]', COSTS))
            save_plant(conn, IDS, plant=changed, generation=1, **who())
        built(conn, 0, 300, bad=lambda number: number % 75 == 0, station=END, check="leak", lots={})
        found = gates(conn)
        assert (found.record.inspected, found.record.refused, found.record.left) == (300, 4, 300)
        assert (found.proposal.inspect_permille, found.proposal.changes) == (50, True)
        with transaction(conn), pytest.raises(Conflict, match="at generation 2"):
            rate(conn, generation=1)
        with transaction(conn), pytest.raises(NotFound, match="no gate 'roof gate'"):
            rate(conn, generation=2, gate="roof gate")
        with transaction(conn):
            assert rate(conn, generation=2).generation == 3
        found = gates(conn)
        assert found.record.inspect_permille == 50
        assert found.decided is not None
        assert "4 of 300 inspected refused, 0 of 300 escaped; as proposed" in found.decided.origin.evidence
        vins = [f"WRRDEM12XTA{number:06d}" for number in range(8)]
        with transaction(conn):
            line = line_of_programme(conn, "wren")
            for vin in vins:  # not one of them was looked at
                given = registration(conn, vin, order_id=unseen_order(conn))
                birth.register_vehicle(conn, IDS, **given, as_built=birth.AsBuilt(parts=[], tests=[]))
            claims = [
                Claim(id=vin, vin=vin, part="brake", fault_code="software", occurred_at=CLOCK.now())
                for vin in vins
            ]
            assert {each.told for each in take_claims(conn, line, claims, **who())} == {"taken"}
        moved = gates(conn)
        assert (moved.record.slipped, moved.record.missed) == (8, 0)
        assert moved.record.escapes.fails > found.record.escapes.fails
        assert (moved.proposal.inspect_permille, moved.proposal.changes) == (1000, True)
        with conn.transaction(force_rollback=True):  # had it looked at all of them, at three by chance
            conn.execute(
                "INSERT INTO station_result (programme_id, event_id, plant_id, station, gate, check_name, vehicle,"
                " order_id, variant, software, lots, passed, attempt, at, told_at, told_by)"
                " SELECT 'wren', id, 'wren-mother', %(station)s, %(gate)s, 'leak', id, id, variant, '1.0', '{}', true, 1,"
                " %(now)s, %(now)s, 'mes' FROM plant_order WHERE vin = ANY(%(vins)s)",
                {
                    "station": moved.record.station,
                    "gate": moved.record.gate,
                    "vins": vins,
                    "now": CLOCK.now(),
                },
            )
            conn.execute(
                "UPDATE gate_draw SET inspect = true, permille = CASE WHEN o.vin = ANY(%s) THEN 50 ELSE 1000 END"
                " FROM plant_order o WHERE o.id = order_id AND o.vin = ANY(%s)",
                (vins[:3], vins),
            )
            looked = gates(conn).record
            assert (looked.slipped, looked.missed, looked.missed_named) == (0, 8, 5)
            assert (looked.inspected, looked.refused) == (303, 4)
        operator, approver = (
            {"Authorization": f"Bearer {add_account(pg_url, name, role)}"}
            for name, role in (("olga", Role.OPERATOR), ("anna", Role.APPROVER))
        )
        with (
            serving(pg_url, tmp_path) as origin,
            httpx.Client(base_url=f"{origin}/api/v1/programmes/wren") as client,
        ):
            (row,) = client.get("/gates", headers=operator).json()
            wanted = {
                "station": row["station"], "gate": row["gate"], "generation": row["generation"],
                "inspect_permille": row["proposed_permille"], "reason": "they come back",
            }  # fmt: skip
            assert client.post("/gates/rate", json=wanted, headers=operator).status_code == 403
            (after,) = client.post("/gates/rate", json=wanted, headers=approver).json()
            assert (after["inspect_permille"], after["changes"]) == (1000, False)
            assert client.post("/gates/rate", json=wanted, headers=approver).status_code == 409
            plants = f"{origin}/api/v1/plants"
            generation = client.get(f"{plants}/wren-mother", headers=approver).json()["generation"]
            fewer = {"source": PLANT.replace('"leak", ', ""), "generation": generation}
            assert (
                client.post(plants, json=fewer | {"lower_gates": True}, headers=operator).status_code == 403
            )
            refused = client.post(plants, json=fewer, headers=approver)
            assert refused.status_code == 409, "vehicles came back that this gate had let pass"
            assert refused.json()["error"]["code"] == "gates_lowered", "which reading again does not help"
            assert "does not check leak any more, and 8 vehicles that it let pass came back" in refused.text
            taken = client.post(plants, json=fewer | {"lower_gates": True}, headers=approver).json()
            says = [f"gate {row['gate']!r} at {row['station']!r} does not check leak any more"]
            assert taken["looks_at_less"] == says
            (*_, fact) = read_facts(conn, subject="wren-mother")
            assert fact.body["looks_at_less"] == says


def unseen_order(conn: Connection) -> str:
    """Start an order that the gate lets pass unseen."""
    for _ in range(100):
        order_id = started_order(conn)
        (chosen,) = choose_for(conn, IDS, programme_id="wren", order_id=order_id, station=END, **who())
        if not chosen.inspect:
            return order_id
    raise AssertionError("a gate of 50 in 1,000 looked at each of 100 vehicles")


def rate(conn: Connection, *, generation: int, gate: str = "end of line") -> Any:
    return store_gates.set_rate(
        conn, IDS, programme_id="wren", station=END, gate=gate, inspect_permille=50, generation=generation,
        reason="as proposed", **who(),
    )  # fmt: skip
