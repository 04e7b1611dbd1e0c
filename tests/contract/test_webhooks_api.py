"""Webhooks by the API and on the console: for admins only, and a secret is told once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ringroad.http.auth import Role
from support.console_server import add_account, serving

pytestmark = pytest.mark.engines

URL = "https://hooks.example.com/path-that-is-a-secret"


@pytest.fixture
def client(pg_url: str, tmp_path: Path) -> Iterator[httpx.Client]:
    token = add_account(pg_url, "admin", Role.ADMIN)
    with serving(pg_url, tmp_path) as origin, httpx.Client(base_url=origin, timeout=30) as opened:
        opened.headers["Authorization"] = f"Bearer {token}"
        yield opened


def test_a_secret_is_told_once_and_a_webhook_shows_where_it_stands(
    client: httpx.Client, tmp_path: Path
) -> None:
    made = client.post("/api/v1/webhooks", json={"url": URL, "types": ["campaign.*"]})
    assert made.status_code == 201
    secret, path = made.json()["secret"], f"/api/v1/webhooks/{made.json()['id']}"
    rotated = client.post(f"{path}/secret").json()["secret"]
    assert rotated != secret
    shown = client.get(path).json()
    assert (shown["url"], shown["types"], shown["state"], shown["failures"]) == (
        URL,
        ["campaign.*"],
        "active",
        0,
    )
    assert shown["old_secret_until"]
    answers = [
        client.get(each).text for each in (path, "/api/v1/webhooks", f"{path}/deliveries", "/api/v1/facts")
    ]
    for each in (secret, rotated):
        assert each not in "".join(answers)
    assert "path-that-is-a-secret" not in answers[3]  # every viewer reads the ledger
    assert (tmp_path / "keys" / "webhooks.key").stat().st_mode & 0o777 == 0o600
    assert client.patch(path, json={"active": False}).json()["state"] == "paused"
    assert client.delete(path).status_code == 200
    assert client.get(path).status_code == 404


def test_what_a_webhook_cannot_be_is_refused(client: httpx.Client) -> None:
    for body, status in (
        ({"url": "http://hooks.example.com/"}, 422),
        ({"url": "https://169.254.169.254/latest/meta-data"}, 422),
        ({"url": "https://[::ffff:127.0.0.1]/"}, 422),
        ({"url": URL, "types": ["nonsense"]}, 422),
        ({"url": URL, "secret": "whsec_mine"}, 400),
        ({"url": "x"}, 400),
        ({}, 400),
    ):
        assert client.post("/api/v1/webhooks", json=body).status_code == status, body
    made = client.post("/api/v1/webhooks", json={"url": URL}).json()["id"]
    for body, status in (({}, 422), ({"event": "fact_no"}, 404), ({"event": "a", "after": "b"}, 422)):
        assert client.post(f"/api/v1/webhooks/{made}/replay", json=body).status_code == status, body
    assert client.patch(f"/api/v1/webhooks/{made}", json={}).status_code == 422


def test_who_is_no_admin_sees_and_changes_nothing(client: httpx.Client, pg_url: str) -> None:
    made = client.post("/api/v1/webhooks", json={"url": URL}).json()["id"]
    token = add_account(pg_url, "ines", Role.APPROVER)
    path = f"/api/v1/webhooks/{made}"
    for method, each, body in (
        ("GET", "/api/v1/webhooks", None), ("POST", "/api/v1/webhooks", {"url": URL}), ("GET", path, None),
        ("PATCH", path, {"active": False}), ("DELETE", path, None), ("POST", f"{path}/secret", None),
        ("POST", f"{path}/replay", {"event": "x"}), ("GET", f"{path}/deliveries", None), ("GET", "/webhooks", None),
        ("GET", f"/webhooks/{made}", None),
    ):  # fmt: skip
        answer = client.request(method, each, json=body, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 403, (method, each)
        assert "hooks.example.com" not in answer.text


def test_the_console_tells_an_admin_what_is_in_trouble(client: httpx.Client, pg_url: str) -> None:
    made = client.post("/api/v1/webhooks", json={"url": URL}).json()["id"]
    token = add_account(pg_url, "adam", Role.ADMIN)
    headers = {"Authorization": f"Bearer {token}"}
    assert "every type" in client.get("/webhooks", headers=headers).text
    page = client.get(f"/webhooks/{made}", headers=headers)
    assert page.status_code == 200
    for words in (URL, "Pause", "Rotate the secret", "Nothing was sent yet"):
        assert words in page.text
    assert client.get("/webhooks/webhook_no", headers=headers).status_code == 404
