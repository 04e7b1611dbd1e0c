"""Plant documents over the API: kept by generation, with facts; the one that is chosen says the line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from ringroad.build.plant.store import looks_at_less
from ringroad.http.auth import Role
from ringroad.kernel.facts import FactKind
from ringroad.storage.db import connect, transaction
from ringroad.storage.ledger import append_fact
from support.console_server import add_account, serving
from support.mes import CLOCK, IDS

pytestmark = pytest.mark.engines

FIRST = Path(__file__).parents[2] / "examples" / "first"
PROGRAMME = (FIRST / "programme.toml").read_text(encoding="utf-8")
PLANT = (FIRST / "plant.toml").read_text(encoding="utf-8")


HOURS = re.compile(r"^hours = .*\nbreaks = .*\nclosed = .*$", re.MULTILINE)  # of its one calendar


@pytest.fixture
def client(pg_url: str, tmp_path: Path) -> Iterator[httpx.Client]:
    token = add_account(pg_url, "olga", Role.OPERATOR)
    with serving(pg_url, tmp_path) as origin:
        with httpx.Client(
            base_url=f"{origin}/api/v1", headers={"Authorization": f"Bearer {token}"}
        ) as opened:
            assert opened.post("/programmes", json={"source": PROGRAMME}).status_code == 200
            yield opened


def flash(pg_url: str) -> None:
    """Give the line a baseline for each ECU of a van."""
    with connect(pg_url) as conn, transaction(conn):
        conn.execute(
            "INSERT INTO release (id, programme_id, name, version, state, document, created_by, created_at, signed_at)"
            " VALUES ('release_1', 'wren', 'R', '1', 'signed', '{}', 'tester', now(), now())"
        )
        conn.execute(
            "INSERT INTO line_baseline (programme_id, release_id, packages, set_at)"
            """ VALUES ('wren', 'release_1', '{"van": {"gateway": "p1", "brake": "p2"}}', now())"""
        )


def test_a_document_is_kept_by_generation_and_chosen_for_its_programme(client: httpx.Client) -> None:
    own = client.get("/plants/wren").json()
    assert (own["generation"], own["runs"]) == (0, ["wren"])
    made = client.post("/plants", json={"source": PLANT})
    assert made.status_code == 201
    assert made.json()["generation"] == 1
    assert client.post("/plants", json={"document": made.json()["document"]}).json()["generation"] == 1

    slower = PLANT.replace("mean = 60", "mean = 66")
    assert client.post("/plants", json={"source": slower}).status_code == 409
    assert client.post("/plants", json={"source": slower, "generation": 1}).json()["generation"] == 2
    assert client.post("/plants", json={"source": PLANT, "generation": 1}).status_code == 409

    assert client.get("/programmes/wren").json()["document"]["line"]["stations"][0]["cycle_s"] == 60
    chosen = client.post("/plants/wren-mother/choose", json={"programme_id": "wren"})
    assert chosen.json() == {"id": "wren-mother", "state": "chosen"}
    programme = client.get("/programmes/wren").json()
    assert programme["plant_id"] == "wren-mother"
    assert programme["document"]["line"]["stations"][0]["cycle_s"] == 66
    assert [each["name"] for each in client.get("/programmes/wren/twin").json()["stations"]] == [
        "marriage",
        "flash_and_test",
    ]

    found = client.get(
        "/plants/wren-mother/difference", params={"other": "wren-mother", "generation": 1}
    ).json()
    assert found["same_structure"]
    assert [(each["key"], each["how"]) for each in found["parameters"]] == [
        ("assembly/Line 1/marriage#cycle_s", "differs")
    ]
    facts = client.get("/facts", params={"subject": "wren-mother"}).json()
    assert [each["kind"] for each in facts] == ["plant.chosen", "plant.imported", "plant.imported"]


def test_a_line_rests_by_its_calendar_and_another_one_plans_it_again(
    client: httpx.Client, pg_url: str
) -> None:
    flash(pg_url)
    today = datetime.now(UTC).date()
    always, *shut = [
        HOURS.sub(
            f'hours = ["00:00-24:00"]\nclosed = {[str(today + timedelta(days=each)) for each in days]}', PLANT
        )
        for days in (range(0), range(-1, 4), range(-1, 70))
    ]
    client.post("/plants", json={"source": always})
    client.post("/plants/wren-mother/choose", json={"programme_id": "wren"})
    order = {"programme_id": "wren", "variant": "van", "due_at": f"{today + timedelta(days=2)}T12:00:00Z"}
    assert client.post("/orders", json=order).status_code == 201
    schedules = client.get("/programmes/wren/schedules").json()
    times = client.get("/programmes/wren/line-times").json()
    assert (times["calendar"], times["rests_until"], times["rests"]) == ("two shifts", None, [])
    assert [each["late"] for each in times["vehicles"]] == [False]

    never = client.post("/plants", json={"source": shut[1], "generation": 1})
    assert never.status_code == 422
    assert "line 'Line 1': calendar 'two shifts' has no open time in the next 60 days" in never.text
    assert client.get("/programmes/wren/schedules").json() == schedules

    assert client.post("/plants", json={"source": shut[0], "generation": 1}).status_code == 201
    assert client.get("/programmes/wren").json()["document"]["line"]["calendar"]["name"] == "two shifts"
    after = client.get("/programmes/wren/schedules").json()
    assert [each["cause"] for each in after] == ["line_changed", *(each["cause"] for each in schedules)]
    opens = datetime.combine(today + timedelta(days=4), time(), tzinfo=ZoneInfo("Europe/Oslo"))
    assert after[0]["document"]["late_orders"] == 1
    times = client.get("/programmes/wren/line-times").json()
    assert datetime.fromisoformat(times["rests_until"]) == opens
    assert [datetime.fromisoformat(each["until"]) for each in times["rests"]] == [opens]
    (vehicle,) = times["vehicles"]
    assert (datetime.fromisoformat(vehicle["enters_at"]), vehicle["late"]) == (opens, True)
    with httpx.Client(
        base_url=str(client.base_url).removesuffix("/api/v1/"), headers=client.headers
    ) as pages:
        page = pages.get("/plant").text
    assert page.count("The line rests until") == 2  # where the line is drawn, and where its vehicles are
    late = client.post("/orders", json=order)
    assert late.status_code == 422
    assert f"leaves the line at {opens.astimezone(UTC).isoformat(timespec='minutes')[:15]}" in late.text
    assert "calendar 'two shifts'" in late.text


def test_a_programme_file_that_makes_the_line_another_one_plans_it_again(
    client: httpx.Client, pg_url: str
) -> None:
    flash(pg_url)

    def imported(source: str) -> list[str]:
        """Return the causes of all schedules, newest first, after a file replaced the one before."""
        generation = client.get("/programmes/wren").json()["generation"]
        answer = client.post("/programmes", json={"source": source, "generation": generation})
        assert answer.status_code == 200, answer.text
        return [each["cause"] for each in client.get("/programmes/wren/schedules").json()]

    def newest() -> dict[str, Any]:
        document: dict[str, Any] = client.get("/programmes/wren/schedules").json()[0]["document"]
        return document

    assert imported(PROGRAMME.replace("cycle_s = 58", "cycle_s = 59")) == [], "nothing was planned yet"
    plain, with_bar = (
        client.post("/orders", json={"programme_id": "wren", "variant": "van", "options": options}).json()[
            "id"
        ]
        for options in ([], ["tow_bar"])
    )
    assert imported(PROGRAMME.replace('"Wren"', '"Wren II"')) == ["line_changed", "new_orders", "new_orders"]
    assert newest()["sequence"] == [plain, with_bar]
    (fact,) = client.get("/facts", params={"kind": "schedule.replanned", "limit": 1}).json()
    (told, *_) = client.get("/facts", params={"kind": "programme.imported", "limit": 1}).json()
    assert fact["causes"][0] == told["id"]
    assert fact["body"]["cause"] == "line_changed"

    schedules = ["line_changed", "new_orders", "new_orders"]
    assert imported(PROGRAMME.replace('"Wren"', '"Wren III"')) == schedules, "the line is as it was"
    without = PROGRAMME.replace('options = ["tow_bar"]', "options = []").split("# At most")
    without[1] = without[1].split("# The orchestrator's", 1)[1]
    assert imported("#".join(without)) == ["line_changed", *schedules]
    assert newest()["sequence"] == [plain]
    (held,) = newest()["held"]
    assert held == {
        "order_id": with_bar,
        "reason": "tow_bar is blocked: programme wren does not have it any more",
    }


def test_what_a_chosen_plant_could_not_build_is_refused_and_changes_nothing(client: httpx.Client) -> None:
    client.post("/plants", json={"source": PLANT})
    client.post("/plants/wren-mother/choose", json={"programme_id": "wren"})
    other = PLANT.replace('option = "tow_bar"', 'option = "roof_box"')
    answer = client.post("/plants", json={"source": other, "generation": 1})
    assert answer.status_code == 422
    assert "'roof_box' is no variant" in answer.text
    changed = PROGRAMME.replace('options = ["tow_bar"]', "options = []").replace('"tow_bar"', '"van"')
    answer = client.post("/programmes", json={"source": changed, "generation": 2})
    assert answer.status_code == 422, answer.text
    assert "plant wren-mother cannot build programme wren" in answer.text
    assert client.get("/plants/wren-mother").json()["generation"] == 1


def test_what_cannot_be_or_is_not_there_is_refused(client: httpx.Client) -> None:
    bad: list[tuple[str, dict[str, object], int]] = [
        ("/plants", {}, 422),
        ("/plants", {"source": PLANT, "document": {}}, 422),
        ("/plants", {"document": {"plant": {"id": "x"}}}, 422),
        ("/plants", {"source": PLANT.replace("buffer = 2", "buffer = 0")}, 422),
        ("/plants/nowhere/choose", {"programme_id": "wren"}, 404),
        ("/plants/wren/choose", {"programme_id": "wren"}, 404),
        ("/plants/wren/choose", {"programme_id": "robin"}, 404),
    ]
    for path, body, status in bad:
        answer = client.post(path, json=body)
        assert answer.status_code == status, answer.text
    for path in ("/plants/nowhere", "/plants/wren?generation=1"):
        assert client.get(path).status_code == 404
    assert [each["id"] for each in client.get("/plants").json()] == ["wren"]


def test_a_plant_goes_through_an_asset_administration_shell(client: httpx.Client) -> None:
    client.post("/plants", json={"source": PLANT})
    before = client.get("/plants/wren-mother").json()
    for form in ("json", "aasx"):
        shell = client.get("/plants/wren-mother/aas", params={"form": form})
        assert shell.status_code == 200
        again = client.post("/plant-shells", content=shell.content)
        assert (again.status_code, again.json()["generation"]) == (201, 1), again.text
        assert again.json()["document"] == before["document"]
    refused = client.post("/plant-shells", content=b"PK rubbish")
    assert refused.status_code == 422
    assert "no plant as an Asset Administration Shell" in refused.text


GATE = 'checks = ["leak", "torque", "software"]'


def decide_rate(client: httpx.Client, headers: dict[str, str], *, permille: int) -> None:
    body = {
        "station": "flash_and_test", "gate": "end of line", "inspect_permille": permille, "reason": "as proposed",
        "generation": client.get("/plants/wren-mother").json()["generation"],
    }  # fmt: skip
    assert client.post("/programmes/wren/gates/rate", json=body, headers=headers).status_code == 200


def test_a_document_that_lets_a_gate_look_at_less_needs_an_approver(
    client: httpx.Client, pg_url: str
) -> None:
    approver = {"Authorization": f"Bearer {add_account(pg_url, 'anna', Role.APPROVER)}"}
    client.post("/plants", json={"source": PLANT})
    client.post("/plants/wren-mother/choose", json={"programme_id": "wren"})
    gone = client.get("/plants/wren-mother").json()["document"]
    del gone["lines"][0]["stations"][1]["gates"]
    del gone["parameters"]["assembly/Line 1/flash_and_test/end of line"]
    bodies: list[tuple[str, dict[str, Any]]] = [
        (
            "inspects 0 of 1,000 vehicles instead of 1000",
            {"source": PLANT.replace(GATE, f"{GATE}\ninspect_permille = 0")},
        ),
        (
            "does not check torque any more",
            {"source": PLANT.replace(GATE, 'checks = ["leak", "software"]')},
        ),
        ("is not there any more", {"document": gone}),
    ]
    for why, body in bodies:
        refused = client.post("/plants", json=body | {"generation": 1})
        assert refused.status_code == 403, refused.text
        assert f"gate 'end of line' at 'flash_and_test' {why}: this needs the role approver" in refused.text
    gone["plant"]["id"] = "wren-other"
    assert client.post("/plants", json={"document": gone}).status_code == 201
    chosen = client.post("/plants/wren-other/choose", json={"programme_id": "wren"})
    assert (chosen.status_code, "is not there any more" in chosen.text) == (403, True)
    assert client.get("/plants/wren-mother").json()["generation"] == 1
    more = PLANT.replace(GATE, 'checks = ["leak", "torque", "software", "paint"]')
    assert client.post("/plants", json={"source": more, "generation": 1}).status_code == 201
    document = client.get("/plants/wren-mother", params={"generation": 1}).json()["document"]
    assert client.post("/plants", json={"document": document, "generation": 2}).status_code == 403
    taken = client.post("/plants", json={"document": document, "generation": 2}, headers=approver)
    assert (taken.status_code, taken.json()["generation"]) == (201, 3)


def test_a_file_that_does_not_name_what_was_decided_of_a_gate_keeps_it(
    client: httpx.Client, pg_url: str
) -> None:
    approver = {"Authorization": f"Bearer {add_account(pg_url, 'anna', Role.APPROVER)}"}
    client.post("/plants", json={"source": PLANT})
    client.post("/plants/wren-mother/choose", json={"programme_id": "wren"})
    decide_rate(client, approver, permille=300)
    kept = [f"assembly/Line 1/flash_and_test/end of line#{kind}" for kind in ("escapes", "inspects")]

    again = client.post("/plants", json={"source": PLANT}).json()
    assert (again["generation"], again["kept"]) == (2, kept)
    slower = client.post("/plants", json={"source": PLANT.replace("mean = 60", "mean = 66"), "generation": 2})
    assert (slower.json()["generation"], slower.json()["kept"]) == (3, kept)
    (gate,) = client.get("/programmes/wren/gates").json()
    assert gate["inspect_permille"] == 300

    named = PLANT.replace("finds = { mean = 0.92", "inspects = 0.2\nfinds = { mean = 0.92")
    assert client.post("/plants", json={"source": named, "generation": 3}).status_code == 403
    lower = client.post("/plants", json={"source": named, "generation": 3}, headers=approver).json()
    assert (lower["generation"], lower["kept"]) == (4, kept[:1])


def test_what_gates_look_at_less_is_said_of_the_line_it_concerns_and_until_they_look_at_it_again(
    client: httpx.Client, pg_url: str
) -> None:
    approver = {"Authorization": f"Bearer {add_account(pg_url, 'anna', Role.APPROVER)}"}

    def said(programme_id: str) -> tuple[str, ...] | None:
        with connect(pg_url) as conn, transaction(conn):
            found = looks_at_less(conn, programme_id)
        return found[1] if found else None

    client.post("/plants", json={"source": PLANT})
    client.post("/plants/wren-mother/choose", json={"programme_id": "wren"})
    fewer = {"source": PLANT.replace(GATE, f"{GATE}\ninspect_permille = 400"), "generation": 1}
    assert client.post("/plants", json=fewer, headers=approver).status_code == 201
    less = ("gate 'end of line' at 'flash_and_test' inspects 400 of 1,000 vehicles instead of 1000",)
    assert said("wren") == less
    decide_rate(client, approver, permille=300)
    assert said("wren") == (less[0].replace("400", "300"),), "by what rules now"
    with connect(pg_url) as conn, transaction(conn):  # as by the choice of another line of this plant
        append_fact(
            conn, IDS, kind=FactKind.PLANT_CHOSEN, subject="wren-mother", actor="anna", now=CLOCK.now(),
            body={"programme_id": "owl", "before": None},
        )  # fmt: skip
    assert said("wren") == (less[0].replace("400", "300"),)
    decide_rate(client, approver, permille=1000)
    assert said("wren") is None


def test_a_stop_is_told_at_the_site_that_builds_and_not_at_its_hub(client: httpx.Client, pg_url: str) -> None:
    client.post("/plants", json={"source": PLANT})
    client.post("/plants/wren-mother/choose", json={"programme_id": "wren"})
    with connect(pg_url) as conn, transaction(conn):
        conn.execute(
            "INSERT INTO site (id, token_sha256, added_by, added_at) VALUES ('wren-mother', %s, 'anna', now())",
            (b"t" * 32,),
        )
    stop = {"station": "marriage", "kind": "quality", "reason": "glass cracks"}
    refused = client.post("/programmes/wren/line-stops", json=stop)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "line_of_site"), refused.text
    assert "tell it at site wren-mother" in refused.json()["error"]["hint"]
    event = {
        "id": "1",
        "kind": "stopped",
        "station": "marriage",
        "reason": "oil",
        "at": "2026-11-26T08:00:58Z",
    }
    told = client.post("/programmes/wren/mes-events", json={"events": [event]})
    assert (told.status_code, told.json()["error"]["code"]) == (409, "line_of_site"), told.text
    assert client.get("/programmes/wren/line-stops").json() == []
    assert client.post("/programmes/robin/line-stops", json=stop).status_code == 404


def test_a_part_of_a_leg_that_is_nearly_an_option_is_doubted_in_the_answer(client: httpx.Client) -> None:
    bad = PLANT.replace('parts = ["tow_bar"]', 'parts = ["tow_baar", "4711-A", "tow_bar"]')
    assert bad != PLANT
    made = client.post("/plants", json={"source": bad})
    assert made.json()["doubts"] == [
        "leg 'tow bars by sea': no option or variant of wren is called 'tow_baar'; did you mean 'tow_bar'?"
    ]
    fine = client.post("/plants", json={"source": PLANT, "generation": 1}).json()
    assert (fine["generation"], fine["doubts"]) == (2, [])


def test_a_request_with_what_is_no_event_or_result_is_refused_whole_and_says_where(
    client: httpx.Client,
) -> None:
    event = {
        "id": "1",
        "kind": "stopped",
        "station": "marriage",
        "reason": "oil",
        "at": "2026-11-26T08:00:58Z",
    }
    result = {
        "id": "1",
        "vehicle": "V",
        "station": "marriage",
        "check": "leak",
        "passed": True,
        "at": event["at"],
    }
    for path, key, good in (("mes-events", "events", event), ("station-results", "results", result)):
        refused = client.post(f"/programmes/wren/{path}", json={key: [good, good | {"at": "soon"}]})
        assert refused.status_code == 400, refused.text
        assert f"$.{key}[1].at" in refused.text, refused.text
        assert client.get(f"/programmes/wren/{path}").json() == []
