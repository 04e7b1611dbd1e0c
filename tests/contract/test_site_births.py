"""Vehicles that a site bears reach its hub once, as they were; what the hub cannot take is kept whole and shown."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from securesystemslib.signer import CryptoSigner

from ringroad.build import store_plant
from ringroad.build.birth import AsBuilt, Installed, NewEcu, register_vehicle
from ringroad.build.plant.store_events import list_refused
from ringroad.build.quality.store_draw import contain_lot, release_lot
from ringroad.build.site.down import has_been_told, parts_to_tell, take_down
from ringroad.build.site.flash import Stand
from ringroad.build.site.store import (
    add_site,
    built_here,
    has_told,
    link_of,
    list_conflicts,
    list_sites,
    next_to_tell,
    pass_time,
    seen_at,
    tell_again,
)
from ringroad.build.site.store_births import KEY_DAYS, list_refused_births, take_again
from ringroad.build.site.store_held import (
    LineHolds,
    check_vin,
    drop_certificate,
    keep_to_tell,
    line_holds,
    must_flash,
    take_coming,
    take_trust,
)
from ringroad.build.site.store_keys import list_keys, revoke_key
from ringroad.build.site.store_up import put_aside, take_told
from ringroad.build.store import baseline_targets, get_baseline, get_programme
from ringroad.build.store_birth import get_birth, line_of_programme, take_parts
from ringroad.build.store_plant import get_order
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound, RingroadError, Unavailable, Untrusted
from ringroad.kernel.facts import FactKind
from ringroad.loop.site_trust import Here, answer, fetch
from ringroad.protocol.site import ERROR_HEADER, Ask, Down, SiteBirth, SiteTest, Up, up_subject
from ringroad.storage.blobs import Blobs
from ringroad.storage.db import Connection, connect, transaction
from ringroad.storage.ledger import read_facts
from ringroad.storage.streams import StreamMessage
from ringroad.trust.birth import verify_record
from ringroad.trust.keys import public_key_dict
from ringroad.trust.plant_key import read_plant_key
from support.births import fitted, line_with_baseline, new_baseline, passed, started_order
from support.mes import CLOCK, IDS, new_order
from support.released import ANCHORS, DIRECTOR_ROOT, SIGNERS, SITE_KEY, asked, publish, trusts
from support.uptane import seeded

pytestmark = pytest.mark.engines

SITE, VIN, OTHER_VIN = "wren", "WRRDEM129TB000001", "WRRDEM120TB000002"
HARDWARE = {"gateway": "gateway-hw-1", "brake": "nrf52840-brake-1"}


@dataclass
class Pair:
    """A hub and its site, each with a database; what goes between them is carried by hand."""

    hub: Connection
    site: Connection

    def tell_site(self) -> None:
        with transaction(self.hub):
            found = list(parts_to_tell(self.hub, SITE, now=CLOCK.now()))
            for part, digest, said in found:
                has_been_told(self.hub, SITE, part, digest, said, now=CLOCK.now())
        for _, _, said in found:
            with transaction(self.site):
                take_down(self.site, IDS, CLOCK, msgspec.json.decode(msgspec.json.encode(said), type=Down))

    def release(self, *, here: bool = True) -> None:
        self.tell_site()
        trusts(self.hub, self.site)
        with transaction(self.site):
            take_coming(self.site, IDS, CLOCK, is_here=lambda _: here)

    def order(self) -> str:
        with transaction(self.hub):
            order_id = new_order(self.hub)
        self.tell_site()
        return order_id

    def bear(self, order_id: str | None, vin: str = VIN, *, lot: str = "B-17", **changes: Any) -> SiteBirth:
        """Let a vehicle be born at the site, as its server does."""
        with transaction(self.site):
            return bear(self.site, order_id, vin, lot=lot, **changes)

    def told(self) -> list[Up]:
        """Return what the site has to tell, and note that the hub's broker has it."""
        found = []
        while (up := next_to_tell(self.site, now=CLOCK.now())).events or up.birth:
            found.append(up)
            with transaction(self.site):
                has_told(self.site, up, now=CLOCK.now())
        return found

    def reconcile(self) -> None:
        for up in self.told():
            self.take(up)

    def take(self, up: Up) -> None:
        message = StreamMessage(
            subject=up_subject(SITE), payload=msgspec.json.encode(up), seq=1, received_at=CLOCK.now()
        )
        with transaction(self.hub):
            take_told(self.hub, IDS, CLOCK, message)


def bear(
    conn: Connection,
    order_id: str | None,
    vin: str,
    *,
    lot: str,
    signer: Any = SITE_KEY,
    now: datetime | None = None,
    tags: Sequence[str] = ("pilot",),
    serial: str = "",
    fitted_at: datetime | None = None,
) -> SiteBirth:
    held = must_flash(conn, SITE, is_here=lambda _: True, now=now or CLOCK.now())
    check_vin(held, vin)
    targets, baseline = baseline_targets(conn, SITE, "van"), get_baseline(conn, SITE)
    assert baseline
    keys = {name: seeded(f"{vin} {name}") for name in HARDWARE}
    tests = passed(checks=["leak"])
    parts = [fitted(order_id, lot, serial=serial, fitted_at=fitted_at or CLOCK.now())] if order_id else []
    register_vehicle(
        conn, IDS, vin=vin, programme_id=SITE, variant="van", gateway="native",
        token_sha256=hashlib.sha256(vin.encode()).digest(), release_id=baseline.release_id, actor="line",
        now=now or CLOCK.now(), order_id=order_id, tags=tags,
        ecus=[
            NewEcu(serial=f"{vin}-{name}", name=name, hardware_id=HARDWARE[name], public_key=public_key_dict(key),
                   key_id=key.public_key.keyid, is_primary=name == "gateway")
            for name, key in keys.items()
        ],
        installed=[
            Installed(serial=f"{vin}-{name}", filename=targets[name].filename, version=targets[name].version,
                      image_sha256=targets[name].image_sha256)
            for name in keys
        ],
        as_built=AsBuilt(
            parts=parts, tests=tests, signer=signer,
            certificate=held.certificate,
        ),
    )  # fmt: skip
    made = SiteBirth(
        number=1, after=0, programme_id=SITE, record=get_birth(conn, vin).raw.decode(), gateway="native",
        token_sha256=hashlib.sha256(vin.encode()).hexdigest(),
        public_keys={f"{vin}-{name}": public_key_dict(key) for name, key in keys.items()}, tags=list(tags),
        tests=[SiteTest(check=t.check, station=t.station, passed=t.passed, at=t.at) for t in tests],
    )  # fmt: skip
    keep_to_tell(conn, made, vin=vin, now=CLOCK.now())
    return made


def reason_of(found: LineHolds) -> str:
    """Return why a line may not flash; "" if it may."""
    return found.decision.code if isinstance(found.decision, Stand) else ""


@pytest.fixture
def pair(pg_url: str, second_pg_url: str) -> Iterator[Pair]:
    with connect(pg_url) as hub, connect(second_pg_url) as site:
        with transaction(hub):
            line_with_baseline(hub, gates=False)
            publish(hub)
            add_site(hub, IDS, site_id=SITE, token="t" * 43, actor="tester", now=CLOCK.now())
        both = Pair(hub, site)
        both.release()
        yield both


def test_what_a_site_bore_is_on_record_at_its_hub_as_it_was_and_once(pair: Pair) -> None:
    order_id = pair.order()
    pair.bear(order_id)
    with transaction(pair.hub):
        new_baseline(
            pair.hub, "2.0", counter=2, rxswins={"braking": "R13H-0043"}
        )  # the hub went on in the meantime
    assert link_of(pair.site).births_waiting == 1
    (up,) = pair.told()
    for _ in range(2):
        pair.take(up)
    found = get_birth(pair.hub, VIN)
    assert found.raw == get_birth(pair.site, VIN).raw
    signed = verify_record(found.raw, director_root=DIRECTOR_ROOT, vin=VIN).signed
    assert (signed["rxswins"], signed["release"]["version"]) == ({"braking": "R13H-0042"}, "1.0")
    order = get_order(pair.hub, order_id)
    assert (order.state, order.vin) == ("born", VIN)
    (fact,) = read_facts(pair.hub, subject=VIN)
    assert (fact.kind, fact.body["site"], fact.event_at) == (FactKind.VEHICLE_BORN, SITE, found.made_at)
    assert list_conflicts(pair.hub, SITE) == []
    assert link_of(pair.site).births_waiting == 0
    rows = pair.hub.execute("SELECT kind, thing, value FROM birth_trait WHERE vin = %s", [VIN]).fetchall()
    assert ("lot", "battery", "B-17") in {(row["kind"], row["thing"], row["value"]) for row in rows}
    checks = pair.hub.execute("SELECT check_name FROM station_result").fetchall()
    assert [row["check_name"] for row in checks] == ["leak"]


def test_a_lot_is_contained_at_a_site_that_is_cut_off(pair: Pair) -> None:
    order_id = pair.order()
    given = {"programme_id": SITE, "part": "battery", "lot": "B-17", "reason": "swells"}
    with transaction(pair.site):
        lot, _ = contain_lot(pair.site, IDS, **given, actor="tester", now=CLOCK.now())
    with pytest.raises(Conflict, match="lot B-17 of battery is contained"):
        pair.bear(order_id)
    with transaction(pair.site):
        release_lot(pair.site, IDS, lot_id=lot.id, reason="good", actor="tester", now=CLOCK.now())
    pair.bear(order_id)


def test_births_of_one_vin_are_both_kept_and_the_second_is_taken_once_it_can_be(pair: Pair) -> None:
    order_id = pair.order()
    with transaction(pair.hub):
        pair.hub.execute(
            "INSERT INTO vehicle (vin, programme_id, variant, region, tags, gateway, token_sha256, primary_serial,"
            " release_id, born_at) SELECT %s, programme_id, 'van', '', '{}', 'ddi', 'x', 'p', release_id, now()"
            " FROM line_baseline", [VIN],
        )  # fmt: skip
    pair.bear(order_id)
    pair.reconcile()
    (refused,) = list_refused_births(pair.hub, SITE)
    assert (refused.vin, refused.code, refused.settled_at) == (VIN, "vin_taken", None)
    assert [(c.kind, c.subject) for c in list_conflicts(pair.hub, SITE)] == [("birth_refused", VIN)]
    assert list_sites(pair.hub)[0].births_refused == 1

    def again() -> None:
        with transaction(pair.hub):
            take_again(pair.hub, IDS, site_id=SITE, sha256=refused.sha256, actor="ana", now=CLOCK.now())

    with pytest.raises(Conflict, match="another vehicle has the VIN"):
        again()
    with pytest.raises(NotFound):
        get_birth(pair.hub, VIN)
    pair.hub.execute("DELETE FROM vehicle WHERE vin = %s", [VIN])
    again()
    assert get_birth(pair.hub, VIN).raw == get_birth(pair.site, VIN).raw
    assert list_sites(pair.hub)[0].births_refused == 0
    with pytest.raises(Conflict, match="changed"):
        again()
    assert list_refused_births(pair.hub, SITE)[0].settled_by == "ana"


def test_orders_that_the_hub_cancelled_or_never_had_are_built_and_a_person_told(pair: Pair) -> None:
    cancelled = pair.order()
    with transaction(pair.hub):
        store_plant.cancel_order(
            pair.hub, IDS, order_id=cancelled, reason="sold", actor="tester", now=CLOCK.now()
        )
    early = CLOCK.now() - timedelta(hours=1)
    with transaction(pair.site):
        own = store_plant.add_order(
            pair.site, IDS, programme_id=SITE, variant="van", actor="tester", now=early
        ).id
    pair.bear(cancelled)
    pair.bear(own, OTHER_VIN, lot="B-18", fitted_at=early)
    pair.reconcile()
    assert [get_order(pair.hub, each).vin for each in (cancelled, own)] == [VIN, OTHER_VIN]
    assert {(c.kind, c.subject) for c in list_conflicts(pair.hub, SITE)} == {
        ("order_settled", cancelled),
        ("order_settled", own),
    }
    assert lots_of(pair.hub, own) == ["B-18"], "fitted before its hub knew of the order"


def lots_of(conn: Connection, order_id: str) -> list[str]:
    found = conn.execute("SELECT lot FROM built_part WHERE order_id = %s ORDER BY lot", [order_id])
    return [row["lot"] for row in found.fetchall()]


def test_parts_of_a_birth_that_cannot_be_among_those_of_its_hub_are_named(pair: Pair) -> None:
    with transaction(pair.hub):
        line = line_of_programme(pair.hub, SITE)
        there = [fitted(started_order(pair.hub), "B-16", serial="S-1")]
        assert take_parts(pair.hub, line, there, vins={}, actor="tester", now=CLOCK.now())[0].told == "taken"
    order_id = pair.order()
    pair.bear(order_id, serial="S-1")
    pair.reconcile()
    assert (get_order(pair.hub, order_id).vin, lots_of(pair.hub, order_id)) == (VIN, [])
    (found,) = list_conflicts(pair.hub, SITE)
    assert (found.kind, found.subject) == ("parts_refused", VIN)
    assert "parts in its birth record, 1 cannot be" in found.reason
    assert "S-1 is in order" in found.reason


def test_births_that_were_settled_leave_room_for_others(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringroad.build.site.store_births.REFUSED_MAX", 1)
    birth = pair.bear(pair.order())
    wrong = [bent(birth, public_keys={}), bent(birth, record="{}")]
    for number, each in enumerate(wrong, start=1):
        pair.take(Up(format=1, sent_at=CLOCK.now(), waiting=0, birth=bent(each, number=number)))
    (kept,) = list_refused_births(pair.hub, SITE)
    assert kept.vin == VIN
    pair.hub.execute("UPDATE site_birth_refused SET settled_at = now(), settled_by = 'ana'")
    pair.take(Up(format=1, sent_at=CLOCK.now(), waiting=0, birth=bent(wrong[1], number=3)))
    assert {each.code for each in list_refused_births(pair.hub, SITE)} == {"invalid_input", "malformed"}


def bent(birth: SiteBirth, **changes: Any) -> SiteBirth:
    return msgspec.structs.replace(birth, **changes)


def test_what_is_not_as_the_site_sealed_it_is_kept_and_not_taken(pair: Pair) -> None:
    birth = pair.bear(pair.order())
    record = birth.record.replace("B-17", "B-18")
    wrong_key = {serial: public_key_dict(seeded("thief")) for serial in birth.public_keys}
    for number, (told, code) in enumerate(
        [
            (bent(birth, record="{}"), "malformed"),
            (bent(birth, record=record), "arbitrary_software"),
            (bent(birth, public_keys={}), "invalid_input"),
            (bent(birth, public_keys=wrong_key), "invalid_input"),
            (bent(birth, programme_id="other"), "not_its_line"),
        ]
    ):
        pair.hub.execute("DELETE FROM site_birth_refused")
        up = Up(format=1, sent_at=CLOCK.now(), waiting=0, birth=bent(told, number=number + 1))
        pair.take(up)
        assert [each.code for each in list_refused_births(pair.hub, SITE)] == [code]
    pair.hub.execute("UPDATE site SET removed_at = now()")
    pair.take(Up(format=1, sent_at=CLOCK.now(), waiting=0, birth=birth))  # it is no site any more
    with pytest.raises(NotFound):
        get_birth(pair.hub, VIN)


def test_a_site_flashes_nothing_past_the_end_of_what_it_holds_and_says_until_when(pair: Pair) -> None:
    order_id, late = pair.order(), CLOCK.now() + timedelta(days=KEY_DAYS, minutes=1)
    found = line_holds(pair.site, SITE, is_here=lambda _: True, now=late)
    assert (found.release, reason_of(found)) == ("first 1.0", "expired")
    with pytest.raises(Unavailable, match="its hub has to be reached"):
        pair.bear(order_id, now=late)
    pair.bear(order_id)
    with pytest.raises(InvalidInput, match="have B in place 11"):
        pair.bear(pair.order(), "WRRDEM121TA000001")
    pair.site.execute("UPDATE site_trust SET at = at + interval '31 days'")
    with pytest.raises(Unavailable, match="ended at"):  # also when its clock is set back
        pair.bear(pair.order(), OTHER_VIN)
    pair.site.execute("UPDATE site_trust SET at = at - interval '31 days'")
    pair.bear(pair.order(), "WRRDEM127TB000003")
    pair.site.execute("DELETE FROM site_trust WHERE name = 'certificate'")
    with pytest.raises(Unavailable, match="no verified metadata"):
        pair.bear(pair.order(), OTHER_VIN)
    assert link_of(pair.site).births_waiting == 2


def may_flash(pair: Pair) -> bool:
    found = line_holds(pair.site, SITE, is_here=lambda _: True, now=CLOCK.now())
    return not isinstance(found.decision, Stand)


def test_a_clock_that_is_set_back_moves_no_end_and_a_birth_notes_the_time(pair: Pair) -> None:
    start = CLOCK.now()
    with transaction(pair.site):
        pass_time(pair.site, now=start + timedelta(days=KEY_DAYS - 1))
        pass_time(pair.site, now=start)  # set back
    assert may_flash(pair)
    with transaction(pair.site):
        pass_time(pair.site, now=start, passed=timedelta(days=2))
    assert not may_flash(pair)
    with pytest.raises(Unavailable, match="ended at"):
        pair.bear(None)
    with transaction(pair.site):
        pass_time(pair.site, now=start - timedelta(days=365), passed=timedelta(days=0))
    assert not may_flash(pair)
    trusts(pair.hub, pair.site)  # its hub is reached, by whose word the clock is right
    assert may_flash(pair)
    pair.site.execute("DELETE FROM site_place WHERE name = 'seen'")
    pair.bear(None)
    seen = seen_at(pair.site)
    assert seen is not None
    assert CLOCK.now() - timedelta(minutes=1) < seen <= CLOCK.now()


def test_no_vehicle_is_born_at_a_site_whose_record_nobody_could_verify(pair: Pair) -> None:
    for signer in (None, seeded("another")):  # its key file is another than the certified one
        with pytest.raises(Unavailable, match="nobody could verify") as refused:
            pair.bear(None, signer=signer)
        assert refused.value.hint
    with pytest.raises(NotFound):
        get_birth(pair.site, VIN)
    pair.bear(pair.order())
    pair.reconcile()
    assert get_birth(pair.hub, VIN).raw == get_birth(pair.site, VIN).raw
    certificate = asked(pair.hub)[0].certificate
    issued_at = read_plant_key(certificate.encode()).issued_at
    assert issued_at < CLOCK.now() - timedelta(minutes=5)  # a site's clock may be behind its hub's


def test_what_its_hub_could_not_read_of_a_birth_is_refused_at_the_site_and_holds_up_nothing(
    pair: Pair,
) -> None:
    with pytest.raises(InvalidInput, match="200"):
        pair.bear(pair.order(), tags=["x" * 201])
    pair.bear(pair.order(), OTHER_VIN)
    pair.reconcile()
    assert get_birth(pair.hub, OTHER_VIN).raw == get_birth(pair.site, OTHER_VIN).raw


def test_a_site_flashes_the_release_it_holds_while_the_next_one_is_not_whole(pair: Pair) -> None:
    with transaction(pair.hub):
        new_baseline(pair.hub, "2.0", counter=2, rxswins={"braking": "R13H-0043"})
    pair.release()  # not signed by the offline keys: not in the metadata
    found = line_holds(pair.site, SITE, is_here=lambda _: True, now=CLOCK.now())
    assert (found.release, found.coming, found.coming_missing) == ("first 1.0", "first 2.0", 0)
    with transaction(pair.hub):
        publish(pair.hub)
    pair.release(here=False)
    found = line_holds(pair.site, SITE, is_here=lambda _: False, now=CLOCK.now())
    assert (found.release, found.coming, found.coming_missing) == ("first 1.0", "first 2.0", 2)
    assert reason_of(found) == "image_missing"
    pair.release()
    found = line_holds(pair.site, SITE, is_here=lambda _: True, now=CLOCK.now())
    assert (found.release, found.coming) == ("first 2.0", "")
    assert get_programme(pair.site, SITE).source == get_programme(pair.hub, SITE).source


def vins_at(conn: Connection) -> list[str]:
    return [row["vin"] for row in conn.execute("SELECT vin FROM birth_record ORDER BY vin").fetchall()]


def sign_of_life(pair: Pair) -> None:
    """Let the hub hear that its site is there."""
    up = next_to_tell(pair.site, now=CLOCK.now())
    assert up.birth is None
    pair.take(up)


def ask(pair: Pair, folder: Path) -> int:
    """Let the site ask about trust; return how many births it tells again."""
    before = link_of(pair.site).births_waiting
    line = Line(pair.hub, Blobs((folder / "hub").as_uri()))
    here = Here(anchors=ANCHORS, key=public_key_dict(SITE_KEY), blobs=line.blobs, partial=folder / "half")
    asyncio.run(fetch(cast("Client", line), here, pair.site, asyncio.Event(), clock=CLOCK, ids=IDS))
    return link_of(pair.site).births_waiting - before


def test_births_that_a_hub_lost_with_its_database_are_missed_named_and_told_again(
    pair: Pair, tmp_path: Path
) -> None:
    vins = [VIN, OTHER_VIN, "WRRDEM127TB000003", "WRRDEM129TB000004"]
    pair.bear(None, vins[0])
    pair.reconcile()
    sign_of_life(pair)
    assert (ask(pair, tmp_path), list_sites(pair.hub)[0].births_lacking) == (0, 0)
    for vin in vins[1:3]:
        pair.bear(None, vin)
    assert len(pair.told()) == 2  # the hub's broker had them; its database is an older one
    pair.bear(None, vins[3])
    pair.reconcile()  # it is known that some are missing before it
    assert vins_at(pair.hub) == [vins[0], vins[3]]
    assert list_sites(pair.hub)[0].births_lacking == 2
    (found,) = list_conflicts(pair.hub, SITE)
    assert (found.kind, "2 that it told, from number 2 on" in found.reason) == ("births_missed", True)
    assert ask(pair, tmp_path) == 3
    assert ask(pair, tmp_path) == 0, "its hub has not read them yet"
    pair.reconcile()
    sign_of_life(pair)
    assert vins_at(pair.hub) == sorted(vins)
    assert (list_sites(pair.hub)[0].births_lacking, asked(pair.hub)[0].births_have) == (0, None)
    assert [len(read_facts(pair.hub, subject=vin)) for vin in vins] == [1, 1, 1, 1]


def test_births_that_are_told_again_and_events_take_turns_and_a_new_birth_waits_for_its_events(
    pair: Pair,
) -> None:
    vins = [VIN, OTHER_VIN, "WRRDEM127TB000003", "WRRDEM129TB000004"]
    for vin in vins[:3]:
        pair.bear(None, vin)
    pair.reconcile()
    with transaction(pair.site):
        assert tell_again(pair.site, after=0, now=CLOCK.now()) == 3
    take_some_events(pair.site, 300)  # more than fit into one message
    pair.bear(None, vins[3])
    assert link_of(pair.site).births_waiting == 4
    told = pair.told()
    assert [up.birth.number if up.birth else len(up.events) for up in told] == [256, 1, 44, 2, 3, 4]
    assert [up.births_waiting for up in told] == [4, 3, 3, 2, 1, 0]
    assert [up.births_told for up in told] == [0, 0, 1, 1, 2, 3]
    take_some_events(pair.site, 10)
    pair.bear(None, "WRRDEM120TB000005")
    assert [up.birth.number if up.birth else len(up.events) for up in pair.told()] == [10, 5]


def take_some_events(conn: Connection, count: int) -> None:
    conn.execute(
        "INSERT INTO mes_event (programme_id, position, event_id, order_id, station, kind, body, at, seq, received_at)"
        " SELECT %s, n, 'e' || n, '', 'trim', 'left', '{}', now(), n, now() FROM"
        " generate_series(1, %s) each, LATERAL (SELECT coalesce(max(position), 0) + each AS n FROM mes_event) them",
        [SITE, count],
    )


def test_a_hub_of_before_and_a_site_that_was_added_again_are_told_all_and_nothing_is_named(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.bear(None)
    pair.reconcile()
    with transaction(pair.hub):
        add_site(pair.hub, IDS, site_id=SITE, token="u" * 43, actor="tester", now=CLOCK.now())
    sign_of_life(pair)
    assert ask(pair, tmp_path) == 1
    monkeypatch.setattr("ringroad.build.site.store.AGAIN_S", 0)
    pair.reconcile()
    sign_of_life(pair)
    assert ask(pair, tmp_path) == 0
    assert list_conflicts(pair.hub, SITE) == []
    old = Up(format=1, sent_at=CLOCK.now(), waiting=0)  # of a site before this version
    pair.take(old)
    assert list_sites(pair.hub)[0].births_lacking == 0


def lacks(pair: Pair) -> int | None:
    """Return behind which birth the hub wants to be told again, when its site has told all; None: it does not."""
    sign_of_life(pair)
    return asked(pair.hub)[0].births_have


def test_a_birth_that_breaks_its_reader_is_kept_whole_and_those_behind_it_are_taken_once(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = pair.bear(pair.order())
    pair.bear(None, OTHER_VIN)
    up, after = pair.told()
    assert up.birth
    nul = {serial: key | {"note": "\x00"} for serial, key in first.public_keys.items()}
    pair.take(msgspec.structs.replace(up, birth=bent(up.birth, public_keys=nul)))
    (refused,) = list_refused_births(pair.hub, SITE)
    assert (refused.vin, refused.code) == (VIN, "breaks_reader")
    pair.hub.execute("DELETE FROM site_birth_refused")
    pair.hub.execute("DELETE FROM site_place")
    with monkeypatch.context() as patch:
        patch.setattr("ringroad.build.site.store_births.adopt_vehicle", breaks)
        pair.take(up)
    pair.take(after)
    assert (vins_at(pair.hub), lacks(pair)) == ([OTHER_VIN], None)
    (refused,) = list_refused_births(pair.hub, SITE)
    assert (refused.vin, refused.code, "offset-naive" in refused.reason) == (VIN, "breaks_reader", True)
    with monkeypatch.context() as patch:
        patch.setattr("ringroad.build.site.store_births.adopt_vehicle", breaks)
        with pytest.raises(Conflict, match="still breaks its reader") as still, transaction(pair.hub):
            take_again(pair.hub, IDS, site_id=SITE, sha256=refused.sha256, actor="ana", now=CLOCK.now())
    assert still.value.code == "breaks_reader"
    with transaction(pair.hub):
        take_again(pair.hub, IDS, site_id=SITE, sha256=refused.sha256, actor="ana", now=CLOCK.now())
    assert vins_at(pair.hub) == sorted([VIN, OTHER_VIN])


def breaks(*_: object, **__: object) -> None:
    raise TypeError("can't compare offset-naive and offset-aware datetimes")


def test_a_record_whose_times_have_no_zone_is_of_another_shape(pair: Pair) -> None:
    birth = pair.bear(pair.order())
    record = re.sub(r'("at":"[^"]+?)(Z|\+00:00)"', r'\1"', birth.record)
    assert record != birth.record
    pair.take(Up(format=1, sent_at=CLOCK.now(), waiting=0, birth=bent(birth, record=record)))
    assert [each.code for each in list_refused_births(pair.hub, SITE)] == ["record_malformed"]


def test_a_birth_that_was_put_aside_or_cannot_be_read_is_listed_and_not_told_again(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringroad.build.site.store_up.REFUSED_MAX", 2)
    for vin in (VIN, OTHER_VIN, "WRRDEM127TB000003"):
        pair.bear(None, vin)
    first, second, third = pair.told()
    for seq in range(4):
        aside = StreamMessage(
            subject=up_subject(SITE), payload=msgspec.json.encode(first), seq=seq, received_at=CLOCK.now()
        )
        with transaction(pair.hub):
            put_aside(pair.hub, IDS, CLOCK, aside, "it breaks its reader")
    raw = msgspec.to_builtins(second)
    raw["birth"]["gateway"] = "of a kind that nobody knows"
    unreadable = StreamMessage(
        subject=up_subject(SITE), payload=msgspec.json.encode(raw), seq=9, received_at=CLOCK.now()
    )
    with transaction(pair.hub):
        take_told(pair.hub, IDS, CLOCK, unreadable)
    pair.take(third)
    assert (vins_at(pair.hub), lacks(pair)) == (["WRRDEM127TB000003"], None)
    assert [(each.vin, each.code) for each in list_refused_births(pair.hub, SITE)] == [(VIN, "breaks_reader")]
    assert {each.subject for each in list_conflicts(pair.hub, SITE)} == {VIN, "number 2"}
    assert len(list_refused(pair.hub, SITE)) == 2
    nobody = StreamMessage(subject=up_subject("nobody"), payload=b"", seq=10, received_at=CLOCK.now())
    with transaction(pair.hub):
        put_aside(pair.hub, IDS, CLOCK, nobody, "it breaks its reader")
    assert list_refused(pair.hub, "nobody")


def revoke(pair: Pair, key_id: str = SITE_KEY.public_key.keyid) -> None:
    with transaction(pair.hub):
        revoke_key(pair.hub, IDS, site_id=SITE, key_id=key_id, reason="stolen", actor="ana", now=CLOCK.now())


def test_a_key_that_was_revoked_bears_no_vehicle_any_more_and_those_on_record_stay(pair: Pair) -> None:
    pair.bear(None)
    pair.reconcile()
    pair.bear(None, OTHER_VIN)  # before it was revoked, by its own word; told later
    revoke(pair)
    pair.reconcile()
    assert vins_at(pair.hub) == [VIN]
    (refused,) = list_refused_births(pair.hub, SITE)
    assert (refused.vin, refused.code) == (OTHER_VIN, "key_revoked")
    assert "was revoked at" in refused.reason
    assert "stolen" in refused.reason
    (key,) = list_keys(pair.hub, SITE)
    assert (key.revoked_by, key.reason) == ("ana", "stolen")
    with pytest.raises(Conflict, match="was revoked"):
        revoke(pair)
    with pytest.raises(NotFound, match="no key"):
        revoke(pair, "f" * 64)
    with transaction(pair.hub):  # a person who knows the vehicle
        take_again(pair.hub, IDS, site_id=SITE, sha256=refused.sha256, actor="ana", now=CLOCK.now())
    assert vins_at(pair.hub) == sorted([VIN, OTHER_VIN])


def test_a_site_whose_key_was_revoked_stands_and_goes_on_with_another(pair: Pair, tmp_path: Path) -> None:
    revoke(pair)
    line = Line(pair.hub, Blobs((tmp_path / "hub").as_uri()))

    def fetched(key: CryptoSigner) -> None:
        anchors = replace(ANCHORS, key_id=key.public_key.keyid)
        here = Here(anchors=anchors, key=public_key_dict(key), blobs=line.blobs, partial=tmp_path / "half")
        asyncio.run(fetch(cast("Client", line), here, pair.site, asyncio.Event(), clock=CLOCK, ids=IDS))

    with pytest.raises(Untrusted, match=r"stolen; remove birth-key\.pem"):
        fetched(SITE_KEY)
    assert not may_flash(pair)
    with pytest.raises(Unavailable, match="no certified key"):
        pair.bear(None)
    fetched(seeded("another"))
    assert may_flash(pair)
    pair.bear(None, signer=seeded("another"))
    pair.reconcile()
    assert vins_at(pair.hub) == [VIN]


def test_a_site_that_dropped_its_certificate_takes_nothing_older_than_it_verified(pair: Pair) -> None:
    old, old_targets = asked(pair.hub)
    with transaction(pair.hub):
        new_baseline(pair.hub, "2.0", counter=2, rxswins={"braking": "R13H-0043"})
        publish(pair.hub)
    pair.release()
    with transaction(pair.site):
        drop_certificate(pair.site)  # as whoever answers for the hub may say, unsigned
        pass_time(pair.site, now=CLOCK.now() + timedelta(days=1))
    seen, another = seen_at(pair.site), seeded("another")
    certificate = asked(pair.hub, key=another)[0].certificate
    anchors = replace(ANCHORS, key_id=another.public_key.keyid)
    older = msgspec.structs.replace(old, certificate=certificate)
    with pytest.raises(Untrusted, match="version 1 after 2") as refused, transaction(pair.site):
        take_trust(pair.site, older, targets=old_targets, anchors=anchors, now=CLOCK.now())
    assert (refused.value.code, seen_at(pair.site)) == ("rollback", seen)
    fresh, targets = asked(pair.hub, key=another)
    pair.site.execute("UPDATE site_trust SET at = at + interval '400 days'")
    with pytest.raises(Untrusted, match="expired"), transaction(pair.site):  # its clock was set back since
        take_trust(pair.site, fresh, targets=targets, anchors=anchors, now=CLOCK.now())
    pair.site.execute("UPDATE site_trust SET at = at - interval '400 days'")
    with transaction(pair.site):
        take_trust(pair.site, fresh, targets=targets, anchors=anchors, now=CLOCK.now())
    assert may_flash(pair)


def test_a_site_has_so_many_keys_and_no_more(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringroad.build.site.store_keys.KEYS_MAX", 2)
    assert asked(pair.hub, key=seeded("second"))[0].certificate
    given = asked(pair.hub, key=seeded("third"))[0]
    assert (given.certificate, "another key is not certified" in given.no_certificate) == ("", True)
    assert "too_many_keys" in {each.kind for each in list_conflicts(pair.hub, SITE)}
    assert asked(pair.hub)[0].certificate, "those that are certified stay"
    revoke(pair, seeded("second").public_key.keyid)
    assert asked(pair.hub, key=seeded("third"))[0].certificate
    later = CLOCK.now() + timedelta(days=KEY_DAYS, minutes=1)  # both ended
    assert asked(pair.hub, key=seeded("fourth"), now=later)[0].certificate


def test_a_key_that_ended_counts_anew_when_it_is_shown_again_and_one_conflict_says_so(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringroad.build.site.store_keys.KEYS_MAX", 2)
    asked(pair.hub, key=seeded("second"))
    later = CLOCK.now() + timedelta(days=KEY_DAYS, minutes=1)  # both ended
    for name in ("third", "fourth"):
        assert asked(pair.hub, key=seeded(name), now=later)[0].certificate
    for key in (SITE_KEY, seeded("second"), seeded("fifth")):
        given = asked(pair.hub, key=key, now=later)[0]
        assert (given.certificate, "another key is not certified" in given.no_certificate) == ("", True)
    assert [c.subject for c in list_conflicts(pair.hub, SITE) if c.kind == "too_many_keys"] == [SITE]


def test_a_key_is_one_sites_and_its_revocation_stops_no_other(pair: Pair) -> None:
    with transaction(pair.hub):
        pair.hub.execute(  # another site has it, as from before keys were one site's
            "INSERT INTO site (id, token_sha256, added_by, added_at) VALUES ('kea', 'x', 'tester', now())"
        )
        pair.hub.execute(
            "INSERT INTO site_key SELECT 'kea', key_id, certificate, issued_at, expires_at FROM site_key"
        )
    with transaction(pair.hub):
        revoke_key(
            pair.hub, IDS, site_id="kea", key_id=SITE_KEY.public_key.keyid, reason="stolen", actor="ana", now=CLOCK.now()
        )  # fmt: skip
    assert asked(pair.hub)[0].certificate
    assert [key.revoked_at for key in list_keys(pair.hub, SITE)] == [None]
    pair.bear(None)
    pair.reconcile()
    assert vins_at(pair.hub) == [VIN]
    pair.hub.execute(
        "INSERT INTO site_key SELECT 'kea', 'f', certificate, issued_at, expires_at FROM site_key LIMIT 1"
    )
    pair.hub.execute("DELETE FROM site_key WHERE site_id = %s", [SITE])
    given = asked(pair.hub)[0]
    assert (given.certificate, "is of site kea, and of no other; remove" in given.no_certificate) == (
        "",
        True,
    )
    assert [each.kind for each in list_conflicts(pair.hub, SITE)] == ["key_of_another"]
    assert asked(pair.hub, key=seeded("its own"))[0].certificate
    revoke(pair, seeded("its own").public_key.keyid)
    assert asked(pair.hub, key=seeded("its own"))[0].no_certificate


@dataclass
class Line:
    """The line between a site and its hub, as a NATS client gives it: each question is answered at once."""

    hub: Connection
    blobs: Blobs
    asked: list[str] = field(default_factory=list)

    async def request(self, subject: str, payload: bytes, timeout: float) -> Msg:  # noqa: ASYNC109 - the client's
        del subject, timeout
        self.asked.append(msgspec.json.decode(payload, type=Ask).what)
        try:
            found = answer(
                self.hub, IDS, SITE, payload, blobs=self.blobs, signer=SIGNERS.director_targets, clock=CLOCK
            )
        except RingroadError as error:
            return Msg(_client=cast("Client", None), headers={ERROR_HEADER: error.message})
        return Msg(_client=cast("Client", None), data=found)


def test_an_image_that_is_refused_keeps_no_other_away_and_is_named(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with transaction(pair.hub):
        new_baseline(pair.hub, "2.0", counter=2, rxswins={"braking": "R13H-0043"})
        publish(pair.hub)
    pair.tell_site()
    line = Line(pair.hub, Blobs((tmp_path / "hub").as_uri()))
    here = Here(
        anchors=ANCHORS, key=public_key_dict(SITE_KEY), blobs=Blobs((tmp_path / "site").as_uri()), partial=tmp_path / "half"
    )  # fmt: skip

    def fetched() -> LineHolds:
        line.asked.clear()
        asyncio.run(fetch(cast("Client", line), here, pair.site, asyncio.Event(), clock=CLOCK, ids=IDS))
        return line_holds(pair.site, SITE, is_here=here.blobs.exists, now=CLOCK.now())

    line.blobs.put([b"gateway 2.0"])  # the hub lost the other one
    found = fetched()
    assert (found.release, found.coming_missing) == ("first 1.0", 1)
    assert "brake" in found.refused
    assert "the hub refuses" in found.refused
    line.blobs.put([b"brake 2.0"])
    assert fetched().refused == found.refused
    assert line.asked == ["trust"], "not asked for again and again"
    monkeypatch.setattr("ringroad.build.site.store_held.REFUSED_S", 0)
    found = fetched()
    assert (found.release, found.refused) == ("first 2.0", "")


def test_a_site_holds_only_what_verifies_and_nothing_older(pair: Pair) -> None:
    old, old_targets = asked(pair.hub)
    with transaction(pair.hub):
        new_baseline(pair.hub, "2.0", counter=2, rxswins={"braking": "R13H-0043"})
        publish(pair.hub)
    pair.release()
    now = CLOCK.now()
    fresh, targets = asked(pair.hub)
    for given, its_targets in (
        (old, old_targets),
        (msgspec.structs.replace(fresh, timestamp=fresh.timestamp.replace('"version":2', '"version":3')), targets),
        (fresh, targets[:-1]),
        (msgspec.structs.replace(fresh, certificate=asked(pair.hub, key=seeded("another"))[0].certificate), targets),
    ):  # fmt: skip
        with pytest.raises(Untrusted), transaction(pair.site):
            take_trust(pair.site, given, targets=its_targets, anchors=ANCHORS, now=now)
    with pytest.raises(Unavailable, match="signed nothing"), transaction(pair.site):
        take_trust(
            pair.site,
            msgspec.structs.replace(fresh, certificate=""),
            targets=targets,
            anchors=ANCHORS,
            now=now,
        )
    with pytest.raises(Untrusted), transaction(pair.site):
        take_trust(pair.site, fresh, targets=targets, anchors=replace(ANCHORS, site="kea"), now=now)
    assert must_flash(pair.site, SITE, is_here=lambda _: True, now=now).image.targets == targets


def test_the_hub_vouches_for_a_key_anew_when_half_its_time_is_over_and_notices_another(pair: Pair) -> None:
    first, again = asked(pair.hub)[0].certificate, asked(pair.hub)[0].certificate
    assert first == again
    later = asked(pair.hub, now=CLOCK.now() + timedelta(days=KEY_DAYS / 2 + 1))[0].certificate
    assert read_plant_key(later.encode()).expires_at > read_plant_key(first.encode()).expires_at
    assert read_plant_key(later.encode()).vin_plant == read_plant_key(first.encode()).vin_plant == "B"
    assert list_conflicts(pair.hub, SITE) == []
    asked(pair.hub, key=seeded("another"))
    assert [each.kind for each in list_conflicts(pair.hub, SITE)] == ["another_key"]


def test_the_hub_takes_no_stop_for_a_site_whose_line_is_in_its_programmes_file(pair: Pair) -> None:
    with pytest.raises(Conflict, match="built at site wren") as refused:
        built_here(pair.hub, SITE)
    assert refused.value.code == "line_of_site"
    built_here(pair.site, SITE)  # who builds it is told
