"""One virtual ECU as a server: on a CAN bus, or DoIP with TCP for diagnostics and, when asked for, UDP for identification.

A DoIP server may be the entity in front of further ECUs; then a restart of one of them ends no connection.

Source: ISO 13400-2 (frames, routing activation, diagnostic messages, alive check, entity status).

Invariant: before routing activation no diagnostic message reaches the ECU.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final, cast

from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import InvalidInput, Unavailable
from ringroad.sim.canserver import write_port
from ringroad.sim.vecu.can import CanFace
from ringroad.sim.vecu.config import ServerConfig, read_config
from ringroad.sim.vecu.http import SovdFace
from ringroad.sim.vecu.medium import FileMedium, PowerCut
from ringroad.sim.vecu.port import EcuPort, Reply, Step
from ringroad.sim.vecu.script import Script, read_script
from ringroad.vehicle.canway import CanWay
from ringroad.vehicle.doip import (
    FUNCTIONAL_ADDRESS,
    PAYLOAD_BYTES_MAX,
    ROUTING_ACTIVATED,
    BadHeader,
    DiagnosticNack,
    FrameParser,
    HeaderNack,
    PayloadType,
    encode,
    encode_diagnostic,
)
from ringroad.vehicle.uds import NEGATIVE, Nrc

CONNECTIONS_MAX: Final = 8
ACTIVATION_S_MAX: Final = 2.0  # T_TCP_Initial_Inactivity
INACTIVITY_S_MAX: Final = 300.0  # T_TCP_General_Inactivity
ROUTING_SOCKETS_IN_USE: Final = 0x01
ROUTING_UNKNOWN_TYPE: Final = 0x06
_ORDER_S: Final = 1e-4  # keeps responses of one connection in order when one is late


class VecuServer:
    """Serves one ECU until closed.

    Args:
        config: of the process.
        clock: for sessions and lockouts.
    """

    def __init__(self, config: ServerConfig, *, clock: Clock) -> None:
        server = config.server
        script = read_script(config.path(server.script)) if server.script else Script()
        self.config = config
        self.medium = FileMedium(config.path(server.flash), fsync=server.fsync, alone=True)
        self.port = EcuPort(config.ecu, self.medium, clock=clock, script=script, seed=server.seed)
        self.behind = [VecuServer(read_config(config.path(name)), clock=clock) for name in server.behind]
        addresses = {one.config.server.logical_address for one in (self, *self.behind)}
        if len(addresses) != 1 + len(self.behind) or any(one.behind for one in self.behind):
            raise InvalidInput(
                "ECUs behind one entity have logical addresses of their own, and none behind them"
            )
        self.connections: set[_Connection] = set()
        self._tcp: asyncio.Server | None = None
        self._udp: asyncio.BaseTransport | None = None
        self._cycles: asyncio.Task[None] | None = None
        self._can: CanFace | None = None
        self._http: SovdFace | None = None

    async def start(self) -> int:
        """Listen, or join the bus; return the TCP port, 0 on CAN. Raises: Unavailable (the port is taken)."""
        server = self.config.server
        number = await self._listen() if self.config.can is None else await self._join(self.config.can)
        if server.cycle_s:
            self._cycles = asyncio.create_task(self._run_cycles(server.cycle_s))
        if server.port_file:
            write_port(self.config.path(server.port_file), number)
        return number

    async def _join(self, way: CanWay) -> int:
        self._can = CanFace(
            self.port,
            way.make_bus(),
            way.ecu(),
            functional_id=way.functional(),
            pending_s=self.config.server.pending_ms / 1000,
        )
        await self._can.start()
        return 0

    async def _listen(self) -> int:
        server = self.config.server
        loop = asyncio.get_running_loop()
        try:
            if server.http:
                self._http = SovdFace(self.port)
                return await self._http.start(server.host, server.port)
            self._tcp = await loop.create_server(lambda: _Connection(self), server.host, server.port)
        except OSError as error:
            raise Unavailable(
                f"port {server.port} on {server.host} cannot be used: {error.strerror}"
            ) from error
        number = int(self._tcp.sockets[0].getsockname()[1])
        if server.identification:
            self._udp, _ = await loop.create_datagram_endpoint(
                lambda: _Identification(self), local_addr=(server.host, number)
            )
        return number

    async def close(self) -> None:
        """Stop listening, drop connections, close the flash."""
        if self._cycles is not None:
            self._cycles.cancel()
            with suppress(asyncio.CancelledError):
                await self._cycles
        if self._can is not None:
            await self._can.close()
        if self._http is not None:
            await self._http.close()
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()
        for connection in tuple(self.connections):
            connection.drop()
        for one in (self, *self.behind):
            one.medium.close()

    def reached_at(self, address: int) -> list[tuple[int, EcuPort]]:
        """Return the ECUs that a logical address reaches through this entity, each with its own address."""
        return [
            (one.config.server.logical_address, one.port)
            for one in (self, *self.behind)
            if address in {one.config.server.logical_address, FUNCTIONAL_ADDRESS}
        ]

    def answer(self, payload_type: int, payload: bytes) -> bytes | None:
        """Answer what may be asked over UDP and TCP alike; None for anything else."""
        ecu, address = self.config.ecu, self.config.server.logical_address.to_bytes(2, "big")
        eid = ecu.serial.encode()[-6:].rjust(6, b"\0")
        vin = ecu.vin.encode()[:17].ljust(17, b"\0")
        match payload_type:
            case PayloadType.IDENTIFICATION_REQUEST:
                asked = True
            case PayloadType.IDENTIFICATION_REQUEST_EID:
                asked = payload == eid
            case PayloadType.IDENTIFICATION_REQUEST_VIN:
                asked = payload == vin
            case PayloadType.ENTITY_STATUS_REQUEST:
                counts = bytes((1, CONNECTIONS_MAX, len(self.connections)))
                return encode(
                    PayloadType.ENTITY_STATUS_RESPONSE, counts + PAYLOAD_BYTES_MAX.to_bytes(4, "big")
                )
            case PayloadType.POWER_MODE_REQUEST:
                return encode(PayloadType.POWER_MODE_RESPONSE, b"\x01")
            case PayloadType.ALIVE_CHECK_REQUEST:
                return encode(PayloadType.ALIVE_CHECK_RESPONSE, address)
            case _:
                return None
        response = vin + address + eid + eid + b"\x00"
        return encode(PayloadType.IDENTIFICATION_RESPONSE, response) if asked else b""

    async def _run_cycles(self, cycle_s: float) -> None:
        while True:
            await asyncio.sleep(cycle_s)
            for one in (self, *self.behind):
                try:
                    one.port.ecu.run_cycle()
                except PowerCut:
                    one.port.power_cycle()


class _Connection(asyncio.Protocol):
    """One tester."""

    def __init__(self, server: VecuServer) -> None:
        self._server = server
        self._address = server.config.server.logical_address
        self._pending_s = server.config.server.pending_ms / 1000
        self._parser = FrameParser()
        self._tester: int | None = None
        self._transport: asyncio.Transport | None = None
        self._free_at_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._heard_at_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
        self._server.connections.add(self)
        self._timer = self._loop.call_later(ACTIVATION_S_MAX, self._check_idle)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._server.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._heard_at_s = self._loop.time()
        try:
            frames = self._parser.feed(data)
        except BadHeader as error:
            self._write(encode(PayloadType.GENERIC_NACK, bytes((error.nack,))))
            self.close()
            return
        for payload_type, payload in frames:
            if payload_type == PayloadType.DIAGNOSTIC_MESSAGE:
                self._diagnose(payload)
            elif payload_type == PayloadType.ROUTING_ACTIVATION_REQUEST:
                self._activate(payload)
            elif payload_type != PayloadType.ALIVE_CHECK_RESPONSE:
                answer = self._server.answer(payload_type, payload)
                if answer is None:
                    answer = encode(PayloadType.GENERIC_NACK, bytes((HeaderNack.UNKNOWN_PAYLOAD_TYPE,)))
                self._write(answer)

    def close(self) -> None:
        """Send what is due, then close."""
        if self._transport is not None:
            self._transport.close()

    def drop(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _activate(self, payload: bytes) -> None:
        if len(payload) not in {7, 11}:
            self._write(encode(PayloadType.GENERIC_NACK, bytes((HeaderNack.INVALID_PAYLOAD_LENGTH,))))
            self.close()
            return
        code = ROUTING_ACTIVATED
        if payload[2] not in {0x00, 0x01}:
            code = ROUTING_UNKNOWN_TYPE
        elif len(self._server.connections) > CONNECTIONS_MAX:
            code = ROUTING_SOCKETS_IN_USE
        body = payload[:2] + self._address.to_bytes(2, "big") + bytes((code,)) + bytes(4)
        self._write(encode(PayloadType.ROUTING_ACTIVATION_RESPONSE, body))
        if code == ROUTING_ACTIVATED:
            self._tester = int.from_bytes(payload[:2], "big")
        else:
            self.close()

    def _diagnose(self, payload: bytes) -> None:
        if self._tester is None or len(payload) < 5:
            self.close()
            return
        source, target = int.from_bytes(payload[:2], "big"), int.from_bytes(payload[2:4], "big")
        back = payload[2:4] + payload[:2]
        if source != self._tester:
            self._refuse(back, DiagnosticNack.INVALID_SOURCE_ADDRESS)
            self.close()
            return
        reached = self._server.reached_at(target)
        if not reached:
            self._refuse(back, DiagnosticNack.UNKNOWN_TARGET_ADDRESS)
            return
        ack = encode(PayloadType.DIAGNOSTIC_ACK, back + b"\x00")
        for address, port in reached:
            steps = port.exchange(payload[4:], functional=target == FUNCTIONAL_ADDRESS)
            if port.alive:
                self._carry_out(ack, steps, address)
                ack = b""
            elif not self._server.behind:
                self.drop()
                return
            elif target != FUNCTIONAL_ADDRESS:
                self._refuse(back, DiagnosticNack.TARGET_UNREACHABLE)

    def _refuse(self, back: bytes, why: DiagnosticNack) -> None:
        self._write(encode(PayloadType.DIAGNOSTIC_NACK, back + bytes((why,))))

    def _carry_out(self, ack: bytes, steps: list[Step], address: int) -> None:
        """Write acknowledgement and an ECU's responses, at once where nothing is late."""
        now_s = self._loop.time()
        at_s = max(now_s, self._free_at_s)
        burst = ack
        for step in steps:
            if not isinstance(step, Reply) and self._server.behind:
                continue  # who restarts behind an entity takes no connection with it
            if not isinstance(step, Reply):
                self._later(at_s, now_s, burst)
                if at_s > now_s:
                    self._loop.call_at(at_s + _ORDER_S, self.close)
                else:
                    self.close()
                return
            frame = encode_diagnostic(address, self._tester or 0, step.payload)
            if step.delay_ms:
                self._later(at_s, now_s, burst)
                at_s += _ORDER_S + step.delay_ms / 1000
                burst = b""
            burst += frame
            if self._pending_s and step.payload[0] == NEGATIVE and step.payload[2] == Nrc.RESPONSE_PENDING:
                self._later(at_s, now_s, burst)
                at_s += _ORDER_S + self._pending_s
                burst = b""
        self._later(at_s, now_s, burst)
        self._free_at_s = at_s + _ORDER_S if at_s > now_s else 0.0

    def _later(self, at_s: float, now_s: float, data: bytes) -> None:
        if not data:
            return
        if at_s <= now_s:
            self._write(data)
        else:
            self._loop.call_at(at_s, self._write, data)

    def _write(self, data: bytes) -> None:
        if self._transport is not None and data:
            self._transport.write(data)

    def _check_idle(self) -> None:
        idle_s = self._loop.time() - self._heard_at_s
        if self._tester is None or idle_s >= INACTIVITY_S_MAX:
            self.close()
            return
        self._timer = self._loop.call_later(INACTIVITY_S_MAX - idle_s, self._check_idle)


class _Identification(asyncio.DatagramProtocol):
    """Vehicle identification and entity status over UDP."""

    def __init__(self, server: VecuServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Python 3.11's own datagram transport is no asyncio.DatagramTransport, so isinstance would say no.
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        try:
            frames = FrameParser().feed(data)
        except BadHeader:
            return
        for payload_type, payload in frames[:1]:
            answer = self._server.answer(payload_type, payload)
            if answer and self._transport is not None:
                self._transport.sendto(answer, addr)
