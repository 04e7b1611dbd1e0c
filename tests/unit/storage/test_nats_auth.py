"""The answer to a login, without a broker: what is read, what is decided, what is signed."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from ringroad.kernel.errors import InvalidInput, Untrusted
from ringroad.kernel.vin import Vin
from ringroad.storage.nats_auth import (
    Login,
    answer,
    decide_login,
    decode_nkey,
    decode_request,
    encode_jwt,
    encode_nkey,
    public_nkey,
)

NOW = datetime(2026, 11, 1, tzinfo=UTC)
VIN = "RRTEST00000000001"
OTHER = "RRTEST00000000002"
GOOD = hashlib.sha256(b"token").digest()
KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))


def login(**changes: str) -> Login:
    fields = {
        "server_id": "N",
        "user_nkey": "U",
        "connection_kind": "mqtt",
        "user": VIN,
        "password": "token",
        "client_id": VIN,
    }
    return Login(**(fields | changes))


@pytest.mark.parametrize("client_id", [VIN, f"{VIN}-2", "", "anything", "mcVDv360CVmzA8ivl9gCcF"])
def test_the_right_token_comes_in(client_id: str) -> None:
    assert decide_login(login(client_id=client_id), GOOD) == VIN


@pytest.mark.parametrize(
    ("given_login", "digest"),
    [
        (login(password="wrong"), GOOD),
        (login(password=""), GOOD),
        (login(password="token" * 200), GOOD),
        (login(), None),
        (login(), b""),
        (login(user=""), GOOD),
        (login(user=VIN.lower()), GOOD),
        (login(user="server"), GOOD),
        (login(user=f"{VIN}>"), GOOD),
        (login(connection_kind="nats"), GOOD),
        (login(connection_kind=""), GOOD),
        (login(client_id=OTHER), GOOD),
        (login(client_id=f"{OTHER}-1"), GOOD),
    ],
)
def test_everything_else_stays_out(given_login: Login, digest: bytes | None) -> None:
    verdict = decide_login(given_login, digest)
    assert verdict != VIN
    body = claims(answer(given_login, verdict, key=KEY, now=NOW, token_id="1").decode())
    assert "jwt" not in body["nats"]
    assert body["nats"]["error"]


@pytest.mark.parametrize(
    ("given_login", "digest"),
    [
        (login(user="site-wren", connection_kind="leafnode", password="wrong"), GOOD),
        (login(user="site-wren", connection_kind="leafnode"), None),
        (login(user="site-wren", connection_kind="mqtt"), GOOD),
        (login(user="site-wren", connection_kind="nats"), GOOD),
        (login(user="site-", connection_kind="leafnode"), GOOD),
        (login(user="site-a.>", connection_kind="leafnode"), GOOD),
        (login(user="site-Wren", connection_kind="leafnode"), GOOD),
        (login(connection_kind="leafnode"), GOOD),  # a vehicle's own token
    ],
)
def test_no_server_comes_in_as_a_site_but_the_one_with_its_token(
    given_login: Login, digest: bytes | None
) -> None:
    verdict = decide_login(given_login, digest)
    body = claims(answer(given_login, verdict, key=KEY, now=NOW, token_id="1").decode())
    assert "jwt" not in body["nats"]


def test_a_site_gets_its_own_subjects_and_nothing_else() -> None:
    asked = login(user="site-wren", connection_kind="leafnode", client_id="")
    assert decide_login(asked, GOOD) == "site-wren"
    body = claims(answer(asked, "site-wren", key=KEY, now=NOW, token_id="1").decode())
    user = claims(body["nats"]["jwt"])["nats"]
    assert user["sub"] == {"allow": ["_INBOX_site-wren.>"]}
    assert user["allowed_connection_types"] == ["LEAFNODE"]
    assert all("wren" in subject for subject in user["pub"]["allow"])
    assert user["pub"]["allow"][0] == "ringroad.site.v1.wren.up"


@given(user=st.text(), password=st.text(), client_id=st.text(), kind=st.text(), digest=st.binary())
def test_nobody_comes_in_by_chance(
    user: str, password: str, client_id: str, kind: str, digest: bytes
) -> None:
    asked = login(user=user, password=password, client_id=client_id, connection_kind=kind)
    assert decide_login(asked, digest) not in {VIN, OTHER}


def test_a_vehicle_gets_its_own_topics_and_nothing_else() -> None:
    body = claims(answer(login(), Vin(VIN), key=KEY, now=NOW, token_id="1").decode())
    user = claims(body["nats"]["jwt"])
    assert user["nats"]["pub"] == {
        "allow": [f"ringroad.v1.{VIN}.telemetry", f"ringroad.v1.{VIN}.diagnostics.answer"]
    }
    assert user["nats"]["sub"] == {
        "allow": [f"ringroad.v1.{VIN}.wake", f"ringroad.v1.{VIN}.diagnostics.request", "$MQTT.sub.>"]
    }
    assert user["nats"]["allowed_connection_types"] == ["MQTT"]
    assert user["exp"] == NOW.timestamp() + 24 * 3600
    assert user["iss"] == body["iss"] == public_nkey(KEY)


@given(raw=st.binary(min_size=32, max_size=32), kind=st.sampled_from(["account", "user", "server"]))
def test_keys_read_back(raw: bytes, kind: str) -> None:
    text = encode_nkey(kind, raw)
    assert text[0] == {"account": "A", "user": "U", "server": "N"}[kind]
    assert decode_nkey(kind, text) == raw


def test_a_damaged_key_is_refused() -> None:
    text = encode_nkey("server", bytes(32))
    for damaged in (
        "",
        text[:-1],
        "N" + text[2:] + "A",
        encode_nkey("user", bytes(32)),
        text[:10] + "B" + text[11:],
    ):
        with pytest.raises(InvalidInput):
            decode_nkey("server", damaged)


def question(**changes: Any) -> tuple[bytes, dict[str, Any]]:
    body = {
        "iss": encode_nkey("server", KEY.public_key().public_bytes_raw()),
        "aud": "nats-authorization-request",
        "nats": {
            "type": "authorization_request",
            "server_id": {"id": "NSERVER"},
            "user_nkey": "UUSER",
            "client_info": {"type": "mqtt", "mqtt_id": "car"},
            "connect_opts": {"user": VIN, "pass": "token"},
        },
    } | changes
    return encode_jwt(body, KEY).encode(), body


def test_a_question_is_read() -> None:
    token, _ = question()
    assert decode_request(token) == login(server_id="NSERVER", user_nkey="UUSER", client_id="car")


@pytest.mark.parametrize(
    "damage",
    [
        lambda _token: b"",
        lambda token: token[:-4],
        lambda token: token.replace(b".", b"", 1),
        lambda token: b"e30." + token.split(b".", 1)[1],  # another header under the same signature
        lambda _token: question(aud="somebody-else")[0],
        lambda _token: question(nats={"type": "user"})[0],
        lambda _token: question(nats=[])[0],
        lambda _token: question(iss=encode_nkey("server", bytes(32)))[0],
    ],
)
def test_a_question_that_is_not_one_is_untrusted(damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises(Untrusted):
        decode_request(damage(question()[0]))


def claims(token: str) -> dict[str, Any]:
    """The claims of a token, its signature checked."""
    signed, _, signature = token.rpartition(".")
    KEY.public_key().verify(base64.urlsafe_b64decode(signature + "=="), signed.encode())
    part = signed.split(".")[1]
    found: dict[str, Any] = msgspec.json.decode(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found
