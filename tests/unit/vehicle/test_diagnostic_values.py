"""What the diagnostic desk reads and decides without a vehicle: sessions, the tree, records of service 0x19."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.kernel.errors import Conflict, InvalidInput, NotFound
from ringroad.protocol.diagnostics import SESSION_S_MAX, Scope, SessionWanted
from ringroad.vehicle.diagnostics.data import read_value
from ringroad.vehicle.diagnostics.faults import parse_extended, parse_snapshots, status_words
from ringroad.vehicle.diagnostics.sessions import (
    SESSIONS_MAX,
    WORD_NAME,
    Declined,
    Policy,
    Session,
    Sessions,
    Word,
    answer_session,
    decide_session,
    living,
    look_at_sessions,
    seen_of,
    settle,
)
from ringroad.vehicle.diagnostics.tree import understand

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def wanted(seconds: int = 600, scope: Scope = "read") -> SessionWanted:
    return SessionWanted(by="ole", reason="a hum", scope=scope, expires_at=NOW + timedelta(seconds=seconds))


def decide(policy: Policy, asked: SessionWanted, others: int = 0) -> Session | Declined:
    return decide_session(policy, asked, session_id="s1", others=others, now=NOW)


@pytest.mark.parametrize(
    ("policy", "state", "consent"),
    [("driver", "asked", ""), ("standing", "open", "standing"), ("test", "open", "test")],
)
def test_the_policy_says_whose_consent_is_needed(policy: Policy, state: str, consent: str) -> None:
    session = decide(policy, wanted())
    assert isinstance(session, Session)
    assert (session.state, session.consent) == (state, consent)


@pytest.mark.parametrize(
    ("policy", "asked", "others", "code"),
    [
        ("off", wanted(), 0, "diagnostics_off"),
        ("test", wanted(0), 0, "session_over"),
        ("test", wanted(-5), 0, "session_over"),
        ("test", wanted(SESSION_S_MAX + 301), 0, "session_too_long"),
        ("test", wanted(), SESSIONS_MAX, "too_many_sessions"),
    ],
)
def test_a_session_is_declined(policy: Policy, asked: SessionWanted, others: int, code: str) -> None:
    declined = decide(policy, asked, others)
    assert isinstance(declined, Declined)
    assert declined.code == code


def test_only_the_drivers_word_on_this_session_opens_it() -> None:
    asked = decide("driver", wanted())
    assert isinstance(asked, Session)
    assert settle(asked, None).state == "asked"
    yes = Word(session="s1", seen=seen_of(asked), allow=True)
    assert settle(asked, msgspec.structs.replace(yes, session="another")).state == "asked"
    opened = settle(asked, yes)
    assert opened.state == "open"
    no = msgspec.structs.replace(yes, allow=False)
    declined = settle(asked, no)
    assert declined.state == "declined"
    assert settle(declined, yes).state == "declined"
    assert settle(opened, no).state == "declined"


@pytest.mark.parametrize(
    "other",
    [
        {"by": "ines"}, {"reason": "another"}, {"scope": "service"}, {"asked_at": NOW + timedelta(seconds=1)},
        {"expires_at": NOW + timedelta(hours=8)},
    ],
)  # fmt: skip
def test_a_word_counts_for_what_the_driver_saw_and_nothing_else(other: dict[str, Any]) -> None:
    asked = decide("driver", wanted())
    assert isinstance(asked, Session)
    word = Word(session="s1", seen=seen_of(asked), allow=True)
    assert settle(msgspec.structs.replace(asked, **other), word).state == "asked"


def test_a_word_opens_no_second_session_of_the_same_id(tmp_path: Path) -> None:
    held = Sessions(tmp_path, "driver", durability="buffered")
    seen = seen_of(held.ask("s1", wanted(), now=NOW))
    answer_session(tmp_path, "s1", allow=True, seen=seen, now=NOW)
    assert held.all(now=NOW)["s1"].state == "open"
    assert not (tmp_path / WORD_NAME).exists()
    held.close("s1", now=NOW)
    later = NOW + timedelta(seconds=2)
    assert held.ask("s1", wanted(8 * 3600, "service"), now=later).state == "asked"
    assert held.all(now=later)["s1"].state == "asked"
    with pytest.raises(Conflict):  # the driver still looks at what was asked for before
        answer_session(tmp_path, "s1", allow=True, seen=seen, now=later)
    assert look_at_sessions(tmp_path, now=later)[0].state == "asked"


def test_a_session_ends_at_its_time_and_when_a_clock_stood_still_after_the_longest() -> None:
    session = decide("test", wanted(600))
    assert isinstance(session, Session)
    held = {"s1": session}
    assert living(held, now=NOW + timedelta(seconds=599)) == held
    assert living(held, now=NOW + timedelta(seconds=600)) == {}


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0x2F, "confirmed and failing now"),
        (0x28, "confirmed"),
        (0x01, "failing now"),
        (0x04, "not yet confirmed, seen in this start or the last"),
        (0x50, "not failing"),
        (0x89, "confirmed and failing now, asks for a warning lamp"),
    ],
)
def test_a_status_byte_in_words(status: int, words: str) -> None:
    assert status_words(status) == words


def test_a_record_without_known_lengths_is_kept_as_it_is() -> None:
    code, status, [record] = parse_snapshots(bytes.fromhex("5904400051 2f 01 02 fd11 00002ee0 abcd 0102"))
    assert (code, status) == ("C0000-51", 0x2F)
    assert (record.data[0].value, record.raw) == (12_000, "abcd0102")


@pytest.mark.parametrize(
    "text", ["", "59", "5904400051", "59044000512f01", "59044000512f0101fd", "59044000512f0101fd1100"]
)
def test_a_record_that_is_cut_off_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_snapshots(bytes.fromhex(text))


@given(response=st.binary(max_size=300))
def test_any_answer_of_an_ecu_reads_or_is_refused(response: bytes) -> None:
    for parse in (parse_snapshots, parse_extended):
        try:
            parse(response)
        except InvalidInput:
            continue


@given(did=st.integers(0, 0xFFFF), data=st.binary(max_size=100))
def test_any_data_reads(did: int, data: bytes) -> None:
    assert read_value(did, data) is not None


@given(path=st.text(max_size=100))
def test_any_path_is_understood_or_is_no_place(path: str) -> None:
    try:
        understand("GET", path)
    except NotFound:
        return


def test_a_name_with_a_slash_is_one_part() -> None:
    assert understand("GET", "/components/a%2Fb/faults").names == ("a/b",)
