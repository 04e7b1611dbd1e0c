"""A vehicle's faults over its life, out of the changes it told of."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.protocol.fault_status import FOLDED_PATH, WAITED_PATH
from ringroad.signal.fault_history import FOLDED_MAX, ODOMETER, FaultChange, FaultHistory, fold

FAILING, STORED, GONE = 0x2F, 0x28, 0x00


def change(at: int, status: int, version: str = "1.0", code: str = "C0051-00", **frame: Any) -> FaultChange:
    return FaultChange(
        ecu="brake",
        code=code,
        at_us=at,
        status=status,
        software_version=version,
        snapshot=frame.get("frame", {}),
    )


def one(*changes: FaultChange) -> FaultHistory:
    [line] = fold(changes)
    return line


@pytest.mark.parametrize(
    ("statuses", "occurrences"),
    [
        ([FAILING], 1),
        ([FAILING, FAILING], 1),  # told again after a restart
        ([FAILING, STORED], 1),  # it stopped failing, and is kept
        ([FAILING, STORED, FAILING], 2),
        ([FAILING, GONE, FAILING], 2),
        ([STORED, GONE, STORED], 2),  # it came while nobody looked, was cleared, and came again
        ([FAILING, STORED, STORED, GONE], 1),
        ([GONE, FAILING], 1),
    ],
)
def test_an_occurrence_is_a_time_that_it_began_to_fail(statuses: list[int], occurrences: int) -> None:
    line = one(*(change(at, status) for at, status in enumerate(statuses)))
    assert (line.occurrences, line.status) == (occurrences, statuses[-1])


@pytest.mark.parametrize(
    ("folded", "more"), [(3, 3), (0, 0), (-5, 0), (True, 0), ("3", 0), (2.5, 0), (10**9, FOLDED_MAX)]
)
def test_what_a_vehicle_left_out_of_a_flapping_code_is_counted_once_and_is_no_signal(
    folded: Any, more: int
) -> None:
    newest = change(30, FAILING, frame={FOLDED_PATH: folded, WAITED_PATH: 60, "Vehicle.Speed": 3})
    line = one(change(10, FAILING), change(20, STORED), newest, newest)
    assert (line.occurrences, line.last_us) == (2 + more, 30)
    assert line.frame == {"Vehicle.Speed": 3}


def test_a_line_has_its_times_distances_software_and_the_signals_of_the_last_time() -> None:
    line = one(
        change(10, FAILING, "1.0", frame={ODOMETER: 100, "Vehicle.Speed": 3}),
        change(20, GONE, "1.1"),
        change(30, FAILING, "1.1", frame={ODOMETER: 250.5, "Vehicle.Speed": 88}),
        change(40, FAILING, "1.1", frame={ODOMETER: 300, "Vehicle.Speed": 0}),
    )
    assert (line.first_us, line.last_us, line.changed_us) == (10, 30, 30)
    assert (line.odometer_first_km, line.odometer_last_km) == (100, 250.5)
    assert line.versions == ("1.0", "1.1")
    assert line.frame["Vehicle.Speed"] == 88


def test_a_fault_of_an_ecu_that_ran_nothing_has_a_line_without_software() -> None:
    assert one(change(10, FAILING, "")).versions == ()
    assert one(change(10, FAILING, "1.0"), change(20, GONE, ""), change(30, FAILING, "")).versions == ("1.0",)


def test_a_code_that_was_only_ever_told_as_gone_has_no_line() -> None:
    assert fold([change(1, GONE)]) == []


def test_an_odometer_that_is_no_number_is_none() -> None:
    assert one(change(1, FAILING, frame={ODOMETER: True})).odometer_first_km is None
    assert one(change(1, FAILING, frame={ODOMETER: "far"})).odometer_first_km is None


CHANGES = st.lists(
    st.builds(
        change, st.integers(0, 50), st.sampled_from([FAILING, STORED, GONE]), st.sampled_from(["1.0", "1.1"]),
        st.sampled_from(["C0051-00", "U0121-00"]),
    ),
    max_size=20,
)  # fmt: skip


@given(changes=CHANGES, data=st.data())
def test_order_and_repetition_of_what_arrives_change_nothing(
    changes: list[FaultChange], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(changes + changes[:3]))
    assert fold(shuffled) == fold(changes)
