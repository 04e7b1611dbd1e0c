"""What the lines of a site said and its hub lost comes again, and what stands there is on the hub's record once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ringroad.build import store_plant
from ringroad.build.plant.store import choose_plant, get_plant, save_plant
from ringroad.build.plant.store_events import line_state, list_events, list_refused
from ringroad.build.site.lines import AGAIN_S, lines_told, spoken_of, tell_lines_again
from ringroad.build.site.store import (
    HUB_READS,
    get_site,
    has_told,
    joined,
    link_of,
    list_conflicts,
    list_sites,
    look_for_news,
    next_to_tell,
    note_format,
    remove_site,
    told_here,
)
from ringroad.build.store import import_programme
from ringroad.build.store_plant import current_schedule
from ringroad.build.store_stops import begin_stop, end_stop, get_stop, open_stops
from ringroad.kernel.errors import Conflict, InvalidInput, Unavailable
from ringroad.loop.site_trust import answer
from ringroad.loop.sites import take_message
from ringroad.protocol.site import (
    LINES_MAX,
    REASON_CHARS_MAX,
    STOPS_MAX,
    UP_BYTES_MAX,
    UP_FORMAT,
    Down,
    SiteLine,
    SiteStop,
    Trust,
)
from ringroad.storage.blobs import Blobs
from ringroad.storage.db import transaction
from ringroad.storage.ledger import read_facts
from support.carried import RESUMED, SITE, STOPPED, WHO, Pair, carried, event
from support.mes import CLOCK, IDS, PROGRAMME

pytestmark = pytest.mark.engines


@pytest.fixture
def pair(pg_url: str, second_pg_url: str) -> Iterator[Pair]:
    with carried(pg_url, second_pg_url) as found:
        yield found


# What a hub lost -------------------------------------------------------------------------------------


def test_events_and_stops_that_a_hub_lost_with_its_database_are_told_again_in_order_and_taken_once(
    pair: Pair,
) -> None:
    first, second = pair.ordered(), pair.ordered()
    pair.say(event("entered", "marriage", first))
    pair.reconcile()
    with pair.hub.transaction(force_rollback=True):  # its database becomes one of before
        pair.say(event("left", "marriage", first, worked_s=55.0), event("entered", "marriage", second))
        stop = pair.stand("marriage")
        pair.reconcile()
        assert len(pair.events()) == 3
    assert pair.events() == [f"entered-marriage-{first}"]
    pair.go_on(stop)
    pair.say(event("left", "marriage", second, worked_s=56.0))
    pair.take(*pair.told())
    assert pair.events() == [f"entered-marriage-{first}"]  # nothing over a gap that can be filled
    assert pair.ledger() == []
    assert (list_sites(pair.hub)[0].events_lacking > 0, pair.kinds()) == (True, ["events_missed"])
    assert get_site(pair.hub, SITE).waiting > 0
    assert pair.ask() == [SITE]
    assert pair.ask(later_s=AGAIN_S + 1) == []  # it is on its way
    pair.reconcile()
    assert [each.event.id for each in reversed(list_events(pair.site, SITE))] == pair.events()
    assert line_state(pair.hub, SITE) == line_state(pair.site, SITE)
    assert pair.ledger() == [(STOPPED, "marriage"), (RESUMED, "marriage")]
    assert (list_refused(pair.hub, SITE), pair.kinds()) == ([], ["events_missed"])
    (shown,) = list_sites(pair.hub)
    assert (shown.events_lacking, shown.waiting) == (0, 0)
    assert pair.ask(later_s=3 * AGAIN_S) == []


def test_what_nobody_has_any_more_is_listed_and_what_is_left_is_taken(pair: Pair) -> None:
    first, second = pair.ordered(), pair.ordered()
    pair.say(event("entered", "marriage", first), event("left", "marriage", first, worked_s=55.0))
    pair.say(event("entered", "marriage", second))
    pair.told()  # to a hub that lost it all
    pair.site.execute("DELETE FROM mes_event WHERE position = 1")  # forgotten there, as after 90 days
    pair.reconcile()
    assert list_sites(pair.hub)[0].events_lacking == 2
    assert pair.ask() == [SITE]
    pair.reconcile()
    (gap,) = (each for each in list_conflicts(pair.hub, SITE) if each.kind == "gap")
    assert "events 1 to 1 " in gap.reason
    assert pair.events()[-1] == f"entered-marriage-{second}"
    assert list_sites(pair.hub)[0].events_lacking == 0


def test_a_plant_whose_database_was_made_anew_is_not_asked_for_what_the_one_before_told(pair: Pair) -> None:
    order_id = pair.ordered()
    pair.say(event("entered", "marriage", order_id))
    pair.stand("flash_and_test")
    pair.reconcile()
    with transaction(pair.site):
        pair.site.execute("DELETE FROM site_place")
        pair.site.execute("DELETE FROM mes_event")
        pair.site.execute("DELETE FROM line_state")
        joined(pair.site, now=CLOCK.now() + timedelta(seconds=1))
    other = pair.ordered()
    pair.say(event("entered", "flash_and_test", other))
    told = pair.told()
    with pair.hub.transaction(force_rollback=True):
        pair.take(*told)
        assert len(pair.events()) == 2
    pair.take(told[-1])  # what was told before it is lost
    assert list_sites(pair.hub)[0].events_lacking > 0
    assert pair.ask() == [SITE]
    pair.reconcile()
    assert len(pair.events()) == 2
    assert pair.ledger() == [(STOPPED, "flash_and_test")]


def test_a_line_that_is_asked_for_again_while_it_tells_stays_where_it_was_set_back_to(pair: Pair) -> None:
    pair.say(event("entered", "marriage", pair.ordered()))
    pair.told()
    pair.say(event("entered", "marriage", pair.ordered()))
    on_its_way = next_to_tell(pair.site, now=CLOCK.now())
    given = Trust(
        format=1, image_roots=[], director_roots=[], timestamp="", snapshot="", targets_sha256="", targets_bytes=0,
        certificate="", events_have={SITE: 0},
    )  # fmt: skip
    with transaction(pair.site):
        assert tell_lines_again(pair.site, given, now=CLOCK.now()) == [SITE]
        has_told(pair.site, on_its_way, now=CLOCK.now())
    assert [each.told for each in lines_told(pair.site)] == [0]


# What is newer ---------------------------------------------------------------------------------------


def test_a_site_newer_than_its_hub_keeps_what_it_has_to_tell_until_the_hub_reads_it(pair: Pair) -> None:
    pair.say(event("entered", "marriage", pair.ordered()))
    with transaction(pair.site):
        note_format(pair.site, HUB_READS, UP_FORMAT - 1, now=CLOCK.now())
    assert [each.events for each in pair.told()] == [[]]
    assert (link_of(pair.site).waiting, link_of(pair.site).hub_reads) == (1, UP_FORMAT - 1)
    with transaction(pair.site):
        note_format(pair.site, HUB_READS, None, now=CLOCK.now())
    pair.reconcile()
    assert len(pair.events()) == 1


def test_what_a_site_told_in_a_format_that_its_hub_did_not_know_is_taken_once_the_hub_is_up_to_date(
    pair: Pair,
) -> None:
    order_id = pair.ordered()
    pair.say(event("entered", "marriage", order_id))
    pair.stand("flash_and_test")
    newer = [msgspec.structs.replace(each, format=UP_FORMAT + 1) for each in pair.told()]
    pair.take(*newer)
    assert (pair.events(), pair.ledger(), pair.kinds()) == ([], [], ["newer_format"])
    pair.reconcile()
    assert pair.ask() == [SITE]
    pair.reconcile()
    assert pair.events() == [f"entered-marriage-{order_id}"]
    assert pair.ledger() == [(STOPPED, "flash_and_test")]
    assert list_sites(pair.hub)[0].events_lacking == 0


def test_what_a_hub_newer_than_its_site_says_waits_and_is_said_until_the_site_reads_it(pair: Pair) -> None:
    for given in (b'{"format": 3}', b'{"format": 3, "number": "in other words"}'):
        with pytest.raises(Unavailable, match="format 3"):
            take_message(pair.site, given, clock=CLOCK, ids=IDS)
    assert link_of(pair.site).hub_tells == 3
    said = Down(format=1, number=1, programme_id=SITE)
    take_message(pair.site, msgspec.json.encode(said), clock=CLOCK, ids=IDS)
    assert link_of(pair.site).hub_tells is None
    with pytest.raises(InvalidInput):
        take_message(pair.site, b'{"format": "none"}', clock=CLOCK, ids=IDS)


def test_a_question_in_a_newer_format_is_refused_as_that(pair: Pair, tmp_path: Path) -> None:
    for given in (b'{"format": 2}', b'{"format": 2, "what": "in other words"}'):
        with pytest.raises(Unavailable, match="bring the hub up to date"):
            answer(pair.hub, IDS, SITE, given, blobs=Blobs(tmp_path.as_uri()), signer=None, clock=CLOCK)


# What stands -----------------------------------------------------------------------------------------


def test_stops_that_people_told_at_a_site_while_it_was_cut_off_are_at_its_hub_once_in_their_order(
    pair: Pair,
) -> None:
    with transaction(pair.hub):
        store_plant.replan(
            pair.hub, IDS, CLOCK, programme_id=SITE, cause="new_orders", actor="planner",
            triggered_s=CLOCK.monotonic_s(),
        )  # fmt: skip
    before = current_schedule(pair.hub, SITE)
    first = pair.stand("marriage", expect_s=600)
    pair.say(event("entered", "flash_and_test", pair.ordered()))
    second = pair.stand("flash_and_test", kind="quality", options=["tow_bar"])
    pair.go_on(first)
    assert link_of(pair.site).waiting == 4  # three words about stops, and an event
    told = pair.told()
    assert [len(each.stops or each.events) for each in told] == [1, 1, 2, 0]  # behind what was before them
    pair.take(*told, *told)  # delivered twice
    assert pair.ledger() == [(STOPPED, "marriage"), (STOPPED, "flash_and_test"), (RESUMED, "marriage")]
    (stands,) = open_stops(pair.hub, programme_id=SITE)
    there = next(each for each in open_stops(pair.site, programme_id=SITE) if each.id == second)
    assert (stands.id, stands.options, stands.kind) == (second, ("tow_bar",), "quality")
    assert (stands.stopped_by, stands.began_at) == ("planner at wren", there.began_at)
    (fact,) = (each for each in read_facts(pair.hub, subject=first) if each.kind == STOPPED)
    assert (fact.actor, fact.body["site"], fact.body["stopped_by"], fact.body["expected_s"]) == (
        "system:site", SITE, "planner", 600,
    )  # fmt: skip
    assert current_schedule(pair.hub, SITE) == before  # the site planned it anew, and no one else
    assert (pair.kinds(), link_of(pair.site).waiting) == ([], 0)


def test_a_stop_that_a_station_tells_is_at_the_hub_once_and_ends_there_when_a_person_ends_it(
    pair: Pair,
) -> None:
    stopped = event("stopped", "marriage", reason="bad welds", quality=True)
    pair.say(stopped)
    pair.reconcile()
    assert pair.ledger() == [(STOPPED, "marriage")]
    (stop,) = open_stops(pair.site, programme_id=SITE)
    pair.go_on(stop.id)
    pair.reconcile()
    assert pair.ledger() == [(STOPPED, "marriage"), (RESUMED, "marriage")]
    assert open_stops(pair.hub, programme_id=SITE) == []
    assert current_schedule(pair.hub, SITE) is None
    assert list_refused(pair.hub, SITE) == []


def test_a_stop_by_a_clock_that_is_ahead_stands_from_when_it_was_heard_of(pair: Pair) -> None:
    ahead = datetime(9998, 1, 1, tzinfo=UTC)
    with transaction(pair.site):
        stop, _ = begin_stop(
            pair.site, IDS, programme_id=SITE, station="marriage", kind="breakdown", reason="x", actor="planner",
            now=ahead,
        )  # fmt: skip
        end_stop(pair.site, IDS, stop_id=stop.id, actor="planner", now=ahead)
    told = pair.told()
    assert {each.began_at for each in told[0].stops} == {ahead}
    pair.take(*told)
    found = get_stop(pair.hub, stop.id)
    assert found.began_at <= (found.ended_at or ahead) <= CLOCK.now()


def test_a_site_ends_no_stop_of_another_line_and_makes_none(pair: Pair) -> None:
    stop = pair.stand("marriage")
    told = pair.told()
    with transaction(pair.hub):
        import_programme(pair.hub, IDS, source=PROGRAMME.replace('id = "wren"', 'id = "other"'), **WHO)
    pair.hub.execute(
        "INSERT INTO line_stop SELECT %s, 'other', 'trim', 'breakdown', 'x', '{}', '', now(), 60, 'somebody'", [stop]
    )  # fmt: skip
    pair.take(*told, msgspec.structs.replace(told[0], programme_id="other"))
    assert pair.hub.execute("SELECT programme_id, ended_at FROM line_stop").fetchall() == [
        {"programme_id": "other", "ended_at": None}
    ]
    assert set(pair.kinds()) == {"stop_refused", "not_its_line"}


@pytest.mark.parametrize(
    "wrong",
    [{"kind": "coffee"}, {"expected_s": 0}, {"ended_at": datetime(2020, 1, 1, tzinfo=UTC)}, {"seq": 0}],
)
def test_a_stop_that_cannot_be_is_not_read(wrong: dict[str, Any]) -> None:
    good = SiteStop(
        seq=1, after=0, id="stop_1", station="marriage", kind="breakdown", reason="broke", began_at=CLOCK.now(),
        expected_s=60, stopped_by="planner",
    )  # fmt: skip
    document = msgspec.to_builtins(good)
    assert msgspec.convert(document, SiteStop) == good
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(document | msgspec.to_builtins(wrong), SiteStop)


def test_a_stop_that_a_site_told_is_ended_at_the_site_and_one_of_before_it_was_a_site_at_its_hub(
    pair: Pair,
) -> None:
    with transaction(pair.hub):
        own, _ = begin_stop(
            pair.hub, IDS, programme_id=SITE, station="flash_and_test", kind="breakdown", reason="x",
            actor="planner", now=WHO["now"] - timedelta(hours=1),
        )  # fmt: skip
    told = pair.stand("marriage")
    pair.reconcile()
    with pytest.raises(Conflict, match="site wren told this stop") as refused:
        told_here(pair.hub, told, SITE)
    assert refused.value.code == "line_of_site"
    told_here(pair.hub, own.id, SITE)
    with transaction(pair.hub):
        remove_site(pair.hub, IDS, site_id=SITE, **WHO)
    told_here(pair.hub, told, SITE)  # nobody else builds it now


# How much is read, and how much a message holds ------------------------------------------------------


def test_a_site_looks_for_stops_again_only_when_something_is_new(pair: Pair) -> None:
    pair.told()
    newest, waits = look_for_news(pair.site)
    assert (look_for_news(pair.site), waits) == ((newest, False), False)
    stop = pair.stand("marriage")
    began, waits = look_for_news(pair.site)
    assert (began > newest, waits) == (True, False)
    pair.go_on(stop)
    assert look_for_news(pair.site)[0] > began
    pair.say(event("entered", "marriage", pair.ordered()))
    assert look_for_news(pair.site)[1]
    pair.reconcile()
    assert not look_for_news(pair.site)[1]


def test_stops_that_are_too_large_for_one_message_are_told_in_several(pair: Pair) -> None:
    for _ in range(STOPS_MAX):
        pair.go_on(pair.stand("marriage", reason="\x01" * REASON_CHARS_MAX))  # six bytes each, on the wire
    told = pair.told()
    assert len(told) > 3
    assert all(len(msgspec.json.encode(each)) < UP_BYTES_MAX + 64 * 1024 for each in told)
    pair.take(*told)
    assert len(pair.ledger()) == 2 * STOPS_MAX


def test_of_more_lines_than_fit_a_message_speaks_in_turn_and_of_the_one_that_it_is_about_always() -> None:
    lines = [SiteLine(programme_id=f"line-{at}", told=at, kept_from=1) for at in range(2 * LINES_MAX + 3)]
    assert spoken_of(lines[:LINES_MAX], "line-0", turn=7) == lines[:LINES_MAX]
    seen = set()
    for turn in range(4):
        spoken = spoken_of(lines, "line-500", turn=turn)
        names = [each.programme_id for each in spoken]
        assert (len(names), len(set(names)), names[0]) == (LINES_MAX, LINES_MAX, "line-500")
        seen |= set(names)
    assert seen == {each.programme_id for each in lines}


def test_what_is_missing_of_a_line_that_the_site_builds_no_more_is_not_counted_for_ever(pair: Pair) -> None:
    pair.say(event("entered", "marriage", pair.ordered()))
    *_, sign = pair.told()
    pair.take(sign)
    assert list_sites(pair.hub)[0].events_lacking == 1
    plant = get_plant(pair.hub, SITE).plant
    with transaction(pair.hub):
        other = replace(plant, identity=replace(plant.identity, id="elsewhere"))
        save_plant(pair.hub, IDS, plant=other, **WHO)
        choose_plant(pair.hub, IDS, plant_id="elsewhere", programme_id=SITE, **WHO)
    pair.take(sign)
    assert list_sites(pair.hub)[0].events_lacking == 0
