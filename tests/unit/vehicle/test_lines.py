"""ECUs on different buses are worked on at once, those of one bus one after another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest

from ringroad.kernel.errors import Corrupt
from ringroad.vehicle.ecus import Ecus
from ringroad.vehicle.plan import EcuOnBoard
from support.vehicle_world import Power, desk_ecu

LINES = {"a1": "a", "b1": "b", "a2": "a", "b2": "b", "c1": "c", "a3": "a"}


def ecus(lines: Mapping[str, str]) -> Ecus:
    on_board = [
        EcuOnBoard(name=serial, serial=serial, hardware_id="hw", mode="ab", primary=number == 0, line=line)
        for number, (serial, line) in enumerate(lines.items())
    ]
    return Ecus(on_board, {serial: desk_ecu(serial, "ab", Power()) for serial in lines})


class Shift:
    """Work that takes turns of the loop, and a diary of it."""

    def __init__(self, *, waits: Mapping[str, float] | None = None, fails: str = "") -> None:
        self.diary: list[str] = []
        self.busy: set[str] = set()
        self.most_at_once = 0
        self._waits = waits or {}
        self._fails = fails

    async def work(self, serial: str) -> float:
        assert serial[0] not in {other[0] for other in self.busy}, "two at once on one line"
        self.busy.add(serial)
        self.most_at_once = max(self.most_at_once, len(self.busy))
        for _ in range(3):
            await asyncio.sleep(0)
        if serial == self._fails:
            raise Corrupt("the journal is full of holes")
        self.busy.remove(serial)
        self.diary.append(serial)
        return self._waits.get(serial, 0.0)

    def on(
        self, lines: Mapping[str, str], serials: list[str], go_on: Callable[[], bool] = lambda: True
    ) -> float:
        return asyncio.run(ecus(lines).on_each_line(serials, self.work, go_on=go_on))


def test_lines_work_at_once_and_each_keeps_its_order() -> None:
    shift = Shift()
    assert shift.on(LINES, list(LINES)) == 0.0
    assert shift.most_at_once == 3
    for line in "abc":
        assert [serial for serial in shift.diary if serial[0] == line] == [
            one for one in LINES if one[0] == line
        ]


def test_ecus_of_one_line_are_worked_on_one_after_another() -> None:
    shift = Shift()
    shift.on({"a1": "", "a2": "", "a3": ""}, ["a3", "a1", "a2"])
    assert (shift.diary, shift.most_at_once) == (["a3", "a1", "a2"], 1)


def test_a_line_ends_with_a_wait_and_the_longest_is_told_while_the_others_go_on() -> None:
    shift = Shift(waits={"a1": 5.0, "b2": 2.0})
    assert shift.on(LINES, list(LINES)) == 5.0
    assert sorted(shift.diary) == ["a1", "b1", "b2", "c1"]


def test_nothing_new_begins_once_it_may_not_go_on() -> None:
    shift = Shift()
    assert shift.on(LINES, list(LINES), go_on=lambda: False) == 0.0
    assert sorted(shift.diary) == ["a1", "b1", "c1"]  # what had begun is finished


def test_an_error_ends_the_other_lines_and_arrives_as_it_is() -> None:
    shift = Shift(fails="b1")
    with pytest.raises(Corrupt):
        shift.on(LINES, list(LINES))
    assert "a2" not in shift.diary
