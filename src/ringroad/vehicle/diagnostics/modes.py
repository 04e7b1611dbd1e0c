"""Modes of an ECU that last: its diagnostic session, security access, fault setting, normal communication.

A mode holds for a time; TesterPresent keeps it, and when the time is over, or the person's session, or the vehicle is no longer
known to stand, the ECU is put back into its default session, which switches on again what was off.

Invariants:
    * No mode outlives `MODE_S_MAX` or its session, none is kept longer than a look (`KEEPALIVE_S`) while it is not allowed, and none is kept while an update is under way.
    * An ECU of which we are not sure is left alone: it falls back by itself within seconds (S3), or with the next look at its faults.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from typing import Any, Final

import msgspec

from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import InvalidInput, NotFound, RingroadError
from ringroad.protocol.diagnostics import MODE_VALUES
from ringroad.vehicle.agents.session import EcuSession
from ringroad.vehicle.uds import KEEPALIVE_S, Session

PROVEN: Final = {"security": "unlocked", "authentication": "authenticated"}  # by which of them, the ECU says
_REQUESTS: Final[dict[tuple[str, str], bytes]] = {
    ("dtcsetting", "on"): b"\x85\x01",
    ("dtcsetting", "off"): b"\x85\x02",
    ("commctrl", "enabled"): b"\x28\x00\x01",
    ("commctrl", "disabled"): b"\x28\x03\x01",
}

Line = Callable[[], AbstractAsyncContextManager[EcuSession]]


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """The modes in which one session keeps one ECU."""

    session: str
    expires_at: datetime
    values: dict[str, str]


class Modes:
    """The modes of one vehicle's ECUs, by component."""

    def __init__(
        self,
        clock: Clock,
        *,
        resting: Callable[[], bool],
        allowed: Callable[[str], bool],
        by_proof: Collection[str] = (),
    ) -> None:
        """Take a clock and whom to ask.

        Args:
            clock: the vehicle's.
            resting: whether no update is under way.
            allowed: whether a session may keep an ECU in a mode now.
            by_proof: components that have the mode authentication in place of security.
        """
        self._by_proof = by_proof
        self._clock = clock
        self._resting = resting
        self._allowed = allowed
        self._held: dict[str, Held] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}

    def of(self, component: str) -> list[dict[str, Any]]:
        """Return a component's modes as an answer lists them."""
        held = self._held.get(component)
        values = held.values if held is not None else {}
        until = {"mode_expiration": held.expires_at} if held is not None else {}
        return [
            {"id": mode, "value": values.get(mode, default), "values": [default, other], **until}
            for mode, (default, other) in MODE_VALUES.items()
            if mode != self._other_way(component)
        ]

    def _other_way(self, component: str) -> str:
        """Return the mode that an ECU has not, since it is unlocked by the other one."""
        return "security" if component in self._by_proof else "authentication"

    async def set(
        self,
        component: str,
        mode: str,
        value: str,
        *,
        session: str,
        expires_at: datetime,
        line: Line,
        changing: Line,
    ) -> None:
        """Put an ECU into a mode; anything but the default holds until it expires.

        Args:
            component: the ECU.
            mode: of it.
            value: the mode's new value.
            session: whose it is.
            expires_at: when the ECU falls back.
            line: gives the ECU alone.
            changing: the same, where the session may change it now.

        Raises:
            NotFound, InvalidInput: there is no such mode, or no such value.
            RingroadError: the ECU refused, or does not answer.
        """
        if mode not in MODE_VALUES or mode == self._other_way(component):
            known = ", ".join(each for each in MODE_VALUES if each != self._other_way(component))
            raise NotFound(f"{component} has no mode {mode[:40]!r}", hint=known)
        if value not in MODE_VALUES[mode]:
            raise InvalidInput(f"{mode} is {' or '.join(MODE_VALUES[mode])}", hint="name one of the two")
        if mode == "session" and value == "default":
            await self._end(component, line)
            return
        async with changing() as ecu:
            held = self._held.get(component)
            if held is None:
                await ecu.uds.session(Session.EXTENDED)
            if value == PROVEN.get(mode):
                await ecu.prove()
            elif mode in PROVEN:
                await _take_back(ecu)
            elif mode != "session":
                await ecu.uds.call(_REQUESTS[mode, value])
        values = {**(held.values if held is not None else {}), "session": "extended", mode: value}
        self._held[component] = Held(session=session, expires_at=expires_at, values=values)
        if component not in self._keepers:
            self._keepers[component] = asyncio.create_task(self._keep(component, line))

    @asynccontextmanager
    async def extended(self, component: str, ecu: EcuSession) -> AsyncIterator[None]:
        """Have an ECU in its extended session; afterwards its modes are what they were. The caller has its line alone."""
        held = self._held.get(component)
        if held is None:
            await ecu.uds.session(Session.EXTENDED)
        try:
            yield
        finally:
            with contextlib.suppress(RingroadError):
                if held is None:
                    await ecu.uds.session(Session.DEFAULT)
                elif not any(held.values.get(mode) == proven for mode, proven in PROVEN.items()):
                    await _take_back(ecu)

    def sessions(self) -> frozenset[str]:
        """Return the sessions that keep an ECU in a mode."""
        return frozenset(held.session for held in self._held.values())

    def drop(self, session: str) -> None:
        """Let the keepers of a session end at their next look."""
        for component, held in self._held.items():
            if held.session == session:
                self._held[component] = msgspec.structs.replace(held, expires_at=self._clock.now())

    async def end(self) -> None:
        """Keep nothing any more; each ECU falls back by itself."""
        tasks = list(self._keepers.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, component: str, line: Line) -> None:
        kept: EcuSession | None = None
        try:
            while self._resting() and self._may_last(self._held[component]):
                with contextlib.suppress(RingroadError):
                    async with line() as ecu:
                        kept = ecu
                        await ecu.uds.tester_present()
                await asyncio.sleep(KEEPALIVE_S)
        finally:
            if kept is not None and kept.uds.entered is Session.EXTENDED:
                kept.uds.entered = (
                    None  # whoever looks for its faults would keep it, and brings it back instead
                )
            self._keepers.pop(component, None)
            self._held.pop(component, None)
        if self._resting():
            await _default(line)

    def _may_last(self, held: Held) -> bool:
        return self._clock.now() < held.expires_at and self._allowed(held.session)

    async def _end(self, component: str, line: Line) -> None:
        keeper = self._keepers.pop(component, None)
        if keeper is not None:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
        self._held.pop(component, None)
        async with line() as ecu:
            await ecu.uds.session(Session.DEFAULT)


async def _take_back(ecu: EcuSession) -> None:
    """Let an ECU forget who proved what."""
    if ecu.access.key is None:
        await ecu.uds.session(Session.EXTENDED)  # any change of session locks the ECU again
    else:
        await ecu.uds.deauthenticate()


async def _default(line: Line) -> None:
    with contextlib.suppress(RingroadError):
        async with line() as ecu:
            await ecu.uds.session(Session.DEFAULT)
