"""Suspects are named beyond chance, in all questions at once, and where there is none it is said so."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.build.plant.read import read_plant
from ringroad.build.trace import ALPHA_PPM, TraitCount, ask, chance_of, gate_for, label, sentence, tell_apart

PLANT = (Path(__file__).parents[3] / "examples" / "first" / "plant.toml").read_text(encoding="utf-8")


def lot(value: str, vehicles: int, with_fault: int, *, kind: str = "lot") -> TraitCount:
    return TraitCount(
        kind=kind, thing="battery", value=value, station="marriage", vehicles=vehicles, with_fault=with_fault
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 60), st.data())
def test_the_chance_is_that_of_fishers_exact_test(total: int, data: st.DataObject) -> None:
    vehicles = data.draw(st.integers(0, total))
    faulty = data.draw(st.integers(0, total))
    seen = data.draw(st.integers(0, min(vehicles, faulty)))
    ways = math.comb(total, faulty)
    exact = sum(
        math.comb(vehicles, k) * math.comb(total - vehicles, faulty - k)
        for k in range(seen, min(vehicles, faulty) + 1)
    )
    assert chance_of(seen, vehicles=vehicles, faulty=faulty, total=total) == pytest.approx(
        exact / ways, rel=1e-9
    )


@pytest.mark.parametrize(
    ("seen", "vehicles", "faulty", "total"),
    [(10, 9_000, 500, 10_000), (20, 90_000, 400, 100_000), (50, 900_000, 1_000, 1_000_000), (1, 9_900, 5_000, 10_000)],
)  # fmt: skip
def test_what_fewer_faulty_vehicles_have_than_others_is_left_to_chance(
    seen: int, vehicles: int, faulty: int, total: int
) -> None:
    assert chance_of(seen, vehicles=vehicles, faulty=faulty, total=total) == pytest.approx(1, abs=1e-6)
    bad = lot("bad", total // 20, faulty // 2)
    found = ask([lot("good", vehicles, seen), bad], faulty=faulty, total=total)
    assert [each.trait for each in found.suspects] == [bad]


def test_a_bad_lot_is_named_among_many_that_are_not() -> None:
    counts = [lot("B-17", 40, 9), *(lot(f"L{n}", 40, 0) for n in range(20)), lot("all", 1_000, 10)]
    found = ask(counts, faulty=10, total=1_000)
    assert [each.trait.value for each in found.suspects] == ["B-17"]
    assert (found.asked, found.suspects[0].ratio.low_milli > 1_000) == (21, True)
    assert sentence(found) == ("9 of 10 vehicles with the fault have battery of lot B-17, 31 of 990 without")


@pytest.mark.parametrize(
    ("counts", "faulty", "total", "said"),
    [
        ([lot("B-17", 40, 1)], 10, 1_000, "no difference found: none of 1 lots"),
        ([lot("B-17", 1_000, 10)], 10, 1_000, "no difference found"),  # every vehicle has it
        ([lot("B-17", 40, 0)], 0, 1_000, "no vehicle with the fault has a birth record"),
        ([lot("B-17", 40, 1)], 1, 1_000, "too few to show anything"),
        ([lot("B-17", 4, 4)], 10, 10, "there is none to compare with"),
        ([], 10, 1_000, "no difference found"),
        ([lot(f"L{n}", 4, 2 if n == 3 else 0) for n in range(250)], 10, 1_000, "no difference found: none of 250"),
    ],
)  # fmt: skip
def test_without_enough_evidence_nobody_is_named_and_it_is_said(
    counts: list[TraitCount], faulty: int, total: int, said: str
) -> None:
    found = ask(counts, faulty=faulty, total=total)
    assert found.suspects == ()
    assert said in sentence(found)


def test_of_questions_without_a_cause_few_name_a_suspect() -> None:
    dice, named, questions = random.Random(4), 0, 400
    owners = [[dice.randrange(12) for _ in range(300)] for _ in range(6)]  # six parts, twelve lots of each
    for _ in range(questions):
        faulty = set(dice.sample(range(300), 12))
        counts = [
            TraitCount(
                kind="lot", thing=str(part), value=str(each), vehicles=owner.count(each),
                with_fault=sum(owner[v] == each for v in faulty),
            )
            for part, owner in enumerate(owners) for each in range(12)
        ]  # fmt: skip
        named += bool(ask(counts, faulty=12, total=300).suspects)
    assert named / questions <= 3 * ALPHA_PPM / 1_000_000


def test_what_goes_with_the_first_suspect_is_told_apart_from_what_stands_by_itself() -> None:
    counts = [lot("B-17", 40, 20), lot("Norvik", 50, 20, kind="supplier"), lot("H-2", 60, 14)]
    found = ask(counts, faulty=30, total=1_000)
    rest = {
        ("supplier", "battery", "Norvik"): lot("Norvik", 10, 0, kind="supplier"),
        ("lot", "battery", "H-2"): lot("H-2", 50, 9),
    }
    told = tell_apart(found, rest, faulty=10, total=960)
    assert [(each.trait.value, each.standing) for each in told] == [
        ("B-17", "first"), ("Norvik", "goes_with"), ("H-2", "stands"),
    ]  # fmt: skip
    assert [each.standing for each in tell_apart(found, {}, faulty=0, total=960)][1:] == [
        "goes_with",
        "goes_with",
    ]
    assert tell_apart(ask([], faulty=1, total=9), {}, faulty=0, total=0) == ()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("lot", "battery of lot x"), ("supplier", "battery of supplier x"), ("station", "battery fitted at x"),
        ("software", "battery with software x at birth"), ("check", "battery failed first at marriage"),
        ("week", "birth in x"), ("plant", "plant x"),
    ],
)  # fmt: skip
def test_a_trait_has_words(kind: str, words: str) -> None:
    assert label(lot("x", 2, 1, kind=kind)) == words


@pytest.mark.parametrize(
    ("station", "words", "gate", "reason"),
    [
        ("marriage", ["battery"], "end of line", "the first gate from marriage on"),
        ("marriage", ["Leak"], "end of line", "it looks for leak"),
        ("flash_and_test", ["software", ""], "end of line", "it looks for software"),
        ("", [], "", "it is not known where"),
        ("roof", [], "", "not on the line any more"),
    ],
)
def test_the_gate_that_should_have_caught_it_comes_from_the_plant_document(
    station: str, words: list[str], gate: str, reason: str
) -> None:
    found = gate_for(read_plant(PLANT), "wren", station=station, words=words)
    assert (found.gate, reason in found.reason) == (gate, True)


def test_a_line_without_a_gate_from_there_on_says_so() -> None:
    plant = read_plant(PLANT)
    (line,) = plant.structure.lines
    ungated = replace(line, stations=tuple(replace(cell, gates=()) for cell in line.stations))
    bare = replace(plant, structure=replace(plant.structure, lines=(ungated,)))
    found = gate_for(bare, "wren", station="marriage", words=["leak"])
    assert (found.gate, found.reason) == ("", "the line has no gate from marriage on")
