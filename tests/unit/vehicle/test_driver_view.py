"""What the driver page says at any moment, and which words it takes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest

from ringroad.kernel.errors import Conflict, InvalidInput
from ringroad.protocol.vehicle import Conduct, EcuTarget, Phase, UpdateGroup, VehicleState
from ringroad.trust.state import VerifiedTarget
from ringroad.vehicle.consent import DENIED, digest_notes
from ringroad.vehicle.decide import TAKEN_BACK
from ringroad.vehicle.deltas import Coming
from ringroad.vehicle.driver.page import render_page
from ringroad.vehicle.driver.view import Said, size_text, take_word, time_text, view_of
from ringroad.vehicle.ecu_tries import EcuTry
from ringroad.vehicle.glance import Glance
from ringroad.vehicle.kept import ecus_of
from ringroad.vehicle.states import Answer, CampaignState, EcuPlan, EcuState, Plan

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
NOTES = "Softer brakes."
TARGET = VerifiedTarget(
    serial="S1", filename="b.bin", length=1, sha256="b", sha512="", hardware_ids=("hw",), release_counter=1,
    ecu_target=EcuTarget(name="brake", mode="ab", format="bin", version="2"),
)  # fmt: skip
PLAN = Plan(
    release_id="r", release_version="2.0.0", groups=(UpdateGroup(name="one", ecus=["S1"]),),
    ecus=(EcuPlan(target=TARGET, from_version="1", from_sha256="a"),), notes=NOTES,
    conduct=Conduct(install_s=61),
)  # fmt: skip
BOTH: frozenset[Phase] = frozenset({"download", "install"})


def glance(state: VehicleState = "AWAITING_CONSENT", **more: Any) -> Glance:
    given: dict[str, Any] = {"plan": PLAN, "action_id": 7, "ecus": {"S1": EcuState.IDLE}}
    of_state = {name: more.pop(name) for name in ("code", "detail", "answer", "plan", "ecus") if name in more}
    return Glance(
        state=CampaignState(state=state, **(given | of_state)), at=NOW, names={"S1": "brake"}, **more
    )


def asked(phase: Phase = "download", asks: frozenset[Phase] = BOTH, **more: Any) -> Glance:
    state: VehicleState = "AWAITING_CONSENT" if phase == "download" else "READY"
    return glance(state, asks=asks, waits_code="consent", waits_about=phase, **more)


def words(seen: Glance) -> list[str]:
    return [choice.word for choice in view_of(seen).choices]


@pytest.mark.parametrize("state", get_args(VehicleState))
def test_every_state_has_words_with_and_without_a_plan(state: VehicleState) -> None:
    for plan in (PLAN, None):
        view = view_of(glance(state, plan=plan))
        assert view.headline
        assert view.headline in render_page(view, token="t")


ALL_ASKED = BOTH | {"activate"}
TRIED = CampaignState(
    state="STAGING", plan=PLAN, action_id=7, ecus={"S1": EcuState.IDLE}, tries={"prepare:S1": 2}
)


@pytest.mark.parametrize(
    ("seen", "headline", "waits"),
    [
        (
            glance("STAGING", asks=ALL_ASKED, waits_code="consent", waits_about="install"),
            "The update waits for you",
            "It is stored in the vehicle and waits for your answer.",
        ),
        (
            glance("STAGING", asks=ALL_ASKED, waits_code="postponed", waits_about="install",
                   answer=Answer(at=NOW, by="a", word="later", phases=(), expires_at=NOW, notes_sha256="")),
            "The update waits for you",
            "You put it off until 26 Nov 12:00.",
        ),
        (glance("STAGING", missing_bytes=9), "Preparing the update", "Part of it is fetched once more first."),
        (
            glance("STAGING", missing_bytes=9, link_error="away"),
            "Preparing the update",
            "It waits for the network.",
        ),
        (glance("STAGING", link_error="away"), "Preparing the update", ""),
        (
            replace(glance(), state=TRIED),
            "Preparing the update",
            "brake could not be prepared yet. It is tried again.",
        ),
        (
            replace(glance(), state=replace(TRIED, tries={"away-prepare:S1": 2}, unreachable=frozenset({"S1"}))),
            "Preparing the update",
            "brake does not answer. It is tried again.",
        ),
        (replace(glance(), state=replace(TRIED, ecus={"S1": EcuState.STAGED})), "Preparing the update", ""),
        (replace(glance(), state=replace(TRIED, state="INSTALLING")), "Installing the update", ""),
    ],
)  # fmt: skip
def test_while_it_is_prepared_it_is_said_what_it_waits_for(seen: Glance, headline: str, waits: str) -> None:
    view = view_of(seen)
    assert (view.headline, view.waits) == (headline, waits)
    assert waits in render_page(view, token="t")


@pytest.mark.parametrize("over", ["CANCELLED", "SUPERSEDED", "FAILED"])
@pytest.mark.parametrize("ecu", [EcuState.IDLE, EcuState.STAGED])
def test_parts_of_an_update_that_changed_nothing_are_unchanged(over: VehicleState, ecu: EcuState) -> None:
    (line,) = view_of(glance(over, ecus={"S1": ecu}, done={"S1": (1, 2)})).ecus
    assert (line.word, line.percent) == ("unchanged", None)


@pytest.mark.parametrize("ecu", [EcuState.IDLE, EcuState.STAGED, EcuState.ROLLED_BACK])
def test_all_parts_of_an_update_that_was_taken_back_are_as_before(ecu: EcuState) -> None:
    seen = glance("ROLLED_BACK", ecus={"S1": ecu}, done={"S1": (1, 2)})
    (line,) = view_of(seen).ecus
    assert (line.word, line.percent) == ("as before", None)
    assert seen.state.told("S1") is EcuState.ROLLED_BACK
    assert seen.state.told("another") is EcuState.IDLE
    assert [each.state for each in ecus_of(seen.state)] == ["ROLLED_BACK"]


@pytest.mark.parametrize("code", ["disk_full", "store_full"])
def test_an_update_that_did_not_fit_says_that_there_is_no_room(code: str) -> None:
    assert view_of(glance("FAILED", code=code)).text.startswith("There is no room for it")
    assert view_of(glance("FAILED", code="hash_mismatch")).text == (
        "Nothing was changed. The maker knows of it."
    )


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("self_test_failed", "A test failed, so "),
        ("new_faults", "A test failed, so "),
        ("version_mismatch", "A test failed, so "),
        ("access_denied", "Part of the vehicle did not take it, so "),
        ("", "Part of the vehicle did not take it, so "),
    ],
)
def test_an_update_that_was_taken_back_says_whether_a_test_failed_and_the_code_for_a_workshop(
    code: str, why: str
) -> None:
    view = view_of(glance("ROLLED_BACK", code=code))
    assert view.text == f"{why}the vehicle runs what it ran before. You need not do anything."
    assert (f"<dt>For the workshop</dt><dd>{code}</dd>" in render_page(view, token="t")) is bool(code)


@pytest.mark.parametrize("plan", [PLAN, None])
@pytest.mark.parametrize(
    ("code", "detail", "expected"),
    [
        (
            "cancelled",
            "its campaign was aborted: the wrong notes.",
            "Nothing was changed. The maker says why: its campaign was aborted: the wrong notes.",
        ),
        ("cancelled", TAKEN_BACK, "Nothing was changed."),  # of a server that tells no reason
        ("cancelled", "", "Nothing was changed."),
        (DENIED, "no, by the driver", "Nothing was changed."),
        ("cancelled", "declined by its driver", "Nothing was changed."),
        (
            "cancelled",
            "declined by who answers for its driver",
            "Nothing was changed. Who answers for this vehicle declined it.",
        ),
    ],
)
def test_an_update_that_was_withdrawn_says_why(
    plan: Plan | None, code: str, detail: str, expected: str
) -> None:
    view = view_of(glance("CANCELLED", code=code, detail=detail, plan=plan))
    assert view.text == expected
    assert expected in render_page(view, token="t")


@pytest.mark.parametrize("detail", ["declined by its driver", "declined by its driver."])
def test_what_the_driver_declined_elsewhere_was_not_withdrawn_by_the_maker(detail: str) -> None:
    view = view_of(glance("CANCELLED", code="cancelled", detail=detail))
    assert view.headline == "You declined the update"


def test_a_question_shows_what_changes_how_much_and_how_long() -> None:
    view = view_of(asked(coming=Coming(update=4_200_000, way_back=650_000)))
    assert (view.question, view.phase) == ("May the vehicle download it?", "download")
    assert (view.version, view.notes, view.size, view.time) == ("2.0.0", NOTES, "4.2 MB", "about 2 minutes")
    assert view.way_back == "650.0 kB"
    assert "650.0 kB" in render_page(view, token="t")
    assert [(ecu.name, ecu.word) for ecu in view.ecus] == [("brake", "waiting")]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (asked(), ["yes", "all", "later", "no"]),
        (asked("install"), ["yes", "later", "no"]),
        (asked("install", BOTH | {"activate"}), ["yes", "all", "later", "no"]),
        (asked("activate", BOTH | {"activate"}), ["yes", "later", "no"]),
        (replace(asked(), waits_code="postponed"), ["yes", "all", "no"]),
        (glance("READY"), []),
        (glance("READY", plan=Plan(release_id="r", release_version="2", groups=(), ecus=(),
                                   conduct=Conduct(urgency="soft"))), ["later"]),
        (glance("READY", waits_code="postponed", waits_about="install"), ["all"]),
        (glance("READY", asks=BOTH, waits_code="precondition", waits_about="Vehicle.Speed == 0"), []),
        (replace(asked(), state=CampaignState(state="INSTALLING", plan=PLAN)), []),
        (replace(asked(), state=CampaignState(state="CANCELLED", plan=PLAN)), []),
        (replace(asked(), state=CampaignState()), []),
    ],
)  # fmt: skip
def test_only_what_can_still_be_said_is_offered(seen: Glance, expected: list[str]) -> None:
    assert words(seen) == expected


SHOWN = {"action_id": "7", "phase": "download", "notes_sha256": digest_notes(NOTES)}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("yes", ("yes", "download", 72)),
        ("all", ("yes", "install", 72)),  # as its button says: whether it may change is a question of its own
        ("later", ("later", "download", 24)),
        ("no", ("no", "download", 72)),
    ],
)
def test_a_word_is_written_down_for_what_it_was_said_to(word: str, expected: tuple[str, str, int]) -> None:
    said = take_word(view_of(asked()), word=word, **SHOWN)
    assert isinstance(said, Said)
    assert (said.word, said.through, said.hours) == expected
    assert (said.action_id, said.notes_sha256) == (7, digest_notes(NOTES))


def test_the_button_to_install_and_change_at_once_agrees_to_both() -> None:
    view = view_of(asked("install", BOTH | {"activate"}))
    said = take_word(view, word="all", **(SHOWN | {"phase": "install"}))
    assert isinstance(said, Said)
    assert said.through == "activate"


@pytest.mark.parametrize(
    ("seen", "sent", "error"),
    [
        (asked(), {"word": "maybe"}, InvalidInput),
        (asked(), {"word": ""}, InvalidInput),
        (asked(), {"phase": "boot"}, InvalidInput),
        (asked(), {"action_id": "8"}, Conflict),
        (asked(), {"action_id": ""}, Conflict),
        (asked(), {"phase": "install"}, Conflict),
        (asked(), {"phase": ""}, Conflict),
        (asked(), {"notes_sha256": digest_notes("other notes")}, Conflict),
        (asked("install"), {"phase": "install", "word": "all"}, Conflict),  # there is no such button
        (glance("READY"), {}, Conflict),
        (glance("INSTALLING"), {"word": "no"}, Conflict),
        (glance("IDLE", plan=None), {}, Conflict),
    ],
)
def test_a_word_to_something_else_is_refused(
    seen: Glance, sent: dict[str, str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        take_word(view_of(seen), **({"word": "yes"} | SHOWN | sent))


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (asked(), ""),
        (asked(answer=Answer(word="yes", phases=("download",), by="a", at=NOW, expires_at=NOW, notes_sha256="")),
         "What you agreed to has ended, so it asks again."),
        (glance("READY", waits_code="postponed", waits_about="install",
                answer=Answer(word="later", phases=(), by="a", at=NOW, expires_at=NOW + timedelta(hours=24), notes_sha256="")),
         "You put it off until 27 Nov 12:00."),
        (glance("READY", waits_code="precondition", waits_about="Vehicle.Speed == 0", waits_text="it moves"),
         "It waits for the vehicle to stand still. (it moves)"),
        (glance("READY", waits_code="precondition", waits_about="A.B == 1", waits_text="no"), "It waits for A.B == 1. (no)"),
        (glance("READY", waits_code="quiet_hours", waits_text="quiet hours until 06:00"), "It waits: quiet hours until 06:00."),
        (glance("DOWNLOADING", link_error="offline"), "It waits for the network."),
        (glance("INSTALLING", link_error="offline"), ""),
    ],
)  # fmt: skip
def test_the_driver_is_told_why_it_waits(seen: Glance, expected: str) -> None:
    assert view_of(seen).waits == expected


def test_progress_is_shown_by_ecu() -> None:
    view = view_of(glance("INSTALLING", ecus={"S1": EcuState.INSTALLING}, done={"S1": (1, 3)}))
    assert [(ecu.word, ecu.percent) for ecu in view.ecus] == [("installing", 33)]
    for done in ({"S1": (5, 0)}, {}):
        assert [ecu.percent for ecu in view_of(glance("INSTALLING", done=done)).ecus] == [None]


SILENT = EcuTry(
    code="unreachable", detail="timed out", count=3, count_max=8, again_at=NOW + timedelta(seconds=19.5)
)


@pytest.mark.parametrize(
    ("state", "ecu", "failing", "said"),
    [
        ("INSTALLING", EcuState.INSTALLING, SILENT, "does not answer, try 3 of 8, next in 20 s"),
        (
            "INSTALLING",
            EcuState.INSTALLING,
            replace(SILENT, code="busy", detail="at work", again_at=NOW),
            "installing: at work, try 3 of 8",
        ),
        ("ROLLBACK_FAILED", EcuState.ROLLING_BACK, replace(SILENT, count=8), "does not answer, try 8 of 8"),
        ("ROLLED_BACK", EcuState.FAILED, EcuTry(code="boot_failed", detail=""), "failed: boot failed"),
        ("CANCELLED", EcuState.IDLE, SILENT, "unchanged"),
    ],
)
def test_a_part_that_is_tried_again_says_why_which_try_it_was_and_when_the_next_is_due(
    state: VehicleState, ecu: EcuState, failing: EcuTry, said: str
) -> None:
    seen = glance(state, ecus={"S1": ecu})
    silent = frozenset({"S1"}) if failing.code == "unreachable" and state != "CANCELLED" else frozenset()
    seen = replace(seen, state=replace(seen.state, failing={"S1": failing}, unreachable=silent))
    view = view_of(seen)
    assert [line.word for line in view.ecus] == [said]
    assert said in render_page(view, token="t")


def test_texts_of_a_release_are_never_markup() -> None:
    bad = "<script>alert(1)</script>\"'&"
    plan = Plan(release_id="r", release_version=bad, groups=(), ecus=PLAN.ecus, notes=bad)
    page = render_page(view_of(replace(asked(plan=plan), names={"S1": bad})), token="t", alert=bad)
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert(1)") == 4


def test_sizes_and_times_are_words() -> None:
    assert [size_text(n) for n in (None, 0, 12, 2_000, 3_100_000, 5_000_000_000)] == [
        "", "", "12 bytes", "2.0 kB", "3.1 MB", "5.0 GB",
    ]  # fmt: skip
    assert [time_text(s) for s in (0, 1, 60, 61)] == [
        "",
        "about 1 minute",
        "about 1 minute",
        "about 2 minutes",
    ]
