"""Signatures as a verifier that we did not write sees them; secrets that the database does not give away."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from ringroad.kernel.clock import new_secret
from ringroad.kernel.errors import Corrupt, NotFound
from ringroad.publish.keyfile import KEY_BYTES, ensure_key, read_key
from ringroad.publish.signing import derive_secret, key_id, show_secret, sign

KEY, SALT, BODY = b"k" * 32, b"s" * 16, b'{"type":"ringroad.campaign.halted"}'


def headers(*secrets: bytes, body: bytes = BODY, at_s: int | None = None) -> dict[str, str]:
    at_s = int(time.time()) if at_s is None else at_s
    return {
        "webhook-id": "fact_1",
        "webhook-timestamp": str(at_s),
        "webhook-signature": sign(secrets, message_id="fact_1", timestamp_s=at_s, body=body),
    }


def secret(salt: bytes = SALT, webhook_id: str = "webhook_1", key: bytes = KEY) -> bytes:
    return derive_secret(key, webhook_id=webhook_id, salt=salt)


def test_a_foreign_library_accepts_the_signature() -> None:
    assert Webhook(show_secret(secret())).verify(BODY, headers(secret())) == {
        "type": "ringroad.campaign.halted"
    }


def test_while_a_secret_is_rotated_both_are_accepted() -> None:
    old, new = secret(), secret(b"t" * 16)
    for each in (old, new):
        Webhook(show_secret(each)).verify(BODY, headers(new, old))


@pytest.mark.parametrize(
    "changed",
    [
        {"webhook-id": "fact_2"},
        {"webhook-timestamp": "1"},
        {"webhook-signature": "v1,AAAA"},
    ],
)
def test_what_was_changed_is_refused(changed: dict[str, str]) -> None:
    with pytest.raises(WebhookVerificationError):
        Webhook(show_secret(secret())).verify(BODY, headers(secret()) | changed)


def test_another_body_or_secret_is_refused() -> None:
    with pytest.raises(WebhookVerificationError):
        Webhook(show_secret(secret())).verify(BODY + b" ", headers(secret()))
    with pytest.raises(WebhookVerificationError):
        Webhook(show_secret(secret(b"t" * 16))).verify(BODY, headers(secret()))


def test_a_secret_hangs_on_key_webhook_and_salt() -> None:
    made = {secret(), secret(b"t" * 16), secret(webhook_id="webhook_2"), secret(key=b"l" * 32)}
    assert len(made) == 4
    assert all(len(each) == 32 for each in made)
    assert key_id(KEY) != key_id(b"l" * 32)


def test_the_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "webhooks.key"
    with pytest.raises(NotFound):
        read_key(path)
    made = ensure_key(path, secret=new_secret)
    assert ensure_key(path, secret=new_secret) == read_key(path) == made
    assert len(made) == KEY_BYTES
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["webhooks.key"]


def test_a_broken_key_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "webhooks.key"
    path.write_bytes(b"short")
    with pytest.raises(Corrupt):
        ensure_key(path, secret=new_secret)
    assert path.read_bytes() == b"short"
