"""A site whose database was restored from its own older backup, and its hub, agree again on what stands on its lines."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ringroad.build.site.store import list_sites
from ringroad.build.site.store_stops import what_stands
from ringroad.build.store_plant import current_schedule
from ringroad.build.store_stops import get_stop, open_stops
from ringroad.protocol.mes import MesEvent
from ringroad.storage.db import connect
from ringroad.storage.ledger import read_facts
from ringroad.storage.postgres import find_binaries
from support.carried import RESUMED, SITE, STOPPED, Pair, carried, event

pytestmark = pytest.mark.engines


@pytest.fixture
def pair(pg_url: str, second_pg_url: str) -> Iterator[Pair]:
    with carried(pg_url, second_pg_url) as found:
        yield found
        found.site.close()


def back_up(url: str, path: Path) -> None:
    subprocess.run(
        [find_binaries() / "pg_dump", "--format=custom", f"--file={path}", url], check=True, timeout=120
    )


def restore(pair: Pair, url: str, path: Path) -> None:
    """Put the site's database back to what it was; its processes connect anew."""
    pair.site.close()
    program, way = str(find_binaries() / "pg_restore"), ["--clean", "--if-exists", "--single-transaction"]
    subprocess.run([program, *way, f"--dbname={url}", str(path)], check=True, timeout=120)
    pair.site = connect(url)


def stopped(reason: str, *, quality: bool = False) -> MesEvent:
    said = event("stopped", "flash_and_test", reason=reason, quality=quality)
    return msgspec.structs.replace(said, id=reason)


def standing(pair: Pair) -> tuple[set[str], set[str]]:
    """Return why something stands: at the hub, and at the site."""
    return (
        {each.reason for each in open_stops(pair.hub, programme_id=SITE)},
        {each.reason for each in open_stops(pair.site, programme_id=SITE)},
    )


def go_on(pair: Pair) -> None:
    for stop in open_stops(pair.site, programme_id=SITE):
        pair.go_on(stop.id)


def test_a_site_restored_from_its_older_backup_and_its_hub_agree_again_on_what_stands(
    pair: Pair, second_pg_url: str, tmp_path: Path
) -> None:
    pair.stand("marriage", reason="a belt tore")
    pair.say(stopped("no air"))
    pair.reconcile()
    back_up(second_pg_url, tmp_path / "site.dump")
    go_on(pair)
    forgotten = pair.stand("marriage", reason="loose bolts", kind="quality", options=["tow_bar"])
    pair.say(stopped("bad welds", quality=True))
    pair.reconcile()
    restore(pair, second_pg_url, tmp_path / "site.dump")
    assert standing(pair) == ({"loose bolts", "bad welds"}, {"a belt tore", "no air"})

    # its number is one that the hub took for another word
    new = pair.stand("marriage", reason="a motor burnt", options=["tow_bar"])
    pair.reconcile()
    assert get_stop(pair.hub, new).ended_at is None
    pair.ask()
    assert (
        standing(pair) == ({"loose bolts", "bad welds", "a motor burnt"},) * 2
    )  # an end wins over what stands
    known = get_stop(pair.site, forgotten)
    assert (known.kind, known.options, known.stopped_by) == ("quality", ("tow_bar",), "planner at wren")
    assert current_schedule(pair.site, SITE) is not None  # it planned anew
    pair.reconcile()
    pair.ask()
    assert len(pair.ledger()) == 5 + 2  # each stop once, and the two that ended
    go_on(pair)
    pair.reconcile()
    assert (standing(pair), what_stands(pair.site)) == ((set(), set()), [])
    assert len([each for each in pair.ledger() if each[0] == RESUMED]) == 5


def test_what_a_restored_site_tells_and_its_hub_loses_comes_again(
    pair: Pair, second_pg_url: str, tmp_path: Path
) -> None:
    back_up(second_pg_url, tmp_path / "site.dump")
    for reason in ("a belt tore", "loose bolts", "a motor burnt"):
        pair.go_on(pair.stand("marriage", reason=reason))
        pair.say(event("entered", "marriage", pair.ordered()))
    pair.reconcile()
    restore(pair, second_pg_url, tmp_path / "site.dump")
    pair.reconcile()  # a sign of life
    pair.stand("marriage", reason="no power")
    pair.say(stopped("no air"))
    *_, sign = pair.told()  # to a hub that loses all but the last
    pair.take(sign)
    assert list_sites(pair.hub)[0].events_lacking == 2
    assert pair.ask() == [SITE]
    pair.reconcile()
    assert standing(pair) == ({"no power", "no air"},) * 2
    assert list_sites(pair.hub)[0].events_lacking == 0


def test_a_stop_stands_among_events_where_the_line_wrote_it_down_whatever_its_clocks_say(pair: Pair) -> None:
    first, second = pair.ordered(), pair.ordered()
    pair.say(event("entered", "marriage", first))
    pair.stand("marriage")
    pair.say(event("left", "marriage", first, worked_s=55.0), event("entered", "marriage", second))
    pair.say(stopped("bad welds"))
    pair.site.execute(
        "UPDATE mes_event SET received_at = received_at + interval '1 hour' WHERE position <> 2"
    )
    pair.site.execute(
        "UPDATE mes_event SET received_at = received_at - interval '2 seconds' WHERE position = 2"
    )
    told = pair.told()
    assert [each.after for up in told for each in up.stops] == [1, 4]
    assert [[one.position for one in each.events] or len(each.stops) for each in told] == [
        [1],
        1,
        [2, 3, 4],
        1,
        0,
    ]
    pair.take(*told)
    assert [each.body["after"] for each in read_facts(pair.hub) if each.kind == STOPPED] == [1, 4]


def test_a_word_about_a_stop_waits_at_the_hub_for_events_that_are_missing_before_it(pair: Pair) -> None:
    pair.say(event("entered", "marriage", pair.ordered()))
    pair.stand("flash_and_test")
    _lost, stopped, sign = pair.told()
    pair.take(stopped, sign)
    assert pair.ledger() == []
    assert pair.ask() == [SITE]
    pair.reconcile()
    assert (pair.ledger(), len(pair.events())) == ([(STOPPED, "flash_and_test")], 1)
