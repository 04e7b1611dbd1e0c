"""A vehicle that was blocked is free again on its own word, and on no other."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ringroad.kernel.facts import FactKind
from ringroad.storage.db import Connection
from ringroad.storage.ledger import read_facts
from support.fleet import CountingIds, Story, add_vehicles, fill_programme

pytestmark = pytest.mark.engines


def _blocked(conn: Connection) -> tuple[Story, SimpleNamespace]:
    """The one vehicle of a campaign says that it could not go back."""
    ids = CountingIds()
    fill_programme(conn, ids, versions=("1.0.0", "2.0.0", "3.0.0"))
    add_vehicles(conn, [0], gateway="native")
    story = Story(conn, ids)
    story.start(waves=(1,))
    story.tick()
    (action,) = story.vehicles("offered")
    story.native(action, "ROLLBACK_FAILED", kind="closed", code="rollback_failed")
    story.tick()
    assert _reason(story) == "ROLLBACK_FAILED"
    return story, action


def _reason(story: Story) -> str | None:
    (row,) = story.conn.execute("SELECT blocked_reason FROM vehicle").fetchall()
    reason: str | None = row["blocked_reason"]
    return reason


@pytest.mark.parametrize(
    ("state", "code"), [("ROLLED_BACK", ""), ("SUCCEEDED", ""), ("IDLE", "unblocked"), ("CANCELLED", "")]
)
def test_a_vehicle_that_rests_again_takes_part_again(conn: Connection, state: str, code: str) -> None:
    story, action = _blocked(conn)
    story.native(action, "ROLLING_BACK", code="unblocked")
    story.tick()
    assert _reason(story) == "ROLLBACK_FAILED"  # it is at it, and may fail again
    story.later(1)
    story.native(action, state, kind="closed", code=code)
    story.tick()
    assert _reason(story) is None
    *_, blocked, freed = read_facts(conn, subject=action.vin)
    assert (freed.kind, freed.causes, freed.actor) == (
        FactKind.VEHICLE_UNBLOCKED,
        (blocked.id,),
        f"vehicle:{action.vin}",
    )
    assert [each.state for each in story.vehicles()] == ["failed"]  # an outcome is final
    story.native(action, state, kind="closed", code=code, key="said again")
    story.tick()
    assert story.facts(FactKind.VEHICLE_UNBLOCKED) == 1

    story.later(1)
    story.start(release="release_3.0.0", waves=(1,))
    story.tick()
    assert [each.vin for each in story.vehicles("offered")] == [action.vin]


def test_one_that_blocks_again_on_its_way_back_is_free_only_once_it_rests(conn: Connection) -> None:
    story, action = _blocked(conn)
    for number, (state, code) in enumerate(
        [("ROLLING_BACK", "unblocked"), ("ROLLBACK_FAILED", "rollback_failed")]
    ):
        story.later(1)
        story.native(action, state, code=code, key=f"again {number}")
        story.tick()
        assert _reason(story) == "ROLLBACK_FAILED"
    story.later(1)
    story.native(action, "IDLE", code="unblocked", detail="no ECU was touched, look at what is there: brake")
    story.tick()
    assert _reason(story) is None
    assert story.facts(FactKind.VEHICLE_UNBLOCKED) == 1


@pytest.mark.parametrize(
    "said",
    [
        {"state": "ROLLBACK_FAILED", "code": "blocked"},  # it declines something else
        {"state": "ROLLED_BACK", "ecu": "brake-0"},
        {"state": "READY"},
    ],
)
def test_no_other_word_frees_it(conn: Connection, said: dict[str, str]) -> None:
    story, action = _blocked(conn)
    story.native(action, said.pop("state"), **said)
    story.tick()
    assert _reason(story) == "ROLLBACK_FAILED"


def test_one_that_blocks_again_behind_its_word_is_blocked(conn: Connection) -> None:
    story, action = _blocked(conn)
    story.native(action, "ROLLED_BACK", kind="closed")
    story.native(action, "ROLLBACK_FAILED", kind="closed", key="again")
    story.tick()
    assert _reason(story) == "ROLLBACK_FAILED"


def test_what_was_blocked_for_another_reason_stays_so(conn: Connection) -> None:
    story, action = _blocked(conn)
    conn.execute("UPDATE vehicle SET blocked_reason = 'stolen'")
    story.native(action, "ROLLED_BACK", kind="closed")
    story.tick()
    assert _reason(story) == "stolen"
