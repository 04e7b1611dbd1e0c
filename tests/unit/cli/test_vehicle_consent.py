"""What `ringroad vehicle consent` says it recorded, and what it records nothing about."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringroad.cli import run
from ringroad.vehicle.consent import CONSENT_NAME, read_word
from ringroad.vehicle.states import CampaignState


@pytest.fixture(autouse=True)
def _vehicle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringroad.cli.vehicle.read_config", lambda _folder: None)
    monkeypatch.setattr(
        "ringroad.cli.vehicle.read_state", lambda _folder: CampaignState(state="READY", action_id=17)
    )


@pytest.mark.parametrize(
    ("options", "said", "phases"),
    [
        (
            (),
            "agreed to downloading, installing and activating update 17",
            ("download", "install", "activate"),
        ),
        (
            ("--install-only",),
            "agreed to downloading and installing (not activating)",
            ("download", "install"),
        ),
        (("--download-only",), "agreed to downloading update 17", ("download",)),
    ],
)
def test_all_phases_that_a_yes_covers_are_named(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    said: str,
    phases: tuple[str, ...],
) -> None:
    assert run(["vehicle", "consent", "--data", str(tmp_path), "17", "--by", "Ann", *options], {}) == 0
    assert capsys.readouterr().out.startswith(said)
    word = read_word(tmp_path, 17)
    assert word is not None
    assert word.phases == phases


def test_a_word_on_an_update_that_the_vehicle_does_not_have_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["vehicle", "consent", "--data", str(tmp_path), "99"], {}) != 0
    assert "the vehicle has no update 99; its newest is 17" in capsys.readouterr().err
    assert not (tmp_path / CONSENT_NAME).exists()
