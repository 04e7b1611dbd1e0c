"""Shops of a plant: asked for through the API, planned by the worker step by step, kept with facts, replanned on a stop."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ringroad.build import store as build_store
from ringroad.build import store_plant
from ringroad.build.plan_line import ScheduleDocument
from ringroad.build.plant import store as plant_store
from ringroad.build.plant.read import read_plant
from ringroad.build.shop import of_plant, store, store_replan
from ringroad.build.shop.check import count_cost
from ringroad.build.shop.problem import Level, Placed, Schedule, ShopProblem
from ringroad.build.shop.store_replan import GONE, ask_overdue, overdue_shops
from ringroad.http.auth import Role
from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.kernel.errors import Conflict, Corrupt
from ringroad.loop import shops, worker
from ringroad.loop.shops import BROKEN, plan_shops
from ringroad.storage.db import Connection, connect, transaction
from ringroad.storage.settings import Settings
from support.console_server import add_account, serving
from support.receiver import eventually

pytestmark = [pytest.mark.engines, pytest.mark.timeout(400)]  # the first search on a machine compiles

EXAMPLES = Path(__file__).parents[2] / "examples" / "first"
PROGRAMME = (EXAMPLES / "programme.toml").read_text()
PLANT = (
    (EXAMPLES / "plant.toml").read_text().replace('calendar = "two shifts"\n', "")
)  # the hour must not matter
CLOCK, IDS = SystemClock(), SystemIds()
SHOP = "press/Press shop"
SHOPS, PLAN = "/api/v1/plants/wren-mother/shops", "/api/v1/plants/wren-mother/shop-plan"
STOPS = "/api/v1/plants/wren-mother/shop-stops"
QUICK = {"moves": 2_000, "prove": 0}


@pytest.fixture
def conn(pg_url: str) -> Iterator[Connection]:
    with connect(pg_url) as opened:
        with transaction(opened):
            build_store.import_programme(opened, IDS, source=PROGRAMME, actor="tester", now=CLOCK.now())
            plant_store.save_plant(opened, IDS, plant=read_plant(PLANT), actor="tester", now=CLOCK.now())
            plant_store.choose_plant(
                opened, IDS, plant_id="wren-mother", programme_id="wren", actor="tester", now=CLOCK.now()
            )
        yield opened


@pytest.fixture
def client(pg_url: str, conn: Connection, tmp_path: Path) -> Iterator[httpx.Client]:
    del conn
    headers = {"Authorization": f"Bearer {add_account(pg_url, 'olga', Role.OPERATOR)}"}
    with (
        serving(pg_url, tmp_path) as origin,
        httpx.Client(base_url=origin, headers=headers, timeout=60) as opened,
    ):
        yield opened


def order(conn: Connection, count: int, *, in_sequence: bool = True, **kwargs: Any) -> list[str]:
    """Order some vehicles, and give them places on the line."""
    now = CLOCK.now()
    with transaction(conn):
        variant = next(iter(build_store.get_programme(conn, "wren").programme.variants))
        ids = [
            store_plant.add_order(
                conn, IDS, programme_id="wren", variant=variant, actor="tester", now=now, **kwargs
            ).id
            for _ in range(count)
        ]
        if in_sequence:
            running = store_plant.current_schedule(conn, "wren")
            store_plant.save_schedule(
                conn, IDS, programme_id="wren", generation=running.generation if running else 0, cause="new_orders",
                document=ScheduleDocument(
                    sequence=(*(running.document.sequence if running else ()), *ids), held=(), violations=0,
                    late_orders=0, baseline_release_id=None, frozen=0,
                ),
                replan_latency_us=1, actor="tester", now=now,
            )  # fmt: skip
    return ids


def work_off(conn: Connection) -> list[str]:
    """Let the worker do all there is to do; return the stages that it met."""
    stages: list[str] = []
    while (work := plan_shops(conn, IDS, CLOCK)) is not None:
        stages.append(work.stage)
        assert len(stages) < 10
    return stages


def facts(client: httpx.Client, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/api/v1/facts", params={"kind": kind}).json()
    return found


def test_a_plan_goes_from_rule_to_search_to_proof_and_is_kept_with_its_gap(
    client: httpx.Client, conn: Connection
) -> None:
    ids = order(conn, 4)
    assert client.get(PLAN).status_code == 404
    asked = client.post(PLAN, json={"moves": 5_000, "prove": 2})
    assert (asked.status_code, asked.json()["work"]["stage"], asked.json()["generation"]) == (200, "asked", 0)
    assert plan_shops(conn, IDS, CLOCK).stage == "asked"  # type: ignore[union-attr]
    placed = client.get(PLAN).json()
    assert (placed["generation"], placed["cause"], placed["parts"], placed["later"]) == (1, "asked", 8, 0)
    assert client.get(SHOPS).json()[0]["work"]["stage"] == "searching"
    assert work_off(conn) == ["searching", "proving"]
    (shop,) = client.get(SHOPS).json()
    assert shop["work"]["stage"] == "done", shop["work"]["note"]
    assert (shop["work"]["stage"], shop["resources"]) == ("done", ["press-1", "press-2", "trimmer"])
    assert "moves in" in shop["work"]["note"]
    assert "CP-SAT" in shop["work"]["note"]
    plan = client.get(PLAN).json()
    assert {(each["order_id"], each["product"], each["step"]) for each in plan["tasks"]} == {
        (one, *step) for one in ids for step in (("door", "draw"), ("door", "trim"), ("roof", "draw"))
    }
    assert [each["counted"] for each in plan["levels"]] == ["tardiness", "makespan", "changes", "setup"]
    assert all(each["at_least"] <= each["found"] for each in plan["levels"])
    assert plan["levels"][0]["gap_permille"] == 0
    # The press is set up for roofs once, in no place before a quarter of an hour is over: the first cars are late.
    assert plan["late_parts"] == len(plan["late"]) > 0
    assert plan["late"][0]["why"]
    page = client.get("/plant").text
    assert "Gantt chart: when each resource of press/Press shop works on which part" in page
    assert plan["late"][0]["why"] in page
    planned = facts(client, "shop.planned")
    assert len(planned) == plan["generation"]
    assert planned[0]["body"]["shop"] == SHOP
    assert facts(client, "shop.asked")[0]["id"] in planned[0]["causes"]


def test_a_stop_is_answered_with_few_changes_and_what_was_begun_stays(
    client: httpx.Client, conn: Connection
) -> None:
    order(conn, 6)
    client.post(PLAN, json=QUICK)
    work_off(conn)
    before = client.get(PLAN).json()
    stop = client.post(STOPS, json={"resource": "press-2", "reason": "die broke", "expected_s": 7_200})
    assert stop.status_code == 201
    assert client.get(SHOPS).json()[0]["work"]["cause"] == "stopped"
    again = client.post(STOPS, json={"resource": "press-2", "reason": "die broke", "expected_s": 60})
    assert (again.status_code, "stands already" in again.text) == (409, True)
    work_off(conn)
    after = client.get(PLAN).json()
    assert after["generation"] > before["generation"]
    origin = datetime.fromisoformat(after["origin_at"])
    for task in after["tasks"]:
        if task["resource"] == "press-2" and not task["is_fixed"]:
            goes_on_at = datetime.fromisoformat(stop.json()["began_at"]) + timedelta(seconds=7_200)
            assert goes_on_at - timedelta(seconds=2) < datetime.fromisoformat(task["starts_at"])
    ended = client.post(f"/api/v1/shop-stops/{stop.json()['id']}/end", json={})
    assert ended.json()["ended_by"] == "olga"
    assert client.post(f"/api/v1/shop-stops/{stop.json()['id']}/end", json={}).json() == ended.json()
    assert client.get(SHOPS).json()[0]["stops"] == []
    work_off(conn)
    on_again = client.get(PLAN).json()
    assert on_again["generation"] > after["generation"]
    # What was being made when the press stood is done hours earlier than the stop was expected to last.
    assert max(datetime.fromisoformat(each["ends_at"]) for each in on_again["tasks"]) < origin + timedelta(
        hours=1
    )
    assert [len(facts(client, kind)) for kind in ("resource.stopped", "resource.resumed")] == [1, 1]


def test_new_orders_are_planned_behind_and_what_is_done_is_not_made_again(
    client: httpx.Client, conn: Connection
) -> None:
    first = order(conn, 2)
    client.post(PLAN, json=QUICK | {"moves": 0})
    work_off(conn)
    conn.execute("UPDATE shop_plan SET origin_at = origin_at - interval '1 day'")  # all of it is done
    done = {each["task"]: each for each in client.get(PLAN).json()["tasks"]}
    second = order(conn, 1)
    client.post(PLAN, json=QUICK | {"moves": 0})
    assert work_off(conn) == ["asked"]
    tasks = {each["task"]: each for each in client.get(PLAN).json()["tasks"]}
    assert len(tasks) == 9
    assert all(tasks[each]["starts_at"] == done[each]["starts_at"] for each in done)
    assert {each["order_id"] for each in tasks.values() if not each["is_fixed"]} == set(second)
    with transaction(conn):  # a car on the line has its parts
        store_plant.start_order(conn, IDS, order_id=first[0], actor="tester", now=CLOCK.now())
    client.post(PLAN, json=QUICK | {"moves": 0})
    work_off(conn)
    assert first[0] not in {each["order_id"] for each in client.get(PLAN).json()["tasks"]}


def test_a_full_plan_keeps_what_is_made_and_none_may_leave_out_what_began_meanwhile(
    client: httpx.Client, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    order(conn, 2)
    client.post(PLAN, json=QUICK)
    plan_shops(conn, IDS, CLOCK)
    with transaction(conn):
        work = store.work_of(conn, "wren-mother", SHOP)
        plan = store.current_plan(conn, "wren-mother", SHOP)
        at = store.load_shop(conn, "wren-mother", SHOP, now=CLOCK.now())
    assert work is not None
    assert plan is not None
    first = min(plan.schedule.placed, key=lambda each: each.start).task.rsplit("/", 1)[0]
    problem = replace(plan.problem, jobs=tuple(each for each in plan.problem.jobs if each.id != first))
    placed = tuple(each for each in plan.schedule.placed if not each.task.startswith(f"{first}/"))
    without = replace(
        plan, problem=problem, schedule=Schedule(placed=placed, cost=count_cost(problem, placed))
    )
    with pytest.raises(Conflict, match=f"task {first}/draw .* began meanwhile"), transaction(conn):
        store.save_plan(
            conn,
            IDS,
            work=work,
            plan=without,
            at=at,
            to="done",
            note="",
            now=CLOCK.now() + timedelta(hours=1),
        )
    conn.execute("UPDATE shop_plan SET origin_at = origin_at - interval '1 day'")  # all of it is done
    made = {each["task"]: each["starts_at"] for each in client.get(PLAN).json()["tasks"]}
    order(conn, 2)
    monkeypatch.setattr(of_plant, "TASKS_PLANNED_MAX", 3)
    client.post(PLAN, json=QUICK | {"moves": 0})
    assert work_off(conn) == ["asked"]
    after = client.get(PLAN).json()
    tasks = {each["task"]: each["starts_at"] for each in after["tasks"]}
    assert {each: tasks.get(each) for each in made} == made
    assert (len(tasks), after["later"]) == (len(made) + 3, 2)


def cyclic() -> str:
    return PLANT.replace(
        'name = "draw"\nresources = ["press-1", "press-2"]',
        'name = "draw"\nafter = ["trim"]\nresources = ["press-1", "press-2"]',
    )


def test_what_cannot_be_is_named_and_the_running_plan_stays(client: httpx.Client, conn: Connection) -> None:
    with transaction(conn):
        other = read_plant(PLANT.replace('id = "wren-mother"', 'id = "wren-north"'))
        plant_store.save_plant(conn, IDS, plant=other, actor="tester", now=CLOCK.now())
    refused = client.post("/api/v1/plants/wren-north/shop-plan", json={})
    assert (refused.status_code, "builds no programme here" in refused.text) == (422, True)
    assert client.get("/api/v1/plants/wren/shops").status_code == 404  # a document was chosen in its place
    nothing = client.post(PLAN, json={})
    assert (nothing.status_code, "no open order" in nothing.text) == (422, True)
    order(conn, 2)
    client.post(PLAN, json=QUICK)
    work_off(conn)
    running = client.get(PLAN).json()
    generation = client.get("/api/v1/plants/wren-mother").json()["generation"]
    refused = client.post("/api/v1/plants", json={"source": cyclic(), "generation": generation})
    assert refused.status_code == 422
    assert "routing 'door' goes round in a circle" in refused.text
    due = CLOCK.now() + timedelta(hours=1)
    (late,) = order(conn, 1, due_at=due, in_sequence=False)
    # The line alone takes 118 s, and the door 15 s.
    conn.execute("UPDATE plant_order SET due_at = received_at + interval '120 seconds' WHERE id = %s", [late])
    refused = client.post(PLAN, json={})
    assert (refused.status_code, f"order {late} came at" in refused.text) == (422, True)
    assert client.get(PLAN).json() == running
    for body, status in (
        ({"shop": "paint"}, 404),
        ({"moves": -1}, 400),
        ({"prove": 10**9}, 400),
        ({"shop": "\0"}, 400),
        ({"more": 1}, 400),
    ):
        assert client.post(PLAN, json=body).status_code == status
    for stop, status in (
        ({"resource": "press-9", "reason": "x", "expected_s": 60}, 422),
        ({"resource": "press-1", "reason": " ", "expected_s": 60}, 400),
        ({"resource": "press-1", "reason": "x", "expected_s": 0}, 400),
    ):
        assert client.post(STOPS, json=stop).status_code == status
    assert client.post("/api/v1/shop-stops/shopstop_none/end", json={}).status_code == 404
    assert client.get(PLAN, params={"generation": 99}).status_code == 404
    assert facts(client, "resource.stopped") == []


def test_a_document_that_does_not_allow_a_plan_any_more_is_told_after_a_stop_and_the_plan_stays(
    client: httpx.Client, conn: Connection
) -> None:
    order(conn, 2)
    client.post(PLAN, json=QUICK)
    work_off(conn)
    running = client.get(PLAN).json()
    today = CLOCK.now().date()
    days = ", ".join(f'"{today + timedelta(days=day)}"' for day in range(-2, 70))
    shut = PLANT.replace('name = "trimmer"', 'name = "trimmer"\ncalendar = "two shifts"').replace(
        'closed = ["2026-12-25", "2027-01-01"]', f"closed = [{days}]"
    )
    with transaction(conn):
        plant_store.save_plant(
            conn, IDS, plant=read_plant(shut), actor="tester", now=CLOCK.now(), generation=1
        )
    client.post(STOPS, json={"resource": "press-2", "reason": "die broke", "expected_s": 60})
    work_off(conn)
    (shop,) = client.get(SHOPS).json()
    assert shop["work"]["stage"] == "failed"
    assert "resource 'trimmer': calendar 'two shifts' has no open time" in shop["work"]["note"]
    assert client.get(PLAN).json()["id"] == running["id"]
    assert facts(client, "shop.kept")[0]["body"]["reason"] == shop["work"]["note"]


def test_a_search_for_an_older_asking_is_void_and_a_fault_of_ours_leaves_the_plan(
    client: httpx.Client, conn: Connection
) -> None:
    order(conn, 2)
    client.post(PLAN, json=QUICK)
    with transaction(conn):
        work = store.next_work(conn)
    assert work is not None
    plan_shops(conn, IDS, CLOCK)
    with transaction(conn):
        plan = store.current_plan(conn, "wren-mother", SHOP)
        at = store.load_shop(conn, "wren-mother", SHOP, now=CLOCK.now())
    assert plan is not None
    with pytest.raises(Conflict, match="another plan"), transaction(conn):
        store.save_plan(conn, IDS, work=work, plan=plan, at=at, to="done", note="", now=CLOCK.now())
    conn.execute("UPDATE shop_plan SET problem = jsonb_set(problem, '{order}', '[\"beauty\"]')")
    work_off(conn)
    rows = conn.execute("SELECT stage, note FROM shop_work").fetchall()
    assert [(row["stage"], row["note"]) for row in rows] == [("failed", BROKEN)]
    assert len(facts(client, "shop.planned")) == 1


def test_a_plan_that_a_checker_refuses_never_becomes_current(client: httpx.Client, conn: Connection) -> None:
    order(conn, 2)
    client.post(PLAN, json={"moves": 2_000, "prove": 0})
    plan_shops(conn, IDS, CLOCK)
    with transaction(conn):
        work = store.work_of(conn, "wren-mother", SHOP)
        plan = store.current_plan(conn, "wren-mother", SHOP)
        at = store.load_shop(conn, "wren-mother", SHOP, now=CLOCK.now())
    assert work is not None
    assert plan is not None
    with transaction(conn):  # the plant says meanwhile that a door takes a day
        slower = PLANT.replace("work_s.trimmer = 6", "work_s.trimmer = 86_400")
        stored = plant_store.save_plant(
            conn, IDS, plant=read_plant(slower), actor="tester", now=CLOCK.now(), generation=1
        )
    other = store.ShopNow(
        stored=stored, shop=at.shop, wanted=at.wanted, known=at.known, running=at.running, down={}
    )
    with pytest.raises(Corrupt, match="not what the plant can do"), transaction(conn):
        store.save_plan(conn, IDS, work=work, plan=plan, at=other, to="done", note="", now=CLOCK.now())
    assert store.current_plan(conn, "wren-mother", SHOP).generation == 1  # type: ignore[union-attr]
    work_off(conn)
    assert "imported anew" in client.get(SHOPS).json()[0]["work"]["note"]


def test_what_stands_longer_than_expected_is_planned_for_again(
    client: httpx.Client, conn: Connection
) -> None:
    order(conn, 2)
    client.post(PLAN, json=QUICK)
    work_off(conn)
    client.post(STOPS, json={"resource": "press-2", "reason": "die broke", "expected_s": 600})
    work_off(conn)
    later = CLOCK.now() + timedelta(seconds=700)
    with transaction(conn):
        assert overdue_shops(conn, now=CLOCK.now() + timedelta(seconds=500)) == []
        assert overdue_shops(conn, now=later) == [("wren-mother", SHOP)]
        ask_overdue(conn, IDS, plant_id="wren-mother", shop=SHOP, now=later)
        assert overdue_shops(conn, now=later) == []
    work_off(conn)
    assert client.get(PLAN).json()["cause"] in ("overdue", "searched")


def test_a_stop_in_a_shop_that_left_the_document_holds_up_no_other_and_can_be_ended(
    client: httpx.Client, conn: Connection
) -> None:
    order(conn, 2)
    client.post(PLAN, json=QUICK)
    work_off(conn)
    stop = client.post(STOPS, json={"resource": "press-2", "reason": "die broke", "expected_s": 60})
    work_off(conn)
    renamed = PLANT.replace("Press shop", "Stamping")
    with transaction(conn):
        plant_store.save_plant(
            conn, IDS, plant=read_plant(renamed), actor="tester", now=CLOCK.now(), generation=1
        )
    conn.execute("UPDATE shop_stop SET began_at = began_at - interval '1 day'")
    conn.execute("UPDATE shop_work SET asked_at = asked_at - interval '1 day'")
    assert client.post(PLAN, json=QUICK).status_code == 200
    assert work_off(conn) == ["asked", "searching"]
    assert client.get(PLAN).json()["shop"] == "press/Stamping"
    ended = client.post(f"/api/v1/shop-stops/{stop.json()['id']}/end", json={})
    assert (ended.status_code, ended.json()["ended_by"]) == (200, "olga")


def test_stops_in_shops_that_left_the_document_hide_no_other_and_are_told_once(
    client: httpx.Client, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_replan, "OVERDUE_MAX", 1)
    order(conn, 2)
    client.post(PLAN, json=QUICK)
    work_off(conn)
    client.post(STOPS, json={"resource": "press-2", "reason": "die broke", "expected_s": 60})
    work_off(conn)
    with transaction(conn):
        plant_store.save_plant(
            conn, IDS, plant=read_plant(PLANT.replace("Press shop", "Stamping")), actor="tester", now=CLOCK.now(),
            generation=1,
        )  # fmt: skip
    client.post(PLAN, json=QUICK)
    client.post(STOPS, json={"resource": "press-2", "reason": "die broke", "expected_s": 60})
    work_off(conn)
    conn.execute("UPDATE shop_stop SET began_at = began_at - interval '1 day'")
    conn.execute("UPDATE shop_work SET asked_at = asked_at - interval '1 day'")
    work_off(conn)  # the shop that is gone comes first, and alone
    work_off(conn)
    assert client.get(PLAN).json()["cause"] in ("overdue", "searched")
    assert [(each["body"]["shop"], each["body"]["reason"]) for each in facts(client, "shop.kept")] == [
        (SHOP, GONE)
    ]
    later = CLOCK.now() + timedelta(days=1)
    with transaction(conn):
        assert overdue_shops(conn, now=later) == [("wren-mother", SHOP)]  # in case it came back
        ask_overdue(conn, IDS, plant_id="wren-mother", shop=SHOP, now=later)
        assert overdue_shops(conn, now=later) == [("wren-mother", "press/Stamping")]
    assert len(facts(client, "shop.kept")) == 1


def test_a_shop_is_placed_while_the_search_of_another_goes_on(
    client: httpx.Client, conn: Connection, pg_url: str, tmp_path: Path
) -> None:
    one, parameters = PLANT[PLANT.index("[[shops]]") : PLANT.index("[[agvs]]")], PLANT.index("[parameters.")
    times = PLANT[PLANT.index('[parameters."press/') : PLANT.index('[parameters."agvs/')]
    two = PLANT[:parameters] + one.replace("Press shop", "Stamping") + PLANT[parameters:]
    two += times.replace("Press shop", "Stamping")
    with transaction(conn):
        plant_store.save_plant(
            conn, IDS, plant=read_plant(two), actor="tester", now=CLOCK.now(), generation=1
        )
    order(conn, 2)
    assert client.post(PLAN, json={"shop": SHOP, **QUICK}).status_code == 200
    plan_shops(conn, IDS, CLOCK)
    stop = threading.Event()
    settings = Settings(var=tmp_path, database_url=pg_url, nats_url="nats://127.0.0.1:9")
    worker_thread = threading.Thread(target=worker.run, args=(settings, stop), daemon=True)
    try:
        with connect(pg_url) as other, transaction(other):  # a search that takes as long as we like
            other.execute("SELECT FROM shop_work WHERE shop = %s FOR UPDATE", [SHOP])
            worker_thread.start()
            eventually(
                lambda: (
                    conn.execute(
                        "SELECT FROM pg_stat_activity WHERE datname = current_database()"
                        " AND wait_event_type = 'Lock' AND query LIKE '%UPDATE shop_work%'"
                    ).fetchone()
                    is not None
                ),
                within_s=300,  # it may have to compile
            )
            assert client.post(PLAN, json={"shop": "press/Stamping", **QUICK}).status_code == 200
            eventually(lambda: len(facts(client, "shop.planned")) == 2)
            stages = {each["shop"]: each["work"]["stage"] for each in client.get(SHOPS).json()}
            assert stages == {SHOP: "searching", "press/Stamping": "searching"}
    finally:
        stop.set()
        worker_thread.join()


def test_a_car_that_enters_the_line_meanwhile_spoils_no_search_and_no_proof(
    client: httpx.Client, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = order(conn, 3)
    client.post(PLAN, json={"moves": 2_000, "prove": 1})
    plan_shops(conn, IDS, CLOCK)
    with transaction(conn):
        store_plant.start_order(conn, IDS, order_id=ids[-1], actor="tester", now=CLOCK.now())
    monkeypatch.setattr(shops, "count_cost", dearer)  # so that whatever is found is better, and kept
    work_off(conn)
    (shop,) = client.get(SHOPS).json()
    assert shop["work"]["stage"] == "done", shop["work"]["note"]
    assert facts(client, "shop.kept") == []
    assert {each["body"]["cause"] for each in facts(client, "shop.planned")} == {
        "asked",
        "searched",
        "proved",
    }


def dearer(problem: ShopProblem, placed: Sequence[Placed]) -> dict[Level, int]:
    return {level: cost + 10**6 for level, cost in count_cost(problem, placed).items()}


def test_a_unit_that_stands_and_was_renamed_leaves_its_shop_planned(
    client: httpx.Client, conn: Connection
) -> None:
    order(conn, 2)
    client.post(PLAN, json=QUICK)
    work_off(conn)
    client.post(STOPS, json={"resource": "press-2", "reason": "die broke", "expected_s": 600})
    work_off(conn)
    renamed = PLANT.replace("press-2", "press-9")
    with transaction(conn):
        plant_store.save_plant(
            conn, IDS, plant=read_plant(renamed), actor="tester", now=CLOCK.now(), generation=1
        )
    assert client.post(PLAN, json=QUICK).status_code == 200
    work_off(conn)
    assert client.get(SHOPS).json()[0]["work"]["stage"] == "done"
