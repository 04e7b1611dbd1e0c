from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.versions import CLAUSES_MAX, parse_range, parse_version, version_key

ASCENDING = [
    "0", "0.9", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-rc.2", "1.0.0-rc.11", "1.0.0",
    "1.0.0+1", "1.0.0+4", "1.0.0+10", "1.0.1", "1.2", "1.9", "1.10", "2.0.0", "10",
]  # fmt: skip
NUMBERS = r"[0-9]{1,3}(\.[0-9]{1,3}){0,3}"
VERSIONS = st.from_regex(rf"{NUMBERS}(-[a-z0-9]{{1,4}})?(\+[0-9]{{1,3}})?", fullmatch=True)


def test_versions_sort_as_people_read_them() -> None:
    keys = [parse_version(text) for text in ASCENDING]
    assert all(left < right for left, right in itertools.pairwise(keys))


def test_trailing_zeros_and_a_leading_v_do_not_count() -> None:
    assert (
        parse_version("1.2") == parse_version("1.2.0") == parse_version("v1.2") == parse_version("V1.2.0.0")
    )
    assert parse_version("0") == parse_version("0.0")


@pytest.mark.parametrize("text", ["", "new", "1..2", "1.2-", "1_2", "1" * 30, "1." * 200 + "1", "1.2 ", "１"])
def test_what_is_not_a_version_has_no_order(text: str) -> None:
    assert version_key(text) is None
    with pytest.raises(InvalidInput):
        parse_version(text)


@pytest.mark.parametrize(
    ("text", "version", "expected"),
    [
        (">=1.2, <2", "1.9.9", True),
        (">=1.2, <2", "2.0", False),
        ("==1.0", "1.0.0", True),
        ("!=1.0", "1.0", False),
        (">1.0", "1.0+1", True),
        ("<=1", "1.0-rc1", True),
        ("*", "0", True),
        (",".join([">=1"] * CLAUSES_MAX), "1", True),
        (">=1", "odd", None),
        ("*", "odd", None),
    ],
)
def test_ranges(text: str, version: str, *, expected: bool | None) -> None:
    assert parse_range(text).holds(version) is expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "1.2",
        ">=",
        ">= x",
        ">=new",
        "^1.2",
        ">=1,,<2",
        "~=1.0",
        ",".join([">=1"] * (CLAUSES_MAX + 1)),
    ],
)
def test_an_unreadable_range_is_an_error(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_range(text)


@given(VERSIONS, st.from_regex(NUMBERS, fullmatch=True))
def test_a_range_and_its_opposite_never_both_hold(left: str, right: str) -> None:
    assert parse_range(f"<{right}").holds(left) is not parse_range(f">={right}").holds(left)
