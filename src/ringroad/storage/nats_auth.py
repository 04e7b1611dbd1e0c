"""Who may come in: NATS asks us at each login (auth callout), we answer from the vehicle table.

User = VIN, password = device token. A million vehicles need no server configuration and no reload.
A site's server comes in the same way, as a leaf node, by its name and token (`leaf.py`).
The vehicle may publish its own telemetry and its own answers to diagnostic requests, and hear its own wake topic and
its own requests, nothing else: no vehicle can answer for another, or ask one.

Invariants:
    Anything unreadable, unknown or late is answered with a refusal, or not at all, which refuses too.
    A client id that carries another vehicle's VIN is refused: it would take over that vehicle's session.

Source: NATS auth callout (ADR-26), nkeys, NATS JWT v2.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
import nats
import structlog
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ringroad.kernel.clock import Clock, Ids
from ringroad.kernel.errors import InvalidInput, RingroadError, Untrusted
from ringroad.kernel.vin import Vin, parse_vin
from ringroad.protocol.site import DOWN_STREAM, SITE_NAME, ask_subject, inbox_of, up_subject
from ringroad.storage.db import Connection, Opener, load_queries

SUBJECT = "$SYS.REQ.USER.AUTH"
QUEUE = "ringroad-auth"  # several answering processes share the work
ACCOUNT = "RINGROAD"
SITES_ACCOUNT = "SITES"  # of sites' servers at a hub
HUB_DOMAIN = "hub"  # of the JetStream that is no site's
LOGIN_H = 24  # hours until a vehicle must log in again, so that a withdrawn token ends
BATCH_MAX = 256  # logins answered by one query; a thundering herd after a restart is 10,000 a second
PENDING_MAX = 65_536  # requests waiting; NATS gives up on each after five seconds and the vehicle retries
RETRY_S = 0.5  # seconds before logins are answered again, when that ended
TOKEN_BYTES_MAX = 512  # bytes; ours are 43

_PREFIXES = {"account": 0 << 3, "user": 20 << 3, "server": 13 << 3}
_HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}
_VIN_SHAPED = re.compile(r"[A-HJ-NPR-Z0-9]{17}")
_SITE_SHAPED = re.compile("site-" + SITE_NAME.pattern)

SQL = load_queries("ringroad.storage")
log = structlog.get_logger()

Lookup = Callable[[Sequence[str]], Mapping[str, bytes]]  # VINs and sites -> sha256 of their tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """One question of the server: may this connection come in?"""

    server_id: str
    user_nkey: str
    connection_kind: str
    user: str
    password: str
    client_id: str


def encode_nkey(kind: str, raw: bytes) -> str:
    """Return a public key the way NATS writes it: prefix, 32 bytes, CRC-16, in base 32."""
    body = bytes([_PREFIXES[kind]]) + raw
    return base64.b32encode(body + _crc16(body).to_bytes(2, "little")).decode().rstrip("=")


def decode_nkey(kind: str, text: str) -> bytes:
    """Return the 32 bytes of a public key.

    Raises:
        InvalidInput: not such a key.
    """
    try:
        body = base64.b32decode(text + "=" * (-len(text) % 8))
    except ValueError as error:
        raise InvalidInput(f"not a NATS {kind} key") from error
    if (
        len(body) != 35
        or body[0] != _PREFIXES[kind]
        or _crc16(body[:-2]) != int.from_bytes(body[-2:], "little")
    ):
        raise InvalidInput(f"not a NATS {kind} key")
    return body[1:-2]


def public_nkey(key: Ed25519PrivateKey) -> str:
    """Return the account key that the server's configuration names as `issuer`."""
    return encode_nkey("account", key.public_key().public_bytes_raw())


def encode_jwt(claims: Mapping[str, Any], key: Ed25519PrivateKey) -> str:
    """Sign claims."""
    signed = f"{_b64(msgspec.json.encode(_HEADER))}.{_b64(msgspec.json.encode(claims))}"
    return f"{signed}.{_b64(key.sign(signed.encode()))}"


def decode_request(token: bytes) -> Login:
    """Verify and read the server's question.

    Raises:
        Untrusted: not signed by the server it names, or not such a question.
    """
    try:
        signed, _, signature = token.rpartition(b".")
        claims = msgspec.json.decode(_unb64(signed.split(b".")[1]), type=dict[str, Any])
        issuer = Ed25519PublicKey.from_public_bytes(decode_nkey("server", claims["iss"]))
        issuer.verify(_unb64(signature), signed)
        body = claims["nats"]
        if body["type"] != "authorization_request" or claims["aud"] != "nats-authorization-request":
            raise Untrusted("not a login question")
        options, info = body.get("connect_opts", {}), body.get("client_info", {})
        return Login(
            server_id=body["server_id"]["id"],
            user_nkey=body["user_nkey"],
            connection_kind=str(info.get("type") or info.get("kind", "")).lower(),
            user=str(options.get("user", "")),
            password=str(options.get("pass", "")),
            client_id=str(info.get("mqtt_id", "")),
        )
    except (InvalidSignature, msgspec.DecodeError, ValueError, LookupError, TypeError, InvalidInput) as error:
        raise Untrusted("unreadable login question", detail=repr(error)) from error


def decide_login(login: Login, token_sha256: bytes | None) -> Vin | str:
    """Decide on one login.

    Returns:
        The VIN or the site that came in, or the reason why not (a plain `str` that is neither).
    """
    if _SITE_SHAPED.fullmatch(login.user):
        if login.connection_kind != "leafnode":
            return "sites come as leaf nodes"
        return login.user if _right(login.password, token_sha256) else "unknown site or wrong token"
    try:
        vin = parse_vin(login.user)
    except InvalidInput:
        return "user is not a VIN"
    if login.connection_kind != "mqtt":
        return "vehicles speak MQTT"
    if not _right(login.password, token_sha256):
        return "unknown vehicle or wrong token"
    if any(found != vin for found in _VIN_SHAPED.findall(login.client_id[:23])[:1]):
        return "client id names another vehicle"
    return vin


def answer(
    login: Login, verdict: Vin | str, *, key: Ed25519PrivateKey, now: datetime, token_id: str
) -> bytes:
    """Return the signed answer: a user with exactly a vehicle's or a site's rights, or the reason for none."""
    issued = int(now.timestamp())
    issuer = public_nkey(key)
    base = {"iat": issued, "iss": issuer, "sub": login.user_nkey, "jti": token_id}
    body: dict[str, Any] = {"type": "authorization_response", "version": 2}
    if _known(verdict):
        permissions = vehicle_permissions(verdict) if _is_vin(verdict) else site_permissions(verdict)
        user = {
            **base,
            "name": verdict,
            "aud": ACCOUNT if _is_vin(verdict) else SITES_ACCOUNT,
            "exp": int((now + timedelta(hours=LOGIN_H)).timestamp()),
            "nats": {"type": "user", "version": 2, **permissions},
        }
        body["jwt"] = encode_jwt(user, key)
    else:
        body["error"] = verdict
    return encode_jwt({**base, "aud": login.server_id, "nats": body}, key).encode()


def vehicle_permissions(vin: str) -> dict[str, Any]:
    """Return what a vehicle may do. `$MQTT.sub.>` is where NATS itself delivers QoS 1 messages to it."""
    return {
        "pub": {"allow": [f"ringroad.v1.{vin}.telemetry", f"ringroad.v1.{vin}.diagnostics.answer"]},
        "sub": {
            "allow": [f"ringroad.v1.{vin}.wake", f"ringroad.v1.{vin}.diagnostics.request", "$MQTT.sub.>"]
        },
        "subs": 8,
        "data": -1,
        "payload": 1024 * 1024,
        "allowed_connection_types": ["MQTT"],
    }


def site_permissions(user: str) -> dict[str, Any]:
    """Return what a site's server may do: tell what is its own, ask, fetch what the hub keeps for it, hear the answers.

    The consumer of its name on the stream of what sites are told has a filter that the hub wrote.
    """
    site = user.removeprefix("site-")
    return {
        "pub": {
            "allow": [
                up_subject(site),
                ask_subject(site),
                f"$JS.{HUB_DOMAIN}.API.CONSUMER.MSG.NEXT.{DOWN_STREAM}.{user}",
                f"$JS.ACK.{DOWN_STREAM}.{user}.>",
                f"$JS.ACK.*.*.{DOWN_STREAM}.{user}.>",
            ]
        },
        "sub": {"allow": [f"{inbox_of(site)}.>"]},
        "subs": -1,
        "data": -1,
        "payload": -1,
        "allowed_connection_types": ["LEAFNODE"],
    }


@contextmanager
def lookup_in(opener: Opener) -> Iterator[Lookup]:
    """Give a lookup in the tables of vehicles and sites, on one connection that is opened again when it breaks."""
    held: list[Connection] = []

    def lookup(vins: Sequence[str]) -> Mapping[str, bytes]:
        if not held or held[0].closed:
            held[:] = [opener()]
        try:
            rows = list(SQL.token_digests(held[0], names=list(vins)))
        except Exception:
            held[0].close()
            raise
        return {row["name"]: bytes(row["token_sha256"]) for row in rows}

    try:
        yield lookup
    finally:
        for conn in held:
            conn.close()


async def keep_serving_logins(
    nats_url: str,
    *,
    key: Ed25519PrivateKey,
    lookup: Lookup,
    clock: Clock,
    ids: Ids,
    stop: asyncio.Event,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Answer logins as `serve_logins`, again and again until `stop` is set: nobody gets in while nobody answers."""
    while not stop.is_set():
        try:
            await serve_logins(nats_url, key=key, lookup=lookup, clock=clock, ids=ids, stop=stop, ready=ready)
        except (nats.errors.Error, OSError, RingroadError) as error:
            log.warning("logins_interrupted", detail=repr(error))
        except Exception:  # a fault of ours in one login must not close the door to all
            log.exception("logins_interrupted")
        if not stop.is_set():
            await asyncio.sleep(RETRY_S)


async def serve_logins(
    nats_url: str,
    *,
    key: Ed25519PrivateKey,
    lookup: Lookup,
    clock: Clock,
    ids: Ids,
    stop: asyncio.Event,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Answer logins until `stop` is set. A broken database answers nobody; the vehicles try again.

    Args:
        nats_url: with a user that the server's `auth_users` names.
        key: whose public half the server's `issuer` names.
        lookup: called on a thread.
        clock: for the time of issue.
        ids: for token ids.
        stop: ends the service.
        ready: called once questions will reach us.

    Raises:
        nats.errors.Error: NATS does not answer at the start.
    """
    waiting: asyncio.Queue[Any] = asyncio.Queue(PENDING_MAX)

    async def take(message: Any) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            waiting.put_nowait(message)

    connection = await nats.connect(
        nats_url, max_reconnect_attempts=-1, reconnect_time_wait=0.2, error_cb=_quiet
    )
    try:
        await connection.subscribe(SUBJECT, queue=QUEUE, cb=take)
        await connection.flush()
        ready()
        ended = asyncio.create_task(stop.wait())
        while not stop.is_set():
            first = asyncio.create_task(waiting.get())
            await asyncio.wait({first, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not first.done():
                first.cancel()
                break
            batch = [first.result()]
            while len(batch) < BATCH_MAX and not waiting.empty():
                batch.append(waiting.get_nowait())
            await _answer_batch(batch, key=key, lookup=lookup, clock=clock, ids=ids)
        ended.cancel()
    finally:
        await connection.close()


async def _answer_batch(
    batch: Sequence[Any], *, key: Ed25519PrivateKey, lookup: Lookup, clock: Clock, ids: Ids
) -> None:
    logins: list[tuple[Any, Login]] = []
    for message in batch:
        try:
            logins.append((message, decode_request(message.data)))
        except Untrusted as error:
            log.warning("login_unreadable", detail=error.detail)
    known: Mapping[str, bytes] = {}
    try:
        known = await asyncio.to_thread(lookup, [login.user for _, login in logins if _known(login.user)])
    except Exception as error:  # noqa: BLE001 - any failure of the database means: nobody comes in now
        detail = error.detail if isinstance(error, RingroadError) else repr(error)
        log.error("login_lookup_failed", detail=detail)  # noqa: TRY400 - one line per decision
        return
    now = clock.now()
    for message, login in logins:
        verdict = decide_login(login, known.get(login.user))
        if not _known(verdict):
            log.info("login_refused", user=login.user[:40], reason=verdict)
        reply = answer(login, verdict, key=key, now=now, token_id=ids.new("login"))
        with contextlib.suppress(nats.errors.Error):
            await message.respond(reply)


async def _quiet(error: Exception) -> None:
    log.warning("nats_connection", detail=repr(error))


def _right(password: str, token_sha256: bytes | None) -> bool:
    if token_sha256 is None or len(password) > TOKEN_BYTES_MAX:
        return False
    return hmac.compare_digest(hashlib.sha256(password.encode()).digest(), token_sha256)


def _known(verdict: str) -> bool:
    return _is_vin(verdict) or _SITE_SHAPED.fullmatch(verdict) is not None


def _is_vin(verdict: str) -> bool:
    return _VIN_SHAPED.fullmatch(verdict) is not None


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _unb64(text: bytes) -> bytes:
    return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))


def _crc16(data: bytes) -> int:
    """CRC-16/XMODEM, polynomial 0x1021."""
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc
