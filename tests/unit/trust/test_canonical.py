from __future__ import annotations

import json
import unicodedata
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.formats import encode_canonical as olpc

from ringroad.kernel.errors import InvalidInput, Untrusted
from ringroad.trust.canonical import INTEGER_MAX, decode_canonical, encode_canonical

TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"])).map(
    lambda text: unicodedata.normalize("NFC", text)
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-INTEGER_MAX, INTEGER_MAX) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_accepted_values_have_the_bytes_that_stock_clients_compute(value: Any) -> None:
    assert encode_canonical(value) == str(olpc(value)).encode()


@given(ANYTHING)
def test_whatever_is_encoded_has_the_bytes_that_stock_clients_compute(value: Any) -> None:
    try:
        ours = encode_canonical(value)
    except InvalidInput:
        return
    assert ours == str(olpc(value)).encode()


@given(VALUES)
def test_canonical_bytes_read_back(value: Any) -> None:
    assert decode_canonical(encode_canonical(value), bytes_max=10**6) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_either_canonical_or_untrusted(raw: bytes) -> None:
    try:
        value = decode_canonical(raw, bytes_max=100)
    except Untrusted:
        return
    assert encode_canonical(value) == raw


@given(ANYTHING, st.sampled_from([None, 1]))
def test_any_json_is_either_canonical_or_untrusted(value: Any, indent: int | None) -> None:
    raw = json.dumps(value, indent=indent, ensure_ascii=indent is None).encode("utf-8", "surrogatepass")
    try:
        found = decode_canonical(raw, bytes_max=10**6)
    except Untrusted:
        return
    assert orjson.dumps(found, option=orjson.OPT_SORT_KEYS) == raw


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":1,"a":1}',
        b'{"a":1,"a":2}',
        b'{"b":1,"a":2}',
        b'{"a": 1}',
        b'{"a":1}\n',
        b'{"a":1.0}',
        b'{"a":1e2}',
        b'{"a":-0}',
        b'{"a":01}',
        b'{"a":"\\u0041"}',
        b'{"a":"\\n"}',
        b'{"a":"\\u0000"}',
        b'{"a":"\\/"}',
        b'{"a":"\x7f"}',
        b'{"a":"\xc2\x85"}',
        '{"a":"e\u0301"}'.encode(),
        b'{"a":9007199254740992}',
        b'{"a":18446744073709551616}',
        b'{"a":NaN}',
        b'{"a":"\xff"}',
        b'{"a":"\\ud800"}',
        b"\xef\xbb\xbf{}",
        b"",
        b"[" * 100_000,
        b"[" * 256 + b"]" * 256,
    ],
)
def test_every_other_spelling_is_refused(raw: bytes) -> None:
    with pytest.raises(Untrusted) as refused:
        decode_canonical(raw, bytes_max=10**6)
    assert refused.value.code == "malformed"


def test_the_size_is_checked_before_anything_is_read() -> None:
    with pytest.raises(Untrusted) as refused:
        decode_canonical(b"x" * 11, bytes_max=10)
    assert refused.value.code == "endless_data"


@pytest.mark.parametrize(
    "value",
    [
        1.5,
        {1: 2},
        "\n",
        "e\u0301",
        2**53,
        b"x",
        {"a": {2, 3}},
        (1, 2),
        float("nan"),
        datetime(2026, 1, 1, tzinfo=UTC),
        "\ud800",
    ],
)
def test_values_without_a_canonical_form_are_refused(value: Any) -> None:
    with pytest.raises(InvalidInput):
        encode_canonical(value)
