"""No image is handed out whole without a note of it, whatever the queue and the database say in between."""

from __future__ import annotations

import asyncio

import pytest

from ringroad.http.device import handed_out
from ringroad.http.device.handed_out import HandedOut
from ringroad.http.device.store import NewReport, Settle
from ringroad.kernel.errors import InvalidInput, RingroadError, Unavailable

AWAY = Unavailable("the database is away")


class Queue:
    """Takes reports while it is not full, and settles them when told."""

    def __init__(self) -> None:
        self.full = False
        self.taken: list[tuple[list[NewReport], Settle]] = []

    def put(self, reports: list[NewReport], settle: Settle) -> None:
        if self.full:
            raise Unavailable("full", code="overload")
        self.taken.append((reports, settle))

    def settle(self, error: RingroadError | None = None) -> list[str]:
        taken, self.taken = self.taken, []
        for _, settle in taken:
            settle(error)
        return [report.dedupe_key for reports, _ in taken for report in reports]


@pytest.fixture
def queue() -> Queue:
    return Queue()


def feedback(action_id: int) -> NewReport:
    return NewReport(vin="V", dedupe_key="closed", action_id=action_id, kind="closed", body={})


def test_a_last_byte_that_was_kept_back_is_not_handed_out_on_the_next_try_without_its_note(
    queue: Queue,
) -> None:
    noted = HandedOut(queue)
    queue.full = True
    for _ in range(3):
        with pytest.raises(Unavailable):
            noted.note("V", 7)
    queue.full = False
    noted.note("V", 7)
    assert queue.settle() == ["fetched:7"]


def test_an_action_is_noted_once(queue: Queue) -> None:
    noted = HandedOut(queue)
    noted.note("V", 7)
    noted.note("V", 7)
    assert queue.settle() == ["fetched:7"]
    noted.note("V", 7)
    assert queue.settle() == []


def test_a_note_that_the_database_did_not_take_is_queued_again_until_it_is(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handed_out, "AGAIN_S", 0.0)

    async def story() -> None:
        noted = HandedOut(queue)
        noted.note("V", 7)
        for _ in range(3):
            assert queue.settle(AWAY)[0] == "fetched:7"
            await asyncio.sleep(0.01)
        queue.full = True
        queue.settle(AWAY)
        await asyncio.sleep(0.01)
        queue.full = False
        await asyncio.sleep(0.01)
        assert set(queue.settle()) == {"fetched:7"}
        await asyncio.sleep(0.01)
        assert queue.taken == []

    asyncio.run(story())


def test_what_a_device_says_of_an_action_takes_along_the_note_that_is_not_durable(queue: Queue) -> None:
    async def story() -> None:
        noted = HandedOut(queue)
        said = feedback(7)
        assert noted.with_note(7, said) == [said]
        noted.note("V", 7)
        queue.settle(AWAY)
        assert [each.kind for each in noted.with_note(7, said)] == ["fetched", "closed"]
        assert noted.with_note(8, feedback(8)) == [feedback(8)]

    asyncio.run(story())
    noted = HandedOut(queue)
    noted.note("V", 7)
    queue.settle()
    assert noted.with_note(7, feedback(7)) == [feedback(7)]


def test_a_note_that_cannot_be_stored_keeps_no_report_from_being_stored(queue: Queue) -> None:
    noted = HandedOut(queue)
    noted.note("V", 7)
    queue.settle(InvalidInput("no such vehicle"))
    assert noted.with_note(7, feedback(7)) == [feedback(7)]


def test_last_bytes_stay_here_where_too_many_notes_wait(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handed_out, "WAITING_MAX", 2)
    noted = HandedOut(queue)
    noted.note("V", 1)
    noted.note("V", 2)
    with pytest.raises(Unavailable):
        noted.note("V", 3)
    queue.settle()
    noted.note("V", 3)
