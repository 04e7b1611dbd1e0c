"""A plant with engines of its own, a leaf of its hub: what its line took arrives, once and in order, whatever is cut."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import msgspec
import nats
import pytest
from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError

from ringroad.build import store, store_plant
from ringroad.build.clone.store import observed_of
from ringroad.build.clone.store_proposals import sums_of_plant
from ringroad.build.images import read_image
from ringroad.build.plant.parameters import Key
from ringroad.build.plant.posterior import Posterior
from ringroad.build.plant.read import read_plant
from ringroad.build.plant.store import choose_plant, get_plant, save_plant
from ringroad.build.plant.store_events import (
    KEPT_DAYS,
    forget,
    line_state,
    list_events,
    list_refused,
    take_events,
)
from ringroad.build.site.down import has_been_told, parts_to_tell, take_down
from ringroad.build.site.store import (
    SILENT_S,
    add_site,
    get_site,
    has_told,
    joined,
    link_of,
    list_conflicts,
    list_sites,
    next_to_tell,
    remove_site,
    seen_at,
)
from ringroad.build.site.store_births import certify
from ringroad.build.site.store_held import no_news, take_coming
from ringroad.build.site.store_key import anchors_of, ensure_key
from ringroad.build.site.store_up import take_told
from ringroad.build.station_times import StationTime
from ringroad.build.store import baseline_targets, get_baseline, get_programme
from ringroad.build.store_birth import get_birth
from ringroad.build.store_plant import current_schedule, get_order, replan, waiting_orders
from ringroad.build.store_stops import begin_stop
from ringroad.build.store_times import take_times
from ringroad.http.auth import Role
from ringroad.kernel.clock import new_secret
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound, Unavailable
from ringroad.kernel.facts import FactKind
from ringroad.loop.mes import run_mes
from ringroad.loop.site_trust import Here, run_answering, run_fetching
from ringroad.loop.sites import run_hearing, run_hub, run_site, run_telling
from ringroad.protocol.mes import MesEvent
from ringroad.protocol.site import (
    DOWN_FORMAT,
    UP_FORMAT,
    Down,
    SiteEvent,
    Up,
    down_subject,
    up_subject,
    user_of,
)
from ringroad.sim.api import Api
from ringroad.sim.assembly import Surroundings
from ringroad.sim.plant import Birth, Plant, PlantSettings
from ringroad.sim.registrar import HttpRegistrar
from ringroad.storage.blobs import Blobs
from ringroad.storage.broker import Broker
from ringroad.storage.db import Connection, connect, transaction
from ringroad.storage.leaf import (
    Credentials,
    Listening,
    leaf_config,
    open_link,
    read_credentials,
    store_credentials,
    stored_credentials,
)
from ringroad.storage.ledger import read_facts
from ringroad.storage.nats_auth import keep_serving_logins, lookup_in
from ringroad.storage.pki import ensure_pki
from ringroad.storage.streams import MES, StreamMessage, publish
from ringroad.trust.birth import verify_record
from ringroad.trust.keys import public_key_dict
from support.console_server import add_account, serving
from support.gateways import eventually
from support.mes import CLOCK, IDS, new_order, wren
from support.ports import free_port
from support.released import DIRECTOR_ROOT, IMAGE_ROOT, SIGNERS, SITE_KEY, trusts
from support.released import publish as publish_release

pytestmark = pytest.mark.engines

FIRST = Path(__file__).parents[2] / "examples" / "first"
SITE = "wren"  # a programme's own line is a plant of that name
WAIT_S = 120.0
TOKEN = "t" * 43
Heard = tuple[str, bytes]  # subject and what was said
Work = Callable[[asyncio.Event], Any]


@contextmanager
def running(*works: Work) -> Iterator[None]:
    """Run coroutines in a thread until the block ends, as processes do."""
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    async def together() -> None:
        await asyncio.gather(*(work(stop) for work in works))

    thread = threading.Thread(target=lambda: loop.run_until_complete(together()))
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(WAIT_S)
        loop.close()


@dataclass
class World:
    """A hub and a site, each with a NATS server and a database."""

    hub: Broker
    site: Broker
    hub_url: str
    site_url: str

    def logins(self, stop: asyncio.Event) -> Any:
        async def serve() -> None:
            with lookup_in(lambda: connect(self.hub_url)) as lookup:
                await keep_serving_logins(
                    self.hub.url(), key=self.hub.login_key(), lookup=lookup, clock=CLOCK, ids=IDS, stop=stop
                )

        return serve()

    def take(self, stop: asyncio.Event) -> Any:
        return _again(
            stop, lambda: run_hub(self.hub.url(), lambda: connect(self.hub_url), stop, clock=CLOCK, ids=IDS)
        )

    def fold(self, stop: asyncio.Event) -> Any:
        return _again(
            stop, lambda: run_mes(self.site.url(), lambda: connect(self.site_url), stop, clock=CLOCK, ids=IDS)
        )

    def tell(self, stop: asyncio.Event) -> Any:
        return run_site(self.site.url(), SITE, lambda: connect(self.site_url), stop, clock=CLOCK)

    def tell_site(self, stop: asyncio.Event) -> Any:
        return run_telling(self.hub.url(), lambda: connect(self.hub_url), stop, clock=CLOCK)

    def hear(self, stop: asyncio.Event) -> Any:
        return run_hearing(self.site.url(), SITE, lambda: connect(self.site_url), stop, clock=CLOCK, ids=IDS)

    def answer(self, stop: asyncio.Event) -> Any:
        return run_answering(
            self.hub.url(), lambda: connect(self.hub_url), stop, blobs=self.blobs_of("hub"),
            signer=lambda: SIGNERS.director_targets, clock=CLOCK, ids=IDS,
        )  # fmt: skip

    def fetch(self, stop: asyncio.Event) -> Any:
        key = ensure_key(self.var / "site", new_secret)
        given = stored_credentials(self.var / "site")
        assert given
        anchors = anchors_of(given, key)
        assert anchors
        here = Here(
            anchors=anchors,
            key=public_key_dict(key),
            blobs=self.blobs_of("site"),
            partial=self.var / "partial",
        )
        return run_fetching(self.site.url(), here, lambda: connect(self.site_url), stop, clock=CLOCK, ids=IDS)

    @property
    def var(self) -> Path:
        """The site's var folder; its server keeps images beside its credentials."""
        return self.site.home.parent

    def blobs_of(self, side: str) -> Blobs:
        return Blobs((self.var / ("blobs" if side == "site" else "hub-blobs")).absolute().as_uri())

    def say(self, *events: MesEvent) -> None:
        """Let stations speak to their own broker."""
        told = [(f"ringroad.mes.v1.{SITE}", msgspec.json.encode(event)) for event in events]
        asyncio.run(publish(self.site.url(), told, place=MES))

    def ordered(self) -> str:
        """Order a vehicle at the hub; the site has the order too."""
        with (
            connect(self.hub_url) as hub,
            connect(self.site_url) as site,
            transaction(hub),
            transaction(site),
        ):
            order_id = store_plant.add_order(
                hub, IDS, programme_id=SITE, variant="van", actor="tester", now=CLOCK.now()
            ).id
            site.execute(
                "INSERT INTO plant_order (id, programme_id, variant, received_at) VALUES (%s, %s, 'van', %s)",
                [order_id, SITE, CLOCK.now()],
            )
        return order_id

    def told_sums(self) -> dict[Key, Posterior]:
        with connect(self.hub_url) as conn:
            return observed_of(conn, get_plant(conn, SITE))

    def at_hub(self) -> list[str]:
        with connect(self.hub_url) as conn:
            return [each.event.id for each in reversed(list_events(conn, SITE))]

    def at_site(self) -> list[str]:
        with connect(self.site_url) as conn:
            return [each.event.id for each in reversed(list_events(conn, SITE))]


async def _again(stop: asyncio.Event, body: Callable[[], Any]) -> None:
    while not stop.is_set():
        await body()


@pytest.fixture(scope="module")
def brokers(engine_folder: Path) -> Iterator[tuple[Broker, Broker]]:
    """The servers of hub and site; the site's dials the hub's over TLS."""
    folder = engine_folder / "sites"
    pki = ensure_pki(folder / "pki", names=["localhost", "127.0.0.1"], now=CLOCK.now())
    leaf_port = free_port()
    given = Credentials(
        site=SITE, hub=f"127.0.0.1:{leaf_port}", token=TOKEN, ca=pki.ca_certificate.read_text("ascii"),
        image_root=IMAGE_ROOT.decode(), director_root=DIRECTOR_ROOT.decode(),
    )  # fmt: skip
    folder.mkdir(exist_ok=True)
    store_credentials(folder / "site", given)
    hub = Broker(
        home=folder / "hub-nats", clock=CLOCK, port=free_port(), mqtt_port=free_port(),
        leaf=leaf_config(Listening(host="127.0.0.1", port=leaf_port, pki=pki), folder=folder),
    )  # fmt: skip
    site = Broker(
        home=folder / "site-nats", clock=CLOCK, port=free_port(), mqtt_port=free_port(), name="site-wren",
        domain="site-wren", leaf=leaf_config(given, folder=folder / "site"),
    )  # fmt: skip
    hub.start()
    site.start()
    yield hub, site
    site.stop()
    hub.stop()


@pytest.fixture
def world(brokers: tuple[Broker, Broker], pg_url: str, second_pg_url: str) -> World:
    hub, site = brokers
    for url in (pg_url, second_pg_url):
        with connect(url) as conn, transaction(conn):
            wren(conn)
    with connect(pg_url) as conn, transaction(conn):
        add_site(conn, IDS, site_id=SITE, token=TOKEN, actor="tester", now=CLOCK.now())
    return World(hub, site, pg_url, second_pg_url)


def event(kind: Any, station: str, order_id: str, **more: Any) -> MesEvent:
    return MesEvent(
        id=f"{kind}-{station}-{order_id}",
        kind=kind,
        station=station,
        order_id=order_id,
        at=CLOCK.now(),
        **more,
    )


def test_a_site_that_is_cut_off_goes_on_and_everything_arrives_once_when_it_is_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringroad.loop.sites.SEEN_S", 0.0)
    first, second = world.ordered(), world.ordered()
    with running(world.logins, world.take, world.fold, world.tell):
        world.say(event("entered", "marriage", first), event("left", "marriage", first, worked_s=55.0))
        assert eventually(lambda: len(world.at_hub()) == 2, within_s=WAIT_S)
    world.hub.stop()
    cut_off_at = CLOCK.now()
    with running(world.fold, world.tell, world.fetch):  # the hub is gone; the line is not
        world.say(event("entered", "flash_and_test", first), event("entered", "marriage", second))
        assert eventually(lambda: len(world.at_site()) == 4, within_s=WAIT_S)
        with connect(world.site_url) as conn:
            assert link_of(conn).waiting == 2
            assert eventually(lambda: (seen_at(conn) or cut_off_at) > cut_off_at, within_s=WAIT_S)
            assert eventually(lambda: "the hub is not reached" in no_news(conn), within_s=WAIT_S)
    world.hub.start()
    with running(world.logins, world.take, world.fold, world.tell):
        assert eventually(lambda: len(world.at_hub()) == 4, within_s=WAIT_S)
        assert eventually(lambda: _heard(world).waiting == 0, within_s=WAIT_S)
    assert world.at_hub() == world.at_site()
    with connect(world.hub_url) as hub, connect(world.site_url) as site:
        assert line_state(hub, SITE) == line_state(site, SITE)
        assert [get_order(hub, each).state for each in (first, second)] == ["building", "building"]
        assert list_refused(hub, SITE) == []
        assert list_conflicts(hub, SITE) == []


def test_what_a_killed_site_had_told_and_not_noted_is_told_again_and_taken_once(world: World) -> None:
    order_id = world.ordered()
    with running(world.logins, world.take, world.fold):
        world.say(event("entered", "marriage", order_id), event("left", "marriage", order_id, worked_s=55.0))
        assert eventually(lambda: len(world.at_site()) == 2, within_s=WAIT_S)
        told_without_a_note(world)
        assert eventually(lambda: len(world.at_hub()) == 2, within_s=WAIT_S)
        with running(world.tell):
            world.say(event("entered", "flash_and_test", order_id))
            assert eventually(lambda: len(world.at_hub()) == 3, within_s=WAIT_S)
    assert world.at_hub() == world.at_site()
    with connect(world.hub_url) as hub:
        assert list_refused(hub, SITE) == []
        assert list_conflicts(hub, SITE) == []


def test_what_its_stations_taught_a_site_reaches_its_hub_with_a_sign_of_life(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringroad.loop.sites.HEARD_S", 0.2)
    who: dict[str, Any] = {"actor": "tester", "now": CLOCK.now()}
    mother = read_plant((FIRST / "plant.toml").read_text("utf-8"))
    clone = replace(mother, identity=replace(mother.identity, id=SITE, parent=mother.id))
    for url in (world.hub_url, world.site_url):
        with connect(url) as conn, transaction(conn):
            for each in (mother, clone):
                save_plant(conn, IDS, plant=each, **who)
            choose_plant(conn, IDS, plant_id=SITE, programme_id=SITE, **who)
    order_id = world.ordered()
    with connect(world.site_url) as conn, transaction(conn):
        store_plant.start_order(conn, IDS, order_id=order_id, **who)
        time = StationTime(
            id="t", order_id=order_id, station="marriage", worked_ms=90_000, finished_at=CLOCK.now()
        )
        assert not take_times(conn, programme_id=SITE, delivered=[time], now=CLOCK.now()).refused
        said = sums_of_plant(conn, SITE)
    assert [each.n for each in said.own.values()] == [1]
    with running(world.logins, world.take, world.tell):
        assert eventually(lambda: world.told_sums() == said.own, within_s=WAIT_S)
    with connect(world.hub_url) as conn:
        assert list_refused(conn, SITE) == []


def test_no_other_site_makes_a_sites_message_vanish_by_saying_that_it_came_before(world: World) -> None:
    async def say_as_other() -> None:
        client = await nats.connect(world.hub.url())
        try:
            await client.jetstream().publish(
                up_subject("other"), b"{}", headers={"Nats-Msg-Id": f"{SITE}/1-1"}, timeout=10
            )
        finally:
            await client.close()

    order_id = world.ordered()
    with running(world.logins, world.take, world.fold):
        eventually_told(say_as_other)
        world.say(event("entered", "marriage", order_id))
        assert eventually(lambda: len(world.at_site()) == 1, within_s=WAIT_S)
        with running(world.tell):
            assert eventually(lambda: _heard(world).heard_at is not None, within_s=WAIT_S)
            assert eventually(lambda: len(world.at_hub()) == 1, within_s=10.0)


def told_without_a_note(world: World) -> None:
    """Tell the hub as a site does, and die before it is noted; so long ago that the hub's broker forgot."""

    async def tell() -> None:
        with connect(world.site_url) as conn:
            told = next_to_tell(conn, now=CLOCK.now())
        client = await open_link(world.site.url(), SITE)
        try:
            await client.jetstream().publish(up_subject(SITE), msgspec.json.encode(told))
        finally:
            await client.close()

    eventually_told(tell)


def eventually_told(tell: Callable[[], Any]) -> None:
    def once() -> bool:
        try:
            asyncio.run(tell())
        except (NatsError, JetStreamError):
            return False
        return True

    assert eventually(once, within_s=WAIT_S)


def test_a_site_speaks_and_hears_only_for_itself(world: World) -> None:
    async def look() -> tuple[set[Heard], list[Heard]]:
        site, hub = await open_link(world.site.url(), SITE), await nats.connect(world.hub.url())
        here, there = list[Heard](), list[Heard]()

        async def hear(message: Any) -> None:
            here.append((message.subject, message.data))

        async def hear_there(message: Any) -> None:
            there.append((message.subject, message.data))

        await site.subscribe("ringroad.>", cb=hear)
        await hub.subscribe("ringroad.>", cb=hear_there)
        await site.flush()
        await hub.flush()
        for subject in (
            "ringroad.site.v1.other.up",
            "ringroad.v1.VIN.telemetry",
            "ringroad.site.v1.wren.down",
        ):
            await site.publish(subject, b"of the site")
        for subject in ("ringroad.v1.VIN.wake", "ringroad.site.v1.other.down"):
            await hub.publish(subject, b"of the hub")
        await site.flush()
        await hub.flush()
        await hub.jetstream().publish(down_subject(SITE, "probe"), b"to fetch")
        elsewhere = ("ringroad.site.v1.other.up", "ringroad.v1.VIN.wake", "$JS.API.STREAM.PURGE.SITES_UP")
        for reply in elsewhere:  # a site that wants an answer elsewhere
            await site.publish(up_subject(SITE), b"of the site", reply=reply)
            await site.publish(f"$JS.hub.API.CONSUMER.MSG.NEXT.SITES_DOWN.{user_of(SITE)}", b"", reply=reply)
        await site.flush()
        await site.jetstream().publish(up_subject(SITE), b"of the site")  # whatever came before has arrived
        await hub.flush()
        with pytest.raises(JetStreamError):
            await site.jetstream(domain="hub").stream_info("SITES_UP")
        await site.close()
        await hub.close()
        return set(here), there

    with running(world.logins, world.take, world.tell, world.tell_site):
        assert eventually(lambda: _heard(world).heard_at is not None, within_s=WAIT_S)
        assert eventually(lambda: all_told(world), within_s=WAIT_S)
        here, there = asyncio.run(look())
    assert {subject for subject, said in there if said == b"of the site"} == {up_subject(SITE)}
    assert {subject for subject, said in here if said == b"of the hub"} == set()
    assert {subject for subject, _ in there if subject.startswith("ringroad.site.v1.other")} == {
        "ringroad.site.v1.other.down"
    }
    assert [said for subject, said in there if subject.endswith(".wake")] == [b"of the hub"]
    assert [said for _, said in there].count(b"to fetch") == 1  # as it was put into the stream


def test_what_the_hub_wants_built_reaches_a_site_also_after_it_was_cut_off(world: World) -> None:
    with connect(world.hub_url) as hub:
        kept, cancelled = an_order(hub), an_order(hub)
        with running(world.logins, world.tell_site, world.hear):
            assert eventually(lambda: states(world) == {kept: "open", cancelled: "open"}, within_s=WAIT_S)
        with transaction(hub):
            store_plant.cancel_order(
                hub, IDS, order_id=cancelled, reason="sold", actor="tester", now=CLOCK.now()
            )
        late = an_order(hub)
        with running(world.logins, world.tell_site, world.hear):
            assert eventually(
                lambda: states(world) == {kept: "open", cancelled: "cancelled", late: "open"}, within_s=WAIT_S
            )


def test_what_a_site_cannot_take_at_the_moment_it_hears_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = [Conflict("refused by a constraint")]

    def take(*args: Any) -> bool:
        if refusals:
            raise refusals.pop()
        return take_down(*args)

    monkeypatch.setattr("ringroad.loop.sites.take_down", take)
    with connect(world.hub_url) as hub:
        order_id = an_order(hub)
    with running(world.logins, world.tell_site, world.hear):
        assert eventually(lambda: states(world) == {order_id: "open"}, within_s=WAIT_S)


def all_told(world: World) -> bool:
    with connect(world.hub_url) as conn:
        return conn.execute("SELECT 1 FROM site_place WHERE name LIKE 'told/%'").fetchone() is not None


def states(world: World) -> dict[str, str]:
    with connect(world.site_url) as conn:
        return {each.id: each.state for each in store_plant.list_orders(conn, programme_id=SITE)}


def test_a_site_that_is_cut_off_bears_a_vehicle_with_the_release_it_holds_and_its_hub_has_it_once(
    world: World, tmp_path: Path
) -> None:
    with connect(world.hub_url) as hub:
        with transaction(hub):
            give_baseline(hub, blobs=world.blobs_of("hub"))
            publish_release(hub)
        order_id = an_order(hub)
        with transaction(hub):
            plan(hub)
    with running(world.logins, world.tell_site, world.hear, world.answer, world.fetch):
        assert eventually(lambda: ready(world, order_id), within_s=WAIT_S)
    world.hub.stop()
    try:
        vin, record = built_at(world, tmp_path)
        with connect(world.site_url) as conn:
            assert link_of(conn).births_waiting == 1
    finally:
        world.hub.start()
    assert verify_record(record, director_root=DIRECTOR_ROOT, vin=vin).signed["order"] == order_id
    with running(world.logins, world.take, world.tell):
        assert eventually(lambda: _heard(world).births_waiting == 0 and born(world) == [vin], within_s=WAIT_S)
        with connect(world.site_url) as conn:
            conn.execute("DELETE FROM site_place WHERE name = 'births'")  # killed before it was noted
        assert eventually(lambda: told_again(world), within_s=WAIT_S)
    with connect(world.hub_url) as hub:
        assert get_birth(hub, vin).raw == record
        assert [fact.kind for fact in read_facts(hub, subject=vin)] == [FactKind.VEHICLE_BORN]
        assert get_order(hub, order_id).vin == vin
        assert list_conflicts(hub, SITE) == []


def ready(world: World, order_id: str) -> bool:
    with connect(world.site_url) as conn:
        schedule = current_schedule(conn, SITE)
        return schedule is not None and list(schedule.document.sequence) == [order_id]


def built_at(world: World, folder: Path) -> tuple[str, bytes]:
    """Let the site's line build one vehicle through its own server; then let what it holds end, and see it stand."""
    token = add_account(world.site_url, "line", Role.OPERATOR)
    home = Surroundings(
        server_url="https://hub.example.com", mqtt_host="hub.example.com", mqtt_port=1883, ca_pem=b"ca",
        image_root=IMAGE_ROOT, director_root=DIRECTOR_ROOT,
    )  # fmt: skip
    births = list[Birth]()

    async def welcome(birth: Birth) -> None:
        births.append(birth)

    async def build(origin: str) -> None:
        async with httpx.AsyncClient(base_url=origin) as http:
            registrar = HttpRegistrar(Api(http, token, asyncio.sleep, attempts_max=1), SITE)
            line = PlantSettings(
                folder=folder / "vehicles", stations=2, takt_s=1, time_factor=100, durability="buffered",
                births="buffered", vin_plant=(await registrar.api.get("/site"))["vin_plant"],
            )  # fmt: skip
            plant = Plant(
                settings=line, registrar=registrar, surroundings=home, clock=CLOCK, secret=new_secret,
                vin_numbers=count(1), on_birth=welcome, sleep=_at_once,
            )  # fmt: skip
            assert await plant.run(births_max=1) == 1
            with connect(world.site_url) as conn:
                conn.execute("UPDATE site_trust SET at = at + interval '40 days'")
            with pytest.raises(Unavailable, match="that this site holds ended at"):
                await registrar.blueprint(variant="van", region="")
            shown = await registrar.api.get("/site")
            assert shown["births_waiting"] == 1
            assert [line["may_flash"] for line in shown["lines"]] == [False]

    (folder / "vehicles").mkdir()
    with serving(world.site_url, world.var) as origin:
        asyncio.run(build(origin))
    (birth,) = births
    return birth.vin, (birth.folder / "birth-record.json").read_bytes()


async def _at_once(_seconds: float) -> None:
    await asyncio.sleep(0)


def born(world: World) -> list[str]:
    with connect(world.hub_url) as conn:
        return [row["vin"] for row in conn.execute("SELECT vin FROM birth_record").fetchall()]


def told_again(world: World) -> bool:
    with connect(world.site_url) as conn:
        return conn.execute("SELECT 1 FROM site_place WHERE name = 'births'").fetchone() is not None


# What is taken, and what is not; without servers -----------------------------------------------------


@pytest.fixture
def hub(pg_url: str) -> Iterator[Connection]:
    with connect(pg_url) as conn:
        with transaction(conn):
            wren(conn)
            add_site(conn, IDS, site_id=SITE, token=TOKEN, actor="tester", now=CLOCK.now())
        yield conn


def told(*events: MesEvent, programme: str = SITE, form: int = UP_FORMAT, first: int = 1) -> Up:
    return Up(
        format=form, sent_at=CLOCK.now(), waiting=0, programme_id=programme,
        events=[
            SiteEvent(position=at, seq=at, received_at=CLOCK.now(), event=msgspec.Raw(msgspec.json.encode(each)))
            for at, each in enumerate(events, start=first)
        ],
    )  # fmt: skip


def take(conn: Connection, given: Up | bytes, site: str = SITE, seq: int = 1) -> None:
    payload = given if isinstance(given, bytes) else msgspec.json.encode(given)
    message = StreamMessage(subject=up_subject(site), payload=payload, seq=seq, received_at=CLOCK.now())
    with transaction(conn):
        take_told(conn, IDS, CLOCK, message)


def an_order(conn: Connection) -> str:
    with transaction(conn):
        return new_order(conn)


def test_an_order_that_was_cancelled_while_its_site_built_it_is_built_and_a_person_told(
    hub: Connection,
) -> None:
    order_id = an_order(hub)
    with transaction(hub):
        store_plant.cancel_order(hub, IDS, order_id=order_id, reason="sold", actor="tester", now=CLOCK.now())
    take(hub, told(event("entered", "marriage", order_id)))
    assert get_order(hub, order_id).state == "building"
    (found,) = list_conflicts(hub, SITE)
    assert (found.kind, found.subject) == ("order_cancelled", order_id)
    assert list_sites(hub)[0].conflicts == 1


def test_events_that_a_hub_lost_with_its_database_are_missed_and_named(hub: Connection) -> None:
    first, later = an_order(hub), an_order(hub)
    begun = told(event("entered", "marriage", first))
    take(hub, begun)
    take(hub, begun)  # again: no gap
    assert list_conflicts(hub, SITE) == []
    take(hub, told(event("left", "marriage", first), event("entered", "marriage", later), first=5))
    (found,) = list_conflicts(hub, SITE)
    assert (found.kind, "events 2 to 4" in found.reason) == ("gap", True)
    assert len(list_events(hub, SITE)) == 3


def test_what_the_hub_cannot_take_is_kept_and_named(hub: Connection) -> None:
    take(hub, told(event("entered", "marriage", "order_of_nobody")))
    (refused,) = list_refused(hub, SITE)
    assert "order_of_nobody" in refused.reason
    (found,) = list_conflicts(hub, SITE)
    assert found.kind == "event_refused"


def test_a_site_may_not_tell_of_anothers_line(hub: Connection) -> None:
    found = get_plant(hub, SITE).plant
    with transaction(hub):
        save_plant(
            hub,
            IDS,
            plant=replace(found, identity=replace(found.identity, id="elsewhere")),
            actor="tester",
            now=CLOCK.now(),
        )
        add_site(hub, IDS, site_id="elsewhere", token=TOKEN, actor="tester", now=CLOCK.now())
    mine = told(event("entered", "marriage", an_order(hub)))
    for at, programme in enumerate((SITE, "other", "another"), start=1):
        take(hub, msgspec.structs.replace(mine, programme_id=programme), site="elsewhere", seq=at)
    assert list_events(hub, SITE) == []
    assert list_refused(hub, SITE) == []  # nothing of it stands among what this line refused
    assert len(list_refused(hub, "elsewhere")) == 3
    assert [(each.kind, each.subject) for each in list_conflicts(hub, "elsewhere")] == [
        ("not_its_line", "elsewhere")
    ]


def test_no_site_fills_its_hub_with_what_cannot_be_taken(
    hub: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringroad.build.site.store_up.REFUSED_MAX", 2)
    monkeypatch.setattr("ringroad.build.site.store.CONFLICTS_MAX", 1)
    take(hub, told(form=2))
    for seq in range(1, 6):
        take(hub, told(event("entered", "marriage", "order_of_nobody"), programme="other"), seq=seq)
    assert len(list_refused(hub, SITE)) == 2
    assert [each.kind for each in list_conflicts(hub, SITE)] == ["newer_format"]


@pytest.mark.parametrize(("given", "code"), [(b"{", "unreadable"), (b'{"format": 1}', "unreadable")])
def test_a_message_that_is_none_is_kept(hub: Connection, given: bytes, code: str) -> None:
    take(hub, given)
    assert [each.code for each in list_refused(hub, SITE)] == [code]


@pytest.mark.parametrize("given", [b'{"format": 2}', b'{"format": 2, "waiting": "in other words"}'])
def test_of_a_site_newer_than_its_hub_nothing_is_taken_or_passed_and_it_is_heard_and_named(
    hub: Connection, given: bytes
) -> None:
    take(hub, given)
    assert list_refused(hub, SITE) == []  # the site keeps it
    assert [each.kind for each in list_conflicts(hub, SITE)] == ["newer_format"]
    (found,) = list_sites(hub)
    assert (found.speaks, found.heard_at is not None) == (2, True)
    take(hub, told())
    assert list_sites(hub)[0].speaks is None  # the hub was brought up to date


@pytest.mark.parametrize(
    ("said", "instead"),
    [
        ('"waiting":0', f'"waiting":{2**63}'),
        ('"position":1', f'"position":{2**63}'),
        ('"seq":1', f'"seq":{2**63}'),
        ('"programme_id":"wren"', r'"programme_id":"wr\u0000en"'),
        ('"programme_id":"wren"', f'"programme_id":"{"w" * 201}"'),
        (f'"received_at":"{CLOCK.now().year}', '"received_at":"0001'),
    ],
)
def test_what_the_database_cannot_keep_is_refused_before_it(hub: Connection, said: str, instead: str) -> None:
    given = msgspec.json.encode(told(event("entered", "marriage", an_order(hub)))).decode()
    assert said in given
    take(hub, given.replace(said, instead).encode())
    assert [each.code for each in list_refused(hub, SITE)] == ["unreadable"]
    assert list_events(hub, SITE) == []


def test_an_event_whose_order_cannot_be_is_refused_alone(hub: Connection) -> None:
    take(hub, told(event("entered", "marriage", "a\x00b"), event("entered", "marriage", an_order(hub))))
    assert len(list_events(hub, SITE)) == 1
    assert [each.code for each in list_refused(hub, SITE)] == ["unreadable"]


def test_a_site_that_was_removed_is_not_heard(hub: Connection) -> None:
    with transaction(hub):
        remove_site(hub, IDS, site_id=SITE, actor="tester", now=CLOCK.now())
    take(hub, told(event("entered", "marriage", an_order(hub))))
    assert list_events(hub, SITE) == []
    assert [each.code for each in list_refused(hub, SITE)] == ["no_site"]
    with lookup_in(lambda: hub) as lookup:
        assert lookup([user_of(SITE)]) == {}


def test_a_silent_site_is_cut_off_since_it_was_last_heard(hub: Connection) -> None:
    take(hub, told())
    (found,) = list_sites(hub)
    assert found.heard_at is not None
    assert found.cut_off_since(found.heard_at + timedelta(seconds=SILENT_S)) is None
    assert found.cut_off_since(found.heard_at + timedelta(seconds=SILENT_S + 1)) == found.heard_at


def test_a_site_never_forgets_what_its_hub_does_not_have(pg_url: str) -> None:
    with connect(pg_url) as conn:
        with transaction(conn):
            wren(conn)
            joined(conn, now=CLOCK.now())
        order_id = an_order(conn)
        messages = [
            StreamMessage(
                subject=f"ringroad.mes.v1.{SITE}", payload=msgspec.json.encode(each), seq=seq, received_at=CLOCK.now()
            )
            for seq, each in enumerate(
                [event("entered", "marriage", order_id), event("entered", "flash_and_test", order_id)], start=1
            )
        ]  # fmt: skip
        with transaction(conn):
            take_events(conn, IDS, CLOCK, programme_id=SITE, messages=messages)
        first = next_to_tell(conn, now=CLOCK.now())
        assert [each.position for each in first.events] == [1, 2]
        with transaction(conn):
            has_told(conn, replace_events(first, 1), now=CLOCK.now())
            forget(conn, SITE, now=CLOCK.now() + timedelta(days=2 * KEPT_DAYS))
        assert [each.position for each in next_to_tell(conn, now=CLOCK.now()).events] == [2]
        assert [each.position for each in list_events(conn, SITE)] == [2]


def replace_events(given: Up, count: int) -> Up:
    return msgspec.structs.replace(given, events=given.events[:count])


def test_an_admin_makes_a_plant_a_site_and_everybody_sees_how_it_is_connected(
    pg_url: str, tmp_path: Path
) -> None:
    with connect(pg_url) as conn, transaction(conn):
        wren(conn)
    ensure_pki(tmp_path / "pki", names=["localhost"], now=CLOCK.now())
    admin, viewer = (add_account(pg_url, role.value, role) for role in (Role.ADMIN, Role.VIEWER))
    with (
        serving(pg_url, tmp_path, leaf_port=7422) as origin,
        httpx.Client(base_url=f"{origin}/api/v1") as client,
    ):

        def ask(method: str, path: str, token: str = admin, **more: Any) -> httpx.Response:
            return client.request(method, path, headers={"Authorization": f"Bearer {token}"}, **more)

        assert ask("POST", "/sites", viewer, json={"plant_id": SITE}).status_code == 403
        assert ask("POST", "/sites", json={"plant_id": "nowhere"}).status_code == 404
        assert ask("POST", "/sites", json={"plant_id": "No.Name"}).status_code == 422
        made_first = ask("POST", "/sites", json={"plant_id": SITE}).json()
        assert ask("DELETE", f"/sites/{SITE}").status_code == 200
        with connect(pg_url) as conn, transaction(conn):
            on_line = new_order(conn)
            new_order(conn)
            store_plant.start_order(conn, IDS, order_id=on_line, actor="tester", now=CLOCK.now())
            begin_stop(
                conn, IDS, programme_id="wren", station="marriage", kind="breakdown", reason="robot 3",
                actor="tester", now=CLOCK.now(),
            )  # fmt: skip
        made = ask("POST", "/sites", json={"plant_id": SITE, "address": "hub.example.com:7422"}).json()
        given = read_credentials(made["credentials"], what="answer")
        assert (given.site, given.hub) == (SITE, "hub.example.com:7422")
        assert (made_first["on_line"], made_first["standing"]) == ([], [])
        assert (made["on_line"], made["standing"]) == ([on_line], ["marriage"])
        with lookup_in(lambda: connect(pg_url)) as lookup:
            assert lookup([user_of(SITE)]) == {user_of(SITE): hashlib.sha256(given.token.encode()).digest()}
        (shown,) = ask("GET", "/sites", viewer).json()
        assert (shown["id"], shown["connected"], shown["heard_at"]) == (SITE, False, None)
        assert (
            "never heard" in client.get(f"{origin}/plant", headers={"Authorization": f"Bearer {viewer}"}).text
        )
        assert ask("GET", f"/sites/{SITE}/conflicts", viewer).json() == []
        assert ask("GET", f"/sites/{SITE}/keys", viewer).json() == []
        revoke = f"/sites/{SITE}/keys/{'f' * 64}/revoke"
        assert ask("POST", revoke, viewer, json={"reason": "stolen"}).status_code == 403
        assert ask("POST", revoke, json={}).status_code == 400
        assert ask("POST", revoke, json={"reason": "stolen"}).status_code == 404
        with connect(pg_url) as conn, transaction(conn):
            certify(
                conn, IDS, SIGNERS.director_targets, site_id=SITE, key=public_key_dict(SITE_KEY), now=CLOCK.now()
            )  # fmt: skip
        (key,) = ask("GET", f"/sites/{SITE}/keys", viewer).json()
        assert ask("GET", "/sites").json()[0]["key_until"] == key["expires_at"]
        revoke = f"/sites/{SITE}/keys/{key['key_id']}/revoke"
        assert [ask("POST", revoke, json={"reason": "stolen"}).status_code for _ in range(2)] == [200, 409]
        (key,) = ask("GET", f"/sites/{SITE}/keys", viewer).json()
        assert (key["reason"], key["revoked_by"]) == ("stolen", "admin")
        (shown,) = ask("GET", "/sites").json()
        assert (shown["key_until"], shown["key_revoked"]) == (None, True)
        assert ask("GET", "/site", viewer).status_code == 404
        assert ask("DELETE", f"/sites/{SITE}").json()["state"] == "removed"
        assert ask("GET", f"/sites/{SITE}/conflicts").status_code == 404


def test_an_installation_that_hears_no_sites_makes_no_credentials(pg_url: str, tmp_path: Path) -> None:
    with connect(pg_url) as conn, transaction(conn):
        wren(conn)
    token = add_account(pg_url, "admin", Role.ADMIN)
    with serving(pg_url, tmp_path) as origin:
        answer = httpx.post(
            f"{origin}/api/v1/sites", json={"plant_id": SITE}, headers={"Authorization": f"Bearer {token}"}
        )
    assert (answer.status_code, "leaf_port" in answer.text) == (409, True)


# What a site does with what its hub says --------------------------------------------------------------


@pytest.fixture
def site(second_pg_url: str) -> Iterator[Connection]:
    """A site that knows of nothing."""
    with connect(second_pg_url) as conn:
        yield conn


def plan(conn: Connection) -> None:
    """Plan the line."""
    replan(
        conn, IDS, CLOCK, programme_id=SITE, cause="new_orders", actor="tester", triggered_s=CLOCK.monotonic_s()
    )  # fmt: skip


def give_baseline(
    conn: Connection, version: str = "1.0", *, before: int = 0, blobs: Blobs | None = None
) -> str:
    """Make a signed release for every ECU the line's baseline; return its id."""
    who: dict[str, Any] = {"actor": "tester", "now": CLOCK.now()}
    programme = get_programme(conn, SITE).programme
    if blobs is not None:
        for name in programme.ecus:
            blobs.put([f"{name} {version}".encode() * 100])
    ids = {
        name: store.add_package(
            conn, IDS, programme_id=SITE, ecu=name, name=name, image=read_image(f"{name} {version}".encode() * 100),
            version=version, release_counter=1, **who,
        ).id
        for name in programme.ecus
    }  # fmt: skip
    document = {
        "variants": {name: {ecu: ids[ecu] for ecu in each.ecus} for name, each in programme.variants.items()},
        "rxswins": {"braking": "R13H-0042"},
        "groups": [
            {"name": "all", "ecus": sorted(ids, key=lambda name: (programme.ecus[name].primary, name))}
        ],
    }
    release = store.create_release(
        conn, IDS, programme_id=SITE, name="first", version=version, document=document, **who
    )
    checked = store.check_release(conn, IDS, release_id=release.id, generation=1, **who)
    assert checked.state == "checked", checked.findings
    store.mark_signed(conn, IDS, release_id=release.id, generation=2, image_targets_version=1, **who)
    store.set_baseline(conn, IDS, programme_id=SITE, release_id=release.id, generation=before, **who)
    return release.id


def news(hub: Connection) -> list[Down]:
    """Return what the hub has to tell, and note that it did."""
    with transaction(hub):
        found = list(parts_to_tell(hub, SITE, now=CLOCK.now()))
        for part, digest, said in found:
            has_been_told(hub, SITE, part, digest, said, now=CLOCK.now())
    return [said for _, _, said in found]


def hears(conn: Connection, *said: Down) -> list[bool]:
    taken = []
    for each in said:
        again = msgspec.json.decode(msgspec.json.encode(each), type=Down)  # as it travels
        with transaction(conn):
            taken.append(take_down(conn, IDS, CLOCK, again))
    return taken


def test_a_site_learns_the_programme_its_orders_and_their_sequence(hub: Connection, site: Connection) -> None:
    orders = [an_order(hub) for _ in range(3)]
    with transaction(hub):
        replan(
            hub,
            IDS,
            CLOCK,
            programme_id=SITE,
            cause="new_orders",
            actor="tester",
            triggered_s=CLOCK.monotonic_s(),
        )
    assert all(hears(site, *news(hub)))
    assert {each.id for each in waiting_orders(site, programme_id=SITE)} == set(orders)
    assert get_programme(site, SITE).source == get_programme(hub, SITE).source
    assert news(hub) == []  # nothing is told twice


def test_a_site_builds_with_the_baseline_that_its_hub_has_and_keeps_to_its_sequence(
    hub: Connection, site: Connection
) -> None:
    with transaction(hub):
        give_baseline(hub)
        publish_release(hub)
    orders = [an_order(hub) for _ in range(4)]
    with transaction(hub):
        plan(hub)
    assert all(hears(site, *news(hub)))
    assert get_baseline(site, SITE) is None  # not before its images are there, and verified
    trusts(hub, site)
    for come in (
        set[str](),
        {package.image_sha256 for package in baseline_targets(hub, SITE, "van").values()},
    ):
        with transaction(site):
            taken = take_coming(site, IDS, CLOCK, is_here=come.__contains__)
        assert taken == ([SITE] if come else [])
    here, there = current_schedule(hub, SITE), current_schedule(site, SITE)
    assert here is not None
    assert there is not None
    assert set(there.document.sequence) == set(orders)
    assert there.document.sequence == here.document.sequence
    assert baseline_targets(site, SITE, "van") == baseline_targets(hub, SITE, "van")
    baseline = get_baseline(site, SITE)
    assert baseline
    assert baseline.rxswins == {"braking": "R13H-0042"}


def test_a_cancellation_that_comes_after_the_vehicle_entered_changes_nothing_at_the_site(
    hub: Connection, site: Connection
) -> None:
    begun, waiting = an_order(hub), an_order(hub)
    hears(site, *news(hub))
    with transaction(site):
        store_plant.start_order(site, IDS, order_id=begun, actor="tester", now=CLOCK.now())
    with transaction(hub):
        for each in (begun, waiting):
            store_plant.cancel_order(hub, IDS, order_id=each, reason="sold", actor="tester", now=CLOCK.now())
    hears(site, *news(hub))
    assert get_order(site, begun).state == "building"
    assert get_order(site, waiting).state == "cancelled"


def test_an_order_taken_at_a_site_is_not_cancelled_because_the_hub_knows_none(
    hub: Connection, site: Connection
) -> None:
    hears(site, *news(hub))
    own = an_order(site)
    an_order(hub)
    hears(site, *news(hub))
    assert get_order(site, own).state == "open"


def test_a_hub_unblocks_only_what_it_blocked(hub: Connection, site: Connection) -> None:
    hears(site, *news(hub))

    def block(conn: Connection, option: str) -> None:
        with transaction(conn):
            store_plant.block_option(
                conn, IDS, programme_id=SITE, option=option, reason="bad", actor="tester", now=CLOCK.now()
            )

    block(site, "van")
    block(hub, "tow_bar")
    hears(site, *news(hub))
    assert set(store_plant.blocked_options(site, programme_id=SITE)) == {"van", "tow_bar"}
    with transaction(hub):
        store_plant.unblock_option(
            hub, IDS, programme_id=SITE, option="tow_bar", actor="tester", now=CLOCK.now()
        )
    hears(site, *news(hub))
    assert set(store_plant.blocked_options(site, programme_id=SITE)) == {"van"}


def test_what_is_older_than_what_was_taken_changes_nothing(hub: Connection, site: Connection) -> None:
    first = news(hub)
    order_id = an_order(hub)
    second = news(hub)
    assert all(hears(site, *first, *second))
    assert hears(site, *first, *second) == [False] * (len(first) + len(second))
    assert get_order(site, order_id).state == "open"


@pytest.mark.parametrize(("says", "form"), [("", 1), ("time_zone", 2), ("inspects_all", 2)])
def test_a_plant_document_that_sites_of_before_refuse_waits_until_they_read_it(
    hub: Connection, site: Connection, says: str, form: int
) -> None:
    plant = read_plant((FIRST / "plant.toml").read_text("utf-8"))
    plant = replace(plant, identity=replace(plant.identity, id=SITE))
    if says == "time_zone":
        plant = replace(plant, identity=replace(plant.identity, time_zone="Europe/Oslo"))
    if says == "inspects_all":
        gate = next(path for path, kind, _ in plant.structure.things() if kind == "gate")
        decided = Posterior(family="share", n=20, total=19)
        every = {Key(gate, says, "variant=van"): decided}
        plant = replace(plant, parameters={**plant.parameters, **every})
    who: dict[str, Any] = {"actor": "tester", "now": CLOCK.now()}
    with transaction(hub):
        save_plant(hub, IDS, plant=plant, **who)
        choose_plant(hub, IDS, plant_id=SITE, programme_id=SITE, **who)
    said = news(hub)
    assert [each.format for each in said] == [form if each.plant else 1 for each in said]
    assert all(hears(site, *said))
    assert get_plant(site, SITE).plant == plant


def test_a_site_waits_for_what_it_does_not_understand_and_is_told_all_when_it_is_made_anew(
    hub: Connection, site: Connection
) -> None:
    said = news(hub)
    for form in (0, DOWN_FORMAT + 1):
        with pytest.raises(Unavailable, match=f"format {form}"):
            hears(site, msgspec.structs.replace(said[0], format=form))
    with pytest.raises(InvalidInput):
        hears(site, msgspec.structs.replace(said[0], source="nonsense ="))
    with pytest.raises(NotFound):
        get_programme(site, SITE)
    with transaction(hub):
        add_site(hub, IDS, site_id=SITE, token=TOKEN, actor="tester", now=CLOCK.now())
    assert len(news(hub)) == len(said)


def _heard(world: World) -> Any:
    with connect(world.hub_url) as conn:
        return get_site(conn, SITE)
