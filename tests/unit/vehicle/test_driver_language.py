"""The languages of the driver page: each is whole, and a browser gets the one it asks for."""

from __future__ import annotations

import ast
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest

from ringroad.protocol.diagnostics import Scope
from ringroad.protocol.vehicle import PHASES, VehicleState
from ringroad.vehicle.diagnostics.sessions import Session
from ringroad.vehicle.driver import language
from ringroad.vehicle.driver.language import ENGLISH, LANGUAGES, Words, choose
from ringroad.vehicle.driver.page import render_page
from ringroad.vehicle.driver.view import size_text, time_text, view_of
from ringroad.vehicle.driver.visits import render_visits
from ringroad.vehicle.glance import Glance
from ringroad.vehicle.states import CampaignState, EcuState

OTHERS = [words for name, words in LANGUAGES.items() if name != "en"]
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
SAME = {"decimal", "moment", "page.version", "page.download"}  # may be as in English
UNITS = {f"size.{unit}" for unit in ("bytes", "kB", "MB", "GB")}


def places(text: str) -> list[str]:
    return sorted(re.findall(r"\{(\w*)\}", text))


def named_in_the_code() -> set[str]:
    """Every key that the code says, those that end in a state, a phase or a scope with each of them."""
    whole = {
        "headline": get_args(VehicleState), "question": PHASES, "yes": PHASES, "all": PHASES, "ecu": tuple(EcuState),
        "visit.may": get_args(Scope), "size": ("MB", "GB"),
    }  # fmt: skip
    found = {f"{head}.{tail}" for head, tails in whole.items() for tail in tails}
    for path in Path(language.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in ENGLISH.texts:
                found.add(node.value)
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "say"
            ):
                for each in ast.walk(node.args[0]):
                    if isinstance(each, ast.Constant) and isinstance(each.value, str):
                        head = each.value.removesuffix(".")  # of a family: its tails are listed above
                        assert each.value in ENGLISH.texts or head in whole, each.value
    return found | {key for key in ENGLISH.texts if key.startswith(("result.", "under_way."))}


def test_every_text_that_the_page_says_is_in_the_catalogue_and_no_other() -> None:
    assert named_in_the_code() == set(ENGLISH.texts)


@pytest.mark.parametrize("words", OTHERS, ids=lambda words: words.language)
def test_a_language_has_every_text_with_the_same_places_and_in_its_own_words(words: Words) -> None:
    assert words.texts.keys() == ENGLISH.texts.keys()
    for key, text in words.texts.items():
        assert text.strip(), key
        assert places(text) == places(ENGLISH.texts[key]), key
        assert text != ENGLISH.texts[key] or key in SAME | UNITS, f"{key} is English"


@pytest.mark.parametrize("words", LANGUAGES.values(), ids=lambda words: words.language)
@pytest.mark.parametrize("state", get_args(VehicleState))
def test_every_state_is_said_in_every_language(words: Words, state: VehicleState) -> None:
    seen = Glance(state=CampaignState(state=state), at=NOW)
    page = render_page(view_of(seen, words), token="t", words=words)
    assert f'<html lang="{words.language}" dir="{words.direction}">' in page
    assert words.say(f"headline.{state}") in page.replace("&#x27;", "'")


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("de", "de"),
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("FR-ca", "fr"),
        ("nb,sv;q=0.9,es;q=0.4,en;q=0.3", "es"),
        ("nb, sv", "en"),
        ("*", "en"),
        ("en;q=0.5, ar;q=0.7", "ar"),
        ("de;q=0, fr;q=0.1", "fr"),
        ("de;q=2, fr;q=x, es;level=1", "en"),
        ("de;q=nan", "en"),
        (";;;,,,=q", "en"),
        (",".join(["xx"] * 20 + ["de"]), "en"),  # so far nobody looks
    ],
)
def test_a_browser_gets_the_language_it_likes_best_of_those_there_are(header: str, language: str) -> None:
    assert choose(header).language == language


def test_sizes_times_and_moments_are_written_as_the_language_does() -> None:
    german, arabic = LANGUAGES["de"], LANGUAGES["ar"]
    assert size_text(4_200_000, german) == "4,2 MB"
    assert [time_text(seconds, german) for seconds in (60, 61)] == ["etwa 1 Minute", "etwa 2 Minuten"]
    assert german.moment(NOW, UTC) == "26.11. 12:00"
    assert "\u20682\u2069" in time_text(61, arabic)  # a number stays one in a text from the right


@pytest.mark.parametrize("words", LANGUAGES.values(), ids=lambda words: words.language)
@pytest.mark.parametrize("state", ["asked", "open"])
def test_who_wants_to_look_in_is_told_in_every_language_and_is_never_markup(words: Words, state: str) -> None:
    session = Session(
        id="s", by="<b>ole</b> {0}", reason="a <i>hum</i> {until}", scope="service", asked_at=NOW,
        expires_at=NOW + timedelta(hours=1), state="asked" if state == "asked" else "open",
    )  # fmt: skip
    part = render_visits([session], token="t", zone=UTC, words=words)
    assert "<b>" not in part
    assert "<i>" not in part
    assert "&lt;b&gt;ole&lt;/b&gt; {0}" in part
    assert words.moment(session.expires_at, UTC) in part
