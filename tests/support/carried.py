"""A hub and a site that a person carries messages between: two databases, no broker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec

from ringroad.build.plant.store_events import list_events, take_events
from ringroad.build.site.lines import AGAIN_S, tell_lines_again
from ringroad.build.site.store import add_site, has_told, joined, list_conflicts, next_to_tell
from ringroad.build.site.store_births import trust_for
from ringroad.build.site.store_stops import take_back, what_stands
from ringroad.build.site.store_up import take_told
from ringroad.build.store_stops import begin_stop, end_stop
from ringroad.kernel.facts import FactKind
from ringroad.protocol.mes import MesEvent
from ringroad.protocol.site import Trust, Up, up_subject
from ringroad.storage.db import Connection, connect, transaction
from ringroad.storage.ledger import read_facts
from ringroad.storage.streams import StreamMessage
from support.mes import CLOCK, IDS, new_order, wren

SITE = "wren"  # a programme's own line is a plant of that name
WHO: dict[str, Any] = {"actor": "planner", "now": CLOCK.now()}
STOPPED, RESUMED = FactKind.STATION_STOPPED, FactKind.STATION_RESUMED


@dataclass
class Pair:
    """A hub and a site that a person carries messages between."""

    hub: Connection
    site: Connection
    seq: int = 0

    def say(self, *events: MesEvent) -> None:
        """Let stations speak; the site's line takes it."""
        messages = []
        for each in events:
            self.seq += 1
            messages.append(
                StreamMessage(
                    subject=f"ringroad.mes.v1.{SITE}", payload=msgspec.json.encode(each), seq=self.seq,
                    received_at=CLOCK.now(),
                )
            )  # fmt: skip
        with transaction(self.site):
            taken = take_events(self.site, IDS, CLOCK, programme_id=SITE, messages=messages)
        assert (taken.taken, taken.refused) == (len(events), 0)

    def ordered(self) -> str:
        with transaction(self.hub), transaction(self.site):
            order_id = new_order(self.hub)
            self.site.execute(
                "INSERT INTO plant_order (id, programme_id, variant, received_at) VALUES (%s, %s, 'van', %s)",
                [order_id, SITE, CLOCK.now()],
            )
        return order_id

    def stand(self, station: str, **more: Any) -> str:
        """Let a person at the site tell that a station stands."""
        with transaction(self.site):
            stop, new = begin_stop(
                self.site, IDS, programme_id=SITE, station=station, actor="planner", now=CLOCK.now(),
                **({"kind": "breakdown", "reason": "the gripper broke"} | more),
            )  # fmt: skip
        assert new
        return stop.id

    def go_on(self, stop_id: str) -> None:
        with transaction(self.site):
            end_stop(self.site, IDS, stop_id=stop_id, actor="planner", now=CLOCK.now())

    def told(self) -> list[Up]:
        """Return what the site has to tell, as it travels, up to a sign of life; the site notes that it was told."""
        found = []
        while True:
            up = next_to_tell(self.site, now=CLOCK.now())
            found.append(msgspec.json.decode(msgspec.json.encode(up), type=Up))
            with transaction(self.site):
                has_told(self.site, up, now=CLOCK.now())
            if not (up.events or up.stops or up.birth):
                return found

    def take(self, *given: Up) -> None:
        for each in given:
            with transaction(self.hub):
                take_told(self.hub, IDS, CLOCK, message(each))

    def reconcile(self) -> None:
        self.take(*self.told())

    def ask(self, *, later_s: int = AGAIN_S) -> list[str]:
        """Let the site ask about trust, and go back to where its hub says that it lacks something."""
        with transaction(self.hub):
            answer = trust_for(
                self.hub, IDS, None, site_id=SITE, key={}, now=CLOCK.now(), standing=what_stands(self.site)
            )
        given = msgspec.json.decode(msgspec.json.encode(answer), type=Trust)
        for raw in given.stops.get(SITE, []):
            with transaction(self.site):
                take_back(self.site, IDS, CLOCK, SITE, raw)
        with transaction(self.site):
            return tell_lines_again(self.site, given, now=CLOCK.now() + timedelta(seconds=later_s))

    def events(self) -> list[str]:
        return [each.event.id for each in reversed(list_events(self.hub, SITE))]

    def ledger(self) -> list[tuple[FactKind, Any]]:
        """Return what the hub's ledger says of stops: kind and station, in its order."""
        return [
            (each.kind, each.body["station"]) for each in read_facts(self.hub) if each.kind in {STOPPED, RESUMED}
        ]  # fmt: skip

    def kinds(self) -> list[str]:
        return [each.kind for each in list_conflicts(self.hub, SITE)]


def message(given: Up | bytes) -> StreamMessage:
    """Return a message of the site as the hub's stream has it."""
    payload = given if isinstance(given, bytes) else msgspec.json.encode(given)
    return StreamMessage(subject=up_subject(SITE), payload=payload, seq=1, received_at=CLOCK.now())


@contextmanager
def carried(hub_url: str, site_url: str) -> Iterator[Pair]:
    """Make a hub and a site of two databases."""
    with closing(connect(hub_url)) as hub, closing(connect(site_url)) as site:
        for conn in (hub, site):
            with transaction(conn):
                wren(conn)
        with transaction(hub):
            add_site(hub, IDS, site_id=SITE, token="t" * 43, **WHO)
        with transaction(site):
            joined(site, now=CLOCK.now())
        yield Pair(hub, site)


def event(kind: Any, station: str, order_id: str = "", **more: Any) -> MesEvent:
    """Return what a station says."""
    at = more.pop("at", CLOCK.now())
    return MesEvent(
        id=f"{kind}-{station}-{order_id}", kind=kind, station=station, order_id=order_id, at=at, **more
    )
