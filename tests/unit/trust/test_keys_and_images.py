from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner, SSlibKey

from ringroad.kernel.errors import InvalidInput, Untrusted
from ringroad.trust.image import ImageVerifier, verify_image
from ringroad.trust.keys import (
    key_from_pem,
    key_from_seed,
    key_id,
    parse_public_key,
    private_pem,
    public_key_dict,
    verifies,
)
from ringroad.trust.metadata import Root, Snapshot, Targets, Timestamp, parse_file
from ringroad.trust.state import VerifiedTarget
from support.uptane import IMAGE, make_world, seeded

CONTENT = IMAGE + b"brake"


def wanted() -> VerifiedTarget:
    return make_world().run().targets["brake-serial"]


def test_key_ids_are_those_of_tuf() -> None:
    signer = seeded("a")
    assert key_id(public_key_dict(signer)) == signer.public_key.keyid
    assert key_id(parse_public_key(public_key_dict(signer))) == signer.public_key.keyid


def test_a_key_verifies_what_it_signed_and_nothing_else() -> None:
    signer = seeded("a")
    key = parse_public_key(public_key_dict(signer))
    sig = signer.sign(b"data").signature
    assert verifies(key, keyid=key_id(key), signature=sig, data=b"data")
    assert not verifies(key, keyid=key_id(key), signature=sig, data=b"date")
    assert not verifies(key, keyid=key_id(key), signature="00", data=b"data")


@pytest.mark.parametrize("passphrase", [b"", b"correct horse"])
def test_a_private_key_survives_its_pem(passphrase: bytes) -> None:
    signer = seeded("a")
    pem = private_pem(signer, passphrase=passphrase)
    assert key_from_pem(pem, passphrase=passphrase).public_key == signer.public_key
    assert (b"ENCRYPTED" in pem) is bool(passphrase)


@pytest.mark.parametrize(
    ("pem", "passphrase"),
    [
        (private_pem(seeded("a"), passphrase=b"right"), b"wrong"),
        (private_pem(seeded("a"), passphrase=b"right"), b""),
        (private_pem(seeded("a")), b"none needed"),
        (CryptoSigner.generate_ecdsa().private_bytes, b""),
        (b"", b""),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", b""),
    ],
)
def test_an_unreadable_pem_is_invalid_input(pem: bytes, passphrase: bytes) -> None:
    with pytest.raises(InvalidInput):
        key_from_pem(pem, passphrase=passphrase)


def test_a_seed_has_32_bytes() -> None:
    with pytest.raises(InvalidInput):
        key_from_seed(b"short")


def spelled(**changes: Any) -> dict[str, Any]:
    return public_key_dict(seeded("a")) | changes


@pytest.mark.parametrize(
    "fields",
    [
        {},
        spelled(keytype="rsa"),
        spelled(scheme="rsassa-pss-sha256"),
        spelled(keyval={"public": public_key_dict(seeded("a"))["keyval"]["public"].upper()}),
        spelled(keyval={"public": public_key_dict(seeded("a"))["keyval"]["public"], "private": "x"}),
        spelled(keyval={"public": "00"}),
        spelled(keyval={}),
        spelled(keytype="ecdsa", scheme="ecdsa-sha2-nistp256"),
        public_key_dict(CryptoSigner.generate_ecdsa()),
        public_key_dict(CryptoSigner.generate_mldsa()),
    ],
)
def test_a_key_has_one_spelling_and_a_scheme_we_use(fields: dict[str, Any]) -> None:
    with pytest.raises(Untrusted) as refused:
        parse_public_key(fields)
    assert refused.value.code == "malformed"


def test_a_signature_under_another_key_id_does_not_count() -> None:
    signer = seeded("a")
    assert not verifies(
        parse_public_key(SSlibKey.to_dict(seeded("b").public_key)),
        keyid=seeded("b").public_key.keyid,
        signature=signer.sign(b"x").signature,
        data=b"x",
    )


@given(st.lists(st.integers(0, len(CONTENT)), max_size=4))
def test_an_image_is_verified_however_it_arrives(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(CONTENT)]
    target = VerifiedTarget(
        serial="s", filename="f", length=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest(),
        sha512=hashlib.sha512(CONTENT).hexdigest(), hardware_ids=("h",), release_counter=0,
        ecu_target=TARGET.ecu_target,
    )  # fmt: skip
    verify_image(target, [CONTENT[a:b] for a, b in pairwise(edges)])


TARGET = wanted()


@pytest.mark.parametrize(
    ("chunks", "code"),
    [
        ([CONTENT[:-1]], "arbitrary_software"),
        ([], "arbitrary_software"),
        ([CONTENT[:-1] + b"x"], "arbitrary_software"),
        ([CONTENT, b"x"], "endless_data"),
    ],
)
def test_another_image_is_refused(chunks: list[bytes], code: str) -> None:
    with pytest.raises(Untrusted) as refused:
        verify_image(TARGET, chunks)
    assert refused.value.code == code


def test_an_endless_image_is_refused_at_the_first_byte_too_many() -> None:
    verifier = ImageVerifier(TARGET)
    verifier.update(CONTENT)
    with pytest.raises(Untrusted):
        verifier.update(b"x")


@pytest.mark.parametrize("shape", [Root, Timestamp, Snapshot, Targets])
@given(raw=st.binary(max_size=300))
def test_any_bytes_are_refused_as_metadata_without_another_error(shape: Any, raw: bytes) -> None:
    with pytest.raises(Untrusted):
        parse_file(raw, shape)
