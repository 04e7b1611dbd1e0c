"""Cyclic subscriptions: data of a component read again and again, for a while, and told to whoever asked for it.

A subscription belongs to a session and ends with it; what it reads is shown, never kept for long: the newest values stay in
memory for a listener that comes a moment later.

Invariants:
    * Every subscription ends: by its duration, its session, its own end, or an update that begins.
    * The line to an ECU is held for one reading at a time, so that others get their turn.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound, RingroadError
from ringroad.protocol.diagnostics import SAMPLES_MAX
from ringroad.vehicle.diagnostics.tree import whole, words

SUBSCRIPTIONS_MAX: Final = 4  # of one session
ALL_MAX: Final = 8  # of one vehicle
DATA_MAX: Final = 8  # identifiers of one subscription
INTERVAL_S_MIN: Final = 1
INTERVAL_S_MAX: Final = 60
DURATION_S: Final = 60  # s, when the request does not say
DURATION_S_MAX: Final = 600
KEPT_MAX: Final = 60  # events for a listener that comes later
KEPT_BYTES_MAX: Final = 256 * 1024  # bytes of JSON; of these events, of one subscription
VALUE_BYTES_MAX: Final = (
    9 * 1024
)  # bytes of JSON; an identifier of UDS has at most 4 KiB, in hex; eight fit one answer

Event = dict[str, Any]
Read = Callable[
    [str, str, str], Awaitable[Any]
]  # session, component, identifier -> value; raises RingroadError
Tell = Callable[[str, str, Event], None]  # session, subscription, event


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """What is read, how often, until when."""

    id: str
    component: str
    session: str
    data: tuple[str, ...]
    interval: int  # s
    until: datetime
    status: str = "running"
    ended_by: str = ""


@dataclass(slots=True)
class _Running:
    what: Subscription
    events: deque[Event] = field(default_factory=deque)
    sizes: deque[int] = field(default_factory=deque)  # bytes of each
    count: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Subscriptions:
    """The subscriptions of one vehicle, those that are over too until their session is."""

    def __init__(self, clock: Clock, read: Read, *, allowed: Callable[[str], bool]) -> None:
        """Take a clock, how a value is read, and whether a session may still read."""
        self._clock = clock
        self._read = read
        self._allowed = allowed
        self._known: dict[str, _Running] = {}
        self.tell: Tell = lambda _session, _id, _event: None  # of the link, which publishes

    def start(
        self,
        subscription_id: str,
        component: str,
        body: dict[str, Any],
        *,
        session: str,
        expires_at: datetime,
        parse: Callable[[str], str],
    ) -> Subscription:
        """Begin to read; `parse` returns an identifier of this component as it is read, or raises NotFound.

        Raises:
            InvalidInput, NotFound: it asks for nothing, for too much, or too often.
            Conflict: there are enough.
        """
        said = body.get("data")
        data = said.split(",") if isinstance(said, str) else words(body, "data") or []
        if not 1 <= len(data) <= DATA_MAX or len(set(data)) != len(data):
            raise InvalidInput(f"data lists 1 to {DATA_MAX} identifiers, each once")
        interval = whole(body, "interval", default=INTERVAL_S_MIN, least=INTERVAL_S_MIN, most=INTERVAL_S_MAX)
        duration = whole(body, "duration", default=DURATION_S, least=INTERVAL_S_MIN, most=DURATION_S_MAX)
        ids = tuple(parse(each) for each in data)
        running = [each for each in self._known.values() if each.what.status == "running"]
        own = [each for each in running if each.what.session == session]
        if len(own) >= SUBSCRIPTIONS_MAX or len(running) >= ALL_MAX:
            raise Conflict(
                "there are enough subscriptions", code="too_many_subscriptions", hint="end one first"
            )
        made = Subscription(
            id=subscription_id, component=component, session=session, data=ids, interval=interval,
            until=min(self._clock.now() + timedelta(seconds=duration), expires_at),
        )  # fmt: skip
        for key in [key for key, each in self._known.items() if each.what.status != "running"][:-ALL_MAX]:
            del self._known[key]
        one = _Running(made)
        self._known[made.id] = one
        one.task = asyncio.create_task(self._run(one))
        return made

    def of(self, component: str, session: str) -> list[Subscription]:
        """Return a session's subscriptions of a component."""
        found = [each.what for each in self._known.values()]
        return [each for each in found if (each.component, each.session) == (component, session)]

    def get(self, component: str, subscription_id: str, session: str) -> Subscription:
        """Return one of a session's subscriptions. Raises: NotFound."""
        return self._find(component, subscription_id, session).what

    async def stop(self, component: str, subscription_id: str, session: str) -> Subscription:
        """End one. Raises: NotFound."""
        one = self._find(component, subscription_id, session)
        self._end(one, "stopped")
        if one.task is not None:
            one.task.cancel()
            await asyncio.gather(one.task, return_exceptions=True)
        return one.what

    def sessions(self) -> set[str]:
        """Return the sessions that have one, over or not."""
        return {each.what.session for each in self._known.values()}

    def drop(self, session: str) -> None:
        """End and forget those of a session."""
        for key, one in list(self._known.items()):
            if one.what.session == session:
                self._end(one, "session over")
                if one.task is not None:
                    one.task.cancel()
                del self._known[key]

    async def end(self) -> None:
        """End all; the vehicle shuts down."""
        tasks = [each.task for each in self._known.values() if each.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def follow(self, component: str, subscription_id: str, session: str) -> AsyncIterator[Event]:
        """Give the events that are kept, and those that come, until the subscription is over. Raises: NotFound."""
        one = self._find(component, subscription_id, session)
        seen = 0
        while True:
            one.news.clear()
            over = one.what.status != "running"
            new = [each for each in one.events if each["number"] > seen]
            for event in new:
                seen = event["number"]
                yield event
            if new:
                continue  # more may have come, and the end too, while they were told
            if over:
                return
            await one.news.wait()

    def _find(self, component: str, subscription_id: str, session: str) -> _Running:
        one = self._known.get(subscription_id)
        if one is None or (one.what.component, one.what.session) != (component, session):
            raise NotFound(
                "you have no such subscription, or it was before a restart of the vehicle",
                hint="subscribe again",
            )
        return one

    async def _run(self, one: _Running) -> None:
        what = one.what
        why = "over"
        try:
            while self._clock.now() < what.until and one.count < SAMPLES_MAX:
                if not self._allowed(what.session):
                    why = "session over"
                    return
                values: dict[str, Any] = {}
                for each in what.data:
                    try:
                        values[each] = _bounded(await self._read(what.session, what.component, each))
                    except RingroadError as error:
                        values[each] = {"error": error.code}
                one.count += 1
                event = {"number": one.count, "at": self._clock.now().isoformat(), "values": values}
                _keep(one, event)
                self.tell(what.session, what.id, event)
                one.news.set()
                await asyncio.sleep(what.interval)
        finally:
            self._end(one, why)

    def _end(self, one: _Running, why: str) -> None:
        if one.what.status == "running":
            one.what = msgspec.structs.replace(one.what, status="ended", ended_by=why)
        one.news.set()


def _bounded(value: Any) -> dict[str, Any]:
    if len(msgspec.json.encode(value)) > VALUE_BYTES_MAX:
        return {"error": "too_large"}
    return {"value": value}


def _keep(one: _Running, event: Event) -> None:
    """Keep an event for whoever listens later; the oldest go where there are too many, or too many bytes."""
    one.events.append(event)
    one.sizes.append(len(msgspec.json.encode(event)))
    while len(one.events) > KEPT_MAX or (len(one.events) > 1 and sum(one.sizes) > KEPT_BYTES_MAX):
        one.events.popleft()
        one.sizes.popleft()
