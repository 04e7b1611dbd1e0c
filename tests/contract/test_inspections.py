"""A gate's rate acts: the line is told which vehicles are looked at, and none of them is born unseen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import nats
import psycopg
import pytest

from ringroad.build import birth, store_birth
from ringroad.build.plant.alike import Alike
from ringroad.build.plant.read import plant_from_document, read_plant
from ringroad.build.plant.store import choose_plant, get_plant, import_plant, save_plant
from ringroad.build.plant.store_events import list_refused, take_events
from ringroad.build.quality import store_draw, store_gates
from ringroad.build.quality.gates import KINDS_MAX
from ringroad.build.quality.store import recent_passes
from ringroad.build.site.store import add_site
from ringroad.build.store_birth import line_of_programme, take_parts
from ringroad.http.auth import Role
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.loop.inspections import tell
from ringroad.protocol.inspection import Inspection
from ringroad.protocol.mes import MesEvent
from ringroad.storage.db import Connection, connect, transaction
from ringroad.storage.ledger import read_facts
from ringroad.storage.streams import INSPECTIONS, StreamMessage
from support.births import (
    CHECKS,
    END,
    PLANT,
    STATION,
    fitted,
    line_with_baseline,
    passed,
    registration,
    registration_body,
    started_order,
    who,
)
from support.console_server import add_account, serving
from support.gateways import eventually
from support.mes import CLOCK, IDS, new_order

pytestmark = pytest.mark.engines

VIN = "WRRDEM121TA000001"
GATE = "end of line"


@pytest.fixture
def conn(pg_url: str) -> Iterator[Connection]:
    with connect(pg_url) as opened:
        yield opened


def line(conn: Connection, *, permille: int) -> None:
    """Build wrens with a gate that looks at so many of 1,000."""
    line_with_baseline(conn)
    checks = 'checks = ["leak", "torque", "software"]'
    changed = read_plant(PLANT.replace(checks, f"{checks}\ninspect_permille = {permille}"))
    save_plant(conn, IDS, plant=changed, generation=1, **who())


def arrive(conn: Connection, order_id: str, *, station: str | None = END) -> list[store_draw.KeptDraw]:
    return store_draw.choose_for(conn, IDS, programme_id="wren", order_id=order_id, station=station, **who())


def bear(conn: Connection, order_id: str, *, vin: str = VIN, seen: bool) -> None:
    built = birth.AsBuilt(tests=passed() if seen else [])
    birth.register_vehicle(conn, IDS, **registration(conn, vin, order_id=order_id, as_built=built))


def event(kind: Any, station: str, order_id: str, **more: Any) -> StreamMessage:
    given: dict[str, Any] = {"id": f"{kind}-{station}-{order_id}"} | more
    told = MesEvent(kind=kind, station=station, at=CLOCK.now(), order_id=order_id, **given)
    return StreamMessage(
        subject="ringroad.mes.v1.wren", payload=msgspec.json.encode(told), seq=hash(told.id) & 0xFFFFFFF,
        received_at=told.at + timedelta(seconds=1),
    )  # fmt: skip


def test_a_vehicle_that_is_to_be_looked_at_is_not_born_unseen_and_one_that_is_not_is(
    conn: Connection,
) -> None:
    with transaction(conn):
        line(conn, permille=500)
        born, kept = 0, 0
        for number in range(24):
            order = started_order(conn)
            (chosen,) = arrive(conn, order)
            assert arrive(conn, order) == [chosen]  # asked again
            vin = f"WRRDEM121TA{number:06d}"
            if chosen.inspect:
                with (
                    pytest.raises(
                        Conflict, match="'leak' of gate 'end of line' at flash_and_test is missing"
                    ),
                    conn.transaction(),
                ):
                    bear(conn, order, vin=vin, seen=False)
                kept += 1
            bear(conn, order, vin=vin, seen=chosen.inspect)
            born += not chosen.inspect
            (fact,) = (each for each in read_facts(conn, subject=order) if each.kind == FactKind.GATE_CHOSE)
            assert fact.body["gates"] == [
                {
                    "station": END,
                    "gate": GATE,
                    "inspect": chosen.inspect,
                    "permille": 500,
                    "reason": chosen.reason,
                }
            ]
    assert born > 0 < kept  # of 24, all alike once in eight million runs


def test_a_rate_that_changes_later_changes_no_choice_that_was_made(conn: Connection) -> None:
    with transaction(conn):
        line(conn, permille=0)
        order = started_order(conn)
        (chosen,) = arrive(conn, order)
        assert (chosen.inspect, chosen.reason) == (False, "not drawn, 0 % are")
        save_plant(conn, IDS, plant=read_plant(PLANT), generation=2, **who())  # looks at every vehicle
        bear(conn, order, seen=False)
        other = started_order(conn)
        with pytest.raises(Conflict, match="is missing"), conn.transaction():
            bear(conn, other, vin="WRRDEM123TA000002", seen=False)
        with pytest.raises(Conflict, match="never entered the line"):
            arrive(conn, new_order(conn))
        with pytest.raises(NotFound, match="there is no order nobody"):
            arrive(conn, "nobody")
        with pytest.raises(NotFound, match="no station 'roof'"):
            arrive(conn, other, station="roof")


def test_every_vehicle_of_a_kind_that_was_decided_is_looked_at_until_that_is_decided_otherwise(
    conn: Connection,
) -> None:
    given: dict[str, Any] = {
        "programme_id": "wren", "station": END, "gate": GATE, "inspect_permille": 0, "reason": "as proposed"
    }  # fmt: skip
    vans, other = Alike(variant="van", software="1.0"), Alike(variant="van", software="0.9")
    with transaction(conn):
        line(conn, permille=0)
        for wrong in (["vans"], [Alike(variant=f"v{n}").key for n in range(KINDS_MAX + 1)]):
            with pytest.raises(InvalidInput, match="kind"):
                store_gates.set_rate(conn, IDS, **given, all_of=wrong, generation=2, **who())
        store_gates.set_rate(conn, IDS, **given, all_of=[vans.key, other.key], generation=2, **who())
        (gate,) = store_gates.judge_gates(conn, "wren", now=CLOCK.now())
        assert gate.record.all_of == (other, vans)
        order = started_order(conn)
        (chosen,) = arrive(conn, order)
        assert (chosen.inspect, chosen.permille) == (True, 1000)
        assert chosen.reason == "every one of van, software 1.0 is looked at"
        (gate,) = store_gates.judge_gates(conn, "wren", now=CLOCK.now() + timedelta(seconds=1))
        assert gate.record.all_of_drawn == 1
        with pytest.raises(Conflict, match="is missing"), conn.transaction():
            bear(conn, order, seen=False)
        kept = read_plant(PLANT.replace('"software"]', '"software"]\ninspect_permille = 0'))
        import_plant(conn, IDS, plant=kept, may_lower=False, generation=3, **who())  # it leaves the decision
        stored = get_plant(conn, "wren-mother")
        (path,) = (path for path, _ in store_gates.gates_of(stored.plant, "wren"))
        assert stored.plant.inspects_all(path) == (other, vans)
        store_gates.set_rate(conn, IDS, **given, all_of=[other.key], generation=stored.generation, **who())
        (gate,) = store_gates.judge_gates(conn, "wren", now=CLOCK.now() + timedelta(seconds=1))
        assert gate.record.all_of_drawn == 0, (
            "who was chosen for a kind that is decided no more is of no kind of today"
        )
        stored = get_plant(conn, "wren-mother")
        store_gates.set_rate(conn, IDS, **given, generation=stored.generation, **who())
        (later,) = arrive(conn, started_order(conn))
        assert not later.inspect
        assert arrive(conn, order) == [chosen], "who was chosen stays so"
        document = get_plant(conn, "wren-mother").plant
        assert document.inspects_all(path) == ()
        assert plant_from_document(document.to_document()) == document
    (fact, *_) = (each for each in read_facts(conn, subject="wren-mother") if each.body.get("all_of"))
    assert fact.body["all_of"] == [other.key, vans.key]


def test_a_vehicle_that_came_while_every_one_was_looked_at_is_looked_at_though_the_rate_fell(
    conn: Connection,
) -> None:
    with transaction(conn):
        line_with_baseline(conn)  # whose gate looks at every vehicle
        order = started_order(conn)
        (came,) = arrive(conn, order)
        (fact,) = (each for each in read_facts(conn, subject=order) if each.kind == FactKind.GATE_CHOSE)
        assert fact.body["gates"][0]["reason"] == came.reason == "every vehicle is looked at"
        plant = PLANT.replace('"software"]', '"software"]\ninspect_permille = 0')
        save_plant(conn, IDS, plant=read_plant(plant), generation=1, **who())
        assert arrive(conn, order) == [came]
        with pytest.raises(Conflict, match="is missing"), conn.transaction():
            bear(conn, order, seen=False)
        bear(conn, order, seen=True)
        bear(conn, started_order(conn), vin="WRRDEM123TA000002", seen=False)


def test_a_lot_is_contained_where_the_vehicles_are_built_and_not_at_the_hub_of_that_site(
    conn: Connection,
) -> None:
    with transaction(conn):
        line(conn, permille=300)
        conn.execute(
            "INSERT INTO site (id, token_sha256, added_by, added_at) VALUES ('wren-mother', %s, 'anna', %s)",
            (b"t" * 32, CLOCK.now()),
        )
        with (
            pytest.raises(Conflict, match="wren is built at site wren-mother") as refused,
            conn.transaction(),
        ):
            store_draw.contain_lot(
                conn, IDS, programme_id="wren", part="battery", lot="B-17", reason="swells", **who()
            )
        assert refused.value.hint == "contain it at site wren-mother"
        conn.execute("UPDATE site SET id = 'wren'")
        conn.execute("UPDATE programme SET plant_id = NULL")  # its file describes the line
        with (
            pytest.raises(Conflict, match="wren is built at site wren,"),
            conn.transaction(),
        ):
            store_draw.contain_lot(
                conn, IDS, programme_id="wren", part="battery", lot="B-17", reason="swells", **who()
            )
        assert store_draw.list_contained(conn, "wren") == []


def test_a_plant_becomes_no_site_while_its_hub_contains_lots_for_its_lines(conn: Connection) -> None:
    given: dict[str, Any] = {"programme_id": "wren", "part": "battery", "lot": "B-17", "reason": "swells"}
    site: dict[str, Any] = {"site_id": "wren-mother", "token": "t" * 43}
    with transaction(conn):
        line(conn, permille=300)
        lot, _ = store_draw.contain_lot(conn, IDS, **given, **who())
        with pytest.raises(Conflict, match="lot B-17 of battery for wren") as refused, conn.transaction():
            add_site(conn, IDS, **site, **who())
        assert "contain it at site wren-mother" in refused.value.hint
        conn.execute("UPDATE programme SET plant_id = NULL")
        add_site(conn, IDS, **site, **who())
        choice: dict[str, Any] = {"plant_id": "wren-mother", "programme_id": "wren"}
        with pytest.raises(Conflict, match="lot B-17 of battery for wren"), conn.transaction():
            choose_plant(conn, IDS, **choice, **who())
        store_draw.release_lot(conn, IDS, lot_id=lot.id, reason="contained there", **who())
        assert choose_plant(conn, IDS, **choice, **who())
        add_site(conn, IDS, **site, **who())


@pytest.mark.parametrize("first", ["choice", "site"])
def test_of_a_plant_that_becomes_a_site_and_takes_a_line_with_a_contained_lot_at_once_one_wins(
    conn: Connection, pg_url: str, first: str
) -> None:
    with transaction(conn):
        line(conn, permille=300)
        conn.execute("UPDATE programme SET plant_id = NULL")
        store_draw.contain_lot(
            conn, IDS, programme_id="wren", part="battery", lot="B-17", reason="swells", **who()
        )
    works: dict[str, Callable[[Connection], object]] = {
        "choice": lambda on: choose_plant(conn=on, ids=IDS, plant_id="wren-mother", programme_id="wren", **who()),
        "site": lambda on: add_site(on, IDS, site_id="wren-mother", token="t" * 43, **who()),
    }  # fmt: skip
    (second,) = set(works) - {first}

    def do_second() -> None:
        with closing(connect(pg_url)) as other, transaction(other):
            works[second](other)

    with ThreadPoolExecutor(1) as pool:
        with transaction(conn):
            works[first](conn)
            done = pool.submit(do_second)
            assert eventually(lambda: done.done() or waits_for_a_lock(pg_url))
        with pytest.raises(Conflict, match="lot B-17 of battery for wren"):
            done.result(60)


def waits_for_a_lock(pg_url: str) -> bool:
    asked = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with closing(connect(pg_url)) as conn:
        return conn.execute(asked).fetchone() is not None


def test_the_line_is_told_as_a_vehicle_arrives_and_again_when_its_lot_is_contained(
    conn: Connection, nats_url: str
) -> None:
    with transaction(conn):
        line(conn, permille=0)
        order = started_order(conn)

    def take(*told: StreamMessage) -> None:
        with transaction(conn):
            take_events(conn, IDS, CLOCK, programme_id="wren", messages=told)
        assert list_refused(conn, "wren") == []

    take(
        event("entered", STATION, order),
        event("used", STATION, order, part="battery", lot="B-17"),
        event("entered", END, order),
    )
    heard = asyncio.run(_heard(nats_url, conn))
    assert [(each.order_id, each.station, each.gate, each.inspect) for each in heard] == [
        (order, END, GATE, False)
    ]
    with transaction(conn):
        lot, orders = store_draw.contain_lot(
            conn, IDS, programme_id="wren", part="battery", lot="B-17", reason="cells swell", **who()
        )
        assert orders == 1
    (again,) = asyncio.run(_heard(nats_url, conn))
    assert (again.inspect, again.reason) == (True, "lot B-17 of battery is contained")
    with transaction(conn):
        store_draw.release_lot(conn, IDS, lot_id=lot.id, reason="they are good", **who())
        with pytest.raises(Conflict, match="is missing"), conn.transaction():
            bear(conn, order, seen=False)  # who was chosen stays chosen
        bear(conn, order, seen=True)
        (kept,) = store_draw.list_draws(conn, "wren", order_id=VIN)
        assert (kept.inspect, kept.vin) == (True, VIN)
        assert [each.kind for each in read_facts(conn, subject=lot.id)] == [
            FactKind.LOT_CONTAINED, FactKind.LOT_RELEASED,
        ]  # fmt: skip
        with pytest.raises(Conflict, match="released already"):
            store_draw.release_lot(conn, IDS, lot_id=lot.id, reason="again", **who())


def test_a_vehicle_comes_back_to_the_gate_that_is_to_look_at_it_after_all(conn: Connection) -> None:
    with transaction(conn):
        line(conn, permille=0)
        order = started_order(conn)

    def take(*told: StreamMessage) -> list[str]:
        with transaction(conn):
            take_events(conn, IDS, CLOCK, programme_id="wren", messages=told)
        return [each.code for each in list_refused(conn, "wren")]

    assert take(event("entered", STATION, order)) == []
    assert take(event("used", STATION, order, part="battery", lot="B-17")) == []
    assert take(event("entered", END, order)) == []
    assert take(event("left", END, order)) == []
    assert take(event("entered", END, order, id="again")) == ["out_of_order"]
    with transaction(conn):
        store_draw.contain_lot(
            conn, IDS, programme_id="wren", part="battery", lot="B-17", reason="cells swell", **who()
        )
    back = event("entered", END, order, id="again")
    results = [event("result", END, order, check=check, passed=True, id=check) for check in CHECKS]
    assert take(back, *results, event("left", END, order, id="left again")) == ["out_of_order"]
    with transaction(conn):
        bear(conn, order, seen=False)


def test_a_contained_lot_that_no_gate_looks_at_keeps_its_vehicles_on_the_line(conn: Connection) -> None:
    with transaction(conn):
        line_with_baseline(conn, gates=False)
        order = started_order(conn)
        take_parts(conn, line_of_programme(conn, "wren"), [fitted(order, "B-17")], vins={}, **who())
        given: dict[str, Any] = {"programme_id": "wren", "part": "battery", "lot": "B-17", "reason": "swells"}
        lot, _ = store_draw.contain_lot(conn, IDS, **given, **who())
        with pytest.raises(Conflict, match="contained already"), conn.transaction():
            store_draw.contain_lot(conn, IDS, **given, **who())
        with (
            pytest.raises(
                Conflict, match="lot B-17 of battery is contained, and no gate from marriage on looks at it"
            ),
            conn.transaction(),
        ):
            bear(conn, order, seen=False)
        store_draw.release_lot(conn, IDS, lot_id=lot.id, reason="cells are good", **who())
        bear(conn, order, seen=False)
    assert store_birth.get_birth(conn, VIN).record.signed["order"] == order


def test_over_the_api_the_choice_is_asked_listed_and_enforced(
    pg_url: str, conn: Connection, tmp_path: Path
) -> None:
    with transaction(conn):
        line(conn, permille=999)
        order, left = started_order(conn), started_order(conn)
        parts = [fitted(order, "B-17"), fitted(left, "B-17")]
        take_parts(conn, line_of_programme(conn, "wren"), parts, vins={}, **who())
        conn.execute(
            "UPDATE plant_order SET state = 'born', vin = 'WRR1ZZZ00PA000001' WHERE id = %s", (left,)
        )
    headers = {
        role: {"Authorization": f"Bearer {add_account(pg_url, name, role)}"}
        for name, role in (("vera", Role.VIEWER), ("olga", Role.OPERATOR), ("anna", Role.APPROVER))
    }
    with serving(pg_url, tmp_path) as origin, httpx.Client(base_url=f"{origin}/api/v1") as client:
        base = "/programmes/wren"
        asked = {"order_id": order, "station": END}
        assert client.post(f"{base}/inspections", json=asked, headers=headers[Role.VIEWER]).status_code == 403
        lot = {"part": "battery", "lot": "B-17", "reason": "cells swell"}
        made = client.post(f"{base}/contained-lots", json=lot, headers=headers[Role.OPERATOR])
        assert (made.status_code, made.json()["on_line"], made.json()["born"]) == (201, 1, 1)
        again = client.post(f"{base}/contained-lots", json=lot, headers=headers[Role.OPERATOR])
        assert again.status_code == 409
        (row,) = client.post(f"{base}/inspections", json=asked, headers=headers[Role.OPERATOR]).json()
        assert (row["inspect"], row["passed"], row["permille"]) == (True, None, 1000)
        results = [
            {"id": check, "vehicle": order, "station": END, "check": check, "passed": check != "leak", "at": CLOCK.now().isoformat()}
            for check in CHECKS
        ]  # fmt: skip
        client.post(f"{base}/station-results", json={"results": results}, headers=headers[Role.OPERATOR])
        (row,) = client.get(
            f"{base}/inspections", params={"vehicle": order}, headers=headers[Role.VIEWER]
        ).json()
        assert row["passed"] is False
        assert recent_passes(conn, "wren", [END], rows_max=9, since=None, until=None) == {}, (
            "nor the first pass"
        )
        (gate,) = client.get(f"{base}/gates", headers=headers[Role.VIEWER]).json()
        assert (gate["inspected"], gate["refused"]) == (0, 0), (
            "a contained lot says nothing of other vehicles"
        )
        path, why = f"/contained-lots/{made.json()['id']}/release", {"reason": "used up"}
        assert client.post(path, json=why, headers=headers[Role.OPERATOR]).status_code == 403
        assert client.post(path, json=why, headers=headers[Role.APPROVER]).json()["released_by"] == "anna"
        assert client.get(f"{base}/contained-lots", headers=headers[Role.VIEWER]).json() == []
        lots = client.get(
            f"{base}/contained-lots", params={"every": True}, headers=headers[Role.VIEWER]
        ).json()
        assert [each["release_reason"] for each in lots] == ["used up"]
        never = client.post(
            f"{base}/contained-lots", json=lot | {"lot": "b17"}, headers=headers[Role.OPERATOR]
        )
        assert (never.status_code, never.json()["on_line"], never.json()["born"]) == (201, 0, 0)


def test_a_contained_lot_that_came_with_a_registration_is_known_when_that_is_tried_again_without_it(
    pg_url: str, conn: Connection, tmp_path: Path
) -> None:
    with transaction(conn):
        line_with_baseline(conn, gates=False)
        order = new_order(conn)  # no station told that it entered
        given: dict[str, Any] = {"programme_id": "wren", "part": "battery", "lot": "B-17", "reason": "swells"}
        lot, _ = store_draw.contain_lot(conn, IDS, **given, **who())
        body = registration_body(conn, VIN, order_id=order)
    headers = {"Authorization": f"Bearer {add_account(pg_url, 'olga', Role.OPERATOR)}"}
    with serving(pg_url, tmp_path) as origin, httpx.Client(base_url=origin, headers=headers) as client:

        def register(**part: str) -> tuple[int, str]:
            told = {"id": "e1", "station": STATION, "part": "battery", "lot": "B-17"}
            parts = [told | {"fitted_at": CLOCK.now().isoformat()} | part] if part else []
            answer = client.post("/api/v1/vehicles", json=body | {"parts": parts})
            return answer.status_code, str(answer.json().get("error", answer.json()))

        refused = register(lot="B-17")
        assert (refused[0], "lot B-17 of battery is contained" in refused[1]) == (409, True)
        assert register() == refused
        assert register(lot="B-18")[0] == 422, "what the same event said before is not taken back"
        with transaction(conn):
            store_draw.release_lot(conn, IDS, lot_id=lot.id, reason="cells are good", **who())
        assert register(lot="B-17")[0] == 201
    (part,) = store_birth.get_birth(conn, VIN).record.signed["parts"]
    assert (part["id"], part["lot"]) == ("e1", "B-17")


def test_a_registration_that_names_the_wrong_order_or_the_wrong_part_leaves_no_part_and_is_corrected(
    pg_url: str, conn: Connection, tmp_path: Path
) -> None:
    with transaction(conn):
        line_with_baseline(conn, gates=False)
        order = new_order(conn)
        body = registration_body(conn, VIN, order_id=order)
    headers = {"Authorization": f"Bearer {add_account(pg_url, 'olga', Role.OPERATOR)}"}
    with serving(pg_url, tmp_path) as origin, httpx.Client(base_url=origin, headers=headers) as client:

        def register(lot: str, **wrong: Any) -> int:
            part = {"id": "e1", "station": STATION, "part": "battery", "lot": lot, "serial": "C1"}
            parts = [part | {"fitted_at": CLOCK.now().isoformat()}]
            return client.post("/api/v1/vehicles", json=body | {"parts": parts} | wrong).status_code

        assert register("B-17", release_id="release_none") == 409
        ecus = [each | {"version": "0.1"} for each in body["ecus"]]
        assert register("B-17", ecus=ecus) == 422
        assert conn.execute("SELECT FROM built_part").fetchall() == []
        assert register("B-18") == 201
    (part,) = store_birth.get_birth(conn, VIN).record.signed["parts"]
    assert part["lot"] == "B-18"


async def _heard(nats_url: str, conn: Connection) -> list[Inspection]:
    """Return what the line hears of the choices that were not told yet."""
    client = await nats.connect(nats_url)
    with suppress(nats.js.errors.NotFoundError):
        await client.jetstream().purge_stream(INSPECTIONS.stream)
    told = await tell(nats_url, conn, CLOCK)
    assert await tell(nats_url, conn, CLOCK) == 0
    reader = await client.jetstream().subscribe(INSPECTIONS.subject, ordered_consumer=True)
    found = [
        msgspec.json.decode((await reader.next_msg(timeout=30)).data, type=Inspection) for _ in range(told)
    ]
    await client.close()
    return found


def test_who_imports_a_plant_waits_for_who_decides_on_its_line_before_anything_is_written(
    conn: Connection, pg_url: str
) -> None:
    with transaction(conn):
        line(conn, permille=1_000)
    with connect(pg_url) as other, transaction(conn):
        conn.execute("SELECT FROM programme WHERE id = 'wren' FOR NO KEY UPDATE")
        other.execute("SET lock_timeout = '200ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            import_plant(other, IDS, plant=read_plant(PLANT), may_lower=True, generation=2, **who())
