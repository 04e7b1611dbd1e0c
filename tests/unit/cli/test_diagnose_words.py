"""How `ringroad diagnose` ends when the vehicle has not answered."""

from __future__ import annotations

import base64
from typing import Any

import click
import pytest

from ringroad.cli.diagnose_vehicle import lines_in
from ringroad.cli.diagnose_words import answer_lines, mode_problem, show_answer
from ringroad.cli.errors import EXIT_STATUS, EXIT_WAITING
from ringroad.cli.shell import Shell

JOB = {"id": "ask_1", "session_id": "s", "vin": "V", "tries": 1, "expires_at": "2026-11-26T12:00:00Z"}


@pytest.mark.parametrize(
    ("found", "status", "said"),
    [
        ({**JOB, "state": "queued"}, EXIT_WAITING, "ask again with ringroad diagnose jobs V --show ask_1"),
        ({**JOB, "state": "expired"}, EXIT_WAITING, "the request is expired; the vehicle has not answered"),
        ({"id": "F195", "data": "1.0.0"}, None, "F195: 1.0.0"),
    ],
)
def test_a_vehicle_that_has_not_answered_has_an_exit_status_of_its_own(
    found: dict[str, object], status: int | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    def asked() -> None:
        show_answer(Shell(env={}), found, lambda: f"{found['id']}: {found['data']}")

    assert asked.main([], standalone_mode=False) == status
    assert said in capsys.readouterr().out
    assert EXIT_WAITING not in EXIT_STATUS.values()


@pytest.mark.parametrize(("content", "count"), [(b"", 0), (b"{}", 1), (b"{}\n", 1), (b"{}\n{}", 2)])
def test_a_last_line_without_an_end_is_counted(content: bytes, count: int) -> None:
    assert lines_in(content) == count


@pytest.mark.parametrize(
    ("answer", "lines"),
    [
        (
            {"items": [{"code": "C0051-00", "name": "", "status": 9, "flags": {"test_failed": True}, "words": "failing"}]},
            ["items:", "  CODE      WORDS", "  C0051-00  failing"],
        ),
        ({"cleared": "all", "left": [], "items": []}, ["cleared: all", "left: none", "items: none"]),
        (
            {"id": "x", "status": "failed", "ended_at": None, "error": "", "started_at": "2026-11-27T07:43:23.5Z", "result": {"passed": True}},
            ["id: x", "status: failed", "started at: 2026-11-27 07:43:23 UTC", "result: passed yes"],
        ),
        ({"offers": ["data", "faults"], "primary": False}, ["offers: data, faults", "primary: no"]),
        (
            {"environment_data": {"snapshots": [{"record": 1, "raw": "00"}], "aging": 2}},
            ["environment data:", "  snapshots:", "    RECORD  RAW", "         1   00", "  aging: 2"],
        ),
        (
            {"error": {"kind": "conflict", "code": "lock_needed", "message": "take the lock first", "hint": "lock it"}},
            ["refused: take the lock first  [lock_needed]", "hint: lock it"],
        ),
        ({"id": "x", "status": "failed", "error": "it moves"}, ["id: x", "status: failed", "error: it moves"]),
        (
            {"category": "log", "id": "newest", "size": 9, "sha256": "0" * 64, "offset": 0, "data": base64.b64encode(b'{"a": 1}\n').decode()},
            ["log newest: bytes 0 to 9 of 9", '{"a": 1}'],
        ),
        ({"data": "Too late"}, ["data: Too late"]),
    ],
)  # fmt: skip
def test_what_a_vehicle_answered_is_shown_as_a_person_reads_it(
    answer: dict[str, Any], lines: list[str]
) -> None:
    assert answer_lines(answer) == lines


@pytest.mark.parametrize(
    ("value", "seconds", "said", "hint"),
    [
        ("programming", 60, "session is default or extended, not 'programming'", "ringroad diagnose mode V brake session extended"),
        ("extended", 3000, "--seconds is 3000: a mode holds for 1 to 600 seconds", "set it again before its time is over"),
        ("extended", 0, "--seconds is 0: a mode holds for 1 to 600 seconds", "set it again before its time is over"),
    ],
)  # fmt: skip
def test_a_mode_that_cannot_be_says_what_can(value: str, seconds: int, said: str, hint: str) -> None:
    problem = mode_problem("V", "brake", "session", value, seconds)
    assert problem is not None
    assert (problem.message, problem.hint) == (said, hint)
    assert mode_problem("V", "brake", "session", "extended", 600) is None
