from __future__ import annotations

import itertools

import pytest

from ringroad.kernel.errors import InvalidInput
from ringroad.ship.version import satisfies, version_key

ASCENDING = [
    "0",
    "0.9",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-rc.2",
    "1.0.0-rc.11",
    "1.0.0",
]
ASCENDING += ["1.0.0+1", "1.0.0+4", "1.0.1", "1.9", "1.10", "2.0.0", "10"]


def test_versions_sort_as_people_read_them() -> None:
    keys = [version_key(text) for text in ASCENDING]
    assert None not in keys
    assert all(left < right for left, right in itertools.pairwise(keys))  # type: ignore[operator]
    assert version_key("v1.2") == version_key("1.2.0")


@pytest.mark.parametrize("text", ["", "new", "1..2", "1.2-", "1_2", "1" * 30, "1." * 200 + "1", "1.2 ", "１"])
def test_what_is_not_a_version_has_no_order(text: str) -> None:
    assert version_key(text) is None


@pytest.mark.parametrize(
    ("version", "wanted", "expected"),
    [("1.2.0", ">=1.2", True), ("1.1", ">=1.2", False), ("1.5", ">=1.2, <2", True), ("2.0", ">=1.2,<2", False),
     ("1.2", "1.2.0", True), ("1.2", "!=1.2", False), ("odd", ">=1", None)],
)  # fmt: skip
def test_ranges(version: str, wanted: str, expected: bool | None) -> None:  # noqa: FBT001
    assert satisfies(version, wanted) is expected


@pytest.mark.parametrize("wanted", ["", ",", ">=", "~1.2", ">=new", ",".join([">=1"] * 9)])
def test_a_range_that_cannot_be_read_is_refused(wanted: str) -> None:
    with pytest.raises(InvalidInput):
        satisfies("1.0", wanted)
