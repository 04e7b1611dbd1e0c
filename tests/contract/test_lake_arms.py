"""Two arms measured from real files: time at risk within episodes, first events, silence, first samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ringroad.kernel.arm_counts import ArmCell
from ringroad.kernel.errors import InvalidInput
from ringroad.storage.arms import (
    ArmWindow,
    Event,
    count_events,
    count_silence,
    episodes_table,
    sum_samples,
)
from ringroad.storage.lake import ExposureRow, FaultRow, Lake, Rows, SampleRow

MINUTE_US = 60_000_000
T0_US = 1_795_000_000_000_000 // (60 * MINUTE_US) * (60 * MINUTE_US)  # a full hour in November 2026
WINDOW = ArmWindow(
    programme="p1",
    since_us=T0_US,
    until_us=T0_US + 120 * MINUTE_US,
    tick_us=10 * MINUTE_US,
    gap_us=15 * MINUTE_US,
    window_us=60 * MINUTE_US,
)
FAULT = Event()


def at(minute: float) -> int:
    return T0_US + round(minute * MINUTE_US)


def seen(vin: str, *minutes: float, received: float | None = None, clock: str = "ok") -> list[ExposureRow]:
    """Batches of two ECUs each, without data from before them."""
    return [
        ExposureRow(
            vin=vin, batch=round(minute * 10), index=index, programme="p1", variant="base", at_us=at(minute),
            since_us=at(minute), ecu=ecu, software_version="1.0", release="", clock=clock,
            received_us=at(minute if received is None else received), seq=1,
        )
        for minute in minutes
        for index, ecu in enumerate(("brake", "head"))
    ]  # fmt: skip


def fault(vin: str, minute: float, *, status: int = 9, clock: str = "ok", ecu: str = "brake") -> FaultRow:
    return FaultRow(
        vin=vin, batch=round(minute * 10), index=9, programme="p1", variant="base", at_us=at(minute), ecu=ecu,
        code="P1", status=status, software_version="1.0", snapshot="{}", clock=clock, received_us=at(minute), seq=1,
    )  # fmt: skip


Row = ExposureRow | FaultRow | SampleRow


def sample(vin: str, minute: float, number: float, *, path: str = "Vehicle.BootTime") -> SampleRow:
    return SampleRow(
        vin=vin, batch=round(minute * 10), index=5, programme="p1", variant="base", at_us=at(minute), path=path,
        kind="float", number=number, text=None, clock="ok", received_us=at(minute), seq=1,
    )  # fmt: skip


def episodes(*rows: tuple[str, str, float, float]) -> pa.Table:
    return episodes_table(
        {"vin": vin, "arm": arm, "stratum": "base", "from_us": at(start), "to_us": at(end)}
        for vin, arm, start, end in rows
    )


def lake(folder: Path, *rows: Row) -> Lake:
    made = Lake(folder)
    made.write(
        Rows(
            exposure=tuple(row for row in rows if isinstance(row, ExposureRow)),
            faults=tuple(row for row in rows if isinstance(row, FaultRow)),
            samples=tuple(row for row in rows if isinstance(row, SampleRow)),
        ),
        first_seq=1,
        last_seq=1,
    )
    return made


def minutes(cells: tuple[ArmCell, ...]) -> dict[tuple[str, int], Any]:
    """Events and minutes at risk by arm and tick after T0."""
    first = T0_US // WINDOW.tick_us
    return {(cell.arm, cell.tick - first): (cell.events, cell.amount / MINUTE_US) for cell in cells}


def test_time_at_risk_is_what_was_seen_within_the_episode(tmp_path: Path) -> None:
    rows = seen("A", 0, 10, 20, 50, 55)
    found = count_events(lake(tmp_path, *rows), WINDOW, episodes(("A", "treated", 5, 52)), FAULT)
    # from 5 (the episode) to 20 (a gap follows), and from 50 to 52 (its end)
    assert minutes(found) == {("treated", 0): (0, 5), ("treated", 1): (0, 10), ("treated", 5): (0, 2)}


def test_the_first_event_ends_the_time_at_risk_of_its_episode_and_counts_once(tmp_path: Path) -> None:
    rows: list[Row] = [
        *seen("A", *range(0, 121, 10)),
        fault("A", 12),
        fault("A", 14, ecu="head"),
        fault("A", 75),
    ]
    arms = episodes(("A", "control", 0, 60), ("A", "control", 60, 120))
    found = minutes(count_events(lake(tmp_path, *rows), WINDOW, arms, FAULT))
    assert {key: events for key, (events, _) in found.items() if events} == {
        ("control", 1): 1,
        ("control", 7): 1,
    }
    assert sum(time for _, time in found.values()) == pytest.approx(12 + 15, abs=1e-5)


@pytest.mark.parametrize(
    "row",
    [
        fault("A", 12, status=0),  # passed
        fault("A", 12, clock="unset"),
        fault("A", 70),  # after the episode
        fault("A", 33),  # not seen at the time
        fault("B", 12),  # of no arm
    ],
)
def test_what_cannot_be_an_event_of_the_episode_is_none(tmp_path: Path, row: FaultRow) -> None:
    given = lake(tmp_path, *seen("A", 0, 10, 20), *seen("B", 0, 10, 20), row)
    found = count_events(given, WINDOW, episodes(("A", "treated", 0, 60)), FAULT)
    assert minutes(found) == {("treated", 0): (0, 10), ("treated", 1): (0, 10)}


def test_arms_and_strata_are_kept_apart_and_another_programme_is_not_seen(tmp_path: Path) -> None:
    rows: list[Row] = [*seen("A", 0, 10), *seen("B", 0, 10), *seen("C", 0, 10), fault("A", 3)]
    rows += [replace(row, programme="p2") for row in seen("D", 0, 10)]
    arms = episodes(
        *(
            (vin, arm, 0, 60)
            for vin, arm in (("A", "treated"), ("B", "control"), ("C", "control"), ("D", "control"))
        )
    )
    found = minutes(count_events(lake(tmp_path, *rows), WINDOW, arms, FAULT))
    assert found["control", 0] == (0, 20)
    assert found["treated", 0] == (1, pytest.approx(3, abs=1e-5))


def test_samples_at_or_above_a_number_can_be_the_event(tmp_path: Path) -> None:
    rows: list[Row] = [
        *seen("A", 0, 10, 20),
        sample("A", 4, 2.0, path="Vehicle.Starts"),
        sample("A", 11, 3.0, path="Vehicle.Starts"),
    ]
    event = Event(path="Vehicle.Starts", at_least=3.0)
    found = count_events(lake(tmp_path, *rows), WINDOW, episodes(("A", "treated", 0, 60)), event)
    assert {key: events for key, (events, _) in minutes(found).items() if events} == {("treated", 1): 1}


def test_events_before_the_window_are_known_of_but_not_told_again(tmp_path: Path) -> None:
    given = lake(tmp_path, *seen("A", *range(0, 61, 10)), fault("A", 12), fault("A", 42))
    later = replace(WINDOW, since_us=at(30))
    assert count_events(given, later, episodes(("A", "treated", 0, 60)), FAULT) == ()
    assert count_events(given, replace(later, window_us=MINUTE_US), episodes(("A", "treated", 20, 60)), FAULT)


def test_ticks_before_the_window_are_not_told_again(tmp_path: Path) -> None:
    given = lake(tmp_path, *seen("A", 24, 36))
    found = count_events(given, replace(WINDOW, since_us=at(30)), episodes(("A", "treated", 0, 60)), FAULT)
    assert minutes(found) == {("treated", 3): (0, 6)}


def test_a_vehicle_that_is_not_heard_of_is_silent(tmp_path: Path) -> None:
    rows = [*seen("A", 0, 1), *seen("B", 0, 25), *seen("C", 5, 9), *seen("D", 7, 40)]
    arms = episodes(("A", "treated", 2, 62), ("B", "treated", 2, 62), ("C", "control", 0, 60), ("D", "control", 0, 60),
                    ("E", "control", 0, 60))  # fmt: skip
    found = count_silence(lake(tmp_path, *rows), WINDOW, arms, quiet_us=30 * MINUTE_US)
    # A and B from their update at 2 to 32; C from 5 to 35 with a word at 9; D from 7 to 37 without; E never began
    assert minutes(found) == {
        ("treated", 3): (1, 2 / MINUTE_US),
        ("control", 3): (1, 2 / MINUTE_US),
    }


def test_a_window_that_was_cut_short_is_no_trial_of_silence(tmp_path: Path) -> None:
    # seen after its window's begin and silent since: of a whole window it is a trial, of a short one it would be rare
    row = {"vin": "C", "arm": "control", "stratum": "base", "from_us": at(0), "to_us": at(60)}
    made = lake(tmp_path, *seen("C", 5))
    found = [
        count_silence(made, WINDOW, episodes_table([{**row, "cut": cut}]), quiet_us=30 * MINUTE_US)
        for cut in (False, True)
    ]
    assert [[cell.events for cell in each] for each in found] == [[1], []]


def test_silence_is_judged_by_when_a_message_arrived(tmp_path: Path) -> None:
    rows = [*seen("A", 0), *seen("A", 10, received=70)]
    found = count_silence(
        lake(tmp_path, *rows), WINDOW, episodes(("A", "treated", 2, 62)), quiet_us=30 * MINUTE_US
    )
    assert [cell.events for cell in found] == [1]


def test_a_trial_that_is_not_over_is_not_told(tmp_path: Path) -> None:
    arms = episodes(("A", "treated", 100, 160), ("B", "treated", 2, 12))
    assert count_silence(lake(tmp_path, *seen("A", 0)), WINDOW, arms, quiet_us=30 * MINUTE_US) == ()


def test_the_first_sample_of_an_episode_is_its_measurement(tmp_path: Path) -> None:
    rows = [
        sample("A", 3, 4.0),
        sample("A", 1, 9.0),
        sample("A", 8, 5.0),
        sample("B", 4, 2.0),
        sample("B", 70, 7.0),
    ]
    arms = episodes(("A", "treated", 2, 62), ("B", "control", 0, 60), ("B", "control", 60, 120))
    found = sum_samples(lake(tmp_path, *rows), WINDOW, arms, path="Vehicle.BootTime")
    first = T0_US // WINDOW.tick_us
    assert [(each.arm, each.tick - first, each.count, each.total, each.squares) for each in found] == [
        ("control", 0, 1, 2.0, 4.0),
        ("treated", 0, 1, 4.0, 16.0),
        ("control", 7, 1, 7.0, 49.0),
    ]


def test_an_empty_lake_and_empty_arms_tell_nothing(tmp_path: Path) -> None:
    for arms in (episodes(), episodes(("A", "treated", 0, 60))):
        assert count_events(Lake(tmp_path), WINDOW, arms, FAULT) == ()
        assert sum_samples(Lake(tmp_path), WINDOW, arms, path="x") == ()


@pytest.mark.parametrize(
    "wrong", [{"until_us": T0_US}, {"tick_us": 0}, {"gap_us": 0}, {"window_us": 0}, {"tick_us": 1}]
)
def test_refuses_windows_that_are_empty_or_too_fine(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        replace(WINDOW, **wrong)
