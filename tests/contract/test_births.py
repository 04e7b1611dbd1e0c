"""Vehicles are born once their gates passed them, and carry a signed record of what they were."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ringroad.build import birth, store_birth
from ringroad.build.as_built import TESTS_MAX
from ringroad.build.quality.results import CheckResult
from ringroad.build.quality.store import take_results
from ringroad.http import reading_birth
from ringroad.http.auth import Role
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.storage.db import Connection, connect, transaction
from ringroad.storage.ledger import read_facts
from ringroad.trust.birth import read_record, verify_record
from support.births import (
    CHECKS,
    END,
    STATION,
    born,
    fitted,
    line_with_baseline,
    new_release,
    passed,
    registration,
    started_order,
    who,
)
from support.console_server import add_account, serving
from support.mes import CLOCK, IDS
from support.uptane import Repo

pytestmark = pytest.mark.engines

VIN, OTHER = "WRRDEM121TA000001", "WRRDEM123TA000002"


@pytest.fixture
def conn(pg_url: str) -> Iterator[Connection]:
    with connect(pg_url) as opened:
        yield opened


def test_a_birth_leaves_one_signed_record_of_parts_checks_software_and_rxswin(conn: Connection) -> None:
    director = Repo("director", vin=VIN)
    root = director.put_root(1, expires=datetime(2030, 1, 1, tzinfo=UTC))
    with transaction(conn):
        release = line_with_baseline(conn)
        order = born(
            conn, VIN, parts=[("battery", "B-17"), ("tow hook", "H-2")], failed_first=["torque"],
            signer=director.signers("targets")[0],
        )  # fmt: skip
    found = store_birth.get_birth(conn, VIN)
    signed = verify_record(found.raw, director_root=root, vin=VIN).signed
    assert (signed["order"], signed["release"]["id"], signed["rxswins"]) == (
        order,
        release,
        {"braking": "R13H-0042"},
    )
    assert [(p["part"], p["lot"], p["station"]) for p in signed["parts"]] == [
        ("battery", "B-17", STATION), ("tow hook", "H-2", STATION),
    ]  # fmt: skip
    assert {t["check"]: t["failed_before"] for t in signed["tests"]} == {
        "leak": 0,
        "torque": 1,
        "software": 0,
    }
    assert [(e["name"], e["version"]) for e in signed["ecus"]] == [("gateway", "1.0"), ("brake", "1.0")]
    assert signed["plant"]["id"] == "wren-mother"
    (fact,) = read_facts(conn, subject=VIN)
    assert (fact.kind, fact.body["birth_record_sha256"]) == (FactKind.VEHICLE_BORN, found.record.sha256)


def test_a_vehicle_that_its_gate_did_not_pass_is_not_born_and_its_order_waits(conn: Connection) -> None:
    with transaction(conn):
        line_with_baseline(conn)
        order = started_order(conn)

    def register(tests: list[Any]) -> None:
        with transaction(conn):
            given = registration(conn, VIN, order_id=order, as_built=birth.AsBuilt(tests=tests))
            birth.register_vehicle(conn, IDS, **given)

    with pytest.raises(
        Conflict, match="'torque' of gate 'end of line' at flash_and_test is missing"
    ) as missing:
        register(passed(checks=["leak", "software"]))
    assert missing.value.code == "end_of_line"
    with pytest.raises(Conflict, match="'leak' of gate 'end of line' at flash_and_test failed"):
        register(passed(failing=["leak"]))
    with pytest.raises(InvalidInput, match="made in the future"):
        register(passed(at=CLOCK.now() + timedelta(hours=1)))
    with pytest.raises(NotFound, match="no vehicle"):
        store_birth.get_birth(conn, VIN)
    assert read_facts(conn, subject=VIN) == []
    register(passed())
    assert store_birth.get_birth(conn, VIN).record.key_ids == ()  # this server has no keys


def test_what_stations_said_counts_at_the_end_of_the_line(conn: Connection) -> None:
    with transaction(conn):
        line_with_baseline(conn)
        order = started_order(conn)
        results = [
            CheckResult(id=check, vehicle=order, station=END, check=check, passed=check != "leak", at=CLOCK.now(),
                        lots={"axle": "A-9"})
            for check in CHECKS
        ]  # fmt: skip
        assert not take_results(conn, programme_id="wren", delivered=results, **who()).refused
        given = registration(conn, VIN, order_id=order)
        with (
            pytest.raises(Conflict, match="check 'leak' of gate 'end of line' at flash_and_test failed"),
            conn.transaction(),
        ):
            birth.register_vehicle(conn, IDS, **given)
    with transaction(conn):
        built = birth.AsBuilt(tests=passed(checks=["leak"]))  # repaired, and checked at the end of the line
        birth.register_vehicle(conn, IDS, **registration(conn, VIN, order_id=order, as_built=built))
    signed = store_birth.get_birth(conn, VIN).record.signed
    tests = {t["check"]: t["failed_before"] for t in signed["tests"]}
    assert [(p["part"], p["lot"], p["station"]) for p in signed["parts"]] == [("axle", "A-9", END)]
    assert tests == {"leak": 1, "torque": 0, "software": 0}


def test_of_two_results_at_the_same_time_the_later_one_decides(conn: Connection) -> None:
    with transaction(conn):
        line_with_baseline(conn)
        order, now = started_order(conn), CLOCK.now()
        results = [
            CheckResult(
                id=f"{check}-{ok}", vehicle=order, station=END, check=check, passed=ok, at=now, lots={}
            )
            for check in CHECKS
            for ok in ((True, False) if check == "leak" else (True,))
        ]
        assert not take_results(conn, programme_id="wren", delivered=results, **who()).refused
        with pytest.raises(Conflict, match="check 'leak' of gate 'end of line' at flash_and_test failed"):
            birth.register_vehicle(conn, IDS, **registration(conn, VIN, order_id=order))


def test_a_failure_is_seen_behind_any_number_of_newer_results_of_another_check(conn: Connection) -> None:
    with transaction(conn):
        line_with_baseline(conn)
        order, at = started_order(conn), CLOCK.now()
        failed = CheckResult(
            id="leak", vehicle=order, station=END, check="leak", passed=False, at=at, lots={}
        )
        assert not take_results(conn, programme_id="wren", delivered=[failed], **who()).refused
        conn.execute(
            "INSERT INTO station_result (programme_id, event_id, plant_id, station, gate, check_name, vehicle, order_id,"
            " variant, software, lots, passed, attempt, at, told_at, told_by)"
            " SELECT programme_id, 'torque ' || n, plant_id, station, gate, 'torque', vehicle, order_id, variant,"
            " software, lots, true, n, at + n * interval '1 ms', told_at, told_by"
            " FROM station_result CROSS JOIN generate_series(1, %s) AS n",
            (TESTS_MAX + 1,),
        )
        built = birth.AsBuilt(tests=passed(checks=["software"]))
        with pytest.raises(Conflict, match="check 'leak' of gate 'end of line' at flash_and_test failed"):
            birth.register_vehicle(conn, IDS, **registration(conn, VIN, order_id=order, as_built=built))


def test_a_vehicle_takes_no_order_of_another_programme_or_variant(conn: Connection) -> None:
    with transaction(conn):
        line_with_baseline(conn)
        order = started_order(conn)
        conn.execute(
            'INSERT INTO programme SELECT (jsonb_populate_record(p, \'{"id": "owl"}\')).* FROM programme p'
        )
    given = registration(conn, VIN, order_id=order, as_built=birth.AsBuilt(tests=passed()))
    for change, word in [
        (("wren", "bus"), "is of variant bus, not van"),
        (("owl", "van"), "is not open or building"),
    ]:
        with transaction(conn):
            conn.execute(
                "UPDATE plant_order SET (programme_id, variant) = (%s, %s) WHERE id = %s", (*change, order)
            )
        with pytest.raises(Conflict, match=word), transaction(conn):
            birth.register_vehicle(conn, IDS, **given)


def test_a_part_that_cannot_be_keeps_its_vehicle_from_being_born(conn: Connection) -> None:
    with transaction(conn):
        line_with_baseline(conn)
        born(conn, OTHER, parts=[("battery", "B-17")])
        order = started_order(conn)
    for part, word in [
        (fitted(order, "L", part="tow_bar"), "never ordered it"),
        (fitted(order, "L", station="roof"), "no station 'roof'"),
        (fitted(order, "L", fitted_at=CLOCK.now() + timedelta(hours=1)), "in the future"),
    ]:
        built = birth.AsBuilt(parts=[part], tests=passed())
        given = registration(conn, VIN, order_id=order, as_built=built)
        with pytest.raises(InvalidInput, match=word), conn.transaction():
            birth.register_vehicle(conn, IDS, **given)
    assert read_facts(conn, subject=VIN) == []


def test_rxswins_of_the_birth_stand_beside_those_of_the_updates_since(conn: Connection) -> None:
    with transaction(conn):
        line_with_baseline(conn, rxswins={"braking": "R13H-0042", "steering": "R79-0007"})
        born(conn, VIN)
        newer = new_release(conn, "1.1", counter=2, rxswins={"braking": "R13H-0043"})
        conn.execute(
            "INSERT INTO campaign (id, name, release_id, state, created_by, created_at)"
            " VALUES ('c1', 'c', %s, 'finished', 'x', now())",
            (newer,),
        )
        conn.execute(
            "INSERT INTO assignment (campaign_id, vin, kind, wave, state, finished_at)"
            " VALUES ('c1', %s, 'update', 1, 'installed', now())", (VIN,),
        )  # fmt: skip
    found = reading_birth.birth(conn, VIN)
    assert found.record["rxswins"] == {"braking": "R13H-0042", "steering": "R79-0007"}
    assert found.rxswins_now == {"braking": "R13H-0043", "steering": "R79-0007"}
    assert found.release_now == "1.1"


def test_parts_are_told_over_the_api_and_the_record_is_read_there(
    conn: Connection, pg_url: str, tmp_path: Path
) -> None:
    with transaction(conn):
        line_with_baseline(conn)
        born(conn, OTHER)
        conn.execute("DELETE FROM birth_record")  # a vehicle from before records were kept
        order = started_order(conn)
        early = CLOCK.now()
    token, viewer = add_account(pg_url, "olga", Role.OPERATOR), add_account(pg_url, "vera", Role.VIEWER)
    part = {"id": "e1", "station": STATION, "part": "battery", "lot": "B-17", "fitted_at": early.isoformat()}
    with (
        serving(pg_url, tmp_path) as origin,
        httpx.Client(base_url=f"{origin}/api/v1", headers={"Authorization": f"Bearer {token}"}) as client,
    ):

        def tell(*parts: dict[str, Any]) -> httpx.Response:
            return client.post("/programmes/wren/built-parts", json={"parts": parts})

        assert tell(part | {"order_id": order}).json() == {"taken": 1, "known": 0, "refused": []}
        assert tell(part | {"order_id": order}).json() == {"taken": 0, "known": 1, "refused": []}
        answer = tell(
            part | {"order_id": order, "lot": "B-18"},
            part | {"id": "e2", "vin": VIN},
            part | {"id": "e3", "order_id": "order_none"},
            part | {"id": "e4", "order_id": order, "part": "tow_bar"},
        ).json()
        assert (answer["taken"], [each["id"] for each in answer["refused"]]) == (0, ["e1", "e2", "e3", "e4"])
        assert f"no vehicle has the VIN {VIN}" in answer["refused"][1]["reason"]
        assert tell(part).status_code == 422  # neither order nor VIN
        asked = client.get("/programmes/wren/end-of-line").json()
        assert [each["check"] for each in asked["checks"]] == list(CHECKS)
        assert asked["rxswins"] == {"braking": "R13H-0042"}
        with transaction(conn):
            birth.register_vehicle(
                conn, IDS, **registration(conn, VIN, order_id=order, as_built=birth.AsBuilt(tests=passed()))
            )
        late = tell(part | {"id": "late", "vin": VIN, "part": "mirror", "lot": "M-1"})
        assert late.json()["taken"] == 1
        assert tell(
            part | {"id": "e9", "vin": VIN, "fitted_at": (CLOCK.now() + timedelta(seconds=4)).isoformat()}
        ).json()
        found = client.get(f"/vehicles/{VIN}/birth", headers={"Authorization": f"Bearer {viewer}"}).json()
        assert [each["lot"] for each in found["record"]["parts"]] == ["B-17"]
        assert [each["lot"] for each in found["later_parts"]][:1] == ["M-1"]
        assert read_record(found["envelope"].encode()).sha256 == found["sha256"]
        none = client.get(f"/vehicles/{OTHER}/birth")
        assert (none.status_code, _code(none)) == (404, "no_birth_record")
        assert _code(client.get("/vehicles/WRRDEM125TA000003/birth")) == "not_found"


def _code(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["code"])
