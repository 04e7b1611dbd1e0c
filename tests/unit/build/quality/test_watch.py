"""Alarms: what fails too often is found and named, what does not is left alone, however often one looks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from ringroad.build.quality.periods import period_of
from ringroad.build.quality.watch import (
    ALPHA_PPM,
    BLOCK,
    Alarm,
    Counted,
    Evidence,
    Watched,
    evidence_of,
    find_alarms,
    unnumbered,
)


def line(
    seed: int, vehicles: int, *, lot: float = 0.02, software: float = 0.02, variant: float = 0.02, station: float = 0.02
) -> list[Counted]:  # fmt: skip
    """Return counts of a station; from vehicle 400 on some fail at another rate."""
    draw = np.random.default_rng(seed)
    found: list[Counted] = []
    for number in range(vehicles):
        late = number >= 400
        has = {
            "lot": "B" if late and draw.random() < 0.3 else f"A{number // 50 % 2}",
            "software": "2" if number >= 500 else "1", "variant": "w" if draw.random() < 0.4 else "v",
        }  # fmt: skip
        rate = 0.02
        if late:
            rate = max(
                station, lot if has["lot"] == "B" else 0, variant if has["variant"] == "w" else 0,
                software if has["software"] == "2" else 0,
            )  # fmt: skip
        found.append(
            Counted(
                station="roof", variant=has["variant"], software=has["software"], lots=(("glass", has["lot"]),),
                vehicles=1, failed=int(draw.random() < rate), period=period_of(number), block=number // BLOCK,
            )
        )  # fmt: skip
    newest = max(each.period for each in found)
    return [each for each in found if each.period >= newest - 2]


def numbered(counts: Iterable[Counted]) -> dict[tuple[Watched, int], int]:
    return {each: number for number, each in enumerate(unnumbered(list(counts), {}), start=1)}


def alarms(counts: list[Counted]) -> list[Alarm]:
    return find_alarms(counts, numbered(counts))


@pytest.mark.parametrize(
    ("fault", "kind", "value"),
    [
        ({"lot": 0.25}, "lot", "glass=B"),
        ({"software": 0.25}, "software", "2"),
        ({"variant": 0.3}, "variant", "w"),
        ({"station": 0.3}, "station", ""),
    ],
)
def test_what_is_to_blame_is_named_and_nothing_else(fault: dict[str, float], kind: str, value: str) -> None:
    (found,) = alarms(line(3, 800, **fault))
    assert (found.watched.kind, found.watched.value) == (kind, value)
    assert found.evidence.failed > 3 * found.evidence.usual
    document = found.to_document()
    assert document["hypotheses"] == found.evidence.hypotheses
    assert sum(document["failing"]["variant"].values()) == document["failed"]


def test_new_software_that_harms_one_of_two_variants_is_an_alarm_of_the_software() -> None:
    """Vans, which are well with it, neither use up what buses are compared with nor take back what these tell."""
    seen = {("van", "1.0"): 0, ("bus", "1.0"): 0, ("van", "1.1"): 0, ("bus", "1.1"): 0}
    counts = []
    for number in range(3_000):
        kind = ("van", "bus")[number % 2], "1.1" if number >= 1_500 else "1.0"
        seen[kind] += 1
        every = 12 if kind == ("bus", "1.1") else 100
        counts.append(
            Counted(
                station="roof", variant=kind[0], software=kind[1], lots=(), vehicles=1,
                failed=int(seen[kind] % every == 0), period=period_of(number), block=number // BLOCK,
            )
        )  # fmt: skip
    newest = [each for each in counts if each.period >= counts[-1].period - 2]
    numbers = {each: 10 + number for each, number in numbered(newest).items()}  # periods before had the first
    assert [each.watched for each in find_alarms(newest, numbers)] == [Watched("roof", "software", "1.1")]


def test_a_station_that_gets_a_little_worse_is_found_by_all_vehicles_of_its_period() -> None:
    """Those before last as long as it: spent on its first 200, they leave what the other 600 tell without a word."""
    counts = [
        Counted(
            station="roof", variant=("van", "bus")[number % 2], software="1.0", lots=(), vehicles=1,
            failed=int(number % (13 if number >= 800 else 51) == 0), period=period_of(number), block=number // BLOCK,
        )
        for number in range(200, 1_600)
    ]  # fmt: skip
    numbers = {each: 10 + number for each, number in numbered(counts).items()}  # periods before had the first
    assert [each.watched for each in find_alarms(counts, numbers)] == [Watched("roof", "station", "")]


def test_software_is_compared_with_more_periods_than_its_station() -> None:
    """One variant of three has few vehicles in the two periods before."""
    counts = [
        Counted(
            station="roof", variant=("van", "bus", "cab")[number % 3], software="1.1" if number >= 1_000 else "1.0", lots=(),
            vehicles=1, failed=int(number % (39 if number >= 1_000 else 309) == 1), period=period_of(number),
            block=number // BLOCK,
        )
        for number in range(3_000)
    ]  # fmt: skip
    software = Watched("roof", "software", "1.1")

    def worth(periods: int) -> float:
        reach = [each for each in counts if each.period >= counts[-1].period - periods]
        return dict(evidence_of(reach, numbered(reach)))[software].log_e

    assert worth(4) > worth(3) > worth(2)
    assert worth(5) == worth(4)


def test_where_a_station_builds_one_variant_the_station_is_named() -> None:
    counts = [replace(each, variant="v") for each in line(3, 800, station=0.3)]
    assert [each.watched.kind for each in alarms(counts)] == ["station"]


def test_a_lot_that_is_as_good_as_the_others_is_left_alone() -> None:
    assert [alarms(line(seed, 1_200)) for seed in range(8)] == [[]] * 8


def test_false_alarms_keep_to_their_bound_though_one_looks_again_and_again() -> None:
    false = 0
    for seed in range(20):
        counts = line(100 + seed, 800)
        numbers = numbered(counts)
        first = min(each.block for each in counts if each.period == counts[-1].period)
        false += any(
            find_alarms([each for each in counts if each.block < block], numbers)
            for block in range(first, counts[-1].block + 2, 5)
        )
    assert false <= 20 * ALPHA_PPM / 1_000_000


def test_an_alarm_that_stands_is_not_raised_again_nor_blamed_on_others() -> None:
    counts = line(3, 800, lot=0.4)
    (found,) = alarms(counts)
    assert find_alarms(counts, numbered(counts), [found.watched]) == []


def test_where_all_new_vehicles_belong_to_an_alarm_what_was_bad_in_the_period_before_is_no_alarm() -> None:
    """Lot B was bad beside others in the period before; the newest period has lot A alone, which stands."""
    counts = [
        Counted(
            station="roof", variant="v", software="", lots=(("glass", lot),), vehicles=BLOCK // 2, failed=failed,
            period=period, block=block,
        )
        for block, period in enumerate([0] * 5 + [1] * 5 + [2] * 5)
        for lot, failed in ([("A", 0), ("C", 0)], [("B", 8), ("C", 0)], [("A", 9), ("A", 9)])[period]
    ]  # fmt: skip
    before = [each for each in counts if each.period < 2]
    lot = Watched("roof", "lot", "glass=B")
    assert [each.watched for each in alarms(before)] == [lot]
    numbers = {**numbered(before)}
    numbers |= {
        each: number for number, each in enumerate(unnumbered(counts, numbers), start=len(numbers) + 1)
    }
    assert find_alarms(counts, numbers, [Watched("roof", "lot", "glass=A")]) == []


def test_faults_at_two_stations_are_two_alarms() -> None:
    counts = line(3, 800, lot=0.4)
    both = [*counts, *(replace(each, station="door") for each in counts)]
    assert {each.watched.station for each in alarms(both)} == {"roof", "door"}


def test_vehicles_of_another_variant_are_no_comparison() -> None:
    """A lot that only a variant gets which always fails more often is no alarm."""
    block = [
        Counted(
            station="roof", variant=variant, software="", lots=(("glass", lot),), vehicles=BLOCK,
            failed=failed, period=period, block=number,
        )
        for number, (variant, lot, failed, period) in enumerate(
            [("v", "A", 0, 0), ("w", "B", 8, 0), ("w", "B", 8, 0), ("v", "A", 0, 1), ("w", "C", 8, 1), ("w", "C", 8, 1)]
        )
    ]  # fmt: skip
    found = dict(evidence_of(block, numbered(block)))
    assert found[Watched("roof", "lot", "glass=C")].log_e < 0


def test_nothing_is_watched_before_there_is_something_to_compare_with() -> None:
    counts = line(3, 90, lot=0.9)
    assert unnumbered(counts, {}) == []
    assert alarms(counts) == []


def test_later_things_get_a_smaller_share_of_the_bound() -> None:
    first = Evidence(vehicles=1, failed=1, usual=0, compared=1, log_e=8.0, explains=8.0, number=1)
    assert first.alarms
    assert not replace(first, number=1_000).alarms
    assert sum(1 / replace(first, number=n).hypotheses for n in range(1, 10_000)) < 1


def test_more_failures_never_weaken_the_evidence() -> None:
    counts = line(5, 800, lot=0.2)
    lot = Watched("roof", "lot", "glass=B")
    before = dict(evidence_of(counts, numbered(counts)))[lot]
    worse = [
        replace(each, failed=1) if lot in each.watched and each.block % 5 == 0 else each for each in counts
    ]
    assert dict(evidence_of(worse, numbered(worse)))[lot].log_e >= before.log_e
