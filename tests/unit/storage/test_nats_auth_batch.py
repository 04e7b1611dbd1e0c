"""A batch of logins: what one stranger calls himself does not keep the others out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.storage.nats_auth import _answer_batch, encode_jwt, encode_nkey

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
VIN = "RRTEST00000000001"


class Asked:
    """One question, and the answer it got."""

    def __init__(self, user: str) -> None:
        claims = {
            "iss": encode_nkey("server", KEY.public_key().public_bytes_raw()),
            "aud": "nats-authorization-request",
            "nats": {
                "type": "authorization_request",
                "server_id": {"id": "N"},
                "user_nkey": "U",
                "client_info": {"type": "mqtt"},
                "connect_opts": {"user": user, "pass": "token"},
            },
        }
        self.data = encode_jwt(claims, KEY).encode()
        self.answers: list[bytes] = []

    async def respond(self, answer: bytes) -> None:
        self.answers.append(answer)


def test_only_names_that_can_be_vehicles_reach_the_database() -> None:
    seen: list[str] = []

    def lookup(vins: Sequence[str]) -> Mapping[str, bytes]:
        seen.extend(vins)
        return {}

    batch = [Asked(user) for user in ("nul \0", "x" * 10_000, VIN)]
    asyncio.run(_answer_batch(batch, key=KEY, lookup=lookup, clock=SystemClock(), ids=SystemIds()))
    assert seen == [VIN]
    assert [len(asked.answers) for asked in batch] == [1, 1, 1]
