"""Accounts, roles, sessions, cross-site requests and errors of the management API, against the real database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ringroad.http import accounts_store
from ringroad.http.auth import Role
from ringroad.kernel.clock import SystemClock, SystemIds, new_secret
from ringroad.storage.db import connect
from support.console_server import PASSWORD, add_account, serving
from support.console_world import World

pytestmark = pytest.mark.engines
OWN = {"X-Ringroad": "test", "Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def client(pg_url: str, tmp_path: Path) -> Iterator[httpx.Client]:
    with serving(pg_url, tmp_path) as origin, httpx.Client(base_url=origin, timeout=30) as opened:
        yield opened


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_one_time_token_sets_a_password_once(pg_url: str, client: httpx.Client) -> None:
    with connect(pg_url) as conn:
        once = accounts_store.issue_one_time_token(
            conn, SystemIds(), now=SystemClock().now(), secret=new_secret
        )
    short = client.post("/login/first", data={"token": once, "password": "short"})
    assert short.status_code == 422
    first = client.post("/login/first", data={"token": once, "password": PASSWORD})
    assert first.status_code == 303
    cookie = first.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert client.get("/api/v1/me").json() == {"name": "admin", "role": "admin", "via": "session"}
    again = client.post("/login/first", data={"token": once, "password": "another password"})
    assert again.status_code == 401


@pytest.mark.parametrize(("trusted", "secure"), [("127.0.0.1", True), ("192.0.2.1", False)])
def test_the_cookie_is_for_tls_alone_when_a_trusted_proxy_ends_it(
    pg_url: str, tmp_path: Path, trusted: str, *, secure: bool
) -> None:
    add_account(pg_url, "vera", Role.VIEWER)
    form = {"name": "vera", "password": PASSWORD}
    with serving(pg_url, tmp_path, trusted_proxies=trusted) as origin:
        answer = httpx.post(f"{origin}/login", data=form, headers={"X-Forwarded-Proto": "https"}, timeout=30)
        assert answer.status_code == 303
        assert ("Secure" in answer.headers["set-cookie"]) is secure
        plain = httpx.post(f"{origin}/login", data=form, timeout=30)
        assert "Secure" not in plain.headers["set-cookie"]


def test_health_tells_of_the_database_and_of_a_missing_express_way(client: httpx.Client) -> None:
    answer = client.get("/health")  # no gateways here, and so nothing to be express about
    healthy = {
        "status": "ok",
        "database": True,
        "gateways": "ok",
        "telemetry": "ok",
        "clock": "ok",
        "hint": "",
        "express": False,
    }
    assert (answer.status_code, answer.json()) == (200, healthy)


def test_a_page_sends_a_stranger_to_the_login(client: httpx.Client) -> None:
    answer = client.get("/campaigns")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?next=/campaigns"


@pytest.mark.parametrize(
    "headers",
    [{}, {"X-Ringroad": "1", "Sec-Fetch-Site": "cross-site"}, {"X-Ringroad": "1", "Origin": "https://evil.example"},
     {"Sec-Fetch-Site": "same-origin"}],
)  # fmt: skip
def test_another_site_cannot_use_a_session(
    pg_url: str, client: httpx.Client, headers: dict[str, str]
) -> None:
    add_account(pg_url, "admin", Role.ADMIN)
    client.post("/login", data={"name": "admin", "password": PASSWORD})
    refused = client.post("/api/v1/tokens", headers=headers)
    assert refused.status_code == 403
    assert client.post("/api/v1/tokens", headers=OWN).status_code == 201


def test_a_role_does_what_it_may_and_no_more(pg_url: str, client: httpx.Client) -> None:
    with connect(pg_url) as conn:
        world = World(conn, SystemIds(), now=SystemClock().now(), vehicles=3).build()
    viewer, operator = add_account(pg_url, "vera", Role.VIEWER), add_account(pg_url, "olga", Role.OPERATOR)
    pause = f"/api/v1/campaigns/{world.campaign_id}/pause"
    assert client.post(pause, headers=bearer(viewer), json={"reason": "look"}).status_code == 403
    assert client.post(pause, headers=bearer(operator), json={"reason": "look"}).json()["state"] == "paused"
    assert client.post(pause, headers=bearer(operator), json={"reason": "again"}).status_code == 409
    assert client.get("/api/v1/accounts", headers=bearer(operator)).status_code == 403


def test_an_approval_says_what_it_saw(pg_url: str, client: httpx.Client) -> None:
    with connect(pg_url) as conn:
        world = World(conn, SystemIds(), now=SystemClock().now(), vehicles=3).build()
        conn.execute("UPDATE change SET state = 'proposed', approved_by = NULL, generation = 2")
    headers = bearer(add_account(pg_url, "vic", Role.APPROVER))
    for path in (f"/api/v1/campaigns/{world.campaign_id}", f"/api/v1/changes/{world.change_id}"):
        before = client.get(path, headers=headers).json()
        for body in ({}, {"generation": None}, {"generation": 0}, {"generation": "any"}):
            answer = client.post(f"{path}/approve", headers=headers, json=body)
            assert answer.status_code == 400, (path, body, answer.text)
        stale = client.post(f"{path}/approve", headers=headers, json={"generation": 1})
        assert stale.status_code == 409, (path, stale.text)
        assert client.get(path, headers=headers).json() == before
    done = client.post(f"/api/v1/changes/{world.change_id}/approve", headers=headers, json={"generation": 2})
    assert done.json()["state"] == "approved"


def test_guessing_is_slowed_down_and_tells_nothing(pg_url: str, client: httpx.Client) -> None:
    add_account(pg_url, "admin", Role.ADMIN)
    known = client.post("/api/v1/login", json={"name": "admin", "password": "wrong password"})
    unknown = client.post("/api/v1/login", json={"name": "nobody", "password": "wrong password"})
    assert known.json() == unknown.json()
    for _ in range(3):
        client.post("/api/v1/login", json={"name": "admin", "password": "wrong password"})
    slowed = client.post("/api/v1/login", json={"name": "admin", "password": PASSWORD})
    assert slowed.status_code == 429
    assert int(slowed.headers["retry-after"]) > 0


def test_who_may_do_what_is_on_record_and_secrets_are_not(pg_url: str, client: httpx.Client) -> None:
    admin = bearer(add_account(pg_url, "admin", Role.ADMIN))
    made = client.post("/api/v1/accounts", headers=admin, json={"name": "ines", "role": "viewer"})
    once = made.json()["token"]
    client.post("/api/v1/accounts", headers=admin, json={"name": "ines", "role": "admin"})  # taken: 409
    client.post("/api/v1/first-login", json={"token": once, "password": PASSWORD})
    client.post("/api/v1/first-login", json={"token": once, "password": PASSWORD})  # used: 401
    client.patch("/api/v1/accounts/ines", headers=admin, json={"role": "approver"})
    client.patch("/api/v1/accounts/ines", headers=admin, json={"disabled": True})
    client.patch("/api/v1/accounts/admin", headers=admin, json={"role": "viewer"})  # the last admin: 422
    facts = client.get("/api/v1/facts?subject=ines", headers=admin).json()[::-1]
    assert [(fact["kind"], fact["actor"], fact["body"]) for fact in facts] == [
        ("account.created", "admin", {"role": "viewer"}),
        ("account.password_set", "ines", {}),
        ("account.changed", "admin", {"role": "approver"}),
        ("account.changed", "admin", {"disabled": True}),
    ]
    assert {fact["stage"] for fact in facts} == {"house"}
    assert all(fact["causes"] == [facts[0]["id"]] for fact in facts[1:])
    kinds = [fact["kind"] for fact in client.get("/api/v1/facts?subject=admin", headers=admin).json()]
    assert kinds == ["account.password_set", "account.created"]


def test_a_token_for_a_script_and_a_lost_password_are_on_record(pg_url: str, client: httpx.Client) -> None:
    ines = bearer(add_account(pg_url, "ines", Role.VIEWER))
    made = client.post("/api/v1/tokens", headers=ines).json()["token"]
    with connect(pg_url) as conn:
        once = accounts_store.issue_one_time_token(
            conn, SystemIds(), name="ines", role=Role.VIEWER, now=SystemClock().now(), secret=new_secret
        )
    assert client.delete("/api/v1/tokens", headers=bearer(made)).status_code == 200
    admin = bearer(add_account(pg_url, "admin", Role.ADMIN))
    facts = client.get("/api/v1/facts?subject=ines", headers=admin).json()[::-1][2:]
    assert [(fact["kind"], fact["actor"], fact["body"].get("for")) for fact in facts] == [
        ("account.token_made", "ines", "api"),
        ("account.token_made", "system:up", "one_time"),
        ("account.tokens_ended", "ines", None),
    ]
    assert not any(secret in json.dumps(facts) for secret in (made, once))


def guess(client: httpx.Client, name: str, address: str) -> int:
    body = {"name": name, "password": "wrong password"}
    return client.post("/api/v1/login", json=body, headers={"X-Forwarded-For": address}).status_code


def test_behind_our_proxy_a_stranger_slows_down_nobody_else(pg_url: str, tmp_path: Path) -> None:
    add_account(pg_url, "admin", Role.ADMIN)
    with (
        serving(pg_url, tmp_path, trusted_proxies="127.0.0.1") as origin,
        httpx.Client(base_url=origin, timeout=60) as client,
    ):
        assert [guess(client, f"name{number}", "203.0.113.9") for number in range(6)] == [401] * 5 + [429]
        assert guess(client, "name9", "198.51.100.1, 203.0.113.9") == 429  # a forged address is no way out
        right = {"name": "admin", "password": PASSWORD}
        assert client.post(
            "/api/v1/login", json=right, headers={"X-Forwarded-For": "198.51.100.7"}
        ).is_success
        assert client.post("/api/v1/login", json=right).is_success  # the proxy itself is never slowed down


def test_an_address_that_a_caller_claims_is_not_believed(pg_url: str, client: httpx.Client) -> None:
    assert [guess(client, f"name{number}", f"203.0.113.{number}") for number in range(6)] == [401] * 5 + [429]


def test_a_locked_account_loses_its_tokens_at_once(pg_url: str, client: httpx.Client) -> None:
    admin, other = add_account(pg_url, "admin", Role.ADMIN), add_account(pg_url, "olga", Role.OPERATOR)
    assert client.get("/api/v1/me", headers=bearer(other)).status_code == 200
    locked = client.patch("/api/v1/accounts/olga", headers=bearer(admin), json={"disabled": True})
    assert locked.status_code == 200
    assert client.get("/api/v1/me", headers=bearer(other)).status_code == 401
    last = client.patch("/api/v1/accounts/admin", headers=bearer(admin), json={"disabled": True})
    assert last.status_code == 422
    assert client.get("/api/v1/me", headers=bearer(admin)).status_code == 200


def test_errors_have_one_shape_and_name_no_internals(pg_url: str, client: httpx.Client) -> None:
    token = bearer(add_account(pg_url, "admin", Role.ADMIN))
    for method, path, body, status, kind in (
        ("GET", "/api/v1/campaigns/none", None, 404, "not_found"),
        ("GET", "/api/v1/nothing", None, 404, "not_found"),
        ("PUT", "/api/v1/campaigns", {}, 405, "invalid_input"),
        ("POST", "/api/v1/campaigns", {"name": "x"}, 400, "invalid_input"),
        ("POST", "/api/v1/campaigns", {"name": "x", "release_id": "r", "more": 1}, 400, "invalid_input"),
        ("POST", "/api/v1/programmes", {"source": "not = [toml"}, 422, "invalid_input"),
    ):
        answer = client.request(method, path, headers=token, json=body)
        assert (answer.status_code, answer.json()["error"]["kind"]) == (status, kind), (
            method,
            path,
            answer.text,
        )
        assert set(answer.json()["error"]) == {"kind", "code", "message", "hint"}


def test_every_answer_forbids_inline_scripts_and_frames(client: httpx.Client) -> None:
    for path in ("/login", "/api/v1/me", "/static/app.js"):
        headers = client.get(path).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "unsafe-inline" not in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_an_image_is_streamed_read_and_refused_when_empty(pg_url: str, client: httpx.Client) -> None:
    with connect(pg_url) as conn:
        World(conn, SystemIds(), now=SystemClock().now(), vehicles=1)._programme()
    token = bearer(add_account(pg_url, "admin", Role.ADMIN))
    given = {"programme_id": "meridian", "ecu": "display", "name": "display", "version": "9.0.0"}
    empty = client.post("/api/v1/packages", params=given, headers=token, content=b"")
    assert empty.status_code == 422
    made = client.post("/api/v1/packages", params=given, headers=token, content=b"\x01\x02" * 40_000)
    assert made.status_code == 201, made.text
    assert made.json()["image_bytes"] == 80_000
    assert made.json()["same_bytes_as"] == []
    other = client.post("/api/v1/packages", params=given, headers=token, content=b"\x03" * 80_000)
    assert other.status_code == 409
    given["version"] = "9.0.1"
    again = client.post("/api/v1/packages", params=given, headers=token, content=b"\x01\x02" * 40_000)
    assert again.json()["same_bytes_as"] == ["9.0.0"]
