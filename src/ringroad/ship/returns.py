"""The way back for vehicles that kept the release of a stopped campaign: who can return, to what, and who cannot. Pure.

Each return is a signed order of its own to its vehicle (`director.decide_return`); here all of them are looked at
before anybody orders them.

Invariant: the digest names every vehicle with what it would return to, so that what was read is what is ordered.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ringroad.ship.director import NoContent, decide_return
from ringroad.ship.model import KnownImages, ReleaseFacts, VehicleFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnPlan:
    """What ordering the returns of a stopped campaign would do.

    Attributes:
        to: vehicles by the version of the release they return to.
        cannot: vehicles by the reason that keeps them on the release; their order would be refused with it.
        sha256: of all of it, vehicle by vehicle.
    """

    to: Mapping[str, int]
    cannot: Mapping[str, int]
    sha256: str

    @property
    def vehicles(self) -> int:
        """How many can return."""
        return sum(self.to.values())


def plan_returns(
    vehicles: Iterable[tuple[VehicleFacts, ReleaseFacts]], bad: ReleaseFacts, images: KnownImages
) -> ReturnPlan:
    """Plan the returns of vehicles that have `bad`, each with the release it had before, in any order."""
    to: Counter[str] = Counter()
    cannot: Counter[str] = Counter()
    lines = []
    for vehicle, previous in vehicles:
        content = decide_return(vehicle, bad, previous, images, action_id=1)
        refused = content.reason if isinstance(content, NoContent) else ""
        (cannot if refused else to)[refused or previous.version] += 1
        lines.append(f"{vehicle.vin}\t{previous.id}\t{refused}\n")
    digest = hashlib.sha256("".join(sorted(lines)).encode())
    return ReturnPlan(
        to=dict(sorted(to.items())), cannot=dict(sorted(cannot.items())), sha256=digest.hexdigest()
    )
