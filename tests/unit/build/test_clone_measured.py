"""What events and stops of a line say of ways and breakdowns: only where nothing else was waited for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ringroad.build.calendar import Calendar
from ringroad.build.clone.measured import Breakdowns, Move, observed_breakdowns, observed_transfers
from ringroad.build.plant.model import Cell, Identity, Plant, PlantLine, Structure
from ringroad.build.plant.parameters import Key
from ringroad.build.plant.posterior import Posterior, stated_rate, stated_time

THEN = datetime(2026, 11, 26, 6, tzinfo=UTC)
LINE = PlantLine(name="Line 1", area="assembly", stations=tuple(Cell(name=name) for name in ("a", "b", "c")))
B = ("assembly", "Line 1", "b")
PLANT = Plant(
    identity=Identity(id="north", name="North", enterprise="Ringroad Motors", site="north"),
    structure=Structure(lines=(LINE,)),
    parameters={
        Key(B, "transfer_s"): stated_time(20),
        Key(B, "uptime_s"): stated_rate(7_200),
        Key(B, "repair_s"): stated_time(300),
    },
)


def moves(*said: tuple[int, str, str, str]) -> list[Move]:
    """Return moves: second, order, kind, station."""
    return [
        Move(order_id=order, station=station, kind=kind, at=THEN + timedelta(seconds=second))
        for second, order, kind, station in said
    ]


def breakdowns(told: list[Breakdowns]) -> dict[Key, Posterior]:
    return observed_breakdowns(PLANT, LINE, told, believed=PLANT.parameters)


FIRST = ((0, "o1", "entered", "b"), (50, "o1", "left", "b"))


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ((*FIRST, (60, "o2", "left", "a"), (81, "o2", "entered", "b")), 21),
        ((*FIRST, (50, "o2", "left", "a"), (71, "o2", "entered", "b")), 21),  # empty at that very moment
        ((*FIRST, (40, "o2", "left", "a"), (71, "o2", "entered", "b")), None),  # it may have waited for o1
        (((60, "o2", "left", "a"), (81, "o2", "entered", "b")), None),  # nobody knows whether b was empty
        ((*FIRST, (81, "o2", "entered", "b")), None),  # nobody knows when it left a
        ((*FIRST, (60, "o2", "left", "c"), (81, "o2", "entered", "b")), None),  # it came back
        (
            (*FIRST, (55, "", "stopped", "b"), (60, "o2", "left", "a"), (70, "", "resumed", "b"), (81, "o2", "entered", "b")),
            None,
        ),  # it waited for b to go on
        (
            (*FIRST, (55, "", "stopped", "b"), (58, "", "resumed", "b"), (60, "o2", "left", "a"), (81, "o2", "entered", "b")),
            21,
        ),
        (
            ((0, "", "stopped", "b"), (5, "", "resumed", "b"), (10, "o2", "left", "a"), (310, "o1", "left", "b"), (315, "o2", "entered", "b")),
            None,
        ),  # nobody saw o1 enter b: it waited for that
        (
            (FIRST[0], (40, "", "stopped", "b"), FIRST[1], (58, "", "resumed", "b"), (60, "o2", "left", "a"), (81, "o2", "entered", "b")),
            21,
        ),  # emptied while it stood
        ((*FIRST, (60, "o2", "left", "a"), (60, "o2", "entered", "b")), None),  # no time at all is no way
        (
            (*FIRST, (60, "o2", "left", "a"), (62, "o3", "left", "a"), (70, "o3", "entered", "b"), (81, "o2", "entered", "b")),
            8,
        ),  # o3 overtook: the way of o2 is not known, b was taken
    ],
)  # fmt: skip
def test_a_way_is_measured_only_where_the_station_behind_it_was_empty_and_worked(
    said: tuple[tuple[int, str, str, str], ...], seconds: int | None
) -> None:
    found = observed_transfers(PLANT, LINE, moves(*said))
    assert {str(key): round(each.mean) for key, each in found.items()} == (
        {"assembly/Line 1/b#transfer_s": seconds} if seconds else {}
    )


def test_ways_that_the_document_says_nothing_of_are_left_out() -> None:
    said = (
        (0, "o1", "entered", "c"),
        (50, "o1", "left", "c"),
        (60, "o2", "left", "b"),
        (81, "o2", "entered", "c"),
    )
    assert observed_transfers(PLANT, LINE, moves(*said)) == {}  # fmt: skip


def test_a_way_on_which_the_line_rested_says_nothing_of_ways() -> None:
    said = moves(*FIRST, (60, "o2", "left", "a"), (81, "o2", "entered", "b"))
    for rests, mean_s in (("08:00-08:30", [21]), ("06:01-06:02", []), ("05:00-06:30", [])):
        calendar = Calendar(name="days", hours=("00:00-24:00",), breaks=(rests,))
        line = replace(LINE, calendar="days")
        plant = replace(PLANT, structure=Structure(lines=(line,), calendars=(calendar,)))
        found = observed_transfers(plant, line, said)
        assert [round(each.mean) for each in found.values()] == mean_s


def test_breakdowns_are_counted_over_the_time_that_was_worked() -> None:
    found = breakdowns(
        [
            Breakdowns(station="b", worked_s=18_000, begun=3, stood_s=(100, 200)),
            Breakdowns(station="c", worked_s=30_000, begun=3, stood_s=(100,)),  # of which nothing is believed
        ],
    )
    uptime, repair = found[Key(B, "uptime_s")], found[Key(B, "repair_s")]
    assert (len(found), uptime.n, uptime.mean) == (2, 3, 6_000)
    assert (repair.n, round(repair.mean)) == (2, 150)


def test_work_without_a_breakdown_says_that_the_uptime_is_longer_but_no_more_than_it_can() -> None:
    found = []
    for begun in (0, 1, 2, 4, 5, 10, 12):
        told = Breakdowns(station="b", worked_s=72_000, begun=begun, stood_s=())
        seen = breakdowns([told])[Key(B, "uptime_s")]
        found.append((round(seen.n), round(seen.mean)))
    assert found == [
        (10, 14_400),
        (10, 13_680),
        (10, 12_960),
        (10, 11_520),
        (5, 14_400),
        (10, 7_200),
        (12, 6_000),
    ]


@pytest.mark.parametrize("begun", [0, 1, 4])
@pytest.mark.parametrize("worked_s", [4_000, 40_000, 400_000, 4_000_000])
def test_added_to_a_belief_it_never_says_more_than_the_counts_themselves_would(
    begun: int, worked_s: float
) -> None:
    told = Breakdowns(station="b", worked_s=worked_s, begun=begun, stood_s=())
    before = PLANT.parameters[Key(B, "uptime_s")]
    for key, seen in breakdowns([told]).items():
        assert key == Key(B, "uptime_s")
        counts = (before.total + worked_s) / (before.n + begun)
        learned = (before.total + seen.total) / (before.n + seen.n)
        assert min(before.mean, counts) * 0.999 <= learned <= max(before.mean, counts) * 1.001


@pytest.mark.parametrize(
    "told",
    [
        Breakdowns(station="b", worked_s=3_500, begun=0, stood_s=()),  # half a breakdown was expected
        Breakdowns(station="b", worked_s=0, begun=0, stood_s=()),  # the line was closed
        Breakdowns(station="b", worked_s=0, begun=2, stood_s=(0.0,)),
    ],
)
def test_what_cannot_be_counted_says_nothing(told: Breakdowns) -> None:
    assert breakdowns([told]) == {}
