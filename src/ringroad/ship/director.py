"""What the Director says to one vehicle: targets for its ECUs and the vehicle package. Pure.

Signing is `build`'s; this decides the content.

Invariants:
    Every target names an ECU the vehicle has, of hardware the package fits.
    Every ECU that gets an image is in exactly one update group.
    A return never asks an ECU to go below the release counter it has committed.

Source: Uptane 5.3.2.1 (Director), 5.4.4.6 (what a Primary refuses).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from ringroad.kernel.limits import ECUS_MAX
from ringroad.protocol.vehicle import (
    OBEYS_CONDUCT,
    Conduct,
    EcuTarget,
    PostCheck,
    UpdateGroup,
    VehiclePackage,
)
from ringroad.ship.model import EcuFacts, KnownImages, PackageFacts, ReleaseFacts, VehicleFacts
from ringroad.trust.sign import DirectorTarget

AT_ONCE = Conduct()  # without asking; a return, too: it undoes what the driver never agreed to keep


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What is to be signed for a vehicle; no package and no targets means: nothing to do."""

    vin: str
    package: VehiclePackage | None = None
    targets: tuple[DirectorTarget, ...] = ()


@dataclass(frozen=True, slots=True)
class NoContent:
    """The vehicle cannot be told to take this release; the reason is short and countable."""

    reason: str


def decide_content(
    vehicle: VehicleFacts,
    release: ReleaseFacts,
    *,
    action_id: int,
    rollback: bool = False,
    conduct: Conduct = AT_ONCE,
) -> Content | NoContent:
    """Decide what the Director lists for this vehicle.

    All images of the release are listed, also those the vehicle reported to have: its report may be old,
    and an image that is already there costs the vehicle one comparison.
    """
    packages = release.variants.get(vehicle.variant)
    if not packages:
        return NoContent(f"variant_not_in_release: {vehicle.variant}")
    return _content(vehicle, release, packages, action_id=action_id, rollback=rollback, conduct=conduct)


def decide_return(
    vehicle: VehicleFacts,
    bad: ReleaseFacts,
    previous: ReleaseFacts,
    images: KnownImages,
    *,
    action_id: int,
) -> Content | NoContent:
    """Decide the signed return of a vehicle that has `bad` to the release it had before.

    1. Every ECU that `bad` touched has a package in `previous`; others stay as they are.
    2. The vehicle still runs `bad` on all of them; else it moved on by itself.
    3. Counters only go up: each package to return to has at least the counter of the image that runs now,
       for that is what the ECU committed. Otherwise the maker must sign a new release with a higher one.
    """
    touched = bad.variants.get(vehicle.variant, {})
    earlier = previous.variants.get(vehicle.variant, {})
    for name, package in touched.items():
        if name not in earlier:  # 1
            return NoContent(f"no_previous_package: {name}")
        ecu = vehicle.ecus.get(name)
        if ecu is None or ecu.image_sha256 != package.image_sha256:  # 2
            return NoContent(f"not_on_release: {name}")
        committed = images.counter_of.get(package.image_sha256, package.release_counter)
        if earlier[name].release_counter < max(committed, package.release_counter):  # 3
            return NoContent(f"release_counter: {name}")
    packages = {name: earlier[name] for name in touched}
    return _content(vehicle, previous, packages, action_id=action_id, rollback=True)


def _content(
    vehicle: VehicleFacts,
    release: ReleaseFacts,
    packages: Mapping[str, PackageFacts],
    *,
    action_id: int,
    rollback: bool,
    conduct: Conduct = AT_ONCE,
) -> Content | NoContent:
    if not 0 < len(packages) <= ECUS_MAX:
        return NoContent(f"ecus: {len(packages)}")
    targets = []
    for name, package in packages.items():
        ecu = vehicle.ecus.get(name)
        if ecu is None:
            return NoContent(f"no_ecu: {name}")
        if ecu.hardware_id not in package.hardware_ids:
            return NoContent(f"hardware: {name} {ecu.hardware_id}")
        targets.append(_target(ecu, package, release))
    serial_of = {name: vehicle.ecus[name].serial for name in packages}
    return Content(
        vin=vehicle.vin,
        targets=tuple(targets),
        package=VehiclePackage(
            release_id=release.id,
            release_version=release.version,
            action_id=action_id,
            groups=_groups(release, serial_of),
            post_checks=[
                PostCheck(ecu=serial_of[name], kind=cast('Literal["version"]', kind))
                for name, kind in release.post_checks
                if name in serial_of
            ],
            preconditions=[*release.preconditions, *([OBEYS_CONDUCT] if conduct.must_be_obeyed else [])],
            notes=signable(release.notes),
            rxswin=release.rxswin,
            rollback=rollback,
            conduct=conduct,
        ),
    )


def signable(text: str) -> str:
    """Return a text as signed metadata can hold it: composed, and with line separators for line breaks."""
    lines = unicodedata.normalize("NFC", text).splitlines()
    return "\u2028".join("".join(c for c in line if unicodedata.category(c) != "Cc") for line in lines)


def _groups(release: ReleaseFacts, serial_of: Mapping[str, str]) -> list[UpdateGroup]:
    """Keep the ECUs that get an image, in the release's order; ECUs without a group get one of their own."""
    named: dict[str, tuple[list[str], tuple[str, ...]]] = {}
    seen: set[str] = set()
    for group in release.groups:
        ecus = [name for name in group.ecus if name in serial_of and name not in seen]
        seen.update(ecus)
        if ecus:
            named[group.name] = (ecus, group.after)
    for name in serial_of:
        if name not in seen:
            free = name if name not in named else f"{name} alone"
            named[free] = ([name], ())
    return [
        UpdateGroup(
            name=name, ecus=[serial_of[ecu] for ecu in ecus], after=[one for one in after if one in named]
        )
        for name, (ecus, after) in named.items()
    ]


def _target(ecu: EcuFacts, package: PackageFacts, release: ReleaseFacts) -> DirectorTarget:
    offer = release.delta(package, ecu.image_sha256)
    design = release.ecus.get(package.ecu)
    mode = "inplace" if design is None or design.storage != "ab" else "ab"
    ecu_target = EcuTarget(
        name=package.ecu,
        mode=cast('Literal["ab", "inplace"]', mode),
        format=cast('Literal["bin"]', package.format),
        version=package.version,
        deltas=(offer,) if offer is not None else (),
    )
    return DirectorTarget(
        serial=ecu.serial,
        filename=package.filename,
        length=package.image_bytes,
        sha256=package.image_sha256,
        sha512=package.image_sha512,
        hardware_ids=package.hardware_ids,
        release_counter=package.release_counter,
        ecu_target=ecu_target,
    )
