"""A fact as a CloudEvent: what a library that we did not write reads, and what a filter asks for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_structured
from cloudevents.core.formats.json import JSONFormat

from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.facts import FactKind
from ringroad.publish.cloudevent import EVENT_TYPE, PATTERNS_MAX, encode, kinds_of, to_event, types

AT = datetime(2026, 11, 25, 8, 0, 0, 250_000, tzinfo=UTC)


def row(**changes: object) -> dict[str, Any]:
    return {
        "seq": 42,
        "id": "fact_01kaz",
        "kind": "campaign.halted",
        "stage": "ship",
        "subject": "campaign_01kay",
        "lap_id": None,
        "causes": ["fact_01kaw"],
        "actor": "rule:gate",
        "work_started_at": AT - timedelta(seconds=1),
        "event_at": AT,
        "recorded_at": AT + timedelta(seconds=1),
        "body": {"reason": "too_many_failures"},
    } | changes


def test_a_foreign_library_reads_what_we_write() -> None:
    body = encode(to_event(row(), source="/ringroad"))
    event = from_structured(HTTPMessage(headers={"content-type": EVENT_TYPE}, body=body), JSONFormat())
    assert (event.get_id(), event.get_type(), event.get_source()) == (
        "fact_01kaz",
        "ringroad.campaign.halted",
        "/ringroad",
    )
    assert (event.get_subject(), event.get_time(), event.get_specversion()) == ("campaign_01kay", AT, "1.0")
    assert event.get_extension("sequence") == "0000000000000000042"
    data: Any = event.get_data()
    assert data["body"] == {"reason": "too_many_failures"}
    assert data["causes"] == ["fact_01kaw"]


def test_an_event_is_the_same_bytes_each_time_and_of_kinds_not_known_yet() -> None:
    newer = row(kind="vehicle.of_a_newer_release", body={"b": 1, "a": 2})
    assert encode(to_event(newer, source="/x")) == encode(
        to_event(newer | {"body": {"a": 2, "b": 1}}, source="/x")
    )


def test_a_sequence_sorts_as_its_numbers_do() -> None:
    texts = [to_event(row(seq=seq), source="/x").sequence for seq in (9, 10, 2**63 - 1)]
    assert texts == sorted(texts)


@pytest.mark.parametrize(
    ("patterns", "kinds"),
    [
        ([], None),
        (["*"], None),
        (["campaign.halted"], ["campaign.halted"]),
        (["ringroad.campaign.halted", "campaign.halted"], ["campaign.halted"]),
        (["vehicles.*"], sorted(kind for kind in FactKind if kind.startswith("vehicles."))),
        (["change.done", "lap.*", "*"], None),
    ],
)
def test_a_filter_names_kinds(patterns: list[str], kinds: list[str] | None) -> None:
    if "lap.*" in patterns:
        with pytest.raises(InvalidInput):
            kinds_of(patterns)
    else:
        assert kinds_of(patterns) == kinds


@pytest.mark.parametrize(
    "patterns",
    [[""], ["halted"], ["campaign"], ["campaign."], ["campaign.*x"], ["CAMPAIGN.HALTED"], ["cam*"],
     ["campaign.halted"] * (PATTERNS_MAX + 1)],
)  # fmt: skip
def test_a_filter_that_names_nothing_is_refused(patterns: list[str]) -> None:
    with pytest.raises(InvalidInput):
        kinds_of(patterns)


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("gate.decided", "there are gate.chose, and gate.* for all of them"),
        ("ringroad.lot.gone", "there are lot.contained, lot.released, and lot.* for all of them"),
        ("nonsense.*", "types begin with signal, telemetry, demand, finding, "),
        ("halted", "for example campaign.halted, or campaign.*"),
    ],
)
def test_a_type_that_is_not_there_is_refused_with_those_that_are(pattern: str, hint: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        kinds_of([pattern])
    assert hint in str(refused.value.hint)


def test_every_kind_of_fact_has_a_type_of_its_own() -> None:
    assert {kind for _, kind in types()} == set(FactKind)
    assert len({name for name, _ in types()}) == len(FactKind)
