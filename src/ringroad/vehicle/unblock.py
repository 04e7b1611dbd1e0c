"""A workshop's word that a blocked vehicle may take part again, and what follows from it.

What the blocked update left undone is begun again: the way back, or past the commit point the way forward. An ECU that
a workshop brought there by its own tools is found there, and nothing is flashed. The word is left in the vehicle's
folder for the process that runs it.

Invariants:
    A word is about one blocking: it names the update that failed, and holds for `WORD_S_MAX`.
    Whoever runs the vehicle takes it once, and writes it into the journal first. It says beside it which ECUs are aboard:
    its configuration is what it read when it started.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

import msgspec
import structlog

from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import RingroadError
from ringroad.trust.state import VerifiedTarget
from ringroad.vehicle.decide import COMMIT_FAILED
from ringroad.vehicle.ending import end_if_cancelled
from ringroad.vehicle.files import Durability, replace_file
from ringroad.vehicle.states import (
    TOUCHED,
    CampaignState,
    EcuPlan,
    EcuState,
    Moved,
    Unblocked,
)

UNBLOCK_NAME: Final = "unblock.json"
TAKEN_NAME: Final = "unblock-taken.json"
WORD_S_MAX: Final = 60  # s that a word holds, so that one nobody took unblocks nothing later
LOOK_S: Final = 1.0  # s between two looks of a blocked vehicle for such a word

_log = structlog.get_logger(__name__)


class Aboard(Protocol):
    """An ECU that is in the vehicle."""

    @property
    def serial(self) -> str:
        """Its unique id."""
        ...


def left_undone(state: CampaignState, on_board: Collection[Aboard]) -> tuple[EcuPlan, ...]:
    """Return the ECUs of a blocked update that are brought where they belong once the vehicle is unblocked.

    None, if the journal keeps no plan, or all of them were exchanged since.
    """
    serials = {ecu.serial for ecu in on_board}
    return tuple(ecu for ecu in _undone(state) if ecu.serial in serials)


def exchanged(state: CampaignState, on_board: Collection[Aboard]) -> tuple[EcuPlan, ...]:
    """Return the ECUs that a blocked update left undone and that are not in the vehicle any more."""
    serials = {ecu.serial for ecu in on_board}
    return tuple(ecu for ecu in _undone(state) if ecu.serial not in serials)


def image_for(state: CampaignState, ecu: EcuPlan) -> VerifiedTarget | None:
    """Return the image that an ECU of a blocked update is brought to; None: it has that in its other bank."""
    return ecu.target if state.code == COMMIT_FAILED else ecu.backup


def _undone(state: CampaignState) -> tuple[EcuPlan, ...]:
    group = state.group()
    if not state.blocked or state.plan is None or group is None:
        return ()
    undone = set(EcuState) - {EcuState.COMMITTED} if state.code == COMMIT_FAILED else TOUCHED
    return tuple(state.plan.ecu(serial) for serial in group.ecus if state.ecus[serial] in undone)


def unblocked(state: CampaignState, on_board: Collection[Aboard], *, now: datetime) -> Moved | Unblocked:
    """Return the journal's entry for a blocked vehicle that a technician mended: one move, so no power cut can halve it."""
    if not (left := left_undone(state, on_board)):
        return Unblocked(at=now)
    names = ", ".join(ecu.target.ecu_target.name for ecu in left)
    return Moved(
        state="COMMITTING" if state.code == COMMIT_FAILED else "ROLLING_BACK", at=now,
        code="unblocked", detail=f"a technician unblocked the vehicle: {names}",
    )  # fmt: skip


class UnblockWord(msgspec.Struct, frozen=True, kw_only=True):
    """What was said: which update's failure is mended, and when that was said."""

    action_id: int | None
    at: datetime


class AboardEcu(msgspec.Struct, frozen=True, kw_only=True):
    """An ECU that the vehicle's process has aboard."""

    serial: str


class UnblockTaken(msgspec.Struct, frozen=True, kw_only=True):
    """Which ECUs were aboard when the process of the vehicle took the word."""

    action_id: int | None
    at: datetime
    on_board: tuple[AboardEcu, ...]


def say_unblock(
    folder: Path, *, action_id: int | None, now: datetime, durability: Durability = "fsync"
) -> None:
    """Leave the word where the vehicle's process finds it. Raises: Unavailable, the disk is full."""
    word = UnblockWord(action_id=action_id, at=now)
    replace_file(folder / UNBLOCK_NAME, msgspec.json.encode(word), durability=durability)


def take_back(folder: Path) -> None:
    """Remove the word."""
    (folder / UNBLOCK_NAME).unlink(missing_ok=True)


def read_taken(folder: Path, *, action_id: int | None, since: datetime) -> tuple[AboardEcu, ...] | None:
    """Return which ECUs the vehicle's process had aboard when it took the word for a failure.

    None, where it says nothing of that: its software is older.
    """
    try:
        taken = msgspec.json.decode((folder / TAKEN_NAME).read_bytes(), type=UnblockTaken)
    except (OSError, msgspec.MsgspecError, RecursionError):
        return None
    fits = taken.action_id == action_id and taken.at.tzinfo is not None and since <= taken.at
    return taken.on_board if fits else None


def is_unblocked(folder: Path, *, action_id: int | None, now: datetime) -> bool:
    """Say whether there is a word for this failure that holds; what does not read back is none."""
    try:
        word = msgspec.json.decode((folder / UNBLOCK_NAME).read_bytes(), type=UnblockWord)
    except (OSError, msgspec.MsgspecError, RecursionError):
        return False
    if word.at.tzinfo is None or word.action_id != action_id:
        return False
    return abs(now - word.at) <= timedelta(seconds=WORD_S_MAX)


class EcusAboard(Protocol):
    """The ECUs of a vehicle."""

    @property
    def on_board(self) -> Collection[Aboard]:
        """Those that are in it."""
        ...


class Blockable(Protocol):
    """A running orchestrator, as far as it is blocked."""

    @property
    def state(self) -> CampaignState:
        """What its journal adds up to."""
        ...

    @property
    def ecus(self) -> EcusAboard:
        """The ECUs of its configuration, as it was read when it started."""
        ...

    def unblock(self) -> None:
        """Let it take part again. Raises: Unavailable, that cannot be written down."""
        ...


async def heed_unblock(folder: Path, orchestrator: Blockable, clock: Clock) -> None:
    """Take the word for a blocked vehicle while it runs; until cancelled."""
    while True:
        state = orchestrator.state
        if state.blocked and is_unblocked(folder, action_id=state.action_id, now=clock.now()):
            try:
                _say_taken(folder, state.action_id, orchestrator.ecus.on_board, now=clock.now())
                orchestrator.unblock()
                take_back(folder)  # a power cut before this leaves a word that is about nothing any more
            except (RingroadError, OSError) as error:
                _log.warning("vehicle.unblock_failed", reason=str(error))
        end_if_cancelled()
        await asyncio.sleep(LOOK_S)


def _say_taken(folder: Path, action_id: int | None, on_board: Collection[Aboard], *, now: datetime) -> None:
    aboard = tuple(AboardEcu(serial=ecu.serial) for ecu in on_board)
    taken = UnblockTaken(action_id=action_id, at=now, on_board=aboard)
    replace_file(folder / TAKEN_NAME, msgspec.json.encode(taken), durability="buffered")
