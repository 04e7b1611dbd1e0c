"""A birth record is believed only as the Director signed it, for the vehicle it is of."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ringroad.kernel.errors import InvalidInput, Untrusted
from ringroad.trust.birth import plain_text, read_record, seal_record, verify_record
from ringroad.trust.canonical import decode_canonical, encode_canonical
from support.uptane import Repo

VIN = "WRRDEM121TA000001"
DIRECTOR, OTHER = Repo("director", vin=VIN), Repo("image")
ROOT = DIRECTOR.put_root(1, expires=datetime(2030, 1, 1, tzinfo=UTC))
DOCUMENT = {"vin": VIN, "parts": [{"part": "battery", "lot": "B-17"}]}
SIGNED = seal_record(DOCUMENT, DIRECTOR.signers("targets")[0])


def test_what_the_director_signed_is_believed_offline() -> None:
    found = verify_record(SIGNED, director_root=ROOT, vin=VIN)
    assert found.signed["parts"] == DOCUMENT["parts"]
    assert found == read_record(SIGNED)
    assert seal_record(DOCUMENT, DIRECTOR.signers("targets")[0]) == SIGNED


def changed(**values: Any) -> bytes:
    document = decode_canonical(SIGNED, bytes_max=10_000)
    return encode_canonical(document | {"signed": document["signed"] | values})


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (changed(parts=[{"part": "battery", "lot": "B-18"}]), "no key of this root"),
        (changed(_type="targets"), "no birth record"),
        (seal_record(DOCUMENT, None), "nobody signed"),
        (seal_record(DOCUMENT, OTHER.signers("targets")[0]), "no key of this root"),
        (seal_record(DOCUMENT, DIRECTOR.signers("timestamp")[0]), "no key of this root"),
        (seal_record(DOCUMENT | {"vin": "WRRDEM121TA000002"}, DIRECTOR.signers("targets")[0]), "is of WRRDEM121TA000002"),
        (b"{}", "two members"),
        (SIGNED + b"\n", "canonical"),
        (SIGNED[:-1], "canonical"),
        (b'{"signatures":[{"keyid":1}],"signed":{"_type":"birth-record"}}', "no signatures"),
        (b'{"signatures":7,"signed":{"_type":"birth-record"}}', "no signatures"),
        (ROOT, "no birth record"),
    ],
)  # fmt: skip
def test_anything_else_is_refused(raw: bytes, word: str) -> None:
    with pytest.raises(Untrusted, match=word):
        verify_record(raw, director_root=ROOT, vin=VIN)


def test_a_record_without_a_canonical_form_is_not_sealed() -> None:
    with pytest.raises(InvalidInput):
        seal_record({"vin": VIN, "mass_kg": 1.5}, None)
    assert plain_text("e\u0301\x00 lot\n7") == "\u00e9 lot7"
