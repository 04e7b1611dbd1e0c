"""The way back for vehicles that kept the release of a stopped campaign: who can return, to what, and who cannot. Pure.

Each return is a signed order of its own to its vehicle (`director.decide_return`); here all of them are looked at
before anybody orders them.

Invariant: the digest names every vehicle with what it would return to, so that what was read is what is ordered.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ringroad.ship.director import NoContent, decide_return
from ringroad.ship.model import Before, KnownImages, ReleaseFacts, VehicleFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnPlan:
    """What ordering the returns of a stopped campaign would do.

    Attributes:
        to: vehicles by the version of the release that they are told to have then.
        packages: vehicles by the ECU and the version that it goes back to.
        cannot: vehicles by the reason that keeps them on the release; their order would be refused with it. Those that
            moved on from it are not here.
        sha256: of all of it, vehicle by vehicle.
        vins: of the vehicles that can return, in order.
    """

    to: Mapping[str, int]
    packages: Mapping[str, int]
    cannot: Mapping[str, int]
    sha256: str
    vins: tuple[str, ...]

    @property
    def vehicles(self) -> int:
        """How many can return."""
        return sum(self.to.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A vehicle that has the release of a stopped campaign.

    Attributes:
        vehicle: as it is last known.
        previous: the release it had before; None: none was known.
        before: what is on record of its ECUs from before the campaign, by name.
        since: another release that was confirmed on it since, if one was.
    """

    vehicle: VehicleFacts
    previous: ReleaseFacts | None
    before: Mapping[str, Before] = field(default_factory=dict)
    since: ReleaseFacts | None = None


def plan_returns(vehicles: Iterable[Kept], bad: ReleaseFacts, images: KnownImages) -> ReturnPlan:
    """Plan the returns of vehicles that have `bad`, in any order."""
    to: Counter[str] = Counter()
    versions: Counter[str] = Counter()
    cannot: Counter[str] = Counter()
    lines = []
    vins = []
    for kept in vehicles:
        if moved_on(kept, bad):
            continue
        vin, previous = kept.vehicle.vin, kept.previous
        content = decide_return(kept.vehicle, bad, previous, images, kept.before, action_id=1)
        if isinstance(content, NoContent) or previous is None:
            refused = content.reason if isinstance(content, NoContent) else ""
            cannot[refused] += 1
            lines.append(f"{vin}\t\t{refused}\n")
            continue
        to[previous.version] += 1
        vins.append(vin)
        versions.update(f"{each.ecu_target.name} {each.ecu_target.version}" for each in content.targets)
        packages = " ".join(f"{ecu}={package}" for ecu, package in sorted(content.packages.items()))
        lines.append(f"{vin}\t{previous.id}\t{packages}\n")
    digest = hashlib.sha256("".join(sorted(lines)).encode())
    return ReturnPlan(
        to=dict(sorted(to.items())),
        packages=dict(sorted(versions.items())),
        cannot=dict(sorted(cannot.items())),
        sha256=digest.hexdigest(),
        vins=tuple(sorted(vins)),
    )


def moved_on(kept: Kept, bad: ReleaseFacts) -> bool:
    """Say if nothing is left of `bad` on a vehicle but what its release since has too; what is not known is left of it."""
    touched = bad.variants.get(kept.vehicle.variant, {})
    since = kept.since.variants.get(kept.vehicle.variant, {}) if kept.since else {}
    runs = {name: ecu.image_sha256 for name, ecu in kept.vehicle.ecus.items()}
    other = {name for name, package in touched.items() if runs.get(name) not in (None, package.image_sha256)}
    shared = {name for name in touched.keys() & since.keys() if runs.get(name) == since[name].image_sha256}
    return bool(other) and touched.keys() == other | shared
