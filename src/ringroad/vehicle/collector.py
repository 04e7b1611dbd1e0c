"""Samples and faults on their way to the server: stored first, then forwarded over MQTT.

Each collection makes one numbered batch, a file in ``telemetry/``; the file goes when the broker has acknowledged it
(QoS 1). What is offline stays; what is sent twice is recognised by its number.

Invariants:
    * A batch is durable before it is offered to the broker, and gone only after the broker's acknowledgement.
    * A number is never used for two batches, whatever restarts.
    * Over the bound, the oldest samples go first, faults only when no samples are left; what goes is counted
      and told in the next batch as the sample `DROPPED_PATH`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import aiomqtt
import msgspec
import structlog

from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import Corrupt, RingroadError, Unavailable
from ringroad.kernel.limits import TELEMETRY_BATCH_MAX
from ringroad.kernel.vin import Vin
from ringroad.protocol.diagnostics import ANSWER_TOPIC, REQUEST_TOPIC
from ringroad.protocol.vehicle import FaultEvent, Sample, TelemetryBatch
from ringroad.vehicle.backoff import backoff_s
from ringroad.vehicle.ending import end_if_cancelled
from ringroad.vehicle.files import Durability, replace_file
from ringroad.vehicle.told_faults import ToldFaults

QUEUE_BYTES_MAX: Final = 8 * 1024**2  # bytes; a week offline at one small batch a minute
SENT_NAME: Final = "acknowledged"
TOLD_NAME: Final = "faults"
DROPPED_PATH: Final = (
    "Vehicle.Ringroad.Telemetry.Dropped"  # samples and faults lost so far, in an overlay of VSS
)
KEEPALIVE_S: Final = 120  # s; MQTT pings of an idle vehicle
PUBLISH_S_MAX: Final = 30.0  # s; for the broker's acknowledgement
INCOMING_MAX: Final = 128  # messages read and not yet looked at; the server sends again what was dropped
_SUFFIX: Final = ".json"

_log = structlog.get_logger(__name__)


class _Sent(msgspec.Struct, frozen=True, kw_only=True):
    batch: int = 0  # highest number ever acknowledged
    dropped: int = 0  # samples and faults lost to the bound, over all time


class TelemetryQueue:
    """Batches on disk, oldest first."""

    def __init__(self, folder: Path, *, bytes_max: int = QUEUE_BYTES_MAX, durability: Durability) -> None:
        """Read what an earlier life left.

        Raises:
            Corrupt: the file of acknowledged numbers does not read back.
        """
        self._folder = folder
        self._bytes_max = bytes_max
        self._durability: Durability = durability
        folder.mkdir(parents=True, exist_ok=True)
        self.told = ToldFaults(folder / TOLD_NAME, durability=durability)
        self._sent = _Sent()
        if (folder / SENT_NAME).exists():
            try:
                self._sent = msgspec.json.decode((folder / SENT_NAME).read_bytes(), type=_Sent)
            except msgspec.MsgspecError as error:
                raise Corrupt(
                    "the telemetry queue does not read back", hint="remove the folder telemetry"
                ) from error
        sizes = {_number(path): path.stat().st_size for path in folder.glob(f"*{_SUFFIX}")}
        self._sizes = dict(sorted(sizes.items()))
        self._bytes = sum(sizes.values())
        self._newest = max([self._sent.batch, *sizes])

    def __len__(self) -> int:
        return len(self._sizes)

    @property
    def dropped(self) -> int:
        """Samples and faults lost to the bound, over all time."""
        return self._sent.dropped

    def put(self, make: Callable[[int], TelemetryBatch]) -> int:
        """Store the batch that `make` returns for the next number; return the number.

        Raises:
            Unavailable: the disk is full.
        """
        number = self._newest + 1
        batch = make(number)
        self.told.expect(batch.faults)
        self._store(number, batch)
        self._newest = number
        self.told.stored(batch.faults)
        self._shrink()
        return number

    def oldest(self) -> tuple[int, bytes] | None:
        """Return the number and content of the batch to send next, or None."""
        for number in self._sizes:
            return number, self._path(number).read_bytes()
        return None

    def acknowledge(self, number: int) -> None:
        """Forget a batch that the broker has."""
        if number > self._sent.batch:
            # Before the file goes: else its number could be given again.
            self._remember(_Sent(batch=number, dropped=self._sent.dropped))
        self._forget(number)

    def _shrink(self) -> None:
        """Drop the oldest samples, and if that is not enough the oldest batches, until the bound holds."""
        dropped = 0
        for number in list(self._sizes)[:-1]:  # never the batch that was just stored
            if self._bytes <= self._bytes_max:
                break
            batch = self._read(number)
            if batch.samples:
                dropped += len(batch.samples)
                self._keep_faults(number, batch)
        for number in list(self._sizes)[:-1]:
            if self._bytes <= self._bytes_max:
                break
            dropped += len(self._read(number).faults)
            self._forget(number)
        if dropped:
            self._remember(_Sent(batch=self._sent.batch, dropped=self._sent.dropped + dropped))

    def _keep_faults(self, number: int, batch: TelemetryBatch) -> None:
        if batch.faults:
            self._store(number, msgspec.structs.replace(batch, samples=[]))
        else:
            self._forget(number)

    def _store(self, number: int, batch: TelemetryBatch) -> None:
        content = msgspec.json.encode(batch)
        replace_file(self._path(number), content, durability=self._durability)
        self._bytes += len(content) - self._sizes.get(number, 0)
        self._sizes[number] = len(content)

    def _forget(self, number: int) -> None:
        self._path(number).unlink(missing_ok=True)
        self._bytes -= self._sizes.pop(number, 0)

    def _read(self, number: int) -> TelemetryBatch:
        return msgspec.json.decode(self._path(number).read_bytes(), type=TelemetryBatch)

    def _remember(self, sent: _Sent) -> None:
        content = msgspec.json.encode(sent)
        replace_file(self._folder / SENT_NAME, content, durability=self._durability)
        self._sent = sent

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:012d}{_SUFFIX}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """Where the MQTT broker is and who we are to it."""

    host: str
    port: int
    token: str
    tls: ssl.SSLContext | None = None


class Link(Protocol):
    """What else travels over the vehicle's connection: requests in, answers out, neither kept here."""

    answers: asyncio.Queue[bytes]

    def connected(self) -> None:
        """Hear that the connection was opened, before it is served; never waits, never raises."""
        ...

    def take(self, payload: bytes) -> None:
        """Take a request; never waits, never raises."""
        ...


class Collector:
    """Collects into a queue and drains it to the broker."""

    def __init__(
        self, *, vin: Vin, queue: TelemetryQueue, clock: Clock, fraction: Callable[[], float]
    ) -> None:
        self._vin = vin
        self._queue = queue
        self._clock = clock
        self._fraction = fraction
        self._stored = asyncio.Event()
        self.online = False

    @property
    def told(self) -> Mapping[str, Sequence[str]]:
        """Return which fault codes were told as there, by ECU, also by an earlier life."""
        return self._queue.told.codes

    def collect(
        self,
        samples: Sequence[Sample],
        faults: Sequence[FaultEvent],
        *,
        software: dict[str, str],
        release: str,
    ) -> int:
        """Make what was observed durable as one batch and return its number.

        Raises:
            Unavailable: the disk is full.
        """
        now = self._clock.now()
        told = list(samples[: TELEMETRY_BATCH_MAX - 1])
        if self._queue.dropped:
            told.append(Sample(at=now, path=DROPPED_PATH, value=self._queue.dropped))
        number = self._queue.put(
            lambda batch: TelemetryBatch(
                vin=self._vin, batch=batch, made_at=now, software=software, release=release,
                samples=told, faults=list(faults[:TELEMETRY_BATCH_MAX]),
            )
        )  # fmt: skip
        self._stored.set()
        return number

    async def run(self, broker: Broker, *, wake: Callable[[], None], link: Link | None = None) -> None:
        """Drain the queue whenever the broker is there, until cancelled.

        Args:
            broker: where to publish.
            wake: called when the server asks for a poll now.
            link: takes diagnostic requests and gives their answers; None: the vehicle hears none.
        """
        failures = 0
        while True:
            try:
                async with self._connect(broker) as client:
                    await self._serve(client, wake, link)
            except (aiomqtt.MqttError, OSError, TimeoutError, RingroadError) as error:
                failures = 1 if self.online else failures + 1
                _log.debug("vehicle.telemetry_offline", vin=self._vin, reason=str(error))
            finally:
                self.online = False
            end_if_cancelled()
            await asyncio.sleep(backoff_s(failures, fraction=self._fraction()))

    def _connect(self, broker: Broker) -> aiomqtt.Client:
        return aiomqtt.Client(
            broker.host, broker.port, identifier=self._vin, username=self._vin, password=broker.token,
            keepalive=KEEPALIVE_S, tls_context=broker.tls, timeout=PUBLISH_S_MAX,
            max_queued_incoming_messages=INCOMING_MAX,
        )  # fmt: skip

    async def _serve(self, client: aiomqtt.Client, wake: Callable[[], None], link: Link | None) -> None:
        # At most once, both: NATS makes a durable consumer for each subscription at least once, and ends it again with
        # each connection. Together they stall it when a fleet comes back. Who connects polls anyway.
        await client.subscribe(f"ringroad/v1/{self._vin}/wake", qos=0)
        if link is not None:
            # The server sends a request again until it is answered. An older server refuses this.
            await client.subscribe(f"ringroad/v1/{self._vin}/{REQUEST_TOPIC}", qos=0)
            link.connected()
        end_if_cancelled()
        self.online = True
        wake()  # what the server said while we were away was said to nobody
        # No task group: one that fails in the moment it is cancelled forgets the cancel, and we would serve on.
        tasks = [
            asyncio.create_task(self._drain(client)),
            asyncio.create_task(_listen(client, wake, link)),
            *([asyncio.create_task(self._reply(client, link))] if link is not None else []),
        ]
        try:
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in ended:
            task.result()

    async def _drain(self, client: aiomqtt.Client) -> None:
        topic = f"ringroad/v1/{self._vin}/telemetry"
        while True:
            self._stored.clear()
            while (oldest := self._queue.oldest()) is not None:
                number, content = oldest
                await client.publish(topic, content, qos=1, timeout=PUBLISH_S_MAX)
                self._queue.acknowledge(number)
            end_if_cancelled()
            await self._stored.wait()

    async def _reply(self, client: aiomqtt.Client, link: Link) -> None:
        topic = f"ringroad/v1/{self._vin}/{ANSWER_TOPIC}"
        while True:
            # What is lost with a connection is asked for again.
            await client.publish(topic, await link.answers.get(), qos=1, timeout=PUBLISH_S_MAX)
            end_if_cancelled()


async def _listen(client: aiomqtt.Client, wake: Callable[[], None], link: Link | None) -> None:
    async for message in client.messages:
        if link is not None and str(message.topic).endswith(REQUEST_TOPIC):
            link.take(message.payload)
        else:
            wake()
    raise Unavailable("the broker closed the connection")


def _number(path: Path) -> int:
    try:
        return int(path.name.removesuffix(_SUFFIX))
    except ValueError as error:
        raise Corrupt(f"{path.name} does not belong into the telemetry queue", hint="remove it") from error
