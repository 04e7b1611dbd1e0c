"""Faults and claims of the field lead back to lot, station, software and gate, and to everybody who has the lot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ringroad.build import store_trace
from ringroad.build.quality.results import CheckResult
from ringroad.build.quality.store import take_results
from ringroad.build.store_birth import line_of_programme, take_parts
from ringroad.build.store_trace import Claim
from ringroad.http.auth import Role
from ringroad.kernel.errors import InvalidInput, NotFound
from ringroad.storage.db import Connection, connect, transaction
from ringroad.storage.lake import FaultRow, Lake, Rows, to_us
from ringroad.storage.settings import Settings
from support.births import END, STATION, born, fitted, line_with_baseline, started_order, who
from support.console_server import add_account, serving
from support.mes import CLOCK

pytestmark = pytest.mark.engines

VINS = [f"WRRDEM12XTA{number:06d}" for number in range(20)]
BAD = VINS[:5]  # with the bad lot, whose supplier sent another one too


@pytest.fixture
def conn(pg_url: str) -> Iterator[Connection]:
    with connect(pg_url) as opened:
        with transaction(opened):
            line_with_baseline(opened)
            for vin in VINS:
                born(
                    opened,
                    vin,
                    parts=[
                        ("battery", "B-17" if vin in BAD else "B-16"),
                        ("axle", "B-17" if vin == VINS[9] else "A"),
                    ],
                )
        yield opened


def claim(vin: str, **changes: Any) -> Claim:
    given: dict[str, Any] = {
        "id": f"W-{vin}",
        "vin": vin,
        "part": "battery",
        "text": "does not charge",
        "occurred_at": CLOCK.now(),
    }
    return Claim(**given | changes)


def fault(vin: str, seq: int) -> FaultRow:
    at_us = to_us(CLOCK.now())
    return FaultRow(
        vin=vin, batch=1, index=seq, programme="wren", variant="van", at_us=at_us, ecu="brake", code="C0040-64", status=9,
        software_version="1.0", snapshot="{}", clock="good", received_us=at_us, seq=seq,
    )  # fmt: skip


def test_a_claim_is_taken_once_and_traced_to_lot_station_and_gate(conn: Connection) -> None:
    line = line_of_programme(conn, "wren")
    told = claim(BAD[0])
    with transaction(conn):
        (first,), (again,) = (store_trace.take_claims(conn, line, [told], **who()) for _ in range(2))
        assert (first.told, again.told) == ("taken", "known")
        for wrong, word in [
            (claim(BAD[0], part="axle"), "says something else now"),
            (claim("WRRDEM12XTA999999"), "no vehicle of wren has the VIN WRRDEM12XTA999999"),
            (claim(BAD[1], occurred_at=CLOCK.now() + timedelta(hours=1)), "from the future"),
            (claim(BAD[1], occurred_at=CLOCK.now() - timedelta(days=1)), "before WRRDEM12XTA000001 was born"),
            (claim(BAD[1], part="", text=" "), "says nothing"),
        ]:
            (found,) = store_trace.take_claims(conn, line, [wrong], **who())
            assert (found.told, word in found.reason) == ("refused", True)
    with transaction(conn):
        software = claim(VINS[8], part="brake", fault_code="software")
        unknown = claim(VINS[7], part="mirror")
        store_trace.take_claims(conn, line, [software, unknown], **who())
    traces = {each.vin: each for each in store_trace.list_traces(conn, "wren")}
    lot, version, mirror = traces[BAD[0]], traces[VINS[8]], traces[VINS[7]]
    assert (lot.part, lot.lot, lot.station, lot.gate_station, lot.gate) == (
        "battery",
        "B-17",
        STATION,
        END,
        "end of line",
    )
    assert lot.reason == "the first gate from marriage on"
    assert (version.lot, version.software_version, version.station, version.reason) == (
        "",
        "1.0",
        END,
        "it looks for software",
    )
    assert (mirror.gate, mirror.reason) == ("", "its birth record has no part and no ECU 'mirror'")
    assert [
        each.vin for each in store_trace.list_traces(conn, "wren", gate="end of line", since=lot.traced_at)
    ]
    assert store_trace.list_traces(conn, "wren", gate="other") == []


def test_the_same_claim_id_in_two_programmes_is_two_claims(conn: Connection) -> None:
    with transaction(conn):
        for table, change, of in (
            ("programme", '{"id": "other"}', "id = 'wren'"),
            ("vehicle", '{"vin": "WRRDEM12XTB000001", "programme_id": "other"}', f"vin = '{BAD[0]}'"),
        ):
            conn.execute(
                f"INSERT INTO {table} SELECT (jsonb_populate_record(t, %s::jsonb)).* FROM {table} t WHERE {of}",  # noqa: S608 - our own words
                (change,),
            )
        other = claim("WRRDEM12XTB000001", id="W-1")
        for programme_id, told in (("other", other), ("wren", claim(BAD[0], id="W-1"))):
            line = line_of_programme(conn, programme_id)
            line = replace(line, programme=replace(line.programme, id=programme_id))
            (found,) = store_trace.take_claims(conn, line, [told], **who())
            assert (found.told, found.reason) == ("taken", "")
    assert [each.vin for each in store_trace.list_traces(conn, "other")] == [other.vin]


def test_beside_the_release_before_a_claim_id_of_another_programme_refuses_that_claim_alone(
    conn: Connection,
) -> None:
    with transaction(conn):
        conn.execute(
            "ALTER TABLE claim DROP CONSTRAINT claim_pkey, ADD CONSTRAINT claim_pkey PRIMARY KEY (id)"
        )
        conn.execute(
            "INSERT INTO programme SELECT (jsonb_populate_record(t, %s::jsonb)).* FROM programme t WHERE id = 'wren'",
            ('{"id": "other"}',),
        )
        line = line_of_programme(conn, "wren")
        store_trace.take_claims(conn, line, [claim(BAD[0], id="W-1")], **who())
        conn.execute("UPDATE claim SET programme_id = 'other'")
        told = [claim(BAD[1], id="W-1"), claim(BAD[1], id="W-2")]
        found = store_trace.take_claims(conn, line, told, **who())
    assert [each.told for each in found] == ["refused", "taken"]
    assert "claim W-1 is one of another programme" in found[0].reason


def test_faulty_vehicles_name_their_lot_and_others_name_none(conn: Connection) -> None:
    found = store_trace.trace_vins(conn, "wren", BAD)
    assert (found.faulty, found.total) == (5, 20)
    assert [(each.trait.thing, each.trait.value) for each in found.suspects] == [("battery", "B-17")]
    nobody = store_trace.trace_vins(conn, "wren", VINS[::4])
    assert (nobody.faulty, nobody.suspects) == (5, ())
    assert store_trace.trace_vins(conn, "wren", ["WRRDEM12XTA999999"]).faulty == 0


def test_what_only_goes_with_the_bad_lot_is_told_apart(conn: Connection) -> None:
    with transaction(conn):
        conn.execute(
            "INSERT INTO birth_trait (programme_id, kind, thing, value, vin)"
            " SELECT 'wren', 'supplier', 'battery', 'Norvik', vin FROM unnest(%s::text[]) AS vin", ([*BAD, VINS[15]],),
        )  # fmt: skip
    found = store_trace.trace_vins(conn, "wren", BAD)
    assert [(each.trait.kind, each.standing) for each in found.suspects] == [
        ("lot", "first"),
        ("supplier", "goes_with"),
    ]


def test_a_finding_traces_each_of_its_vehicles_to_the_part_that_they_share(conn: Connection) -> None:
    with transaction(conn):
        store_trace.trace_finding(
            conn, line_of_programme(conn, "wren"), finding_id="f1", vins=[*BAD, VINS[16]], ecu="brake",
            fault_code="C0040-64", occurred_at=CLOCK.now(), now=CLOCK.now(),
        )  # fmt: skip
    traces = {
        each.vin: (each.part, each.lot, each.software_version)
        for each in store_trace.list_traces(conn, "wren")
    }
    assert traces == dict.fromkeys(BAD, ("battery", "B-17", "")) | {VINS[16]: ("brake", "", "1.0")}


def test_who_has_a_lot_is_known_also_while_it_is_on_the_line(conn: Connection) -> None:
    with transaction(conn):
        order = started_order(conn)
        take_parts(conn, line_of_programme(conn, "wren"), [fitted(order, "B-17")], vins={}, **who())
    found = store_trace.contain(conn, "wren", lot="B-17", part="battery")
    assert (list(found.vins), found.orders) == (BAD, (order,))
    with pytest.raises(InvalidInput, match="lot B-17 is of axle, battery"):
        store_trace.contain(conn, "wren", lot="B-17")
    assert store_trace.contain(conn, "wren", lot="A").part == "axle"
    with pytest.raises(NotFound, match="no vehicle of wren has lot B-99"):
        store_trace.contain(conn, "wren", lot="B-99")


def test_a_lot_is_found_on_the_line_before_any_vehicle_with_it_is_born(conn: Connection) -> None:
    with transaction(conn):
        told, checked = started_order(conn), started_order(conn)
        take_parts(conn, line_of_programme(conn, "wren"), [fitted(told, "N-1")], vins={}, **who())
        result = CheckResult(id="r", vehicle=checked, station=END, check="leak", passed=True, at=CLOCK.now(),
                             lots={"battery": "N-1"})  # fmt: skip
        assert not take_results(conn, programme_id="wren", delivered=[result], **who()).refused
    found = store_trace.contain(conn, "wren", lot="N-1")
    assert (found.part, found.vins, found.orders) == ("battery", (), tuple(sorted([told, checked])))


def test_a_lot_of_more_than_can_be_told_is_refused_and_never_cut(
    conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_trace, "CONTAINED_MAX", len(BAD))
    assert len(store_trace.contain(conn, "wren", lot="B-17", part="battery").vins) == len(BAD)
    monkeypatch.setattr(store_trace, "CONTAINED_MAX", len(BAD) - 1)
    with pytest.raises(InvalidInput, match="more than 4 vehicles have lot B-17"):
        store_trace.contain(conn, "wren", lot="B-17", part="battery")


@pytest.mark.usefixtures("conn")
def test_over_the_api_a_lot_becomes_a_list_and_claims_name_their_lot(pg_url: str, tmp_path: Path) -> None:
    with connect(pg_url) as opened, transaction(opened):
        opened.execute("INSERT INTO lap (id, title, opened_at) VALUES ('l1', 'l', now())")
        opened.execute(
            "INSERT INTO finding (id, lap_id, title, programme_id, ecu, software_version, fault_code, state, evidence, opened_at)"
            " VALUES ('f1', 'l1', 'brakes', 'wren', 'brake', '1.0', 'C0040-64', 'open', '{}', now())"
        )
    faults = tuple(fault(vin, seq) for seq, vin in enumerate([*BAD, "WRRDEM12XTA999999"], start=1))
    Lake(Settings(var=tmp_path).lake).write(
        Rows(samples=(), faults=faults, exposure=()), first_seq=1, last_seq=9
    )
    headers = {"Authorization": f"Bearer {add_account(pg_url, 'olga', Role.OPERATOR)}"}
    with (
        serving(pg_url, tmp_path) as origin,
        httpx.Client(base_url=f"{origin}/api/v1", headers=headers) as client,
    ):
        claims = [
            {"id": f"W-{vin}", "vin": vin, "part": "battery", "occurred_at": CLOCK.now().isoformat()}
            for vin in BAD
        ]
        stranger = claims[0] | {"id": "W", "vin": "WRRDEM12XTA999999"}
        told = client.post("/programmes/wren/claims", json={"claims": [*claims, stranger]}).json()
        assert (told["taken"], [each["id"] for each in told["refused"]]) == (5, ["W"])
        shown = client.get("/programmes/wren/claims", params={"vin": BAD[2]}).json()
        assert [(each["lot"], each["gate"]) for each in shown] == [("B-17", "end of line")]
        found = client.post("/programmes/wren/trace", json={"claims_of_part": "battery"}).json()
        assert [(each["label"], each["gate"]) for each in found["suspects"]] == [
            ("battery of lot B-17", "end of line")
        ]
        assert client.post("/programmes/wren/trace", json={}).status_code == 422
        assert client.post("/programmes/wren/trace", json={"vins": ["\x00"]}).status_code == 422
        assert (
            client.post(
                "/programmes/wren/claims", json={"claims": [claims[0] | {"occurred_at": 0}]}
            ).status_code
            == 400
        )
        assert client.get("/findings/none/built").status_code == 404
        assert client.post("/findings/none/trace").status_code == 404
        assert len(client.get("/programmes/wren/field-traces").json()) == 5
        assert client.get("/programmes/wren/lots", params={"lot": "B-17"}).status_code == 422
        made = client.post(
            "/programmes/wren/lots/list", json={"lot": "B-17", "part": "battery", "name": "b-17"}
        )
        assert (made.json()["vehicles"], client.get("/fleet/lists/b-17/vehicles").json()) == (5, BAD)
