"""The end of a simulated line: every ECU is read back, and the machines that the gates ask for do their checks.

What the ECUs say is real: each hashes its own memory and tells its fault codes through its update agent. The other
checks pass unless the plant is told to let one fail; parts come out of the lots that it is told are on the line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from ringroad.sim.assembly import BaselinePackage, Blueprint, BornVehicle
from ringroad.vehicle.agents.base import Failed

SOFTWARE: Final = "software"  # every ECU runs the baseline's image, by its own hash
FAULTS: Final = "faults"  # no ECU has a fault code


@dataclass(frozen=True, slots=True, kw_only=True)
class LotOnLine:
    """A lot that a station fits parts from, to every vehicle."""

    station: str
    part: str
    lot: str
    supplier: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOf:
    """What a plant builds with: lots on the line, and checks that its machines find failed.

    Attributes:
        lots: by station.
        failing: names of checks.
    """

    lots: tuple[LotOnLine, ...] = ()
    failing: frozenset[str] = frozenset()


async def self_test(vehicle: BornVehicle | None, packages: Mapping[str, BaselinePackage]) -> dict[str, bool]:
    """Read every ECU back; a box without virtual ECUs tests itself when its client first runs.

    Returns:
        For each check of the ECUs, whether it passed.
    """
    if vehicle is None:
        return {}
    software = faults = True
    for ecu in vehicle.config.ecus:
        found = await vehicle.agents[ecu.serial].inventory()
        wanted = hashlib.sha256(packages[ecu.name].image).hexdigest()
        if isinstance(found, Failed):
            software = faults = False
            continue
        runs = found.running
        software &= runs is not None and runs.sha256 == wanted
        faults &= not found.faults
    return {SOFTWARE: software, FAULTS: faults}


def tests_of(
    blueprint: Blueprint,
    ecus: Mapping[str, bool],
    *,
    failing: Collection[str],
    at: datetime,
    passed_by: Collection[tuple[str, str]],
) -> list[dict[str, Any]]:
    """Return what was checked of a vehicle: what its ECUs said, and what the gates of its line ask for.

    Args:
        blueprint: names the checks of the gates.
        ecus: what they said.
        failing: checks that fail.
        at: when.
        passed_by: station and gate of those that let the vehicle pass unseen.
    """
    all_asked = {check: station for station, _, check in blueprint.checks}
    asked = {check: station for station, gate, check in blueprint.checks if (station, gate) not in passed_by}
    named = [*asked, *(check for check in ecus if check not in all_asked)]
    return [
        {"check": check, "station": asked.get(check, ""), "passed": ecus.get(check, True) and check not in failing,
         "at": at.isoformat()}
        for check in named
    ]  # fmt: skip


def parts_of(order_id: str, lots: Iterable[LotOnLine], *, at: datetime) -> list[dict[str, Any]]:
    """Return the parts that went into a vehicle."""
    return [
        {"id": f"{order_id}:{each.station}:{each.part}", "station": each.station, "part": each.part, "lot": each.lot,
         "supplier": each.supplier, "fitted_at": at.isoformat()}
        for each in lots
    ]  # fmt: skip
