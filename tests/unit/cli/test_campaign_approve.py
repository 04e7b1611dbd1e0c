"""Who approves a plan accepts each warning of the checker by its code, also in a script."""

from __future__ import annotations

from typing import Any

import pytest

from ringroad.cli.campaign_approve import accept_warnings
from ringroad.kernel.errors import InvalidInput


def finding(severity: str, code: str) -> dict[str, Any]:
    return {"severity": severity, "code": code, "message": f"says {code}"}


FOUND = [
    finding("info", "no_soak"),
    finding("warning", "one_wave"),
    finding("warning", "wave_1_large"),
    finding("warning", "one_wave"),
]


def test_all_warnings_by_their_codes_are_accepted_once_each() -> None:
    assert accept_warnings(FOUND, ["wave_1_large", "one_wave"], asking=False) == ["one_wave", "wave_1_large"]
    assert accept_warnings(FOUND[:1], [], asking=False) == []


@pytest.mark.parametrize(
    ("accepted", "says", "hint"),
    [
        ([], "2 warnings not accepted: one_wave, wave_1_large", "--accept one_wave --accept wave_1_large"),
        (["one_wave"], "1 warning not accepted: wave_1_large", "add --accept wave_1_large"),
        (["no_soak", "one_wave"], "does not warn of no_soak", "it warns of one_wave, wave_1_large"),
        (["*"], "does not warn of *", "one_wave"),
    ],
)
def test_a_script_that_does_not_name_just_the_warnings_approves_nothing_and_hears_which_there_are(
    accepted: list[str], says: str, hint: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        accept_warnings(FOUND, accepted, asking=False)
    assert says in refused.value.message
    assert hint in refused.value.hint
