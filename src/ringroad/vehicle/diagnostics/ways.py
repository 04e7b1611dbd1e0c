"""How diagnostics ask one ECU: over UDS, or, where it speaks none, by what its update agent knows of it.

Both are the same to whoever asks. What an ECU's agent cannot do is refused with ``not_offered``, and what it can is listed in
`offers`, so that nobody has to try. The caller has the ECU alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol, TypeVar

import msgspec

from ringroad.kernel.errors import Conflict, NotFound, RingroadError, Unavailable
from ringroad.vehicle.agents.base import (
    DataAgent,
    EcuInventory,
    Failed,
    FaultMemoryAgent,
    OperatingAgent,
    UpdateAgent,
)
from ringroad.vehicle.agents.session import EcuSession, Refusal
from ringroad.vehicle.agents.verbs import UdsAgent
from ringroad.vehicle.agents.wire import Did
from ringroad.vehicle.diagnostics import data as did_data
from ringroad.vehicle.diagnostics.faults import (
    Extended,
    SnapshotRecord,
    parse_extended,
    parse_snapshots,
    plain,
)
from ringroad.vehicle.diagnostics.operations import OPERATIONS
from ringroad.vehicle.diagnostics.places import names_position
from ringroad.vehicle.uds import Nrc, dtc_bytes

Body = dict[str, Any]
T = TypeVar("T")
Codes = list[tuple[str, int]]  # code and status byte

DATA: Final = "data"
FAULTS: Final = "faults"
CLEAR: Final = "clear"
OPERATE: Final = "operations"
MODES: Final = "modes"
WRITES: Final = "writes"
ALL: Final = (DATA, FAULTS, CLEAR, OPERATE, MODES, WRITES)
STATE_ID: Final = (
    "software-state"  # what an agent knows beside identification: what is staged, and what is on trial
)
DATUM_BYTES_MAX: Final = (
    64 * 1024
)  # bytes of JSON; of one value that an ECU tells by a name of its own, and of what surrounded a fault
_KNOWN: Final = (Did.SERIAL, Did.HARDWARE, Did.SOFTWARE_VERSION, Did.IMAGE_SHA256, Did.COMMITTED_COUNTER)
_OF_INVENTORY: Final = frozenset(f"{did:04X}" for did in _KNOWN)


class NotOffered(NotFound):
    """The ECU's agent cannot do it."""

    def __init__(self, name: str, what: str, offers: tuple[str, ...]) -> None:
        super().__init__(
            f"{name} speaks no UDS, and its update agent offers no {what}", code="not_offered",
            hint=f"{name} offers {', '.join(offers)}",
        )  # fmt: skip


class _Environment(msgspec.Struct, frozen=True, kw_only=True):
    """What surrounded a fault, as an ECU that is not asked over UDS tells it."""

    snapshots: list[SnapshotRecord] = []
    extended_data: Extended = Extended()


class Way(Protocol):
    """One ECU as diagnostics ask it. Raises, beside what is said: Unavailable, it does not answer; Conflict, it refuses."""

    @property
    def offers(self) -> tuple[str, ...]:
        """What it can be asked for, of `ALL`."""
        ...

    @property
    def operations(self) -> tuple[str, ...]:
        """Which of `OPERATIONS` it can do."""
        ...

    @property
    def uds(self) -> EcuSession:
        """The ECU, for modes and writes. Raises: NotOffered."""
        ...

    async def identify(self) -> None:
        """Make sure that the ECU of the inventory answers. Raises: Conflict, it is another."""
        ...

    def parse(self, data_id: str) -> str:
        """Return an identifier as this ECU has it. Raises: NotFound, it can have none like that."""
        ...

    async def data(self) -> list[Body]:
        """List its data, beside what may be written."""
        ...

    async def read(self, data_id: str) -> Body:
        """Return one value of it, with what it is. Raises: NotFound."""
        ...

    async def faults(self, mask: int) -> Codes:
        """Return the codes with a bit of the mask."""
        ...

    async def fault(self, code: str) -> tuple[str, int, Body]:
        """Return one code, its status, and what surrounded it. Raises: NotFound."""
        ...

    async def clear(self, code: str) -> None:
        """Clear one code, or with an empty one all. Raises: NotFound, NotOffered."""
        ...

    async def operate(self, operation: str) -> Body:
        """Do one operation, and return its result. Raises: NotOffered."""
        ...


def way_to(name: str, agent: UpdateAgent, known: EcuInventory | None = None) -> Way:
    """Return how an ECU is asked; `known` is what it told of itself a moment ago."""
    return UdsWay(name, agent.ecu) if isinstance(agent, UdsAgent) else AgentWay(name, agent, known)


class UdsWay:
    """An ECU that speaks UDS."""

    offers = ALL
    operations = tuple(OPERATIONS)

    def __init__(self, name: str, ecu: EcuSession) -> None:
        self._name, self.uds = name, ecu

    async def identify(self) -> None:
        """Ask for its serial number."""
        try:
            await self.uds.identify()
        except Refusal as refusal:
            raise _refused(refusal.failed) from refusal

    def parse(self, data_id: str) -> str:
        """Return four hex digits."""
        return f"{did_data.parse_did(data_id):04X}"

    async def data(self) -> list[Body]:
        """List what is known by name; nothing of it is asked of the ECU."""
        return [did_data.describe(did, {}) for did in did_data.KNOWN]

    async def read(self, data_id: str) -> Body:
        """ReadDataByIdentifier (0x22)."""
        did = did_data.parse_did(data_id)
        data = await self.uds.uds.read(did)
        return {**did_data.describe(did, {}), "data": did_data.read_value(did, data), "raw": data.hex()}

    async def faults(self, mask: int) -> Codes:
        """ReadDTCInformation (0x19 02)."""
        return await self.uds.uds.faults(status_mask=mask)

    async def fault(self, code: str) -> tuple[str, int, Body]:
        """ReadDTCInformation (0x19 04 and 06)."""
        dtc = dtc_bytes(code)
        try:
            snapshots = await self.uds.uds.call(b"\x19\x04" + dtc + b"\xff")
            extended = await self.uds.uds.call(b"\x19\x06" + dtc + b"\xff")
        except RingroadError as error:
            raise self._no_fault(code, error) from error
        found, status, records = parse_snapshots(snapshots)
        return found, status, {"snapshots": plain(records), "extended_data": plain(parse_extended(extended))}

    async def clear(self, code: str) -> None:
        """ClearDiagnosticInformation (0x14)."""
        try:
            await self.uds.uds.call(b"\x14" + (dtc_bytes(code) if code else b"\xff\xff\xff"))
        except RingroadError as error:
            raise (self._no_fault(code, error) if code else error) from error

    async def operate(self, operation: str) -> Body:
        """ECUReset (0x11), RoutineControl (0x31)."""
        try:
            return await OPERATIONS[operation][1](self.uds)
        except Refusal as refusal:
            raise _refused(refusal.failed) from refusal

    def _no_fault(self, code: str, error: RingroadError) -> RingroadError:
        unknown = getattr(error, "nrc", None) == Nrc.REQUEST_OUT_OF_RANGE
        return _no_fault(self._name, code) if unknown else error


class AgentWay:
    """An ECU of which its update agent is asked: its inventory, and whatever else this kind of agent offers."""

    def __init__(self, name: str, agent: UpdateAgent, known: EcuInventory | None = None) -> None:
        """Take its agent, and `known` where its inventory was asked for a moment ago: then it is not asked again."""
        self._name, self._agent, self._known = name, agent, known
        self._listed: dict[str, str] | None = None  # names of its data, as it lists them; None: not asked yet

    @property
    def operations(self) -> tuple[str, ...]:
        """Return what its agent can do."""
        can = self._agent.operations if isinstance(self._agent, OperatingAgent) else frozenset()
        return tuple(each for each in OPERATIONS if each in can)

    @property
    def offers(self) -> tuple[str, ...]:
        """Return what its agent can be asked for."""
        clears = isinstance(self._agent, FaultMemoryAgent)
        return (DATA, FAULTS, *((CLEAR,) if clears else ()), *((OPERATE,) if self.operations else ()))

    @property
    def uds(self) -> EcuSession:
        """Raise: it has none."""
        raise self._not_offered("modes and no writing")

    async def identify(self) -> None:
        """Have its agent ask what it is."""
        await self._inventory()

    def parse(self, data_id: str) -> str:
        """Return four hex digits, or a name."""
        return did_data.parse_id(data_id)

    async def data(self) -> list[Body]:
        """List what the inventory tells, and what the ECU lists itself."""
        told = [did_data.describe(did, {}) for did in _KNOWN]
        told.append({"id": STATE_ID, "name": "state of its software", "category": did_data.CURRENT})
        if isinstance(self._agent, DataAgent):
            listed = _good(await self._agent.data())
            self._listed = {each.id: each.name for each in listed}
            told += [{"id": each.id, "name": each.name, "category": each.category} for each in listed]
        return told

    async def read(self, data_id: str) -> Body:
        """Return it out of the inventory, or as the ECU tells it."""
        if data_id == STATE_ID or data_id.upper() in _OF_INVENTORY:
            return self._of_inventory(data_id, await self._inventory())
        listed = await self._listed_name(data_id)
        own = _good(await self._agent.datum(data_id)) if isinstance(self._agent, DataAgent) else None
        if own is None:
            raise NotFound(f"{self._name} has no data {data_id}", hint="its list of data names what it has")
        self._require_bounded(own.get("data"), data_id)
        # Its list and its answer each have a name for it: one of a position is one, whichever says so.
        names = [each for each in (str(own.get("name", "")), listed) if each]
        name = next(filter(names_position, names), names[0] if names else data_id)
        return {
            "id": data_id, "name": name[:100], "category": str(own.get("category", did_data.CURRENT))[:20],
            "data": own.get("data"),
        }  # fmt: skip

    async def _listed_name(self, data_id: str) -> str:
        if not isinstance(self._agent, DataAgent):
            return ""
        if self._listed is None:
            self._listed = {each.id: each.name for each in _good(await self._agent.data())}
        return self._listed.get(data_id, "")

    async def faults(self, mask: int) -> Codes:
        """Return what the inventory tells."""
        return [(each.code, each.status) for each in (await self._inventory()).faults if each.status & mask]

    async def fault(self, code: str) -> tuple[str, int, Body]:
        """Return it with what surrounded it, as far as its ECU tells that."""
        status = dict(await self.faults(0xFF)).get(code)
        told: Mapping[str, Any] | None = {}
        if status is not None and isinstance(self._agent, FaultMemoryAgent):
            told = _good(await self._agent.fault(code))
        if status is None or told is None:
            raise _no_fault(self._name, code)
        self._require_bounded(told, code)
        try:
            return code, status, plain(msgspec.convert(told, _Environment))
        except msgspec.ValidationError as error:
            raise Unavailable(f"{self._name} answers what is not understood: {error}") from error

    async def clear(self, code: str) -> None:
        """Have the ECU forget it."""
        if not isinstance(self._agent, FaultMemoryAgent):
            raise self._not_offered("clearing of faults")
        if code and code not in dict(await self.faults(0xFF)):
            raise _no_fault(self._name, code)
        _good(await self._agent.clear_faults(code))

    async def operate(self, operation: str) -> Body:
        """Have its agent do it."""
        if operation not in self.operations or not isinstance(self._agent, OperatingAgent):
            raise self._not_offered(operation)
        return dict(_good(await self._agent.operate(operation)))

    def _require_bounded(self, told: Any, what: str) -> None:
        if len(msgspec.json.encode(told)) > DATUM_BYTES_MAX:
            raise Conflict(
                f"{self._name} tells more than {DATUM_BYTES_MAX // 1024} kiB as {what}", code="too_large"
            )

    async def _inventory(self) -> EcuInventory:
        return self._known or _good(await self._agent.inventory())

    def _of_inventory(self, data_id: str, found: EcuInventory) -> Body:
        running = found.running
        values: dict[str, Any] = {
            f"{Did.SERIAL:04X}": found.serial, f"{Did.HARDWARE:04X}": found.hardware_id,
            f"{Did.SOFTWARE_VERSION:04X}": running.version if running else "",
            f"{Did.IMAGE_SHA256:04X}": running.sha256 if running else "",
            f"{Did.COMMITTED_COUNTER:04X}": found.committed_counter,
        }  # fmt: skip
        if data_id.upper() in values:
            return {**did_data.describe(int(data_id, 16), {}), "data": values[data_id.upper()]}
        staged = found.staged.version if found.staged else ""
        state = {"mode": found.mode, "trial": found.trial, "staged": staged}
        return {"id": STATE_ID, "name": "state of its software", "category": did_data.CURRENT, "data": state}

    def _not_offered(self, what: str) -> NotOffered:
        return NotOffered(self._name, what, self.offers)


def _no_fault(name: str, code: str) -> NotFound:
    return NotFound(f"{name} has no fault {code}", hint=f"the faults of {name} list what it has")


def _good(answer: T | Failed) -> T:
    """Return what an agent answered. Raises: Unavailable, Conflict."""
    if isinstance(answer, Failed):
        raise _refused(answer)
    return answer


def _refused(failed: Failed) -> RingroadError:
    text = f"{failed.reason}: {failed.detail}".rstrip(": ")
    if failed.retryable:
        return Unavailable(f"the ECU does not answer: {text}", code=str(failed.reason))
    return Conflict(f"the ECU refused: {text}", code=str(failed.reason))
