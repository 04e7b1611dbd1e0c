"""The sheet of one ECU in the bulk data: what it is, its data, and its faults with what surrounded each.

Invariants:
    * What an ECU refuses costs its own line alone, which stands with the reason.
    * An ECU that no longer answers is asked no further; what it told stays.
    * Nothing is asked for that is named as a position; a line says of each that it was left out.
    * What its lines are of is bounded: no further is asked than one file of bulk data holds, and data leave room for faults.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, TypeVar

import msgspec

from ringroad.kernel.errors import NotFound, RingroadError
from ringroad.protocol.diagnostics import BULK_BYTES_MAX
from ringroad.vehicle.agents.base import EcuInventory, Failed
from ringroad.vehicle.diagnostics import data as did_data
from ringroad.vehicle.diagnostics.faults import fault_status, plain
from ringroad.vehicle.diagnostics.places import names_position
from ringroad.vehicle.diagnostics.ways import Way
from ringroad.vehicle.uds import NegativeResponse, Nrc
from ringroad.vehicle.writable import Writable

UPDATING: Final = "updating"  # code of what is refused while an update is under way: no line's matter
FAULTS_MAX: Final = (
    256  # of one ECU that are told with what surrounded them; the rest with their status alone
)
MASK_ALL: Final = 0xFF
DATA_BYTES_MAX: Final = BULK_BYTES_MAX // 2  # bytes of lines in JSON, behind which no more data are asked for
AROUND_BYTES_MAX: Final = (
    BULK_BYTES_MAX // 4 * 3
)  # bytes, behind which faults are told with their status alone
_SILENT: Final = frozenset(
    {"unreachable", "timeout", "connection_lost"}
)  # codes of an ECU that does not answer

Body = dict[str, Any]
T = TypeVar("T")


async def sheet_of(
    entry: Body,
    alone: Callable[[], AbstractAsyncContextManager[Way]],
    writes: Mapping[int, Writable],
) -> list[Body]:
    """Return the lines of an ECU's sheet.

    Args:
        entry: the first: the ECU itself.
        alone: gives the ECU for one question, so that others get their turn.
        writes: what may be written into it, by identifier.

    Raises:
        Conflict: an update began meanwhile.
    """
    sheet = _Sheet(entry, alone)
    await sheet.data(writes)
    await sheet.faults()
    return sheet.lines


def standing(answer: EcuInventory | Failed) -> Body:
    """Return how an ECU stands by its answer. Pure."""
    if isinstance(answer, Failed):
        return {"state": "Offline", "reason": f"{answer.reason}: {answer.detail}".rstrip(": ")}
    running = answer.running
    return {
        "state": "Online",
        "mode": answer.mode,
        "software_version": running.version if running else "",
        "image_sha256": running.sha256 if running else "",
        "faults": len(answer.faults),
    }


async def read_datum(way: Way, data_id: str, writes: Mapping[int, Writable]) -> Body:
    """Return one value; of what may be written with what may be written. Raises: as `Way.read`."""
    told = await way.read(data_id)
    writable = writes.get(int(data_id, 16)) if "raw" in told else None
    if writable is not None:
        value = writable.decode(bytes.fromhex(told["raw"]))
        told |= {**did_data.describe(writable.did, writes), "data": value}
    return told


async def read_fault(way: Way, code: str) -> Body:
    """Return a fault with what surrounded it. Raises: as `Way.fault`."""
    found, status, around = await way.fault(code)
    return {**plain(fault_status(found, status)), "environment_data": around}


class _Sheet:
    """The lines so far."""

    def __init__(self, entry: Body, alone: Callable[[], AbstractAsyncContextManager[Way]]) -> None:
        self.lines = [entry]
        self._bytes = _size(entry)
        self._alone = alone
        self._silent = False

    async def data(self, writes: Mapping[int, Writable]) -> None:
        """Ask for all that has a name."""

        async def listed(way: Way) -> list[Body]:
            return did_data.listed(await way.data(), None, writes)

        found = await self._asked({"id": "data"}, listed) or []
        for count, each in enumerate(found):
            if self._silent:
                break
            if self._bytes > DATA_BYTES_MAX:
                self._add({"id": "data", "left_out": f"{len(found) - count} more: there is no room for them"})
                break
            named = {"id": str(each["id"]), "name": str(each["name"])}
            if any(names_position(name) for name in named.values()):
                self._add({**named, "left_out": "named as a position"})
            else:
                await self._told(named, lambda way, key=named["id"]: read_datum(way, key, writes))  # type: ignore[misc]

    async def faults(self) -> None:
        """Ask for the fault memory, and for what surrounded each fault."""
        codes = await self._asked({"id": "faults"}, lambda way: way.faults(MASK_ALL)) or []
        for count, (code, status) in enumerate(codes):
            if count < FAULTS_MAX and self._bytes <= AROUND_BYTES_MAX:
                await self._told({"code": code}, lambda way, code=code: read_fault(way, code))  # type: ignore[misc]
            else:
                self._add(plain(fault_status(code, status)))

    async def _told(self, what: Body, question: Callable[[Way], Awaitable[Body]]) -> None:
        line = await self._asked(what, question)
        if line is not None:
            self._add(line)

    async def _asked(self, what: Body, question: Callable[[Way], Awaitable[T]]) -> T | None:
        """Ask one question; what is refused is a line, and what the ECU has not at all is none."""
        if self._silent:
            return None
        try:
            async with self._alone() as way:
                return await question(way)
        except RingroadError as error:
            if error.code == UPDATING:
                raise
            if not _has_not(error):
                self._add({**what, "error": {"code": error.code, "message": error.message}})
            self._silent = error.code in _SILENT
        return None

    def _add(self, line: Body) -> None:
        self.lines.append(line)
        self._bytes += _size(line)


def _size(line: Body) -> int:
    return len(msgspec.json.encode(line))


def _has_not(error: RingroadError) -> bool:
    out_of_range = isinstance(error, NegativeResponse) and error.nrc == Nrc.REQUEST_OUT_OF_RANGE
    return out_of_range or isinstance(error, NotFound)
