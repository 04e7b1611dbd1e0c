"""`ringroad plant opcua`: hear the stations of a plant on an OPC UA server, and tell what happens there as events.

asyncua is imported when the bridge starts: ``pip install 'ringroad[opcua]'``. It is LGPL, and a separate library.

Invariant: an event is dropped only after the server has it; while the server does not answer, the newest values wait.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import click
import httpx
import msgspec

from ringroad.build.plant.model import Plant
from ringroad.build.plant.opcua import NodeChange, StationSeen, by_time, events_of, in_order
from ringroad.build.plant.read import plant_from_document
from ringroad.cli.client import Client
from ringroad.cli.groups import access_of, example, with_client
from ringroad.cli.shell import Shell
from ringroad.cli.simulated import run_until_told
from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import InvalidInput, RingroadError, Unavailable
from ringroad.kernel.plurals import counted
from ringroad.protocol.mes import MesEvent
from ringroad.sim.api import TIMEOUT_S, Api

CHANGES_MAX: Final = (
    10_000  # changes that wait for the server; then the bridge starts again from current values
)
TOGETHER_MAX: Final = 500  # events per request
GATHER_S: Final = 0.1  # s in which changes of several nodes are put in the order in which they happened
PUBLISH_MS: Final = 50.0  # ms between two notifications of the OPC UA server
QUEUE_VALUES: Final = 100  # values of one node between two notifications
RETRY_S: Final = 1.0
CONNECT_S: Final = 10.0

_LOST = (OSError, TimeoutError, asyncio.TimeoutError, ConnectionError)


@click.command("opcua", epilog=example("ringroad plant opcua opc.tcp://10.0.0.7:4840 --plant wren-mother"))
@click.argument("url")
@click.option("--plant", required=True, help="The plant whose stations are bound to nodes.")
@click.option("--programme", help="The vehicle programme of the line; default: the only one that it builds.")
@click.option(
    "--security", metavar="POLICY,MODE,CERT,KEY",
    help="For example Basic256Sha256,SignAndEncrypt,cert.der,key.pem; default: none.",
)  # fmt: skip
@with_client
def opcua(
    shell: Shell, client: Client, *, url: str, plant: str, programme: str | None, security: str | None
) -> None:
    """Subscribe to the stations' nodes on the OPC UA server at URL, and tell what happens there.

    Which node says what stands in the plant document, under [bindings]. Ctrl-C ends it; a new start tells nothing
    twice.
    """
    row = client.get(f"/plants/{plant}")
    found = plant_from_document(row["document"], what=f"plant {plant}")
    stations, programme = bound_stations(found, programme)
    access = access_of(shell)
    shell.say(f"hearing {counted(sum(map(len, stations.values())), 'node')} of {plant} at {url}")

    async def work(stop: asyncio.Event) -> None:
        async with httpx.AsyncClient(
            base_url=access.address.url, verify=access.verify, timeout=TIMEOUT_S, trust_env=False
        ) as http:
            bridge = Bridge(
                url=url, stations=stations, programme=programme, security=security, clock=shell.clock,
                api=Api(http, access.token or "", asyncio.sleep), say=shell.say,
            )  # fmt: skip
            await bridge.run(stop)
            shell.show(
                {"told": bridge.told, "unread": bridge.unread}, text=f"{counted(bridge.told, 'event')} told"
            )

    run_until_told(work)


def bound_stations(plant: Plant, programme: str | None) -> tuple[dict[str, Mapping[str, str]], str]:
    """Return the nodes of a programme's stations by name, and the programme. Raises: InvalidInput."""
    lines = [line for line in plant.structure.lines if line.programme and programme in (None, line.programme)]
    if len(lines) != 1:
        said = ", ".join(line.programme for line in plant.structure.lines if line.programme) or "none"
        raise InvalidInput(
            f"plant {plant.id} has {len(lines)} such lines", hint=f"--programme; it builds {said}"
        )
    line = lines[0]
    found = {
        cell.name: plant.bindings[path]
        for cell in line.stations
        if (path := (line.area, line.name, cell.name)) in plant.bindings
    }
    if not found:
        raise InvalidInput(
            f"no station of {line.name} is bound to a node",
            hint='[bindings."AREA/LINE/STATION"] in the plant document; docs/reference/plant-document.md',
        )
    says: dict[str, str] = {}
    for station, nodes in found.items():
        for what, node in nodes.items():
            other = says.setdefault(node, f"{station}: {what}")
            if other != f"{station}: {what}":
                raise InvalidInput(
                    f"{node} is bound twice: to {other}, and to {station}: {what}",
                    hint="a node says one thing of one station; mend [bindings] in the plant document",
                )
    return found, line.programme


@dataclass(slots=True, kw_only=True)
class Bridge:
    """Hears an OPC UA server and tells our own.

    Attributes:
        url: of the OPC UA server.
        stations: nodes by station and by what each says.
        programme: whose line it is.
        api: of our server.
        clock: for values whose server gives no time.
        say: tells a person.
        security: as asyncua reads it; None for none.
        told: events that our server has.
        unread: values that have no meaning, the newest of them.
    """

    url: str
    stations: Mapping[str, Mapping[str, str]]
    programme: str
    api: Api
    clock: Clock
    say: Callable[[str], None]
    security: str | None = None
    told: int = 0
    unread: list[str] = field(default_factory=list)
    _seen: dict[str, StationSeen] = field(default_factory=dict)
    _untold: list[MesEvent] = field(default_factory=list)

    async def run(self, stop: asyncio.Event) -> None:
        """Hear and tell until `stop` is set, through lost connections. Raises: Unavailable, without asyncua."""
        asyncua, errors = _asyncua()
        lost = (*_LOST, errors.UaError)
        while not stop.is_set() and not await self._know():
            await _pause(stop, RETRY_S)
        while not stop.is_set():
            changes: asyncio.Queue[NodeChange] = asyncio.Queue(CHANGES_MAX)
            try:
                client = asyncua.Client(self.url, timeout=CONNECT_S)
                if self.security:
                    await client.set_security_string(self.security)
                async with client:
                    await self._subscribe(client, changes)
                    await self._tell(client, changes, stop)
            except lost as error:
                self.say(f"{self.url} does not answer, trying again: {error or type(error).__name__}")
                await _pause(stop, RETRY_S)

    async def _know(self) -> bool:
        """Begin with what the server knows of the line, so that what ended while nobody heard is told, too."""
        try:
            state = await self.api.get(f"/programmes/{self.programme}/line-state")
        except RingroadError as error:
            self.say(f"the line's state cannot be read, trying again: {error.message}")
            return False
        self._seen = {
            row["name"]: StationSeen(order=next(iter(row["inside"]), ""), stopped=row["stopped"])
            for row in state["stations"]
        }
        return True

    async def _subscribe(self, client: Any, changes: asyncio.Queue[NodeChange]) -> None:
        named = {
            node: (station, what) for station, nodes in self.stations.items() for what, node in nodes.items()
        }
        handler = _Handler(
            named={client.get_node(node).nodeid: names for node, names in named.items()},
            changes=changes,
            clock=self.clock,
        )
        subscription = await client.create_subscription(PUBLISH_MS, handler)
        heard = await subscription.subscribe_data_change(
            [client.get_node(node) for node in named], queuesize=QUEUE_VALUES
        )
        for (node, (station, what)), result in zip(named.items(), heard, strict=True):
            if not isinstance(result, int):  # a status in place of the handle of what is heard
                self.say(f"{station}: {what} is not heard: {self.url} says {result.name} of {node}")

    async def _tell(self, client: Any, changes: asyncio.Queue[NodeChange], stop: asyncio.Event) -> None:
        """Tell changes in the order in which they happened. Raises what a lost connection does."""
        while not stop.is_set():
            if changes.full():
                raise TimeoutError(f"{CHANGES_MAX} changes wait: starting again from current values")
            if changes.empty() and not self._untold:
                await _pause(stop, GATHER_S)
                await client.check_connection()
                continue
            await asyncio.sleep(GATHER_S)
            heard: list[NodeChange] = []
            while not changes.empty() and len(heard) + len(self._untold) < CHANGES_MAX:
                heard.append(changes.get_nowait())
            for change in by_time(heard):
                self._take(change)
            self._untold = in_order(self._untold)
            try:
                some = self._untold[:TOGETHER_MAX]
                if some:
                    body = {"events": [msgspec.to_builtins(event) for event in some]}
                    await self.api.post_once(f"/programmes/{self.programme}/mes-events", body)
                    self.told += len(some)
                    del self._untold[: len(some)]
            except RingroadError as error:
                self.say(f"{counted(len(self._untold), 'event')} wait: {error.message}")
                await _pause(stop, RETRY_S)

    def _take(self, change: NodeChange) -> None:
        events, seen, why = events_of(change, self._seen.get(change.station, StationSeen()))
        self._seen[change.station] = seen
        self._untold += events
        if why:
            self.say(why)
            self.unread = [*self.unread, why][-100:]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Handler:
    """What asyncua calls with each new value."""

    named: Mapping[Any, tuple[str, str]]
    changes: asyncio.Queue[NodeChange]
    clock: Clock

    def datachange_notification(self, node: Any, value: Any, data: Any) -> None:
        station, what = self.named[node.nodeid]
        told = data.monitored_item.Value
        at: datetime = told.SourceTimestamp or told.ServerTimestamp or self.clock.now()
        if not self.changes.full():  # `_tell` starts again from current values then
            self.changes.put_nowait(
                NodeChange(
                    station=station,
                    node=what,
                    value="" if value is None or value is False else str(value),
                    at=at if at.tzinfo else at.replace(tzinfo=UTC),
                )
            )

    def status_change_notification(self, status: Any) -> None:
        """Nothing: a lost connection is seen by `check_connection`."""


def _asyncua() -> tuple[Any, Any]:
    try:
        return importlib.import_module("asyncua"), importlib.import_module("asyncua.ua")
    except ImportError as error:
        raise Unavailable("OPC UA needs asyncua", hint="pip install 'ringroad[opcua]'") from error


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
