"""How `ringroad diagnose` ends when the vehicle has not answered."""

from __future__ import annotations

import click
import pytest

from ringroad.cli.diagnose_vehicle import lines_in
from ringroad.cli.diagnose_words import show_answer
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
