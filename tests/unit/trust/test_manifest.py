from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner

from ringroad.kernel.errors import InvalidInput, Untrusted
from ringroad.trust.canonical import encode_canonical
from ringroad.trust.keys import parse_public_key, public_key_dict
from ringroad.trust.manifest import (
    UNLISTED,
    InventoryKey,
    build_ecu_report,
    build_manifest,
    decode_manifest,
    verify_manifest,
)
from support.uptane import NOW, OTHER_VIN, VIN, parsed, seeded, target

KEYS = {"gateway": seeded("gateway"), "brake": seeded("brake")}
INVENTORY = [
    InventoryKey(serial=serial, key=parse_public_key(public_key_dict(key)), is_primary=serial == "gateway")
    for serial, key in KEYS.items()
]


def report(
    serial: str, *, counter: int = 1, at: datetime = NOW, key: CryptoSigner | None = None
) -> dict[str, Any]:
    image = target("brake")
    return build_ecu_report(
        key or KEYS[serial],
        serial=serial,
        filename=image.filename,
        length=image.length,
        sha256=image.sha256,
        sha512=image.sha512,
        latest_time=at,
        counter=counter,
        attacks_detected="freeze",
    )


def manifest(
    *reports: dict[str, Any], vin: str = VIN, primary: str = "gateway", key: str = "gateway"
) -> bytes:
    return build_manifest(
        KEYS[key], vin=vin, primary_serial=primary, reports=reports or (report("gateway"), report("brake"))
    )


def check(raw: bytes, previous: bytes | None = None) -> Any:
    return verify_manifest(
        raw,
        vin=VIN,
        inventory=INVENTORY,
        previous=decode_manifest(previous) if previous else None,
        now=NOW,
    )


def test_a_manifest_says_what_every_ecu_runs() -> None:
    found = check(manifest())
    assert found == decode_manifest(manifest())
    assert (found.vin, found.primary_serial, set(found.reports)) == (VIN, "gateway", {"gateway", "brake"})
    assert found.reports["brake"].installed_image.hashes.sha256 == target("brake").sha256
    assert found.reports["brake"].attacks_detected == "freeze"


def unlisted(**more: Any) -> dict[str, Any]:
    image = {"filename": UNLISTED, "length": None, "sha256": target("brake").sha256, "sha512": None} | more
    return build_ecu_report(KEYS["brake"], serial="brake", latest_time=NOW, counter=1, **image)


def test_an_image_that_nobody_lists_is_told_by_its_digest_alone() -> None:
    found = check(manifest(report("gateway"), unlisted())).reports["brake"].installed_image
    assert (found.filename, found.hashes.sha256) == (UNLISTED, target("brake").sha256)


@pytest.mark.parametrize(
    "said",
    [
        {"filename": "brake.bin"},  # it says that it is listed, and not all that is listed
        {"filename": "brake.bin", "length": 7},
        {"length": 7},
        {"length": 7, "sha512": target("brake").sha512},
        {"sha256": "7"},
    ],
)
def test_half_an_image_is_none(said: dict[str, Any]) -> None:
    with pytest.raises(Untrusted) as refused:
        check(manifest(report("gateway"), unlisted(**said)))
    assert refused.value.code == "malformed"


def test_a_later_manifest_follows_an_earlier_one() -> None:
    later = manifest(report("gateway", counter=2), report("brake", counter=7))
    assert check(later, previous=manifest()).reports["brake"].counter == 7


def bent(change: Callable[[dict[str, Any]], None]) -> bytes:
    document = parsed(manifest())
    change(document)
    return encode_canonical(document)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (manifest(vin=OTHER_VIN), "wrong_vehicle"),
        (manifest(primary="brake"), "unknown_ecu"),
        (manifest(key="brake"), "forged_report"),
        (manifest(report("gateway")), "incomplete_manifest"),
        (manifest(report("gateway"), report("gateway", counter=2), report("brake")), "repeated_ecu"),
        (manifest(report("gateway"), report("brake", key=seeded("thief"))), "forged_report"),
        (manifest(report("gateway"), report("brake"), report("stranger", key=seeded("x"))), "unknown_ecu"),
        (manifest(report("gateway"), report("brake", at=NOW + timedelta(seconds=301))), "time"),
        (bent(lambda one: one["signed"].update(vin=OTHER_VIN)), "forged_report"),
        (bent(lambda one: one.update(signatures=[])), "malformed"),
        (bent(lambda one: one["signatures"][0]["hash"].update(value="0" * 64)), "forged_report"),
        (bent(lambda one: one["signatures"][0].update(method="rsa")), "forged_report"),
        (b"{}", "malformed"),
        (b" " * (1024 * 1024 + 1), "endless_data"),
    ],
)
def test_refuses(raw: bytes, code: str) -> None:
    with pytest.raises(Untrusted) as refused:
        check(raw)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("later", "code"),
    [
        (manifest(), "replay"),
        (manifest(report("gateway", counter=2), report("brake")), "replay"),
        (
            manifest(report("gateway", counter=2), report("brake", counter=2, at=NOW - timedelta(seconds=1))),
            "time",
        ),
    ],
)
def test_refuses_after_an_earlier_manifest(later: bytes, code: str) -> None:
    with pytest.raises(Untrusted) as refused:
        check(later, previous=manifest())
    assert refused.value.code == code


def test_an_inventory_has_one_primary() -> None:
    with pytest.raises(InvalidInput):
        verify_manifest(manifest(), vin=VIN, inventory=INVENTORY[1:], previous=None, now=NOW)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_one_changed_byte_is_refused(at: int, bits: int) -> None:
    raw = bytearray(manifest())
    raw[at % len(raw)] ^= bits
    with pytest.raises(Untrusted):
        check(bytes(raw))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(st.characters(categories=["L"]), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["signatures", "signed", "vin", "ecu_reports", "keyid", "sig", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(JSON)
def test_any_shape_is_refused_without_another_error(value: Any) -> None:
    try:
        raw = encode_canonical(value)
    except InvalidInput:
        return
    with pytest.raises(Untrusted):
        check(raw)
