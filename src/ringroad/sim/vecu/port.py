"""An ECU and the wire in front of it: what a script breaks between tester and ECU, sans I/O.

The DoIP server and the in-memory channel both carry out the steps this returns.

Invariant: an ECU that died never answers again in this process; power cuts end in a restart from flash.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ringroad.kernel.clock import Clock
from ringroad.sim.vecu.config import EcuConfig
from ringroad.sim.vecu.ecu import VirtualEcu
from ringroad.sim.vecu.medium import Medium, PowerCut, TornMedium
from ringroad.sim.vecu.script import Script, Trouble

BOOTS_MAX: Final = 3  # power cuts in a row while booting; a script can make one


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """Send this response, after `delay_ms`."""

    payload: bytes
    delay_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HangUp:
    """Break the connection."""


Step = Reply | HangUp


class EcuPort:
    """One powered ECU behind its wire.

    Args:
        config: what the ECU is.
        medium: its flash.
        clock: for sessions and lockouts.
        script: what goes wrong.
        seed: of every draw.

    Raises:
        Corrupt: the flash is not this ECU's.
    """

    __slots__ = ("_seen", "alive", "ecu", "medium", "script")

    def __init__(
        self, config: EcuConfig, medium: Medium, *, clock: Clock, script: Script | None = None, seed: int = 0
    ) -> None:
        self.script = script or Script()
        torn = self.script.torn_write
        self.medium = medium
        if torn is not None:
            self.medium = TornMedium(
                medium,
                cut_at_write=torn.at,
                keep_permille=torn.keep_permille,
                stays_dark=torn.stays_dark,
            )
        self.ecu = VirtualEcu(config, self.medium, clock=clock, script=self.script, seed=seed)
        self.alive = True
        self._seen = [0] * len(self.script.transport)
        self.power_cycle()

    @property
    def outstanding(self) -> list[str]:
        """What the script has for this process and did not happen to its end yet, in words."""
        found = [
            f"{trouble.kind} at request {trouble.at} of {f'service 0x{trouble.service:02X}' if trouble.service else 'any service'}"
            for trouble, seen in zip(self.script.transport, self._seen, strict=True)
            if seen < trouble.at + trouble.times - 1
        ]
        if isinstance(self.medium, TornMedium) and self.medium.cut_at_write is not None:
            before = self.medium.writes < self.medium.cut_at_write
            found += [f"loss of power in flash write {self.medium.cut_at_write}"] if before else []
        return found

    def follow(self, script: Script) -> None:
        """From now on go wrong as this script says; its torn write is not obeyed, since power is on."""
        self.script = self.ecu.script = script
        self._seen = [0] * len(script.transport)

    def power_cycle(self) -> None:
        """Take power away and give it back; an ECU that cannot start any more is dead."""
        for _ in range(BOOTS_MAX):
            try:
                self.ecu.power_on()
                return
            except PowerCut:
                continue
        self.alive = False

    def exchange(self, request: bytes, *, functional: bool = False) -> list[Step]:
        """Let the ECU answer one request; return what the wire does about it."""
        if not self.alive or not request:
            return []
        trouble = self._trouble(request[0])
        match trouble:
            case Trouble(kind="die"):
                self.alive = False
                return [HangUp()]
            case Trouble(kind="drop_request"):
                return []
            case Trouble(kind="hang_up"):
                return [HangUp()]
            case Trouble(kind="nrc"):
                return [Reply(payload=bytes((0x7F, request[0], trouble.nrc)))]
            case Trouble(kind="reset"):
                self.power_cycle()
                return [HangUp()]
            case _:
                pass
        try:
            responses = self.ecu.handle(request, functional=functional)
        except PowerCut:
            self.power_cycle()
            return [HangUp()]
        delay_ms = trouble.delay_ms if trouble is not None and trouble.kind == "delay" else 0
        steps: list[Step] = [Reply(payload=response, delay_ms=delay_ms) for response in responses]
        if trouble is not None and trouble.kind == "drop_response":
            steps = []
        if trouble is not None and trouble.kind == "duplicate":
            steps += steps[-1:]
        if self.ecu.reset_due:
            self.power_cycle()
            steps.append(HangUp())
        return steps

    def _trouble(self, service: int) -> Trouble | None:
        found = None
        for index, trouble in enumerate(self.script.transport):
            if trouble.service in {0, service}:
                self._seen[index] += 1
                if found is None and trouble.at <= self._seen[index] < trouble.at + trouble.times:
                    found = trouble
        return found
