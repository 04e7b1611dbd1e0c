"""What a document that is written anew keeps of its gates: what was decided and learned here since."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ringroad.build.plant.alike import Alike
from ringroad.build.plant.model import Plant
from ringroad.build.plant.parameters import Key
from ringroad.build.plant.posterior import Origin, stated_share
from ringroad.build.plant.read import read_plant
from ringroad.build.plant.revise import GATES_SAID, Lowered, in_words, keep_learned, lowered

NOW = datetime(2026, 11, 26, tzinfo=UTC)
MOTHER = read_plant(
    (Path(__file__).parents[3] / "examples" / "first" / "plant.toml").read_text(encoding="utf-8")
)
GATE = next(path for path, of, _ in MOTHER.structure.things() if of == "gate")
INSPECTS = Key(GATE, "inspects")


def inspecting(share: float, learned_at: datetime | None) -> Plant:
    believed = replace(stated_share(share), origin=Origin(plant="wren-mother", learned_at=learned_at))
    return replace(MOTHER, parameters={**MOTHER.parameters, INSPECTS: believed})


def test_what_was_decided_here_stays_where_a_file_does_not_name_it_and_yields_to_one_that_does() -> None:
    here = inspecting(0.9, NOW)
    assert keep_learned(MOTHER, here) == (here, (INSPECTS,))
    named = inspecting(0.2, None)
    assert keep_learned(named, here) == (named, ())
    assert keep_learned(MOTHER, inspecting(0.9, None)) == (MOTHER, ())


def test_between_two_that_were_learned_from_the_later_word_counts() -> None:
    here = inspecting(0.9, NOW)
    for learned_at, kept in (
        (None, (INSPECTS,)),
        (NOW - timedelta(hours=1), (INSPECTS,)),
        (NOW, ()),
        (NOW + timedelta(hours=1), ()),
    ):
        told = inspecting(0.3, learned_at)
        assert keep_learned(told, here, by_age=True) == ((here if kept else told), kept)


def test_a_kind_that_is_looked_at_no_more_is_named_unless_every_vehicle_is() -> None:
    kind = Key(GATE, "inspects_all", Alike(variant="van", lots=(("glass", "B"),)).key)

    def deciding(share: float, of_kind: float) -> Plant:
        parameters = {**MOTHER.parameters, INSPECTS: stated_share(share), kind: stated_share(of_kind)}
        return replace(MOTHER, parameters=parameters)

    assert [each.says for each in lowered(deciding(0.1, 1), deciding(0.2, 0))] == [
        "gate 'end of line' at 'flash_and_test' does not inspect every van, glass lot B any more"
    ]
    assert lowered(deciding(0.1, 1), deciding(1, 0)) == lowered(deciding(0.1, 0), deciding(0.1, 1)) == []


def test_what_many_gates_look_at_less_is_named_up_to_a_limit_and_counted() -> None:
    says = [
        Lowered(line="wren", station="roof", gate=f"g{number}", says=f"g{number} is gone")
        for number in range(GATES_SAID + 2)
    ]
    assert in_words(says[:GATES_SAID]) == tuple(each.says for each in says[:GATES_SAID])
    assert in_words(says) == (*in_words(says[:GATES_SAID]), "and 2 more")
    assert in_words([]) == ()
    lots = [Alike(variant="van", lots=(("glass", f"B{number}"),)) for number in range(5)]
    parameters = {INSPECTS: stated_share(0.1)} | {
        Key(GATE, "inspects_all", each.key): stated_share(1) for each in lots
    }
    before = replace(MOTHER, parameters={**MOTHER.parameters, **parameters})
    after = replace(MOTHER, parameters={**MOTHER.parameters, INSPECTS: stated_share(0.1)})
    (one,) = lowered(before, after)
    assert "glass lot B2; and 2 more any more" in one.says


def test_a_kind_that_another_one_holds_is_still_looked_at() -> None:
    lots = (("glass", "B"),)

    def deciding(kind: Alike) -> Plant:
        parameters = {INSPECTS: stated_share(0.1), Key(GATE, "inspects_all", kind.key): stated_share(1)}
        return replace(MOTHER, parameters={**MOTHER.parameters, **parameters})

    narrow, wide = (
        deciding(Alike(variant="van", software="1.0", lots=lots)),
        deciding(Alike(variant="van", lots=lots)),
    )
    assert lowered(narrow, wide) == []
    assert len(lowered(wide, narrow)) == 1
