"""Why a vehicle is or is not in a campaign: API, console and command line over a real database."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import httpx
import pytest

from ringroad.cli.campaign_text import let_go_text, resolutions_text, why_text
from ringroad.http.auth import Role
from ringroad.ship import store
from ringroad.storage.db import Connection, connect, transaction
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
        assert let_go == [{"verdict": "already_installed", "vehicles": 1}]
        assert "1 × already installed" in client.get(f"/campaigns/{campaign_id}").text
        assert let_go_text(let_go).endswith("1  already installed")
        assert let_go_text([]) == ""


def _updated_elsewhere(conn: Connection, name: str) -> None:
    """A workshop brought a vehicle to the release, and its manifest says so."""
    manifest = manifest_of(conn, name, "2.0.0", ("brake", "head"))
    with transaction(conn):
        store.apply_manifest(conn, CountingIds(9_000), manifest=manifest, body=b"{}", now=T0)
