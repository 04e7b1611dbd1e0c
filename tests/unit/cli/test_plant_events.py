"""Files of events: one bad line, and nothing of the file is told; every bad line is named."""

from __future__ import annotations

import pytest

from ringroad.cli.plant_events import PROBLEMS_SHOWN, read_events
from ringroad.kernel.errors import InvalidInput

GOOD = '{"id": "plc-7/%d", "kind": "left", "station": "trim", "at": "2026-11-26T08:00:58Z", "order_id": "order_1"}'


def test_every_line_that_is_no_event_is_named_with_its_station_and_order() -> None:
    source = "\n".join(
        [
            GOOD % 1,
            (GOOD % 2).replace("left", "flown"),
            "",
            (GOOD % 3).replace("trim", "roof").replace("08:00:58Z", "8 o'clock"),
            "not JSON",
        ]
    )
    with pytest.raises(InvalidInput) as refused:
        read_events(source, filename="events.jsonl")
    first, *lines = refused.value.message.splitlines()
    assert first == "no event of the file is taken:"
    assert [line.partition(": ")[0] for line in lines] == [f"events.jsonl:{each}" for each in (2, 4, 5)]
    assert lines[0].startswith("events.jsonl:2: station trim, order order_1: Invalid enum value 'flown'")
    assert lines[1].startswith("events.jsonl:4: station roof, order order_1: Invalid RFC3339")


def test_a_file_of_bad_lines_names_so_many_and_counts_the_rest() -> None:
    with pytest.raises(InvalidInput) as refused:
        read_events("{}\n" * (PROBLEMS_SHOWN + 5), filename="events.jsonl")
    lines = refused.value.message.splitlines()
    assert (len(lines), lines[-1]) == (PROBLEMS_SHOWN + 2, "and 5 more")


def test_a_file_of_good_lines_is_read_in_its_order() -> None:
    found = read_events("\n".join(GOOD % number for number in range(3)), filename="events.jsonl")
    assert [each["id"] for each in found] == [f"plc-7/{number}" for number in range(3)]
