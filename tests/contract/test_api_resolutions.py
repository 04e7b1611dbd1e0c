"""Why a vehicle is or is not in a campaign: API, console and command line over a real database."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import httpx
import pytest

from ringroad.cli import run
from ringroad.cli.campaign_text import let_go_text, resolutions_text, why_text
from ringroad.http.auth import Role
from ringroad.loop.joining import join_running
from ringroad.ship import store
from ringroad.ship.gate import GatePolicy
from ringroad.ship.guard import Metric, MetricName, SequentialPolicy
from ringroad.ship.plan import WaveSize
from ringroad.storage.db import Connection, connect, transaction
from ringroad.storage.lake import Lake
from support.console_server import add_account, serving
from support.fleet import T0, CountingIds, Story, add_vehicles, fill_programme, vin
from support.manifests import manifest_of

pytestmark = pytest.mark.engines
SAID = "head 2.0.0 fits hardware head-hw, but the vehicle's head is old."


def test_everywhere_it_is_said_why_a_vehicle_takes_part_or_not(pg_url: str, tmp_path: Path) -> None:
    with closing(connect(pg_url)) as conn:
        ids = CountingIds()
        fill_programme(conn, ids)
        story = Story(conn, ids)
        add_vehicles(conn, range(6))
        conn.execute("UPDATE ecu SET hardware_id = 'old' WHERE vin = %s AND name = 'head'", [vin(0)])
        conn.execute("UPDATE vehicle SET region = 'US' WHERE vin = %s", [vin(5)])
        story.plan(query="region = EU", waves=())
        campaign_id = story.campaign_id
        add_vehicles(conn, [7])  # born after the plan
    headers = {"Authorization": f"Bearer {add_account(pg_url, 'vera', Role.VIEWER)}"}
    with (
        serving(pg_url, tmp_path) as origin,
        httpx.Client(base_url=origin, timeout=30, headers=headers) as client,
    ):
        kinds = client.get(f"/api/v1/campaigns/{campaign_id}/resolutions").json()
        assert [(row["verdict"], row["vehicles"], row["sentence"], row["steps"]) for row in kinds] == [
            ("match", 4, "", ["2.0.0"]), ("mismatch", 1, SAID, []),  # two variants, and no difference
        ]  # fmt: skip

        def why(number: int) -> dict[str, object]:
            path = f"/api/v1/campaigns/{campaign_id}/vehicles/{vin(number)}"
            found: dict[str, object] = client.get(path).raise_for_status().json()
            return found

        assert {why(0)["sentence"], why(0)["verdict"]} == {SAID, "mismatch"}
        taken = [why(number)["wave"] for number in (1, 2, 3, 4)]
        assert taken == [1] * 4
        assert why(5)["verdict"] == "not_selected"
        assert why(5)["sentence"] == "The query asks for region = EU, but region is US."
        assert why(7)["reason"] == "after_the_plan"
        assert str(why(7)["sentence"]).endswith("A new plan takes it in.")
        assert (why(7)["today"], why(5)["today"]) == ("match", "")  # the query leaves it out, so nothing fits
        assert client.get(f"/api/v1/campaigns/{campaign_id}/vehicles/{vin(9)}").status_code == 404
        assert client.get(f"/api/v1/campaigns/none/vehicles/{vin(1)}").status_code == 404
        (mine,) = client.get(f"/api/v1/vehicles/{vin(0)}/resolutions").json()
        assert (mine["campaign_name"], mine["verdict"], mine["reason"]) == (
            "fix",
            "mismatch",
            "hardware: head old",
        )
        shown = SAID.replace("'", "&#39;")
        assert shown in client.get(f"/campaigns/{campaign_id}").text
        page = client.get(f"/fleet/{vin(0)}").text
        assert f"fix ships 2.0.0: it does not fit. {shown}" in page
        assert SAID in resolutions_text(kinds)
        assert "2.0.0" in why_text(why(1), vin=vin(1))
        assert (why(1)["today"], why(0)["today_sentence"], why(1)["state"]) == ("match", SAID, "")

        with closing(connect(pg_url)) as conn:
            _updated_elsewhere(conn, vin(1))
            story.conn = conn
            story.approve_and_start()
            story.tick()
        assert (why(1)["verdict"], why(1)["today"]) == ("match", "already_installed")
        assert (why(1)["state"], why(1)["state_detail"]) == ("cancelled", "already_installed")
        assert "It runs every image of 2.0.0." in client.get(f"/fleet/{vin(1)}").text
        let_go = client.get(f"/api/v1/campaigns/{campaign_id}/let-go").json()
        assert let_go == [{"verdict": "already_installed", "vehicles": 1, "control": False}]
        assert "The campaign's vehicles are frozen" in str(why(7)["sentence"])
        assert "1 × already installed" in client.get(f"/campaigns/{campaign_id}").text
        assert let_go_text(let_go).endswith("1  already installed")
        assert let_go_text([]) == ""
        assert client.get("/api/v1/campaigns/none/let-go").status_code == 404


def test_who_is_held_back_who_of_them_was_let_go_and_who_joined_late_is_told_apart(
    pg_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(connect(pg_url)) as conn:
        ids = CountingIds()
        fill_programme(conn, ids)
        story = Story(conn, ids)
        names = add_vehicles(conn, range(12))
        compared = GatePolicy(
            sequential=SequentialPolicy(metrics=(Metric(name=MetricName.FAULT, margin_milli=1_250),))
        )
        story.plan(gate=compared, control=WaveSize(vehicles=4), late_joiners="included", waves=())
        plan_id = story.campaign().plan_id or ""
        held = [row["vin"] for row in store.list_targets(conn, plan_id, verdict="control")]
        _updated_elsewhere(conn, held[0])
        story.approve_and_start()
        joined = add_vehicles(conn, [20, 21, 22])
        join_running(conn, ids, Lake(tmp_path / "lake"), {}, now=story.now)
    token = add_account(pg_url, "vera", Role.VIEWER)
    headers = {"Authorization": f"Bearer {token}"}
    with (
        serving(pg_url, tmp_path) as origin,
        httpx.Client(base_url=origin, timeout=30, headers=headers) as client,
    ):
        path = f"/api/v1/campaigns/{story.campaign_id}"
        kinds = client.get(f"{path}/resolutions").json()
        assert [row["vehicles"] for row in kinds if row["verdict"] == "match" and row["number"]] == [8]
        assert [row["vehicles"] for row in kinds if row["verdict"] == "control" and row["number"]] == [4]
        late = [row for row in kinds if not row["number"]]
        assert {row["reason"] for row in late} == {"joined"}
        assert sum(row["vehicles"] for row in late) == 3
        assert all(
            (row["example"] in held) == (row["verdict"] == "control") for row in kinds if row["number"]
        )
        text = resolutions_text(kinds)
        assert "4  control: 2.0.0" in text
        assert "match: 2.0.0. They joined late" in text or "control: 2.0.0. They joined late" in text
        assert "0 B" not in text
        let_go = client.get(f"{path}/let-go").json()
        assert let_go == [{"verdict": "already_installed", "vehicles": 1, "control": True}]
        assert let_go_text(let_go).startswith("let go from the control group")
        gone = client.get(f"{path}/vehicles/{held[0]}").json()
        assert (gone["verdict"], gone["let_go_reason"]) == ("control", "already_installed")
        assert "already installed" in why_text(gone, vin=held[0])
        kept = client.get(f"{path}/vehicles/{held[1]}").json()
        assert "held back, the others are compared with it" in why_text(kept, vin=held[1])
        came = client.get(f"{path}/vehicles/{joined[0]}").json()
        assert came["joined_at"]
        assert came["steps"] == ["2.0.0"]
        rows = client.get(f"{path}/compared").json()
        assert [(row["metric"], row["against"], row["halted"]) for row in rows] == [
            ("fault", "control", False)
        ]
        assert (rows[0]["control_held"], rows[0]["control_left"]) == (4, 3)
        assert client.get("/api/v1/campaigns/none/compared").status_code == 404
        page = client.get(f"/campaigns/{story.campaign_id}").text
        assert "What is compared" in page
        assert "control group: 3 of 4 vehicles, 1 let go" in page
        assert "Held back, the others are compared with them." in page
        signed_in = {
            "RINGROAD_HTTP_PORT": origin.rpartition(":")[2], "RINGROAD_TOKEN": token, "HOME": str(tmp_path),
        }  # fmt: skip
        capsys.readouterr()
        assert run(["--var", str(tmp_path), "fleet", "show", held[1]], signed_in) == 0
        assert "it is held back, and others are compared with it." in capsys.readouterr().out
        assert "Let go from the control group" in page
        assert "Then it was let go: already installed." in client.get(f"/fleet/{held[0]}").text
        assert len(names) == 12


def _updated_elsewhere(conn: Connection, name: str) -> None:
    """A workshop brought a vehicle to the release, and its manifest says so."""
    manifest = manifest_of(conn, name, "2.0.0", ("brake", "head"))
    with transaction(conn):
        store.apply_manifest(conn, CountingIds(9_000), manifest=manifest, body=b"{}", now=T0)
