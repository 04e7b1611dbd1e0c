"""Kinds of vehicles are written so that they are read again, whatever their lots are called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.build.plant.alike import Alike, read_alike
from ringroad.kernel.errors import InvalidInput

WORD = st.text(min_size=1, max_size=12)


@given(WORD, st.text(max_size=12), st.dictionaries(WORD, WORD, max_size=4))
def test_what_is_written_is_read_again(variant: str, software: str, lots: dict[str, str]) -> None:
    kind = Alike(variant=variant, software=software, lots=tuple(sorted(lots.items())))
    assert read_alike(kind.key) == kind
    assert kind.has(variant, software, {*lots.items(), ("another part", "any lot")})


@pytest.mark.parametrize(
    "text", ["", "van", "variant", "software=1.0", "variant=van&lot=battery", "variant=van&of=B-17",
             "variant=van&variant=bus", "lot=battery&of=B-17", "variant=van&lot=a&of=b&software=1.0"],
)  # fmt: skip
def test_what_names_no_kind_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="names no kind of vehicles"):
        read_alike(text)


def test_a_vehicle_without_one_of_the_lots_is_of_another_kind() -> None:
    kind = Alike(variant="van", lots=(("battery", "B-17"), ("glass", "G-1")))
    assert kind.has("van", "any", {("battery", "B-17"), ("glass", "G-1")})
    assert not kind.has("van", "any", {("battery", "B-17")})
    assert not kind.has("bus", "any", {("battery", "B-17"), ("glass", "G-1")})
    assert not Alike(variant="van", software="1.0").has("van", "1.0.1", ())
