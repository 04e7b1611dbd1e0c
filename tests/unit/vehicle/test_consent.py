"""What the driver says: whose word counts, for what, and until when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from ringroad.kernel.hours import Window
from ringroad.protocol.vehicle import PHASES, Conduct, Phase
from ringroad.vehicle.consent import (
    CONSENT_NAME,
    Mode,
    answer_text,
    asks_of,
    judge,
    quiet_until,
    read_word,
    write_word,
)
from ringroad.vehicle.states import Answer

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
ALL = frozenset(PHASES)


def answer(word: Literal["yes", "later", "no"], *phases: Phase, hours: float = 1) -> Answer:
    ends = NOW + timedelta(hours=hours)
    return Answer(word=word, phases=phases, by="ann", at=NOW, expires_at=ends, notes_sha256="")


@pytest.mark.parametrize(
    ("phase", "asks", "said", "soft", "expected"),
    [
        ("download", frozenset(), None, False, ""),
        ("download", ALL, None, False, "consent"),
        ("install", frozenset({"download"}), None, False, ""),
        ("install", ALL, answer("yes", "download"), False, "consent"),
        ("install", ALL, answer("yes", "download", "install"), False, ""),
        ("install", ALL, answer("yes", "download", "install", hours=0), False, "consent"),
        ("activate", ALL, answer("yes", *PHASES, hours=-1), False, "consent"),
        ("install", frozenset(), answer("yes", "download", hours=-1), False, ""),  # nobody asked
        ("download", ALL, answer("later"), False, "postponed"),
        ("download", ALL, answer("later", hours=0), False, "consent"),
        ("install", frozenset(), answer("later"), True, "postponed"),
        ("install", frozenset(), answer("later", hours=0), True, ""),
        ("download", frozenset(), answer("later"), True, ""),  # soft is about the installation
        ("install", frozenset(), answer("later"), False, ""),  # forced cannot be put off
        ("install", ALL, answer("no"), False, "consent"),
    ],
)
def test_a_phase_begins_only_if_nobody_asked_or_somebody_agreed(
    phase: Phase, asks: frozenset[Phase], said: Answer | None, *, soft: bool, expected: str
) -> None:
    missing = judge(phase, asks=asks, answer=said, soft=soft, now=NOW)
    assert (missing.code if missing else "") == expected
    if missing and missing.code == "consent":
        assert phase in missing.detail


@pytest.mark.parametrize(
    ("mode", "consent", "expected"),
    [
        ("auto", [], set()),
        ("auto", ["activate"], {"activate"}),
        ("ask", [], {"download", "install"}),
        ("ask", ["activate"], ALL),
        ("agreed", ["download", "install", "activate"], set()),
    ],
)
def test_who_is_asked_is_said_by_the_vehicle_and_by_the_campaign(
    mode: Mode, consent: list[Phase], expected: set[Phase]
) -> None:
    assert asks_of(mode, Conduct(consent=consent)) == expected


@pytest.mark.parametrize("word", ["yes", "later", "no"])
@pytest.mark.parametrize("through", PHASES)
def test_a_word_reads_back_as_it_was_left(
    tmp_path: Path, word: Literal["yes", "later", "no"], through: Phase
) -> None:
    write_word(
        tmp_path, action_id=7, word=word, through=through, by="bea", now=NOW, hours=2, notes_sha256="ab", durability="buffered"
    )  # fmt: skip
    said = read_word(tmp_path, 7)
    assert said is not None
    assert (said.word, said.by, said.at, said.expires_at) == (word, "bea", NOW, NOW + timedelta(hours=2))
    assert said.notes_sha256 == "ab"
    if word == "yes":
        assert said.phases == PHASES[: PHASES.index(through) + 1]
    assert read_word(tmp_path, 8) is None


GOOD: dict[str, Any] = {"action_id": 7, "install": True, "expires_at": "2026-11-29T12:00:00Z"}


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b"\xff", msgspec.json.encode({**GOOD, "action_id": "7"}),
        msgspec.json.encode({**GOOD, "expires_at": "2026-11-29T12:00:00"}),
        msgspec.json.encode({**GOOD, "by": "x" * 101}), msgspec.json.encode({**GOOD, "more": 1}),
        msgspec.json.encode({"action_id": 7, "install": True}),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_no_word(tmp_path: Path, content: bytes) -> None:
    (tmp_path / CONSENT_NAME).write_bytes(content)
    assert read_word(tmp_path, 7) is None


@pytest.mark.parametrize(
    ("more", "phases"), [({}, PHASES), ({"install": False}, ("download",)), ({"activate": False}, PHASES[:2])]
)
def test_the_file_of_the_release_before_means_what_it_meant(
    tmp_path: Path, more: dict[str, bool], phases: tuple[str, ...]
) -> None:
    (tmp_path / CONSENT_NAME).write_bytes(msgspec.json.encode(GOOD | more))
    said = read_word(tmp_path, 7)
    assert said is not None
    assert (said.word, said.phases) == ("yes", phases)


def test_a_word_is_told_with_who_when_and_of_which_notes() -> None:
    told = [answer_text(answer(word, "download")) for word in ("yes", "later", "no")]
    assert all("ann 2026-11-26 12:00 UTC" in text for text in told)
    assert all(text.endswith("release notes not shown") for text in told)


def test_quiet_hours_end_by_the_clock_of_the_vehicle() -> None:
    window = Window(quiet=("22:00-06:00",), time_zone="Europe/Oslo")
    assert quiet_until(None, NOW) is None
    assert quiet_until(window, NOW) is None
    ends = quiet_until(window, NOW.replace(hour=22))
    assert f"{ends:%H:%M %Z}" == "06:00 CET"
