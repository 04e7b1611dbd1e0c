"""Gates: how many vehicles they should inspect, by what they find, what escapes them and what either costs."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.build.plant.alike import Alike
from ringroad.build.quality.gates import FLOOR_PERMILLE, KINDS_MAX, GateCosts, GateRecord, propose_rate
from ringroad.build.quality.yields import Tally, fit_yields
from ringroad.kernel.errors import InvalidInput

COSTS = GateCosts(inspect=1, escape=40)  # pays from 2.5 % on


def record(**changes: Any) -> GateRecord:
    base = GateRecord(
        station="test", gate="end of line", inspect_permille=1000, left=1_000, inspected=1_000, refused=10,
        finds=(19.0, 1.0),
    )  # fmt: skip
    return replace(base, **changes)


def test_a_gate_that_finds_little_inspects_a_few_to_learn_and_one_that_finds_much_all() -> None:
    little, much = propose_rate(record(), COSTS), propose_rate(record(inspect_permille=50, refused=60), COSTS)
    assert (little.inspect_permille, little.changes) == (FLOOR_PERMILLE, True)
    assert (much.inspect_permille, much.changes) == (1000, True)
    for each in (little, much):
        assert each.cost_then is not None
        assert each.cost_now is not None
        assert each.cost_then < each.cost_now
    assert little.escapes_now < little.escapes_then
    assert much.escapes_then < much.escapes_now


def test_claims_of_vehicles_not_looked_at_move_the_escape_rate_and_in_the_end_the_rate_of_inspection() -> (
    None
):
    before = record(inspect_permille=50, inspected=200, refused=3, left=300)
    after = replace(before, slipped=6)
    assert after.escapes.fails > before.escapes.fails
    assert after.arrives_bad.fails == pytest.approx(9 / 300)
    assert not propose_rate(before, COSTS).changes
    found = propose_rate(after, COSTS)
    assert (found.inspect_permille, found.changes) == (1000, True)
    assert any("6 vehicles that it did not look at came back" in reason for reason in found.reasons)


@pytest.mark.parametrize(("left", "permille"), [(300, 1000), (1_000, 50), (10_000, 50), (1_000_000, 50)])
def test_the_same_claims_of_more_vehicles_say_that_fewer_arrive_bad(left: int, permille: int) -> None:
    claimed = record(inspect_permille=50, inspected=200, refused=2, slipped=8, left=left)
    inspected = replace(claimed, slipped=0).arrives_bad.fails
    assert claimed.arrives_bad.fails == pytest.approx(max(10 / left, inspected))
    assert propose_rate(claimed, COSTS).inspect_permille == permille


def test_claims_of_one_vehicle_in_a_hundred_do_not_outweigh_what_was_inspected() -> None:
    claimed = record(inspect_permille=50, inspected=500, refused=5, slipped=95, left=10_000)
    assert claimed.arrives_bad.fails == pytest.approx(5.5 / 501)
    assert not propose_rate(claimed, COSTS).changes


def test_what_a_gate_overlooked_asks_for_a_better_check_not_for_more_of_it() -> None:
    before = record(inspect_permille=50, inspected=200, refused=3, finds=(0.5, 0.5))
    after = replace(before, missed=6)
    found = propose_rate(after, COSTS)
    assert after.escapes.fails > before.escapes.fails
    assert not found.changes
    assert any("a better check changes" in reason for reason in found.reasons)


def test_vehicles_of_a_bad_lot_are_all_inspected_and_the_others_now_and_then() -> None:
    cells = fit_yields(
        [
            Tally(
                station="test", variant="v", software="1", lots=(("glass", lot),), vehicles=250, failed=failed
            )
            for lot, failed in (("A", 1), ("B", 60), ("C", 1), ("D", 2))
        ]
    ).cells
    found = propose_rate(record(refused=64), COSTS, cells)
    assert found.inspect_permille == round(250 + 0.75 * FLOOR_PERMILLE)
    assert [each.says for each in found.all_of] == ["v, glass lot B"], "whatever software comes next"
    assert found.others_permille == FLOOR_PERMILLE
    assert found.escapes_then < 1000 * record(refused=64).arrives_bad.fails / 2


LOTS = [Tally(station="test", variant="v", software="1", lots=(("glass", lot),), vehicles=n, failed=failed)
        for lot, n, failed in (("A", 250, 1), ("B", 250, 60), ("C", 250, 1), ("D", 250, 2))]  # fmt: skip
LOT_B = Alike(variant="v", software="1", lots=(("glass", "B"),))


def test_escapes_are_counted_as_vehicles_are_chosen_all_of_the_named_kinds_and_others_by_chance() -> None:
    cells = fit_yields(LOTS).cells
    flat = propose_rate(record(inspect_permille=287, refused=64), COSTS, cells)
    assert (flat.inspect_permille, flat.changes) == (288, True), "as many vehicles, and other ones"
    assert flat.escapes_then < flat.escapes_now / 2
    decided = record(inspect_permille=50, inspected=200, refused=1, all_of=(LOT_B,), all_of_drawn=250)
    stands = propose_rate(decided, COSTS, cells)
    assert (stands.changes, stands.all_of, stands.others_permille) == (False, (LOT_B,), FLOOR_PERMILLE)
    assert stands.inspect_permille == round(250 + 0.75 * FLOOR_PERMILLE)


def test_a_proposal_that_was_decided_is_not_followed_by_another_one_at_once() -> None:
    cells = fit_yields(LOTS).cells
    decided = record(
        inspect_permille=FLOOR_PERMILLE, refused=64, all_of=(LOT_B,)
    )  # what was found is of before
    found = propose_rate(decided, COSTS, cells)
    assert (found.changes, found.all_of) == (False, (LOT_B,))
    later = replace(
        decided, inspected=875, refused=33, all_of_drawn=125
    )  # half of the bad lot was drawn as a kind
    assert not propose_rate(later, COSTS, cells).changes


def test_kinds_that_are_all_looked_at_weigh_as_often_as_they_come_not_as_they_tell() -> None:
    cells = fit_yields(LOTS).cells
    decided = record(
        inspect_permille=50, inspected=200, refused=1, all_of=(LOT_B,), all_of_drawn=250, all_of_share=0.02
    )
    found = propose_rate(decided, COSTS, cells)
    assert found.inspect_permille == round(20 + 0.98 * FLOOR_PERMILLE)
    assert found.cost_now == pytest.approx(found.cost_then)


def test_kinds_that_were_all_looked_at_once_weigh_as_they_would_have_come_by_chance() -> None:
    once = record(inspect_permille=50, inspected=200, refused=1, left=4_000, once_drawn=((LOT_B, 200),))
    found = propose_rate(once, COSTS, fit_yields(LOTS).cells)
    (named,) = found.named
    share = (50 + 200 * 0.05) / (50 + 200 * 0.05 + 750)
    assert named.kind.says == "v, glass lot B"
    assert named.share == pytest.approx(share)
    assert found.inspect_permille == round(1000 * share + (1 - share) * FLOOR_PERMILLE)
    in_full = propose_rate(replace(once, once_drawn=()), COSTS, fit_yields(LOTS).cells)
    assert named.catches < in_full.named[0].catches


def test_a_kind_that_names_less_than_all_lots_is_weighed_as_it_is_drawn() -> None:
    named = Alike(variant="v", lots=(("glass", "B"),))  # of any software
    decided = record(inspect_permille=50, inspected=200, refused=1, all_of=(named,), all_of_drawn=250)
    found, exact = (
        propose_rate(each, COSTS, fit_yields(LOTS).cells)
        for each in (decided, replace(decided, all_of=(LOT_B,)))
    )
    assert not found.changes
    assert (found.inspect_permille, found.cost_now) == (exact.inspect_permille, exact.cost_now)
    assert found.escapes_now == exact.escapes_now


def test_kinds_that_no_vehicle_is_of_any_more_are_told() -> None:
    decided = record(inspect_permille=50, all_of=(LOT_B,), all_of_share=0.0)
    found = propose_rate(decided, COSTS, fit_yields(LOTS).cells)
    assert any("no vehicle has been of the kinds" in reason for reason in found.reasons)


def test_claims_of_vehicles_that_were_looked_at_for_their_kind_say_nothing_of_those_that_come_by_chance() -> (
    None
):
    before = record(inspect_permille=50, inspected=500, refused=5, left=10_000)
    named = replace(before, missed=40, missed_named=40)
    assert named.arrives_bad == before.arrives_bad
    assert named.overlooks == before.overlooks
    assert named.escapes.fails > before.escapes.fails
    assert replace(before, missed=40).arrives_bad.fails > 4 * before.arrives_bad.fails


def test_no_more_than_every_vehicle_is_bad() -> None:
    blind = record(inspect_permille=0, refused=900, finds=(0.5, 9_000.0), all_of=(LOT_B,), all_of_share=0.9)
    found = propose_rate(blind, COSTS, fit_yields(LOTS).cells)
    assert 0 <= found.escapes_now <= 1000


def test_a_kind_that_got_well_is_left_to_chance_again() -> None:
    well = [replace(each, failed=1) for each in LOTS]
    decided = record(inspect_permille=50, inspected=200, refused=1, all_of=(LOT_B,), all_of_drawn=250)
    found = propose_rate(decided, COSTS, fit_yields(well).cells)
    assert (found.changes, found.all_of, found.inspect_permille) == (True, (), FLOOR_PERMILLE)


def test_where_more_kinds_are_bad_than_have_names_every_vehicle_is_looked_at() -> None:
    many = [replace(LOTS[1], lots=(("glass", f"B{n}"),)) for n in range(2 * KINDS_MAX)]
    good = [replace(LOTS[0], lots=(("glass", f"A{n}"),)) for n in range(2 * KINDS_MAX)]
    found = propose_rate(record(inspect_permille=0, refused=120), COSTS, fit_yields(many + good).cells)
    assert (found.inspect_permille, found.others_permille, found.all_of) == (1000, 1000, ())
    named = propose_rate(record(inspect_permille=0, refused=120), COSTS, fit_yields(many[:12] + good).cells)
    assert {each.lots[0][1] for each in named.all_of} == {f"B{n}" for n in range(12)}
    assert named.others_permille == FLOOR_PERMILLE


def quarter(seed: int) -> list[Tally]:
    """Return 90 days of a gate that looked at 12,000 vehicles: lot B-7 of the cell is bad, in whatever it went into."""
    draw, found = np.random.default_rng(seed), Counter[tuple[str, str, str, str]]()
    bad: Counter[tuple[str, str, str, str]] = Counter()
    for number in range(12_000):
        day = number * 90 // 12_000
        kind = (
            f"v{draw.integers(3)}", "1.0" if day < 45 else "1.1",
            "B-7" if 40 < day < 50 and draw.random() < 0.3 else f"A-{day // 6}",
            f"G-{day // 4}{'xy'[int(draw.random() < 0.5)]}",
        )  # fmt: skip
        found[kind] += 1
        bad[kind] += bool(draw.random() < (0.1 if kind[2] == "B-7" else 0.01))
    return [
        Tally(
            station="test", variant=variant, software=software, lots=(("cell", cell), ("glass", glass)), vehicles=n,
            failed=bad[variant, software, cell, glass],
        )
        for (variant, software, cell, glass), n in found.items()
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_a_proposal_names_the_lot_that_carries_the_failures_and_not_all_that_it_came_with(seed: int) -> None:
    tallies = quarter(seed)
    refused = sum(each.failed for each in tallies)
    whole = record(inspect_permille=300, left=40_000, inspected=12_000, refused=refused)
    found = propose_rate(whole, COSTS, fit_yields(tallies).cells)
    assert {(each.lots, each.software) for each in found.all_of} == {((("cell", "B-7"),), "")}
    assert [each.kind for each in found.named] == list(found.all_of)
    assert [each.saves for each in found.named] == sorted((each.saves for each in found.named), reverse=True)
    of_lot = [each for each in tallies if ("cell", "B-7") in each.lots]
    assert sum(each.vehicles for each in found.named) == sum(each.vehicles for each in of_lot)
    for each in found.named:
        assert each.times_low < each.times < each.times_high
        assert each.times > 3
        assert 0 < each.more < each.catches, "three of ten are caught today"
    assert found.cost_then is not None
    assert found.cost_now is not None
    every = [Alike(variant=each.variant, software=each.software, lots=each.lots) for each in of_lot]
    with_all = propose_rate(
        replace(whole, inspect_permille=50, all_of=tuple(every)), COSTS, fit_yields(tallies).cells
    )
    assert found.cost_then == pytest.approx(with_all.cost_now, rel=0.01), "as cheap as by every name"


def test_kinds_that_would_save_little_each_are_counted_and_not_named() -> None:
    small = [replace(LOTS[1], lots=(("glass", f"S{n}"),), vehicles=20, failed=2) for n in range(5)]
    found = propose_rate(record(inspect_permille=300, refused=64), COSTS, fit_yields([*LOTS, *small]).cells)
    assert [each.says for each in found.all_of] == ["v, glass lot B"]
    assert found.unnamed == 5
    assert found.reasons[-1].startswith("5 more kinds of vehicles are left to chance")


@pytest.mark.parametrize(
    ("changes", "costs", "words"),
    [
        ({}, None, "nobody said what an inspection and an escape cost"),
        ({"inspected": 99, "refused": 50}, COSTS, "99 vehicles were inspected, 100 are needed"),
    ],
)
def test_without_costs_or_evidence_a_gate_stays_as_it_is(
    changes: dict[str, Any], costs: GateCosts | None, words: str
) -> None:
    found = propose_rate(record(inspect_permille=300, **changes), costs)
    assert (found.inspect_permille, found.changes, found.cost_then) == (300, False, None)
    assert words in found.reasons[0]


def test_a_small_change_is_not_worth_a_decision() -> None:
    found = propose_rate(record(inspect_permille=70), COSTS)
    assert (found.inspect_permille, found.changes) == (70, False)


@pytest.mark.parametrize(
    "changes", [{"refused": 1_001}, {"inspected": 1_001}, {"missed": -1}, {"slipped": -1}, {"left": -1}]
)
def test_counts_that_contradict_each_other_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(InvalidInput, match="end of line"):
        record(**changes)


@pytest.mark.parametrize(("inspect", "escape"), [(0, 1), (1, 0), (-1, 5)])
def test_costs_of_nothing_are_refused(inspect: int, escape: int) -> None:
    with pytest.raises(InvalidInput):
        GateCosts(inspect=inspect, escape=escape)


@given(
    refused=st.integers(0, 500), missed=st.integers(0, 50), slipped=st.integers(0, 50), rate=st.integers(0, 1000),
    escape=st.integers(1, 5_000),
)  # fmt: skip
def test_another_escape_never_lowers_what_is_believed_nor_what_is_inspected(
    refused: int, missed: int, slipped: int, rate: int, escape: int
) -> None:
    one = record(inspect_permille=rate, refused=refused, missed=missed, slipped=slipped)
    more = replace(one, slipped=slipped + 1)
    assert more.escapes.fails > one.escapes.fails
    costs = GateCosts(inspect=10, escape=escape)
    before, after = propose_rate(one, costs), propose_rate(more, costs)
    wanted = [each.inspect_permille if each.changes else rate for each in (before, after)]
    assert after.escapes_now >= before.escapes_now - 1e-9
    if before.changes and after.changes:
        assert wanted[0] <= wanted[1]
