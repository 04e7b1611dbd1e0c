"""The languages of the driver page: a catalogue of texts each, in `words/`, and the choice by what a browser asks for. Pure.

English is the first catalogue; the others have the same keys with the same places for values, which a test holds.
A text of a release, a name and what a precondition says stay in the language they were written in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Final

RIGHT_TO_LEFT: Final = frozenset({"ar"})
RANGES_MAX: Final = 20  # of an Accept-Language that are looked at
_ISOLATE, _END = "\u2068", "\u2069"  # keep a value in order inside a text that is read from the right
_FOLDER: Final = Path(__file__).parent / "words"


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """One language."""

    language: str
    texts: Mapping[str, str]

    @property
    def direction(self) -> str:
        """How it is read, as HTML says it."""
        return "rtl" if self.language in RIGHT_TO_LEFT else "ltr"

    def say(self, key: str, **values: str) -> str:
        """Return a text with its values. Raises: KeyError, a fault of ours."""
        told = values
        if self.language in RIGHT_TO_LEFT:
            told = {name: f"{_ISOLATE}{value}{_END}" for name, value in values.items()}
        return self.texts[key].format(**told)

    def has(self, key: str) -> bool:
        """Say whether there is such a text."""
        return key in self.texts

    def moment(self, at: datetime, zone: tzinfo) -> str:
        """Return a day and a time of day."""
        return at.astimezone(zone).strftime(self.texts["moment"])

    def number(self, value: float) -> str:
        """Return a number with one digit behind its decimal sign."""
        return f"{value:.1f}".replace(".", self.texts["decimal"])


def _read(path: Path) -> Words:
    return Words(language=path.stem, texts=json.loads(path.read_text(encoding="utf-8")))


LANGUAGES: Final[Mapping[str, Words]] = {path.stem: _read(path) for path in sorted(_FOLDER.glob("*.json"))}
ENGLISH: Final = LANGUAGES["en"]


def choose(accept_language: str) -> Words:
    """Return the language that a browser likes best of those there are; English if it likes none.

    Source: RFC 9110, 12.5.4; of a language with a region (`de-AT`) the language counts.
    """
    best, best_weight = ENGLISH, 0.0
    for part in accept_language.split(",")[:RANGES_MAX]:
        name, _, parameter = part.strip().partition(";")
        found = LANGUAGES.get(name.strip().lower().partition("-")[0])
        weight = _weight(parameter)
        if found is not None and weight > best_weight:
            best, best_weight = found, weight
    return best


def _weight(parameter: str) -> float:
    """Return the weight of a range; what is no weight weighs nothing."""
    if not parameter.strip():
        return 1.0
    name, _, text = parameter.strip().partition("=")
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return weight if name.strip() == "q" and 0 <= weight <= 1 else 0.0
