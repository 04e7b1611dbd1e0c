"""What a site told and its hub cannot read is put aside whole, holds up nothing, and is taken when the hub can."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from psycopg import DataError

from ringroad.build.plant.store_events import list_refused
from ringroad.build.site.store import link_of, list_sites, note_aside
from ringroad.build.site.store_aside import list_aside
from ringroad.build.site.store_births import trust_for
from ringroad.build.site.store_up import put_aside, take_told, try_again
from ringroad.kernel.errors import Conflict, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.protocol.site import Up
from ringroad.storage.db import transaction
from ringroad.storage.ledger import read_facts
from support.carried import SITE, STOPPED, Pair, carried, event, message
from support.mes import CLOCK, IDS

pytestmark = pytest.mark.engines


@pytest.fixture
def pair(pg_url: str, second_pg_url: str) -> Iterator[Pair]:
    with carried(pg_url, second_pg_url) as found:
        yield found


def changed(given: Up, before: str, after: str) -> bytes:
    """Return a message with something that its reader does not know; the same each time that it is told."""
    raw = msgspec.json.encode(given).decode()
    assert raw.count(before) == 1
    return raw.replace(before, after).encode()


def take(pair: Pair, *given: Up | bytes) -> None:
    for each in given:
        with transaction(pair.hub):
            take_told(pair.hub, IDS, CLOCK, message(each))


def again(pair: Pair, sha256: str) -> str:
    with transaction(pair.hub):
        return try_again(pair.hub, IDS, CLOCK, site_id=SITE, sha256=sha256, actor="approver")


def read_by_now(pair: Pair, raw: bytes) -> None:
    """Let what is put aside be as a version reads it that knows what this one does not."""
    pair.hub.execute("UPDATE site_aside SET told = %s", [raw])


@pytest.mark.parametrize(
    ("before", "after"),
    [('"kind":"left"', '"kind":"weighed"'), ('"position":2,"seq":2', '"position":2,"seq":"b"')],
)
def test_an_event_that_the_hub_cannot_read_is_put_aside_and_what_is_behind_it_taken(
    pair: Pair, before: str, after: str
) -> None:
    first, second = pair.ordered(), pair.ordered()
    pair.say(event("entered", "marriage", first), event("left", "marriage", first, worked_s=55.0))
    pair.say(event("entered", "marriage", second))
    told, sign = pair.told()
    readable = msgspec.json.encode(told.events[1])
    take(pair, changed(told, before, after), sign)
    assert pair.events() == [f"entered-marriage-{first}", f"entered-marriage-{second}"]
    assert pair.ask() == []  # it is not told for ever
    (shown,) = list_sites(pair.hub)
    assert (shown.aside, shown.events_lacking, pair.kinds()) == (1, 0, ["put_aside"])
    assert [each.code for each in list_refused(pair.hub, SITE)] == ["unreadable"]
    (kept,) = list_aside(pair.hub, SITE)
    assert (kept.what, kept.number, kept.programme_id, kept.settled_at) == ("event", 2, SITE, None)
    (fact,) = (each for each in read_facts(pair.hub, subject=SITE) if each.kind == FactKind.SITE_PUT_ASIDE)
    assert (fact.body["what"], fact.body["number"], fact.body["sha256"]) == ("event", 2, kept.sha256)
    take(pair, changed(told, before, after))  # told again: it is kept once
    assert [each.sha256 for each in list_aside(pair.hub, SITE)] == [kept.sha256]
    with pytest.raises(Conflict, match="event 2 of wren still cannot be read"):
        again(pair, kept.sha256)
    read_by_now(pair, readable)
    assert again(pair, kept.sha256) == "event 2 of wren"
    assert pair.events()[-1] == f"left-marriage-{first}"
    assert (list_sites(pair.hub)[0].aside, list_aside(pair.hub, SITE)[0].settled_by) == (0, "approver")
    assert read_facts(pair.hub, subject=SITE)[-1].kind == FactKind.SITE_ASIDE_SETTLED
    with pytest.raises(Conflict, match="changed"):
        again(pair, kept.sha256)
    with pytest.raises(NotFound, match="nothing of that digest"):
        again(pair, "0" * 64)


def test_a_word_about_a_stop_that_the_hub_cannot_read_is_put_aside_and_its_end_taken(pair: Pair) -> None:
    first = pair.stand("marriage")
    pair.stand("flash_and_test")
    told, sign = pair.told()
    readable = msgspec.json.encode(told.stops[0])
    take(pair, changed(told, f'"id":"{first}"', f'"id":"{first}","expected_s":"long"'), sign)
    assert pair.ledger() == [(STOPPED, "flash_and_test")]
    assert (pair.ask(), list_sites(pair.hub)[0].events_lacking) == ([], 0)
    (kept,) = list_aside(pair.hub, SITE)
    assert (kept.what, kept.number) == ("stop", told.stops[0].seq)
    read_by_now(pair, readable)
    again(pair, kept.sha256)
    assert pair.ledger() == [(STOPPED, "flash_and_test"), (STOPPED, "marriage")]


def test_where_no_room_is_left_a_line_waits_and_nothing_of_it_is_lost(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringroad.build.site.store_aside.ASIDE_MAX", 0)
    first, second = pair.ordered(), pair.ordered()
    pair.say(event("entered", "marriage", first), event("left", "marriage", first, worked_s=55.0))
    pair.say(event("entered", "marriage", second))
    told, sign = pair.told()
    take(pair, changed(told, '"kind":"left"', '"kind":"weighed"'), sign)
    assert pair.events() == [f"entered-marriage-{first}"]
    assert (list_aside(pair.hub, SITE), set(pair.kinds())) == ([], {"aside_full", "events_missed"})
    assert list_sites(pair.hub)[0].events_lacking == 2
    assert pair.ask() == [SITE]
    pair.reconcile()  # by a hub that was brought up to date
    assert pair.events()[1:] == [f"left-marriage-{first}", f"entered-marriage-{second}"]


def test_of_a_message_that_breaks_its_reader_only_what_breaks_it_is_put_aside(pair: Pair) -> None:
    first, second = pair.ordered(), pair.ordered()
    pair.say(event("entered", "marriage", first), event("entered", "flash_and_test", second))
    pair.stand("marriage")
    told, stopped, sign = pair.told()
    pair.hub.execute(
        "CREATE FUNCTION breaks() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN RAISE EXCEPTION 'what nobody foresaw' USING ERRCODE = '22000'; END$$"
    )
    pair.hub.execute(
        "CREATE TRIGGER breaks BEFORE INSERT ON mes_event FOR EACH ROW"
        " WHEN (NEW.station = 'flash_and_test') EXECUTE FUNCTION breaks()"
    )
    with pytest.raises(DataError):
        take(pair, told)
    with transaction(pair.hub):
        put_aside(pair.hub, IDS, CLOCK, message(told), "it breaks its reader")
    take(pair, stopped, sign)
    (kept,) = list_aside(pair.hub, SITE)
    with pytest.raises(Conflict, match=r"still breaks its reader: .*what nobody foresaw"):
        again(pair, kept.sha256)
    assert pair.events() == [f"entered-marriage-{first}"]
    assert pair.ledger() == [(STOPPED, "marriage")]
    assert (kept.code, kept.number, pair.ask()) == ("breaks_reader", 2, [])
    pair.hub.execute("DROP TRIGGER breaks ON mes_event")
    again(pair, kept.sha256)
    assert pair.events()[-1] == f"entered-flash_and_test-{second}"


def test_a_site_hears_how_much_of_what_it_told_its_hub_could_not_read(pair: Pair) -> None:
    pair.say(event("entered", "marriage", pair.ordered()))
    take(pair, changed(pair.told()[0], '"kind":"entered"', '"kind":"flew"'))
    with transaction(pair.hub):
        given = trust_for(pair.hub, IDS, None, site_id=SITE, key={}, now=CLOCK.now())
    assert given.aside == 1
    for count in (1, 0):
        with transaction(pair.site):
            note_aside(pair.site, count, now=CLOCK.now())
        assert link_of(pair.site).aside == count
