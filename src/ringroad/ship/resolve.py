"""Resolve a release against what one vehicle runs: does it fit, by which steps, and if not, why? Pure.

A release is signed as a whole, so nothing smaller is chosen here: a step installs a signed release of the programme,
and is possible when every package in it fits and every package that would then run, new or staying, has what it
requires and nothing that it conflicts with. The shortest sequence of possible steps that ends in the wanted release
is found by breadth-first search; a vehicle for which there is none is told the first thing that stands against it,
and against the newest release between that would have brought what is missing.

Invariants:
    A vehicle is a match only if each ECU that a step touches is known, present and of a fitting hardware.
    No step takes an ECU below the release counter of the image that it runs, nor back to an older version unless the
    signed release decides on exactly these two images.
    What is not known is never held to be fitting.
    The same values give the same answer, whatever the order of the releases.

Source: ADR 0056, ADR 0082.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from ringroad.kernel.versions import VersionKey, parse_range, version_key
from ringroad.ship.model import KnownImages, PackageFacts, ReleaseFacts, VehicleFacts

STEPS_MAX = 8  # releases one after another; each is a drive to a parking place
STATES_MAX = 2_000  # configurations looked at per vehicle; a programme has some dozens of releases

# Seconds an ECU of each storage needs per megabyte, and once. Estimates for the checker, not promises:
# flashing over DoIP with 4 kB blocks moves 1 to 8 MB/s, writing an inactive bank about 20 MB/s.
INSTALL_S_PER_MB = {"ab": 0.05, "inplace": 1.0}
INSTALL_S_PER_ECU = {"ab": 15, "inplace": 60}

Verdict = Literal["match", "control", "already_installed", "mismatch", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """One vehicle, and all that are like it, against one release.

    Attributes:
        verdict: whether it takes part.
        reason: short and countable, ``hardware: brake HW-2``; empty for a match.
        sentence: the same for a person: which package of which ECU needs what, and what stands against it.
        steps: releases by id in the order in which they are installed; the wanted one is the last.
        install_bytes: over the air, for the images that are not there yet: by a delta where there is one.
        install_s: seconds, ECUs one after another; an estimate.
        back: ECUs that a signed decision takes back to older software, at any of the steps.
        back_until: when the first of the decisions that take them back ends.
    """

    verdict: Verdict
    reason: str = ""
    sentence: str = ""
    steps: tuple[str, ...] = ()
    install_bytes: int = 0
    install_s: int = 0
    back: tuple[str, ...] = ()
    back_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Runs:
    """What one ECU runs; the package where the programme knows it."""

    version: str | None
    image_sha256: str | None
    package: PackageFacts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Objection:
    """One thing that stands against a step."""

    reason: str
    sentence: str
    unknown: bool = False  # it may fit; nobody knows
    by_steps: bool = False  # another release before it may help


_Config = Mapping[str, _Runs]


def resolve(
    vehicle: VehicleFacts,
    release: ReleaseFacts,
    images: KnownImages,
    earlier: Sequence[ReleaseFacts] = (),
    *,
    now: datetime | None = None,
) -> Resolution:
    """Decide whether and by which steps the vehicle gets the release.

    1. Vehicle: of the programme, of a variant the release covers, not shut out, not blocked.
    2. Each ECU the release touches: present, hardware fits.
    3. Configuration: known. Over DDI there is no inventory, so an unknown one is accepted there.
    4. Nothing to do when every image is already there.
    5. In one step, if nothing stands against it.
    6. Else over the fewest earlier releases.

    Args:
        vehicle: with its last known configuration.
        release: what is wanted.
        images: what the programme has packages for.
        earlier: signed releases of the programme that may be installed on the way.
        now: the server's time; a decision to go back that ended by then is none.
    """
    release = _in_force(release, now)
    packages = release.variants.get(vehicle.variant)
    objection = _of_vehicle(vehicle, release) or next(
        _of_hardware(vehicle, packages or {}, release), None
    )  # 1, 2
    if objection or not packages:
        return _refused(objection or _no_variant(vehicle, release))
    running = _running(vehicle, images)
    if vehicle.gateway != "ddi":  # 3
        silent = next((name for name in packages if running[name].image_sha256 is None), None)
        if silent:
            said = f"ECU {silent} never reported what it runs."
            reason = f"configuration: {silent} never reported"
            return Resolution(verdict="unknown", reason=reason, sentence=said)
    if all(running[name].image_sha256 == package.image_sha256 for name, package in packages.items()):  # 4
        return Resolution(verdict="already_installed", sentence=f"It runs every image of {release.version}.")
    objection = next(_against(release, packages, running, images), None)
    if objection is None:  # 5
        return _match((release,), vehicle.variant, running)
    if objection.by_steps and not objection.unknown:  # 6
        possible = [_in_force(each, now) for each in earlier]
        path = _shortest(vehicle, release, images, possible, running)
        if path:
            return _match(path, vehicle.variant, running)
        no_way = ", and no sequence of signed releases leads there" if earlier else ""
        between = _between(vehicle, release, images, possible, running, objection=objection)
        return _refused(objection, after=no_way + between)
    return _refused(objection)


def resolve_way(
    vehicle: VehicleFacts, way: Sequence[ReleaseFacts], images: KnownImages, *, now: datetime | None = None
) -> Resolution:
    """Decide whether the vehicle gets the last of these releases by just this way, one after another.

    Args:
        vehicle: with its last known configuration.
        way: at least one release; the wanted one is the last.
        images: what the programme has packages for.
        now: the server's time.

    Returns:
        Of the first release that does not fit over those before it; else of the last one, a match or
        `already_installed`.
    """
    for release in way[:-1]:
        step = resolve(vehicle, release, images, now=now)
        if step.verdict not in ("match", "already_installed"):
            return step
        ecus = dict(vehicle.ecus)
        for name, package in release.variants[vehicle.variant].items():
            ecus[name] = replace(ecus[name], version=package.version, image_sha256=package.image_sha256)
        vehicle = replace(vehicle, ecus=ecus)
    return resolve(vehicle, way[-1], images, now=now)


def _in_force(release: ReleaseFacts, now: datetime | None) -> ReleaseFacts:
    """Return the release without decisions that have ended: vehicles refuse those."""
    ended = now is not None and release.back_until is not None and release.back_until <= now
    return replace(release, back={}) if ended else release


def _of_vehicle(vehicle: VehicleFacts, release: ReleaseFacts) -> _Objection | None:
    if vehicle.programme_id != release.programme_id:
        said = (
            f"The release is for programme {release.programme_id}, the vehicle is of {vehicle.programme_id}"
        )
        return _Objection(reason=f"programme: {vehicle.programme_id}", sentence=said)
    if not release.variants.get(vehicle.variant):
        return _no_variant(vehicle, release)
    if vehicle.shut_out:
        said = "The vehicle is shut out: its token and certificates were ended, and it did not enrol again"
        return _Objection(reason="shut_out", sentence=said)
    if vehicle.blocked_reason:
        said = f"The vehicle is blocked: {vehicle.blocked_reason}"
        return _Objection(reason=f"blocked: {vehicle.blocked_reason}", sentence=said)
    return None


def _no_variant(vehicle: VehicleFacts, release: ReleaseFacts) -> _Objection:
    said = f"Release {release.version} has nothing for variant {vehicle.variant}"
    return _Objection(reason=f"variant_not_in_release: {vehicle.variant}", sentence=said)


def _of_hardware(
    vehicle: VehicleFacts, packages: Mapping[str, PackageFacts], release: ReleaseFacts
) -> Iterator[_Objection]:
    for name, package in packages.items():
        ecu = vehicle.ecus.get(name)
        if ecu is None:
            said = f"Release {release.version} has {_named(package)}, but the vehicle has no ECU {name}"
            yield _Objection(reason=f"no_ecu: {name}", sentence=said)
        elif ecu.hardware_id not in package.hardware_ids:
            fits = ", ".join(package.hardware_ids) or "none"
            said = f"{_named(package)} fits hardware {fits}, but the vehicle's {name} is {ecu.hardware_id}"
            yield _Objection(reason=f"hardware: {name} {ecu.hardware_id}", sentence=said)


def _running(vehicle: VehicleFacts, images: KnownImages) -> _Config:
    return {
        name: _Runs(
            version=ecu.version,
            image_sha256=ecu.image_sha256,
            package=images.packages.get((name, ecu.image_sha256 or "")),
        )
        for name, ecu in vehicle.ecus.items()
    }


def _against(
    release: ReleaseFacts, packages: Mapping[str, PackageFacts], running: _Config, images: KnownImages
) -> Iterator[_Objection]:
    """Yield what stands against installing these packages over what runs; hardware was looked at before."""
    for name, package in packages.items():
        counter = images.counter_of.get(running[name].image_sha256 or "")
        if counter is not None and package.release_counter < counter:
            said = f"{_named(package)} has release counter {package.release_counter}, but {name} runs an image of {counter}"
            yield _Objection(
                reason=f"release_counter: {name} runs {counter}", sentence=f"{said}; an ECU never goes back"
            )
    for name, package in packages.items():
        runs = running[name]
        decided = runs.image_sha256 in release.back.get((name, package.image_sha256), ())
        if runs.image_sha256 != package.image_sha256 and not decided:
            yield from _older(package, runs)
            yield from _over(package, runs)
    after = _applied(packages, running)
    for runs in after.values():
        if runs.package is not None:
            yield from _beside(runs.package, packages, after)


def _older(package: PackageFacts, runs: _Runs) -> Iterator[_Objection]:
    """Yield that this package would take its ECU back, where both versions have an order."""
    old, new = version_key(runs.version or ""), version_key(package.version)
    if old is not None and new is not None and new < old:
        said = f"{_named(package)} is older than {package.ecu} {runs.version}, which the vehicle runs"
        yield _Objection(
            reason=f"downgrade: {package.ecu} {runs.version} to {package.version}",
            sentence=f"{said}: it would be a downgrade and needs a signed decision",
        )


def _over(package: PackageFacts, runs: _Runs) -> Iterator[_Objection]:
    """Yield what stands against this package directly over what its ECU runs."""
    if package.upgrades_from == "*":
        return
    fits = None if runs.version is None else parse_range(package.upgrades_from).holds(runs.version)
    if fits:
        return
    needs = f"{_named(package)} may be installed only over {package.ecu} {package.upgrades_from}"
    if fits is None:
        said = f"{needs}, and it is not known which version runs"
        yield _Objection(
            reason=f"upgrades_from: version of {package.ecu} not known", sentence=said, unknown=True
        )
    else:
        reason = f"upgrades_from: {package.ecu} {runs.version} is not {package.upgrades_from}"
        said = f"{needs}, but the vehicle runs {package.ecu} {runs.version}"
        yield _Objection(reason=reason, sentence=said, by_steps=True)


def _beside(
    package: PackageFacts, coming: Mapping[str, PackageFacts], after: _Config
) -> Iterator[_Objection]:
    """Yield what this package requires and would not have, and what it would have and conflicts with."""
    for name, wanted in package.requires:
        there = after.get(name)
        needs = f"{_named(package)} requires {name} {wanted}"
        if there is None:
            said = f"{needs}, but the vehicle has no ECU {name}"
            yield _Objection(reason=f"requires: {package.ecu} needs {name} {wanted}", sentence=said)
            continue
        fits = None if there.version is None else parse_range(wanted).holds(there.version)
        if fits is None:
            said = f"{needs}, and it is not known which version of {name} runs"
            yield _Objection(reason=f"requires: version of {name} not known", sentence=said, unknown=True)
        elif not fits:
            said = f"{needs}, but {_whose(name, coming)} {name} {there.version}"
            reason = f"requires: {package.ecu} needs {name} {wanted}"
            yield _Objection(reason=reason, sentence=said, by_steps=True)
    for name, unwanted in package.conflicts:
        there = after.get(name)
        if there is None:
            continue
        meets = None if there.version is None else parse_range(unwanted).holds(there.version)
        clash = f"{_named(package)} conflicts with {name} {unwanted}"
        if meets is None:
            said = f"{clash}, and it is not known which version of {name} runs"
            yield _Objection(reason=f"conflicts: version of {name} not known", sentence=said, unknown=True)
        elif meets:
            said = f"{clash}, and {_whose(name, coming)} {name} {there.version}"
            reason = f"conflicts: {package.ecu} with {name} {unwanted}"
            yield _Objection(reason=reason, sentence=said, by_steps=True)


def _shortest(
    vehicle: VehicleFacts,
    release: ReleaseFacts,
    images: KnownImages,
    earlier: Sequence[ReleaseFacts],
    running: _Config,
) -> tuple[ReleaseFacts, ...]:
    """Return the fewest releases that end in the wanted one; of equally many, the newest first. Empty: none do."""
    fitting = [
        other
        for other in _newest_first(earlier)
        if other.id != release.id
        and other.variants.get(vehicle.variant)
        and next(_of_hardware(vehicle, other.variants[vehicle.variant], other), None) is None
    ]
    seen = {_key(running)}
    waiting: deque[tuple[tuple[ReleaseFacts, ...], _Config]] = deque([((), running)])
    while waiting:
        path, config = waiting.popleft()
        for step in (release, *fitting) if path else fitting:
            packages = step.variants[vehicle.variant]
            if next(_against(step, packages, config, images), None) is not None:
                continue
            if step is release:
                return (*path, release)
            after = _applied(packages, config)
            if _key(after) not in seen and len(path) + 2 <= STEPS_MAX and len(seen) < STATES_MAX:
                seen.add(_key(after))
                waiting.append(((*path, step), after))
    return ()


def _between(
    vehicle: VehicleFacts,
    release: ReleaseFacts,
    images: KnownImages,
    earlier: Sequence[ReleaseFacts],
    running: _Config,
    *,
    objection: _Objection,
) -> str:
    """Return what stands in the way of the newest release that would bring what the direct step misses; empty: none would."""
    of_ecu = " ".join(objection.reason.split()[:2])
    missed = of_ecu if of_ecu.startswith("upgrades_from:") else objection.reason
    wanted = release.variants[vehicle.variant]
    for other in _newest_first(earlier):
        packages = other.variants.get(vehicle.variant)
        if not packages or other.id == release.id or _order(other.version) > _order(release.version):
            continue
        left = list(_against(release, wanted, _applied(packages, running), images))
        if any(each.reason.startswith(missed) for each in left):
            continue
        own = next(_of_hardware(vehicle, packages, other), None)
        if own := own or next(_against(other, packages, running, images), None):
            return f". Release {other.version} between does not fit: {own.sentence}"
        return f". Release {other.version} between fits, but then: {left[0].sentence}" if left else ""
    return ""


def _newest_first(releases: Sequence[ReleaseFacts]) -> list[ReleaseFacts]:
    return sorted(releases, key=lambda each: (_order(each.version), each.id), reverse=True)


def _applied(packages: Mapping[str, PackageFacts], running: _Config) -> _Config:
    new = {
        name: _Runs(version=package.version, image_sha256=package.image_sha256, package=package)
        for name, package in packages.items()
    }
    return {**running, **new}


def _match(path: Sequence[ReleaseFacts], variant: str, running: _Config) -> Resolution:
    total_bytes, seconds = 0, 0.0
    back: dict[str, str] = {}
    untils: list[datetime] = []
    for step in path:
        packages = step.variants[variant]
        for name, package in packages.items():
            if running[name].image_sha256 in step.back.get((name, package.image_sha256), ()):
                back[name] = f"{name} back from {running[name].version} to {package.version}"
                untils += [step.back_until] if step.back_until else []
            if running[name].image_sha256 != package.image_sha256:
                storage = step.ecus[name].storage if name in step.ecus else "inplace"
                offer = step.delta(package, running[name].image_sha256)
                total_bytes += package.image_bytes if offer is None else offer.length
                seconds += INSTALL_S_PER_ECU[storage]
                seconds += INSTALL_S_PER_MB[storage] * package.image_bytes / 1_000_000
        running = _applied(packages, running)
    over = " and then ".join(step.version for step in path[:-1])
    said = [f"It gets {over} first, then {path[-1].version}."] if over else []
    if back:
        said.append(f"A signed decision takes {', '.join(back.values())}.")
    return Resolution(
        verdict="match",
        sentence=" ".join(said),
        steps=tuple(step.id for step in path),
        install_bytes=total_bytes,
        install_s=round(seconds),
        back=tuple(back),
        back_until=min(untils, default=None),
    )


def _refused(objection: _Objection, *, after: str = "") -> Resolution:
    return Resolution(
        verdict="unknown" if objection.unknown else "mismatch",
        reason=objection.reason,
        sentence=f"{objection.sentence}{after}.",
    )


def _named(package: PackageFacts) -> str:
    return f"{package.ecu} {package.version}"


def _whose(name: str, coming: Mapping[str, PackageFacts]) -> str:
    return "the release brings" if name in coming else "the vehicle runs"


def _key(config: _Config) -> tuple[tuple[str, str | None], ...]:
    return tuple(sorted((name, runs.image_sha256) for name, runs in config.items()))


def _order(version: str) -> VersionKey:
    return version_key(version) or ((), 0, (), ())
