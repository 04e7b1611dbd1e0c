"""What is shown of the seconds around a fault."""

from __future__ import annotations

from typing import Any

from ringroad.http.around import SECONDS_SHOWN, SIGNALS_SHOWN, Around, table_of

AT = 1_795_684_899_400_000  # µs


def sample(path: str, second: float, number: float | None, text: str | None = None) -> dict[str, Any]:
    return {"path": path, "at_us": AT + round(second * 1_000_000), "number": number, "text": text}


def test_signals_that_changed_are_a_table_by_second_and_the_others_are_told_once() -> None:
    found = table_of(
        [
            sample("Vehicle.Speed", -2, 12), sample("Vehicle.Gear", -2, None, "D"), sample("Vehicle.Speed", -1, 8.5),
            sample("Vehicle.Speed", 0, 0), sample("Vehicle.Gear", 0, None, "D"), sample("Vehicle.Doors", 3.9, 1), sample("Vehicle.Doors", 4, 2),
        ],
        AT,
    )  # fmt: skip
    assert found.signals == ("Vehicle.Doors", "Vehicle.Speed")
    assert found.rows == ((-2, ("", "12")), (-1, ("", "8.5")), (0, ("", "0")), (3, ("1", "")), (4, ("2", "")))
    assert found.still == (("Vehicle.Gear", "D"),)
    assert found.left == 0


def test_what_is_near_the_fault_is_shown_and_the_rest_is_counted() -> None:
    found = table_of(
        [
            sample(f"Vehicle.S{n}", second, second * n)
            for second in range(-50, 50)
            for n in range(1, SIGNALS_SHOWN + 3)
        ],
        AT,
    )
    assert len(found.signals) == SIGNALS_SHOWN
    assert found.left == 2
    assert len(found.rows) == SECONDS_SHOWN
    assert {second for second, _ in found.rows} >= set(range(-19, 20))


def test_nothing_told_is_nothing_shown() -> None:
    assert table_of([], AT) == Around()


def test_where_the_vehicle_was_is_not_among_them() -> None:
    found = table_of(
        [
            sample(f"Vehicle.CurrentLocation.{name}", second, second)
            for second in (0, 1)
            for name in ("Latitude", "Heading")
        ],
        AT,
    )
    assert found == Around()
