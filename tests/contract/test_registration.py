"""DDI vehicles are registered, invited and shut out, and gateway tokens made and ended, over the management API."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from ringroad.build.store_packages import import_programme
from ringroad.http.auth import Role
from ringroad.kernel.clock import SystemIds
from ringroad.storage.db import connect
from support.console_server import add_account, serving
from support.docs_pages import ROOT
from support.gateways import rows

pytestmark = pytest.mark.engines
A, B = "WRRDDP00000000001", "WRRDDP00000000002"
SOURCE = (ROOT / "examples" / "ddi" / "programme.toml").read_text(encoding="utf-8")


@pytest.fixture
def client(pg_url: str, tmp_path: Path) -> Iterator[httpx.Client]:
    with connect(pg_url) as conn, conn.transaction():
        import_programme(conn, SystemIds(), source=SOURCE, actor="test", now=datetime.now(UTC))
    token = add_account(pg_url, "ines", Role.ADMIN)
    headers = {"Authorization": f"Bearer {token}"}
    with serving(pg_url, tmp_path) as origin:
        with httpx.Client(base_url=f"{origin}/api/v1", headers=headers, timeout=60) as opened:
            yield opened


def register(client: httpx.Client, *vehicles: dict[str, Any], programme_id: str = "dipper") -> httpx.Response:
    body = {"programme_id": programme_id, "vehicles": list(vehicles)}
    return client.post("/vehicles/register", json=body)


def test_a_vehicle_is_registered_with_a_token_that_only_its_digest_is_kept_of(
    client: httpx.Client, pg_url: str
) -> None:
    made = register(
        client, {"vin": A, "variant": "box", "serials": {"telebox": "TB-1"}}, {"vin": B, "variant": "box"}
    )
    assert made.status_code == 201
    tokens = [each["enrolment_token"] for each in made.json()]
    kept = rows(pg_url, "SELECT * FROM vehicle ORDER BY vin")
    assert [bytes(row["enrolment_sha256"]) for row in kept] == [
        sha256(token.encode()).digest() for token in tokens
    ]
    assert len({bytes(row["token_sha256"]) for row in kept}) == 2  # nobody's, and not the same one
    assert [row["serial"] for row in rows(pg_url, "SELECT serial FROM ecu ORDER BY vin")] == [
        "TB-1", f"{B}-telebox",
    ]  # fmt: skip
    assert not any(token in str(rows(pg_url, "SELECT * FROM fact")) for token in tokens)
    again = client.post(f"/vehicles/{A}/invite").json()
    assert again["enrolment_token"] not in tokens
    assert client.post(f"/vehicles/{A}/shut-out").status_code == 200
    (row,) = rows(pg_url, f"SELECT * FROM vehicle WHERE vin = '{A}'")  # noqa: S608 - ours
    assert (row["enrolment_sha256"], row["certificates"]) == (None, [])
    assert bytes(row["token_sha256"]) != bytes(kept[0]["token_sha256"])
    assert row["certificates_after"] is not None
    found = rows(pg_url, f"SELECT kind FROM fact WHERE subject = '{A}' ORDER BY seq")  # noqa: S608 - ours
    assert [fact["kind"] for fact in found] == ["vehicle.registered", "vehicle.invited", "vehicle.shut_out"]


@pytest.mark.parametrize(
    ("vehicle", "status"),
    [
        ({"vin": "SHORT", "variant": "box"}, 400),
        ({"vin": B, "variant": "van"}, 404),
        ({"vin": B, "variant": "box", "serials": {"brake": "1"}}, 422),
        ({"vin": B, "variant": "box", "serials": {"telebox": "x" * 201}}, 422),
        ({"vin": B, "variant": "box", "serials": {"telebox": "a\0b"}}, 422),
        ({"vin": B, "variant": "box", "colour": "red"}, 400),
        ({"vin": B, "variant": "box", "tags": [""]}, 422),
        ({"vin": A, "variant": "box"}, 409),
    ],
)
def test_one_that_cannot_be_registered_keeps_all_of_them_out(
    client: httpx.Client, pg_url: str, vehicle: dict[str, Any], status: int
) -> None:
    answer = register(client, {"vin": A, "variant": "box"}, vehicle)
    assert answer.status_code == status
    assert rows(pg_url, "SELECT vin FROM vehicle") == []


def test_strangers_cannot_be_invited_or_shut_out(client: httpx.Client) -> None:
    assert register(client, {"vin": A, "variant": "box"}, programme_id="none").status_code == 404
    assert client.post(f"/vehicles/{A}/invite").status_code == 404
    assert client.post(f"/vehicles/{A}/shut-out").status_code == 404


def test_a_gateway_token_is_shown_once_and_there_is_an_end_to_them(client: httpx.Client, pg_url: str) -> None:
    assert client.get("/gateway-tokens").json() == []
    made = [client.post("/gateway-tokens", json={"name": f"depot {number}"}).json() for number in range(8)]
    assert client.post("/gateway-tokens", json={"name": "one more"}).status_code == 409
    assert [row["token"] for row in client.get("/gateway-tokens").json()] == [None] * 8
    assert client.delete(f"/gateway-tokens/{made[0]['id']}").status_code == 200
    assert client.delete(f"/gateway-tokens/{made[0]['id']}").status_code == 404
    assert client.post("/gateway-tokens", json={"name": "one more"}).status_code == 201
    kept = str(rows(pg_url, "SELECT * FROM gateway_token")) + str(rows(pg_url, "SELECT * FROM fact"))
    assert not any(row["token"] in kept for row in made)


def test_only_an_admin_makes_gateway_tokens(client: httpx.Client, pg_url: str) -> None:
    ole = {"Authorization": f"Bearer {add_account(pg_url, 'ole', Role.OPERATOR)}"}
    assert client.post("/gateway-tokens", json={"name": "x"}, headers=ole).status_code == 403
    assert client.get("/gateway-tokens", headers=ole).status_code == 403
    viewer = {"Authorization": f"Bearer {add_account(pg_url, 'vera', Role.VIEWER)}"}
    body = {"programme_id": "dipper", "vehicles": [{"vin": A, "variant": "box"}]}
    assert client.post("/vehicles/register", json=body, headers=viewer).status_code == 403
