"""Accounts under attack: what a reset ends, what guessing costs, which routes anybody may use."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ringroad.http import accounts_store, auth
from ringroad.http.auth import Role, TooMany
from ringroad.http.events import CLIENTS_PER_ACCOUNT_MAX
from ringroad.kernel.clock import SystemClock, SystemIds, new_secret
from ringroad.storage.db import connect
from support.console_server import PASSWORD, add_account, serving

pytestmark = pytest.mark.engines


@pytest.fixture
def client(pg_url: str, tmp_path: Path) -> Iterator[httpx.Client]:
    with serving(pg_url, tmp_path) as origin, httpx.Client(base_url=origin, timeout=30) as opened:
        yield opened


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_reset_ends_every_older_token(pg_url: str, client: httpx.Client) -> None:
    stolen = add_account(pg_url, "admin", Role.ADMIN)
    with connect(pg_url) as conn:
        once = accounts_store.issue_one_time_token(
            conn, SystemIds(), now=SystemClock().now(), secret=new_secret
        )
    fresh = client.post("/api/v1/first-login", json={"token": once, "password": "another good password"})
    assert fresh.status_code == 201
    assert client.get("/api/v1/me", headers=bearer(stolen)).status_code == 401
    assert client.get("/api/v1/me", headers=bearer(fresh.json()["token"])).status_code == 200


def test_a_start_gives_a_token_until_an_admin_who_may_sign_in_has_a_password(pg_url: str) -> None:
    who: dict[str, Any] = {"now": SystemClock().now(), "secret": new_secret}
    with connect(pg_url) as conn:
        assert accounts_store.issue_first_token(conn, SystemIds(), **who)
        once = accounts_store.issue_first_token(conn, SystemIds(), **who)  # nobody used the one before
        assert once
        account = accounts_store.set_first_password(conn, SystemIds(), token=once, password=PASSWORD, **who)
        assert account
        assert account.name == "admin"
        assert accounts_store.issue_first_token(conn, SystemIds(), **who) is None
        reset = accounts_store.issue_one_time_token(conn, SystemIds(), **who)
        assert accounts_store.issue_first_token(conn, SystemIds(), **who) is None
        kinds = ("one_time",)
        assert accounts_store.account_of_token(conn, reset, kinds=kinds, now=who["now"])  # a start leaves it


def test_only_an_admin_counts_as_one(pg_url: str) -> None:
    add_account(pg_url, "vera", Role.VIEWER)
    with connect(pg_url) as conn:
        assert accounts_store.issue_first_token(conn, SystemIds(), now=SystemClock().now(), secret=new_secret)


def test_an_unknown_one_time_token_costs_no_slow_hash(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hashed(_password: str, _salt: bytes) -> str:
        raise AssertionError("a stranger made us hash")

    monkeypatch.setattr(auth, "hash_password", hashed)
    answer = client.post("/api/v1/first-login", json={"token": "once_x", "password": PASSWORD})
    assert answer.status_code == 401


def test_many_guesses_at_once_do_not_keep_the_others_from_working(pg_url: str, client: httpx.Client) -> None:
    token = add_account(pg_url, "admin", Role.ADMIN)
    answers: list[int] = []

    def guess(number: int) -> None:
        body = {"name": f"nobody{number}", "password": "wrong password"}
        answers.append(httpx.post(f"{client.base_url}/api/v1/login", json=body, timeout=60).status_code)

    threads = [threading.Thread(target=guess, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    statuses = [client.get("/api/v1/me", headers=bearer(token)).status_code for _ in range(5)]
    for thread in threads:
        thread.join()
    assert statuses == [200] * 5
    assert set(answers) <= {401, 429}


def test_no_more_passwords_are_hashed_at_once_than_there_is_memory_for() -> None:
    for _ in range(auth.HASHES_WAITING_MAX):
        assert auth._waiting.acquire(blocking=False)
    try:
        with pytest.raises(TooMany):
            auth.verify_password("x", None)
    finally:
        for _ in range(auth.HASHES_WAITING_MAX):
            auth._waiting.release()


@pytest.mark.parametrize(
    "body",
    [b"[" * 50_000, b'{"name":"admin","password":"\\ud800 twelve characters"}'],
    ids=["nested", "surrogate"],
)
def test_a_strange_body_from_a_stranger_is_his_mistake_not_ours(client: httpx.Client, body: bytes) -> None:
    for path in ("/api/v1/login", "/api/v1/first-login"):
        answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422), answer.text
        assert answer.json()["error"]["kind"] == "invalid_input"


def test_a_deeply_nested_programme_is_refused(pg_url: str, client: httpx.Client) -> None:
    token = add_account(pg_url, "admin", Role.ADMIN)
    deep = {"source": "a = " + "[" * 20_000 + "]" * 20_000}
    answer = client.post("/api/v1/programmes", json=deep, headers=bearer(token))
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "nested_too_deep")


def test_one_account_cannot_take_every_live_page(pg_url: str, client: httpx.Client) -> None:
    token = add_account(pg_url, "vera", Role.VIEWER)
    opened, begun = [], []
    try:
        statuses = []
        for _ in range(CLIENTS_PER_ACCOUNT_MAX + 1):
            request = client.build_request("GET", "/api/v1/events", headers=bearer(token))
            answer = httpx.Client(timeout=30).send(request, stream=True)
            opened.append(answer)
            statuses.append(answer.status_code)
            if answer.status_code == 200:
                begun.append(answer.iter_raw())  # kept, or it would hang up
                next(begun[-1])
        assert statuses == [200] * CLIENTS_PER_ACCOUNT_MAX + [429]
    finally:
        for answer in opened:
            answer.close()
