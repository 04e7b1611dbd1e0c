"""Writing one value of an ECU: what it held before, the write, and what it holds then.

1. Prove to the ECU that this vehicle may: the key of 0x27, or the proof of 0x29 (`EcuSession.prove`).
2. Read what it holds (0x22): without the old value nothing is written.
3. Write (0x2E).
4. Read it again: an ECU that took the value and does not hold it is told as that.

Invariant: whatever becomes of the write, its answer names the value that was there before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ringroad.kernel.errors import Conflict, Forbidden, Unavailable
from ringroad.vehicle.agents.session import EcuSession
from ringroad.vehicle.uds import NegativeResponse
from ringroad.vehicle.writable import Writable


class NotConfirmed(Unavailable):
    """Nobody knows whether it was written. `values` are those of an answer."""

    def __init__(self, did: int, before: bytes) -> None:
        super().__init__(
            f"whether {did:04X} was written is not known; before it was {before.hex()}",
            code="not_confirmed", hint="read it again, then decide",
        )  # fmt: skip
        self.values = {"before_raw": before.hex()}


class NotKept(Conflict):
    """The ECU holds something else than what it took. `values` are those of an answer."""

    def __init__(self, data: bytes, before: bytes, now: bytes) -> None:
        super().__init__(
            f"the ECU took {data.hex()} and holds {now.hex()}; before it was {before.hex()}", code="not_kept"
        )
        self.values = {"before_raw": before.hex(), "raw": now.hex()}


def require_writable(writes: Mapping[int, Writable], component: str, did: int) -> Writable:
    """Return what may be written. Raises: Forbidden, the vehicle's configuration does not allow it."""
    found = writes.get(did)
    if found is None:
        allowed = ", ".join(f"{each:04X}" for each in sorted(writes)) or "nothing"
        raise Forbidden(
            f"{did:04X} of {component} is not to be written by this vehicle's configuration",
            code="not_writable", hint=f"of {component} may be written: {allowed}",
        )  # fmt: skip
    return found


async def write_value(ecu: EcuSession, writable: Writable, data: bytes) -> dict[str, Any]:
    """Write one value in an extended session, and return it with the one before.

    Raises:
        NegativeResponse: the ECU refused; it holds what it held.
        NotKept: it holds something else than what was written.
        NotConfirmed, Unavailable: it does not answer.
    """
    await ecu.prove()
    before = await ecu.uds.read(writable.did)
    try:
        await ecu.uds.write(writable.did, data)
        now = await ecu.uds.read(writable.did)
    except NegativeResponse:
        raise
    except Unavailable as error:
        raise NotConfirmed(writable.did, before) from error
    if now != data:
        raise NotKept(data, before, now)
    return {
        "data": writable.decode(now), "raw": now.hex(),
        "before": writable.decode(before), "before_raw": before.hex(),
    }  # fmt: skip
