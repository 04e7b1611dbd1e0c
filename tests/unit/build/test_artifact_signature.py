"""Who signed a Mender artifact, and whether it may become a package."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from ringroad.build.artifact_signature import (
    RegisteredKey,
    judge_signature,
    policy_of,
    require_mender,
    require_signature,
)
from ringroad.build.images import read_image
from ringroad.build.model import Ecu
from ringroad.build.programme import find_problems
from ringroad.kernel.errors import InvalidInput, Untrusted
from ringroad.trust.artifact_keys import read_artifact_key
from support.docs_pages import ROOT
from support.mender import EC_KEY, RSA_KEY, PrivateKey, make_mender, public_pem, signed_with, tar

ECU = Ecu(
    name="telebox", hardware_id="default:1.0", bus="HTTP", os="Linux", security="-", storage="ab", storage_bytes=1,
    supplier="Egret", primary=True, agent="ddi",
)  # fmt: skip


def registered(key: PrivateKey, *, supplier: str = "Egret") -> RegisteredKey:
    return RegisteredKey(id="k1", name="theirs", supplier=supplier, key=read_artifact_key(public_pem(key)))


def details(**made: Any) -> dict[str, Any]:
    return dict(read_image(make_mender(**made)).details)


@pytest.mark.parametrize("key", [RSA_KEY, EC_KEY])
@pytest.mark.parametrize("supplier", ["Egret", ""])
def test_an_artifact_is_signed_by_the_key_that_signed_its_manifest(key: PrivateKey, supplier: str) -> None:
    found = judge_signature(
        details(signature=signed_with(key)), [registered(key, supplier=supplier)], ecu=ECU
    )
    assert (found.state, found.key_id) == ("signed", "k1")
    require_signature(found, ecu=ECU)


def test_a_signing_service_may_answer_in_der() -> None:
    def der(manifest: bytes) -> bytes:
        return base64.b64encode(EC_KEY.sign(manifest, ec.ECDSA(SHA256()))) + b"\n"

    assert judge_signature(details(signature=der), [registered(EC_KEY)], ecu=ECU).state == "signed"


@pytest.mark.parametrize(
    ("made", "keys", "state"),
    [
        ({"signature": None}, [registered(RSA_KEY)], "unsigned"),
        ({"signature": signed_with(RSA_KEY)}, [], "unknown_key"),
        ({"signature": signed_with(RSA_KEY)}, [registered(EC_KEY)], "unknown_key"),
        ({"signature": signed_with(EC_KEY)}, [registered(RSA_KEY)], "unknown_key"),
        ({"signature": signed_with(RSA_KEY)}, [registered(RSA_KEY, supplier="Osprey")], "unknown_key"),
        ({"signature": lambda _: signed_with(RSA_KEY)(b"another manifest")}, [registered(RSA_KEY)], "unknown_key"),
        ({"signature": lambda _: signed_with(EC_KEY)(b"another manifest")}, [registered(EC_KEY)], "unknown_key"),
        ({"signature": lambda m: signed_with(EC_KEY)(m)[:-8]}, [registered(EC_KEY)], "unknown_key"),
        ({"signature": b"no base64 at all"}, [registered(RSA_KEY), registered(EC_KEY)], "unknown_key"),
        ({"signature": b""}, [registered(RSA_KEY), registered(EC_KEY)], "unknown_key"),
        ({"signature": base64.b64encode(bytes(64))}, [registered(RSA_KEY), registered(EC_KEY)], "unknown_key"),
        ({"signature": b"\xff\x00"}, [registered(RSA_KEY), registered(EC_KEY)], "unknown_key"),
    ],
)  # fmt: skip
def test_whatever_no_good_key_signed_is_refused_unless_the_ecu_says_reported(
    made: dict[str, Any], keys: list[RegisteredKey], state: str
) -> None:
    found = judge_signature(details(**made), keys, ecu=ECU)
    assert (found.state, found.key_id) == (state, None)
    with pytest.raises(Untrusted, match="telebox is"):
        require_signature(found, ecu=ECU)
    with pytest.raises(Untrusted):
        require_signature(found, ecu=replace(ECU, settings={"mender_signature": "Reported"}))
    require_signature(found, ecu=replace(ECU, settings={"mender_signature": "reported"}))


def test_a_package_that_was_read_before_signatures_were_verified_counts_as_not_signed() -> None:
    found = judge_signature({"signature": "present"}, [registered(RSA_KEY)], ecu=ECU)
    assert found.state == "unread"


def test_a_second_manifest_that_would_be_followed_instead_of_the_signed_one_is_refused() -> None:
    for name in ("manifest", "manifest.sig", "version"):
        with pytest.raises(InvalidInput, match="twice"):
            read_image(make_mender(extra=[(name, b"0" * 64 + b"  version\n")]))
    with pytest.raises(InvalidInput, match=r"manifest\.sig has"):
        read_image(make_mender(signature=b"A" * 5_000))


@pytest.mark.parametrize(
    ("pem", "complaint"),
    [
        ("", "no public key"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "no public key"),
        (
            RSA_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
            "this is a private key",
        ),
        (public_pem(rsa.generate_private_key(public_exponent=65_537, key_size=1_024)), "RSA of 2048"),  # noqa: S505 - refused for that
        (public_pem(ec.generate_private_key(ec.SECP384R1())), "P-256"),
        (
            Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
            "artifacts are signed with",
        ),
        ("A" * 5_000, "up to 4000"),
    ],
)  # fmt: skip
def test_a_key_that_artifacts_are_not_signed_with_is_refused(pem: str, complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        read_artifact_key(pem)


def test_a_programme_says_required_or_reported_and_nothing_else() -> None:
    source = (ROOT / "examples" / "ddi" / "programme.toml").read_text(encoding="utf-8")
    assert policy_of(ECU) == "required"
    for word, problems in (("reported", 0), ("required", 0), ("off", 1)):
        _, found = find_problems(source + f'mender_signature = "{word}"\n')
        assert len(found) == problems


@pytest.mark.parametrize("word", ["required", "reported"])
def test_an_ecu_that_says_what_becomes_of_mender_artifacts_takes_nothing_else(word: str) -> None:
    telebox = replace(ECU, settings={"mender_signature": word})
    for image_format in ("bin", "swu"):
        require_mender(image_format, ecu=ECU)
        with pytest.raises(InvalidInput, match="Mender artifacts only"):
            require_mender(image_format, ecu=telebox)
    require_mender("mender", ecu=telebox)


def test_a_tar_of_nothing_is_no_artifact() -> None:
    with pytest.raises(InvalidInput):
        read_image(tar([("version", b"{}")]), declared_format="mender")
