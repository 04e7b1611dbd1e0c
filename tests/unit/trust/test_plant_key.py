"""A plant signs birth records with a key of its own, for its own vehicles and only as long as the Director said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ringroad.kernel.errors import InvalidInput, Untrusted
from ringroad.trust.birth import read_record, seal_record, verify_record
from ringroad.trust.canonical import decode_canonical, encode_canonical
from ringroad.trust.keys import public_key_dict
from ringroad.trust.plant_key import certify_plant_key, read_plant_key, verify_plant_key
from support.uptane import Repo, seeded

VIN = "WRRDEM121TB000001"
OTHER_VIN = "WRRDEM121TA000001"
T0 = datetime(2026, 11, 1, tzinfo=UTC)
END = T0 + timedelta(days=30)
DIRECTOR, OTHER = Repo("director", vin=VIN), Repo("image")
ROOT = DIRECTOR.put_root(1, expires=datetime(2030, 1, 1, tzinfo=UTC))
TARGETS = DIRECTOR.signers("targets")[0]
PLANT = seeded("plant wren")


def certificate(signer: Any = TARGETS, **changes: Any) -> bytes:
    given: dict[str, Any] = {
        "plant": "wren", "vin_plant": "B", "key": public_key_dict(PLANT), "issued_at": T0, "expires_at": END, **changes,
    }  # fmt: skip
    return certify_plant_key(signer, **given)


def born(at: datetime = T0 + timedelta(days=1), **changes: Any) -> dict[str, Any]:
    return {"vin": VIN, "plant": {"id": "wren"}, "born_at": at.isoformat(), "parts": [], **changes}


def test_a_record_that_a_plant_sealed_is_believed_with_the_directors_root_alone() -> None:
    raw = seal_record(born(), PLANT, certificate=certificate())
    assert verify_record(raw, director_root=ROOT, vin=VIN) == read_record(raw)
    found = verify_plant_key(certificate(), director_root=ROOT)
    assert (found.plant, found.vin_plant, found.key_id) == ("wren", "B", PLANT.public_key.keyid)


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (seal_record(born(), PLANT), "no key of this root"),  # without the Director's word
        (seal_record(born(), PLANT, certificate=certificate(DIRECTOR.signers("timestamp")[0])), "vouches"),
        (seal_record(born(), PLANT, certificate=certificate(OTHER.signers("targets")[0])), "vouches"),
        (seal_record(born(), PLANT, certificate=certificate(PLANT)), "vouches"),
        (seal_record(born(), seeded("plant kea"), certificate=certificate()), "no key of this root"),
        (seal_record(born(), None, certificate=certificate()), "nobody signed"),
        (seal_record(born(), TARGETS, certificate=certificate()), "no key of this root"),
        (seal_record(born(plant={"id": "kea"}), PLANT, certificate=certificate()), "may not sign"),
        (seal_record(born(plant="wren"), PLANT, certificate=certificate()), "may not sign"),
        (seal_record(born(), PLANT, certificate=certificate(vin_plant="C")), "may not sign"),
        (seal_record(born(T0 - timedelta(seconds=1)), PLANT, certificate=certificate()), "may not sign"),
        (seal_record(born(END), PLANT, certificate=certificate()), "may not sign"),
        (seal_record(born(born_at="soon"), PLANT, certificate=certificate()), "no time of birth"),
        (seal_record(born(born_at="2026-11-02"), PLANT, certificate=certificate()), "no time of birth"),
        (seal_record(born(certificate={"signed": 1}), PLANT), "two members"),
        (seal_record(born(certificate="x"), PLANT), "two members"),
    ],
)  # fmt: skip
def test_a_plants_key_vouches_for_nothing_else(raw: bytes, word: str) -> None:
    with pytest.raises(Untrusted, match=word):
        verify_record(raw, director_root=ROOT, vin=VIN)


def test_a_plant_does_not_name_another_vehicle() -> None:
    with pytest.raises(Untrusted, match="is of WRRDEM121TB000001"):
        verify_record(
            seal_record(born(), PLANT, certificate=certificate()), director_root=ROOT, vin=OTHER_VIN
        )


def bent(**changes: Any) -> bytes:
    document = decode_canonical(certificate(), bytes_max=10_000)
    return encode_canonical(document | {"signed": document["signed"] | changes})


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (bent(plant="kea"), "vouches"),
        (bent(vin_plant="A"), "vouches"),
        (bent(expires="2036-01-01T00:00:00Z"), "vouches"),
        (bent(vin_plant="AB"), "no certificate"),
        (bent(vin_plant="O"), "no certificate"),
        (bent(_type="targets"), "no certificate"),
        (bent(expires="some day"), "is not a time"),
        (bent(key={"keytype": "rsa", "scheme": "rsa", "keyval": {"public": "00"}}), "not the scheme"),
        (ROOT, "no certificate"),
        (b"{}", "two members"),
    ],
)
def test_a_certificate_is_believed_as_it_was_signed_or_not_at_all(raw: bytes, word: str) -> None:
    with pytest.raises(Untrusted, match=word):
        verify_plant_key(raw, director_root=ROOT)


@pytest.mark.parametrize(
    "changes", [{"vin_plant": "I"}, {"vin_plant": ""}, {"vin_plant": "AB"}, {"expires_at": T0}]
)
def test_what_cannot_be_certified_is_not(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        certificate(**changes)
    assert read_plant_key(certificate()).may_sign(VIN, T0)
