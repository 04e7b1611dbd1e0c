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
from dataclasses import dataclass, field, replace
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
from ringroad.ship.model import (
    NOTHING_ON_RECORD,
    Before,
    EcuFacts,
    Group,
    KnownImages,
    PackageFacts,
    ReleaseFacts,
    VehicleFacts,
)
from ringroad.trust.sign import DirectorTarget

AT_ONCE = Conduct()  # without asking; a return, too: it undoes what the driver never agreed to keep


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What is to be signed for a vehicle; no package and no targets means: nothing to do.

    Over DDI nothing is signed; `packages`, by ECU name, is what the vehicle is to be given.
    """

    vin: str
    packages: Mapping[str, str] = field(default_factory=dict)
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
    previous: ReleaseFacts | None,
    images: KnownImages,
    before: Mapping[str, Before],
    *,
    action_id: int,
) -> Content | NoContent:
    """Decide the signed return of a vehicle that has `bad` to what its ECUs ran before.

    1. The vehicle still runs `bad` on every ECU that `bad` touched; else it moved on by itself. Others stay as they are.
    2. Each goes back to the package of the image that it ran, as it is on record: the one of the release before, or else
       the one that the vehicle named, if that has this image and a counter that suffices; where nothing is on record, to
       what that release put on it. An image that nobody knows, or that no package holds, refuses the return.
    3. Counters only go up: each package to return to has at least the counter of the image that runs now,
       for that is what the ECU committed. Otherwise the maker must sign the old image anew, with a higher one.
    4. At least one ECU gets another image.

    Args:
        vehicle: as it is last known.
        bad: the release of the stopped campaign.
        previous: that the vehicle had before; releases may be partial, so it need not name every ECU.
        images: that there are packages for.
        before: what is on record of the vehicle's ECUs from before the campaign, by name.
        action_id: of the return.
    """
    if previous is None:  # the vehicle must be told which release it has then
        return NoContent("no_previous_release")
    touched = bad.variants.get(vehicle.variant, {})
    packages: dict[str, PackageFacts] = {}
    for name, package in touched.items():
        ecu = vehicle.ecus.get(name)
        if ecu is None or ecu.image_sha256 != package.image_sha256:  # 1
            return NoContent(f"not_on_release: {name}")
        committed = max(
            images.counter_of.get(package.image_sha256, package.release_counter), package.release_counter
        )
        earlier = _package_before(
            vehicle, package, previous, images, before.get(name, NOTHING_ON_RECORD), committed=committed
        )  # 2
        if isinstance(earlier, NoContent):
            return earlier
        if earlier.release_counter < committed:  # 3
            return NoContent(f"release_counter: {name}")
        packages[name] = earlier
    if all(packages[name].image_sha256 == package.image_sha256 for name, package in touched.items()):  # 4
        return NoContent("nothing_to_undo")
    way = _way_back(vehicle.variant, bad, previous, packages)
    return _content(vehicle, way, packages, action_id=action_id, rollback=True)


def _package_before(
    vehicle: VehicleFacts,
    package: PackageFacts,
    previous: ReleaseFacts,
    images: KnownImages,
    before: Before,
    *,
    committed: int,
) -> PackageFacts | NoContent:
    """Find what one ECU goes back to."""
    named = previous.variants.get(vehicle.variant, {}).get(package.ecu)
    if before.image_sha256 is not None:
        # Several packages can hold one image, each with its own version: the release before says which one it was, or
        # the name under which the vehicle told it.
        told = images.named.get((package.ecu, before.image_sha256, before.filename))
        for each in (named, told):
            if each and each.image_sha256 == before.image_sha256 and committed <= each.release_counter:
                return each
        found = images.packages.get((package.ecu, before.image_sha256))
        return found or NoContent(f"image_not_ours: {package.ecu}")
    if before.known:  # it ran this image already
        return package
    return named or NoContent(f"before_unknown: {package.ecu}")


def _way_back(
    variant: str, bad: ReleaseFacts, previous: ReleaseFacts, packages: Mapping[str, PackageFacts]
) -> ReleaseFacts:
    """Say how the vehicle returns: as the release before says, if that names all it goes back to.

    Else the ECUs go back together as they came together, the last ones first, under the conditions of both releases.
    """
    named = previous.variants.get(variant, {})
    if packages.keys() <= named.keys():
        return previous
    return replace(
        previous,
        groups=tuple(
            Group(
                name=group.name,
                ecus=group.ecus,
                after=tuple(one.name for one in bad.groups if group.name in one.after),
            )
            for group in reversed(bad.groups)
        ),
        post_checks=(
            *previous.post_checks,
            *(check for check in bad.post_checks if check[0] not in named),
        ),
        preconditions=tuple(dict.fromkeys([*previous.preconditions, *bad.preconditions])),
    )


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
        packages={name: package.id for name, package in packages.items()},
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
