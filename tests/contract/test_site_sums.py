"""What its stations taught a site's plant reaches its hub: sums alone, of its own plant, and never an older word."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ringroad.build import store_plant
from ringroad.build.clone.store import lesson_of, make_clone, observed_of, save_lesson
from ringroad.build.plant.parameters import Key
from ringroad.build.plant.read import read_plant
from ringroad.build.plant.store import choose_plant, get_plant, save_plant
from ringroad.build.plant.store_events import list_refused
from ringroad.build.site.down import has_been_told, parts_to_tell, take_down
from ringroad.build.site.store import SILENT_S, add_site, has_told, list_conflicts, next_to_tell
from ringroad.build.site.store_sums import SUMS_S, has_told_sums, sums_have, tell_sums_again, with_sums
from ringroad.build.site.store_up import take_told
from ringroad.build.station_times import StationTime
from ringroad.build.store_times import take_times
from ringroad.kernel.facts import FactKind
from ringroad.protocol.site import UP_BYTES_MAX, UP_FORMAT, Down, SiteSums, Up, up_subject
from ringroad.storage.db import Connection, connect, transaction
from ringroad.storage.ledger import latest_fact
from ringroad.storage.streams import StreamMessage
from support.mes import CLOCK, IDS, new_order, wren

pytestmark = pytest.mark.engines

SITE, MOTHER = "wren-north", "wren-mother"
MARRIAGE = Key(("assembly", "Line 1", "marriage"), "cycle_s")
PLANT = (Path(__file__).parents[2] / "examples" / "first" / "plant.toml").read_text(encoding="utf-8")
WHO: dict[str, Any] = {"actor": "tester", "now": CLOCK.now()}


def a_clone(conn: Connection) -> None:
    """Import a plant, clone it, and let the clone build."""
    with transaction(conn):
        wren(conn)
        mother = save_plant(conn, IDS, plant=read_plant(PLANT), **WHO).plant
        identity = replace(mother.identity, id=SITE, name=SITE)
        make_clone(conn, IDS, parent_id=MOTHER, identity=identity, **WHO)
        choose_plant(conn, IDS, plant_id=SITE, programme_id="wren", **WHO)


@pytest.fixture
def hub(pg_url: str) -> Iterator[Connection]:
    with connect(pg_url) as conn:
        a_clone(conn)
        with transaction(conn):
            add_site(conn, IDS, site_id=SITE, token="t" * 43, **WHO)
        yield conn


@pytest.fixture
def site(second_pg_url: str) -> Iterator[Connection]:
    with connect(second_pg_url) as conn:
        a_clone(conn)
        yield conn


def measure(conn: Connection, *, vehicles: int, worked_s: float = 90.0) -> None:
    """Let vehicles pass a station, as its operators tell the site's own server."""
    with transaction(conn):
        ids = [new_order(conn) for _ in range(vehicles)]
        for order_id in ids:
            store_plant.start_order(conn, IDS, order_id=order_id, **WHO)
        times = [
            StationTime(
                id=each, order_id=each, station="marriage", finished_at=CLOCK.now(),
                worked_ms=round(1000 * worked_s) + place,
            )
            for place, each in enumerate(ids)
        ]  # fmt: skip
        assert not take_times(conn, programme_id="wren", delivered=times, now=CLOCK.now()).refused


def says(conn: Connection, *, now: datetime) -> SiteSums | None:
    """Return what a site that is connected tells of its sums, and note that it did."""
    with transaction(conn):
        sign = next_to_tell(conn, now=now)
        has_told(conn, sign, now=now)
        told = with_sums(conn, SITE, sign, now=now)
        if told.sums is not None:
            has_told_sums(conn, told.sums, now=now)
    return told.sums


def take(conn: Connection, sums: Any, site_id: str = SITE) -> None:
    up = Up(format=UP_FORMAT, sent_at=CLOCK.now(), waiting=0)
    payload = msgspec.json.encode(msgspec.to_builtins(up) | {"sums": msgspec.to_builtins(sums)})
    message = StreamMessage(subject=up_subject(site_id), payload=payload, seq=1, received_at=CLOCK.now())
    with transaction(conn):
        take_told(conn, IDS, CLOCK, message)


def sums(number: int = 1, *, n: float = 20, log_s: float = 4.5, **more: Any) -> SiteSums:
    own = {str(MARRIAGE): [n, n * log_s, n * log_s**2 + 0.1]}  # of logarithms: of some 90 s
    return SiteSums(
        number=number, said={"schema": 1, "plant": SITE, "parent": MOTHER, "own": own, "rooms": {}} | more
    )


def own_n(conn: Connection) -> float:
    found = observed_of(conn, get_plant(conn, SITE))
    return found[MARRIAGE].n if MARRIAGE in found else 0


def test_what_a_sites_stations_taught_it_its_hub_learns_from_by_sums_alone(
    hub: Connection, site: Connection
) -> None:
    assert says(site, now=CLOCK.now()) is None, "it measured nothing"
    measure(site, vehicles=20)
    later = CLOCK.now() + timedelta(seconds=SUMS_S + 1)
    said = says(site, now=later)
    assert said is not None
    assert (said.said["own"][str(MARRIAGE)][0], own_n(hub)) == (20, 0)
    assert said.said.keys() == {"schema", "plant", "parent", "own", "rooms"}
    assert all(len(each) == 3 for each in said.said["own"].values())
    assert "order_" not in json.dumps(said.said)
    take(hub, said)
    assert own_n(hub) == 20
    with transaction(hub):
        learned, _ = save_lesson(hub, IDS, plant_id=SITE, **WHO)
    assert learned.plant.parameters[MARRIAGE].mean == pytest.approx(90, rel=0.05)
    assert (list_refused(hub, SITE), list_conflicts(hub, SITE)) == ([], [])


def test_sums_that_a_hub_lost_with_its_database_are_told_again_within_the_hour(
    hub: Connection, site: Connection
) -> None:
    measure(site, vehicles=5)
    first = says(site, now=CLOCK.now() + timedelta(seconds=SUMS_S + 1))
    assert first is not None
    with hub.transaction(force_rollback=True):
        take(hub, first)
        assert sums_have(hub, SITE) == first.number
    assert (sums_have(hub, SITE), own_n(hub)) == (0, 0)
    soon, later = (CLOCK.now() + timedelta(seconds=each) for each in (SUMS_S + 2, 3 * SUMS_S))
    for have, now in ((0, soon), (None, later), (first.number, later)):  # read later, not said, not lost
        with transaction(site):
            tell_sums_again(site, have, now=now)
        assert says(site, now=later) is None
    with transaction(site):
        tell_sums_again(site, 0, now=later)
    again = says(site, now=later + timedelta(seconds=SUMS_S))
    assert again is not None
    take(hub, again)
    assert (own_n(hub), sums_have(hub, SITE)) == (5, again.number)


def test_sums_are_told_when_they_changed_and_once_an_hour_at_most(site: Connection) -> None:
    measure(site, vehicles=3)
    now = CLOCK.now()
    first = says(site, now=now)
    assert first is not None
    measure(site, vehicles=1)
    assert says(site, now=now + timedelta(seconds=SUMS_S - 1)) is None
    second = says(site, now=now + timedelta(seconds=SUMS_S))
    assert second is not None
    assert (second.number > first.number, second.said["own"][str(MARRIAGE)][0]) == (True, 4)
    assert says(site, now=now + timedelta(seconds=2 * SUMS_S)) is None, "nothing changed"
    measure(site, vehicles=1)
    back = says(site, now=now - timedelta(days=1))
    assert back is not None, "a clock that was set back does not silence it"
    assert back.number > second.number


def test_a_site_that_is_cut_off_keeps_its_sums_until_it_is_back(site: Connection) -> None:
    measure(site, vehicles=3)
    now = CLOCK.now()
    sign = next_to_tell(site, now=now)
    with transaction(site):
        assert with_sums(site, SITE, sign, now=now).sums is None, "never connected"
        has_told(site, sign, now=now)
        assert with_sums(site, SITE, sign, now=now + timedelta(seconds=SILENT_S + 1)).sums is None
        has_told(site, sign, now=now)
        assert with_sums(site, SITE, sign, now=now).sums is not None
        assert with_sums(site, SITE, sign, now=now).sums is not None, (
            "the hub's broker did not say it has them"
        )


def test_nobodys_clone_and_one_that_says_more_than_fits_tell_none(
    site: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure(site, vehicles=3)
    now = CLOCK.now()
    with transaction(site):
        sign = next_to_tell(site, now=now)
        has_told(site, sign, now=now)
    for plant_id in (MOTHER, "nowhere"):
        with transaction(site):
            assert with_sums(site, plant_id, sign, now=now + timedelta(seconds=1)).sums is None
            site.execute("DELETE FROM site_place WHERE name = 'sums'")
    monkeypatch.setattr("ringroad.build.site.store_sums.UP_BYTES_MAX", 50)
    assert UP_BYTES_MAX > 50
    assert says(site, now=now) is None


def test_an_older_word_and_one_told_twice_change_nothing(hub: Connection) -> None:
    take(hub, sums(7, n=20))
    kept = latest_fact(hub, kind=FactKind.PLANT_SUMS_TOLD, subject=SITE)
    take(hub, sums(7, n=30))
    take(hub, sums(6, n=40))
    assert latest_fact(hub, kind=FactKind.PLANT_SUMS_TOLD, subject=SITE) == kept
    assert (own_n(hub), [each.reason for each in list_refused(hub, SITE)]) == (20, [])
    take(hub, sums(8, n=10))
    assert own_n(hub) == 10, "the newest counts: a site made anew begins anew"


def test_a_clock_that_was_far_ahead_silences_no_site(hub: Connection, site: Connection) -> None:
    now = CLOCK.now()
    measure(site, vehicles=3)
    far = says(site, now=now + timedelta(days=400))
    assert far is not None
    take(hub, far)
    assert (own_n(hub), list_refused(hub, SITE)[0].code) == (0, "sums_refused")
    assert "set the site's clock" in list_conflicts(hub, SITE)[0].reason
    measure(site, vehicles=1)
    right = says(site, now=now)
    assert right is not None
    take(hub, right)
    assert own_n(hub) == 4


def test_a_site_that_is_added_again_begins_anew_and_so_does_one_whose_number_of_before_is_of_the_future(
    hub: Connection,
) -> None:
    take(hub, sums(7, n=20))
    with transaction(hub):
        add_site(hub, IDS, site_id=SITE, token="u" * 43, actor="tester", now=CLOCK.now())
    take(hub, sums(6, n=10))
    assert own_n(hub) == 10
    take(hub, sums(5, n=30))
    assert own_n(hub) == 10
    with transaction(hub):  # taken by a version of before
        hub.execute("ALTER TABLE fact DISABLE TRIGGER USER")
        hub.execute(
            "UPDATE fact SET body = jsonb_set(body, '{number}', '9000000000000000') WHERE kind = 'plant.sums_told'"
        )
        hub.execute("ALTER TABLE fact ENABLE TRIGGER USER")
    take(hub, sums(8, n=40))
    assert own_n(hub) == 40


def test_what_came_as_events_and_in_sums_is_counted_once(hub: Connection) -> None:
    measure(hub, vehicles=5)
    take(hub, sums(1, n=4))
    assert own_n(hub) == 5
    take(hub, sums(2, n=9))
    assert own_n(hub) == 9
    stored = get_plant(hub, SITE)
    assert observed_of(hub, stored, until=CLOCK.now())[MARRIAGE].n == 5, "sums have no times"


def test_what_a_site_may_not_say_or_could_not_observe_is_refused_and_kept(hub: Connection) -> None:
    bad = [
        (sums(plant=MOTHER), "may not"),
        (sums(plant="elsewhere"), "may not"),
        (sums(parent="elsewhere"), "no clone of elsewhere"),
        (sums(own={"assembly/Line 1/nowhere#cycle_s": [1, 4, 16]}), "has no parameter"),
        (sums(own={str(MARRIAGE): [20, 90, 1]}), "squares"),
        (sums(own={str(MARRIAGE): [-1, 4, 16]}), "more than 0"),
        (sums(own={str(MARRIAGE): [1, 1e25, 1]}), "three numbers"),
        (sums(own={"#": [1, 1, 1]}), "no parameter of a plant"),
        (sums(own=[1]), "tables"),
        (sums(rooms={"assembly/Line 1/marriage": -1}), "no room"),
        (sums(orders=["order_1"]), "no message of a clone"),
        (sums(schema=2), "no message of a clone"),
        (SiteSums(number=1, said={}), "no message of a clone"),
    ]
    for count, (given, words) in enumerate(bad, start=1):
        take(hub, given)
        refused = list_refused(hub, SITE)
        assert (len(refused), refused[0].code) == (count, "sums_refused"), words
        assert words in refused[0].reason
        (found,) = list_conflicts(hub, SITE)
        assert (found.kind, found.reason) == ("sums_refused", refused[0].reason)
    assert latest_fact(hub, kind=FactKind.PLANT_SUMS_TOLD, subject=SITE) is None
    unreadable: list[Any] = [{"number": 0, "said": {}}, {"number": 2**63, "said": {}}, {"said": {}}, []]
    for each in unreadable:
        take(hub, each)
        assert list_refused(hub, SITE)[0].code == "unreadable", each
    take(hub, sums(2))
    assert own_n(hub) == 20, "what comes after it is taken"


def test_what_a_site_said_of_a_document_that_is_another_now_is_left_out(hub: Connection) -> None:
    take(hub, sums(1))
    with transaction(hub):
        stored = get_plant(hub, SITE)
        plant = replace(stored.plant, identity=replace(stored.plant.identity, parent=""))
        save_plant(hub, IDS, plant=plant, generation=stored.generation, **WHO)
    assert own_n(hub) == 0
    assert lesson_of(hub, SITE, now=CLOCK.now())[1].parents == ()


def hears(site: Connection, hub: Connection) -> list[str]:
    """Let a site take what its hub has to tell; return the names of the parts."""
    with transaction(hub):
        found = list(parts_to_tell(hub, SITE, now=CLOCK.now()))
        for part, digest, said in found:
            has_been_told(hub, SITE, part, digest, said, now=CLOCK.now())
    for _, _, said in found:
        with transaction(site):
            take_down(site, IDS, CLOCK, msgspec.json.decode(msgspec.json.encode(said), type=Down))
    return [part.partition(".")[2] for part, _, _ in found]


def test_a_site_hears_of_its_plants_parent_and_learns_at_the_plant(
    hub: Connection, second_pg_url: str
) -> None:
    with connect(second_pg_url) as site:
        assert hears(site, hub) == ["programme", "parent", "plan"]
        assert get_plant(site, MOTHER).plant == get_plant(hub, MOTHER).plant
        measure(site, vehicles=20)
        with transaction(site):
            learned, lesson = save_lesson(site, IDS, plant_id=SITE, **WHO)
        assert lesson.parents == (MOTHER,)
        assert learned.plant.parameters[MARRIAGE].mean == pytest.approx(90, rel=0.05)
        # What the parent learns comes by itself, and neither the programme nor the plan with it.
        before = get_plant(hub, MOTHER)
        belief = replace(before.plant.parameters[MARRIAGE], n=before.plant.parameters[MARRIAGE].n + 1)
        changed = replace(before.plant, parameters={**before.plant.parameters, MARRIAGE: belief})
        with transaction(hub):
            save_plant(hub, IDS, plant=changed, generation=before.generation, **WHO)
        assert hears(site, hub) == ["parent"]
        assert get_plant(site, MOTHER).plant == changed
        assert get_plant(site, SITE).plant == learned.plant
        assert hears(site, hub) == []


def test_a_plant_that_builds_at_a_site_is_not_replaced_by_what_its_hub_says_of_it(
    hub: Connection, site: Connection
) -> None:
    with transaction(site):
        choose_plant(site, IDS, plant_id=MOTHER, programme_id="wren", **WHO)
    before = get_plant(site, MOTHER)
    told = get_plant(hub, MOTHER).plant
    belief = replace(told.parameters[MARRIAGE], n=told.parameters[MARRIAGE].n + 1)
    document = replace(told, parameters={**told.parameters, MARRIAGE: belief}).to_document()
    with transaction(site):
        assert take_down(site, IDS, CLOCK, Down(format=1, number=1, programme_id="wren", parent=document))
    assert get_plant(site, MOTHER) == before
