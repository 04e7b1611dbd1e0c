"""The tree of signals: what it is read from, what fits a leaf, what is published."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ringroad.kernel.errors import InvalidInput, NotFound
from ringroad.protocol.vehicle import Sample
from ringroad.vehicle.leaves import Leaf, SharedSignals, fitting, matching, read_tree

NOW = datetime(2026, 11, 26, tzinfo=UTC)


@pytest.mark.parametrize(
    ("datatype", "value", "kept"),
    [
        ("float", 3, 3.0),
        ("uint8", 255, 255),
        ("int8", -128, -128),
        ("boolean", True, True),
        ("string", "x", "x"),
    ],
)
def test_a_value_of_its_leafs_type_is_kept(datatype: str, value: Any, kept: Any) -> None:
    found = fitting(Leaf(path="Vehicle.A", datatype=datatype), value)
    assert (found, type(found)) == (kept, type(kept))


@pytest.mark.parametrize(
    ("datatype", "value"),
    [
        ("uint8", 256), ("uint8", -1), ("int8", 128), ("uint8", 1.5), ("uint8", True), ("float", True), ("float", "1"),
        ("boolean", 1), ("string", 1), ("string", "x" * 2_001), ("uint8[]", 1), ("", 1),
    ],
)  # fmt: skip
def test_a_value_of_another_type_or_out_of_range_is_refused(datatype: str, value: Any) -> None:
    with pytest.raises(InvalidInput):
        fitting(Leaf(path="Vehicle.A", datatype=datatype), value)


def test_leaves_are_asked_for_by_themselves_or_by_a_branch() -> None:
    leaves = {path: Leaf(path=path, datatype="float") for path in ("V.A", "V.B.C", "V.B.D", "V.BE")}
    assert matching(leaves, ["V.B"]) == ["V.B.C", "V.B.D"]
    assert matching(leaves, ["V.B.*", "V.A", "V.X"]) == ["V.B.C", "V.B.D", "V.A"]
    assert matching(leaves, ["V.X"]) == []


class Written:
    """A source that was last written at some time."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def read(self, now: datetime) -> list[Sample]:
        return [Sample(at=min(now, self.at), path="Vehicle.Speed", value=0)]


def test_what_is_published_is_stamped_once_and_so_ages() -> None:
    signals = SharedSignals(Written(NOW), {})
    signals.publish("Vehicle.Speed", 5, now=NOW)
    later = NOW.replace(hour=1)
    assert [(each.value, each.at) for each in signals.read(later)] == [(5.0, NOW)]
    with pytest.raises(NotFound):
        signals.publish("Vehicle.Other", 1, now=NOW)


def test_of_what_is_published_and_what_the_source_says_the_newer_counts() -> None:
    source = Written(NOW)
    signals = SharedSignals(source, {})
    signals.publish("Vehicle.Speed", 5, now=NOW.replace(minute=1))
    later = NOW.replace(hour=1)
    assert [each.value for each in signals.read(later)] == [5.0]
    source.at = NOW.replace(minute=2)
    assert [(each.value, each.at) for each in signals.read(later)] == [(0, source.at)]


@pytest.mark.parametrize("text", ["", "[]", '{"Vehicle": 1}', '{"Vehicle": {"children": {"A": []}}}'])
def test_what_is_no_catalogue_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "vss.json").write_text(text)
    with pytest.raises(InvalidInput):
        read_tree(tmp_path / "vss.json")


def test_a_catalogue_that_is_nested_without_end_is_refused(tmp_path: Path) -> None:
    node: dict[str, Any] = {"type": "sensor", "datatype": "float"}
    for _ in range(40):
        node = {"type": "branch", "children": {"A": node}}
    (tmp_path / "vss.json").write_text(json.dumps({"Vehicle": node}))
    with pytest.raises(InvalidInput):
        read_tree(tmp_path / "vss.json")
