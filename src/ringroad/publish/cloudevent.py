"""A fact as a CloudEvent 1.0, and which facts somebody asked for. Pure.

Source: CloudEvents 1.0.2 (attributes), its JSON event format (structured mode), its `sequence` extension.

A type's name and the meaning of what it carries never change: data may gain members, and a change that would break a
reader gets a new name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.facts import FactKind

SPEC_VERSION: Final = "1.0"
PREFIX: Final = "ringroad."  # of every type
JSON: Final = "application/json"
EVENT_TYPE: Final = "application/cloudevents+json"
BATCH_TYPE: Final = "application/cloudevents-batch+json"
SEQUENCE_DIGITS: Final = 19  # digits of the largest bigint, so that text sorts as the numbers do
PATTERNS_MAX: Final = 64  # types in one filter; there are fewer kinds of fact


class EventData(msgspec.Struct, frozen=True, kw_only=True):
    """What a fact says beside its attributes."""

    stage: str
    actor: str
    lap_id: str | None
    causes: list[str]
    work_started_at: datetime
    recorded_at: datetime
    body: dict[str, Any]


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One fact of the ledger, as a CloudEvent."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: datetime
    datacontenttype: str
    sequence: str
    data: EventData


def to_event(row: Mapping[str, Any], *, source: str) -> CloudEvent:
    """Return a row of the ledger as an event.

    Args:
        row: of the table `fact`, of any kind, also one that only a newer release knows.
        source: names this installation; `source` and `id` together are unique.
    """
    return CloudEvent(
        specversion=SPEC_VERSION,
        id=row["id"],
        source=source,
        type=f"{PREFIX}{row['kind']}",
        subject=row["subject"],
        time=row["event_at"],
        datacontenttype=JSON,
        sequence=f"{row['seq']:0{SEQUENCE_DIGITS}d}",
        data=EventData(
            stage=row["stage"],
            actor=row["actor"],
            lap_id=row["lap_id"],
            causes=list(row["causes"]),
            work_started_at=row["work_started_at"],
            recorded_at=row["recorded_at"],
            body=dict(row["body"]),
        ),
    )


def encode(event: CloudEvent) -> bytes:
    """Return an event in structured JSON; the same event is the same bytes."""
    return msgspec.json.encode(event, order="deterministic")


def kinds_of(patterns: Sequence[str]) -> list[str] | None:
    """Return the kinds of fact that a filter names; None: every kind, also those that are not known yet.

    Args:
        patterns: types such as ``ringroad.campaign.halted``, with or without the prefix; ``campaign.*`` is every type
            that begins so. None at all: every type.

    Raises:
        InvalidInput: a pattern names nothing there is.
    """
    if not patterns:
        return None
    if len(patterns) > PATTERNS_MAX:
        raise InvalidInput(f"{len(patterns)} types, limit {PATTERNS_MAX}", hint="use campaign.* and the like")
    found: set[str] = set()
    for pattern in patterns:
        bare = pattern.removeprefix(PREFIX)
        if bare == "*":
            return None
        named = {kind.value for kind in FactKind if _matches(kind.value, bare)}
        if not named:
            raise InvalidInput(
                f"there is no event type {pattern[:80]!r}", hint=_there_are(bare.partition(".")[0])
            )
        found |= named
    return sorted(found)


def kinds_known(patterns: Sequence[str]) -> list[str] | None:
    """Return the same for a filter that is stored: what it names and this release does not know is passed over."""
    if not patterns or "*" in patterns:
        return None
    bare = [pattern.removeprefix(PREFIX) for pattern in patterns]
    return sorted(kind.value for kind in FactKind if any(_matches(kind.value, each) for each in bare))


def _matches(kind: str, pattern: str) -> bool:
    return kind.startswith(pattern[:-1]) if pattern.endswith(".*") else kind == pattern


def _there_are(family: str) -> str:
    """Say which types there are that begin as the one that is not there, or what all of them begin with."""
    near = [kind.value for kind in FactKind if kind.value.startswith(f"{family}.")]
    if near:
        return f"there are {', '.join(near)}, and {family}.* for all of them"
    return f"for example campaign.halted, or campaign.*; types begin with {', '.join(families())}"


def families() -> tuple[str, ...]:
    """Return what types begin with, before the first dot, in the loop's order."""
    return tuple(dict.fromkeys(kind.value.partition(".")[0] for kind in FactKind))


def types() -> Iterable[tuple[str, FactKind]]:
    """Yield every type with its kind of fact, in the loop's order."""
    for kind in FactKind:
        yield f"{PREFIX}{kind.value}", kind
