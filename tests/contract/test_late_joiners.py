"""Vehicles that a running campaign's query selects only later, on a real database."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ringroad.kernel.facts import FactKind
from ringroad.loop.joining import WHOLE_EVERY, Seen, join_running
from ringroad.ship import store
from ringroad.ship.plan import WaveSize
from ringroad.ship.store.fleet import save_list
from ringroad.ship.store.targets import digest_targets
from ringroad.storage.db import Connection, transaction
from ringroad.storage.lake import Lake
from support.fleet import CountingIds, Story, add_vehicles, fill_programme, vin

pytestmark = pytest.mark.engines


@pytest.fixture
def story(conn: Connection) -> Story:
    ids = CountingIds()
    fill_programme(conn, ids, versions=("1.0.0", "2.0.0", "3.0.0"))
    return Story(conn, ids)


def look(story: Story, tmp_path: Path, seen: dict[str, Seen] | None = None) -> dict[str, int]:
    return join_running(story.conn, story.ids, Lake(tmp_path), {} if seen is None else seen, now=story.now)


def parts(story: Story) -> dict[str, int]:
    """The wave of each vehicle of the plan, 0 for the control group."""
    rows = store.list_targets(story.conn, story.campaign().plan_id or "")
    return {row["vin"]: row["wave"] for row in rows if row["verdict"] in ("match", "control")}


def test_late_joiners_are_left_out_unless_the_plan_includes_them(story: Story, tmp_path: Path) -> None:
    add_vehicles(story.conn, range(10))
    story.start(waves=(2,))
    add_vehicles(story.conn, range(10, 14))
    assert look(story, tmp_path) == {}
    assert len(parts(story)) == 10


def test_who_is_selected_later_joins_by_the_same_lot_and_the_plan_stays_as_it_was(
    story: Story, tmp_path: Path
) -> None:
    add_vehicles(story.conn, range(40))
    plan = story.start(waves=(8,), control=WaveSize(vehicles=8), late_joiners="included")
    before, digest = parts(story), digest_targets(story.conn, plan.id)
    assert digest == plan.document["targets_sha256"]
    add_vehicles(story.conn, range(100, 140))
    assert look(story, tmp_path) == {story.campaign_id: 40}
    after = parts(story)
    assert {name: wave for name, wave in after.items() if name in before} == before
    joined = {name: wave for name, wave in after.items() if name not in before}
    assert len(joined) == 40
    assert set(joined.values()) == {0, 1, 2}  # some are held back, some in each wave
    assert digest_targets(story.conn, plan.id) == digest
    actions = {action.vin: action for action in story.vehicles()}
    assert not {name for name, wave in joined.items() if wave == 0} & actions.keys()  # they are told nothing
    for name, wave in joined.items():
        if wave:
            assert (actions[name].released_at is not None) == (wave == 1)  # that wave has begun
    assert story.facts(FactKind.VEHICLES_JOINED) == 1
    assert look(story, tmp_path) == {}  # nobody joins twice
    assert story.facts(FactKind.VEHICLES_JOINED) == 1
    story.tick()
    offered = {action.vin for action in story.vehicles("offered")}
    assert {name for name, wave in joined.items() if wave == 1} <= offered


def test_the_part_does_not_depend_on_when_a_vehicle_joins(story: Story, tmp_path: Path) -> None:
    add_vehicles(story.conn, range(20))
    story.start(waves=(4,), control=WaveSize(vehicles=4), late_joiners="included")
    seen: dict[str, Seen] = {}
    for number in (105, 101, 103):
        add_vehicles(story.conn, [number])
        assert look(story, tmp_path, seen) == {story.campaign_id: 1}
    singly = {name: wave for name, wave in parts(story).items() if name in {vin(n) for n in (101, 103, 105)}}
    story.conn.execute("DELETE FROM assignment WHERE vin = ANY (%s)", [list(singly)])
    story.conn.execute("DELETE FROM campaign_target WHERE vin = ANY (%s)", [list(singly)])
    assert look(story, tmp_path) == {story.campaign_id: 3}
    assert {name: parts(story)[name] for name in singly} == singly


@pytest.mark.parametrize(
    ("change", "joins"),
    [
        ("", 1),
        ("UPDATE vehicle SET region = 'US' WHERE vin = %(vin)s", 0),  # not selected
        ("UPDATE ecu SET hardware_id = 'old' WHERE vin = %(vin)s", 0),  # does not fit
        ("UPDATE vehicle SET blocked_reason = 'service' WHERE vin = %(vin)s", 0),
        ("DELETE FROM ecu_installed WHERE vin = %(vin)s", 1),  # over DDI there is no inventory
    ],
)
def test_only_whom_the_release_fits_joins(story: Story, tmp_path: Path, change: str, joins: int) -> None:
    add_vehicles(story.conn, range(6))
    story.start(query="region = EU", waves=(2,), late_joiners="included")
    add_vehicles(story.conn, [50])
    if change:
        story.conn.execute(change.encode(), {"vin": vin(50)})
    assert look(story, tmp_path) == ({story.campaign_id: 1} if joins else {})


def test_who_was_judged_is_at_work_elsewhere_or_comes_after_the_end_does_not_join(
    story: Story, tmp_path: Path
) -> None:
    add_vehicles(story.conn, range(6))
    add_vehicles(story.conn, [8], gateway="native")
    story.conn.execute("DELETE FROM ecu_installed WHERE vin = %s", [vin(8)])  # unknown to the plan
    story.start(query="variant = premium", waves=(1,), late_joiners="included")
    first = story.campaign_id
    story.start(release="release_3.0.0", query="variant = city", waves=(1,))
    story.conn.execute(
        "UPDATE vehicle SET variant = 'premium', generation = generation + 1 WHERE vin = %s", [vin(1)]
    )
    assert look(story, tmp_path) == {}
    story.campaign_id = first
    for verb in ("pause", "resume"):
        with transaction(story.conn):
            given: dict[str, Any] = {"reason": "x"} if verb == "pause" else {}
            getattr(store, verb)(
                story.conn, story.ids, campaign_id=first, generation=story.campaign().generation, actor="ann",
                now=story.now, **given,
            )  # fmt: skip
        if verb == "pause":
            add_vehicles(story.conn, [60])
            assert look(story, tmp_path) == {}  # not while it is paused
    assert look(story, tmp_path) == {first: 1}


def test_what_left_no_number_is_seen_with_the_next_look_at_all(story: Story, tmp_path: Path) -> None:
    add_vehicles(story.conn, range(6))
    with transaction(story.conn):
        store_list(story, vin(0))
    story.start(query="list = winter", waves=(1,), late_joiners="included")
    seen: dict[str, Seen] = {}
    assert look(story, tmp_path, seen) == {}
    with transaction(story.conn):
        store_list(story, vin(0), vin(1))  # changes no vehicle
    assert look(story, tmp_path, seen) == {}
    story.now += WHOLE_EVERY - timedelta(seconds=1)
    assert look(story, tmp_path, seen) == {}
    story.now += timedelta(seconds=1)
    assert look(story, tmp_path, seen) == {story.campaign_id: 1}


def store_list(story: Story, *vins: str) -> None:
    save_list(
        story.conn, story.ids, name="winter", data="\n".join(vins).encode(), mode="replace", partial=False,
        actor="ann", now=story.now,
    )  # fmt: skip
