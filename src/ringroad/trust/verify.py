"""Full verification of both repositories, as a conversation without any I/O.

`refresh` is a generator: it yields the file it needs next and is sent the bytes, or None when the repository
has no such file. HTTP clients, simulations and fuzzers drive the same code.

The procedure, Uptane 2.1 section 5.4.4.2:

1. Time: an earlier time than the last complete refresh is never believed.
2. Director: Root, Timestamp, Snapshot, Targets; the Targets are for this vehicle and for ECUs it has.
3. Image repository: Root, Timestamp, Snapshot, Targets. Always, also when the Director has nothing new.
4. Every image the Director names is in the Image repository with the same length, hashes, hardware ids and
   release counter, fits the ECU's hardware, and is not below the release counter the ECU committed. Its version and
   its terms, and whether it may go over newer images, are what the Image repository says.
5. The vehicle package and the targets cover the same ECUs.

Invariant: what is returned was vouched for by both repositories, for this vehicle, for that hardware, now.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from ringroad.kernel.errors import Unavailable, Untrusted
from ringroad.kernel.limits import METADATA_BYTES_MAX
from ringroad.protocol.vehicle import VehiclePackage
from ringroad.trust.attacks import Attack, refuse
from ringroad.trust.metadata import (
    TIMESTAMP_BYTES_MAX,
    RepositoryName,
    Target,
    Targets,
    parse_file,
    parse_time,
)
from ringroad.trust.repository import ROOT_ROTATIONS_MAX, TrustedRepository
from ringroad.trust.state import RefreshResult, TrustState, VehicleInventory, VerifiedTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRequest:
    """A file the verifier needs next.

    Attributes:
        repository: from where.
        filename: for example ``3.root.json``.
        bytes_max: stop reading there; more is an endless-data attack.
    """

    repository: RepositoryName
    filename: str
    bytes_max: int


class RefreshRefused(Untrusted):
    """A refresh met an attack.

    Attributes:
        state: what was verified before; persist it, so that progress such as a new root is not lost.
        listed: the Image repository was verified as it is now, so that `state` knows which images are listed.
    """

    def __init__(self, cause: Untrusted, *, state: TrustState, listed: bool) -> None:
        super().__init__(cause.message, hint=cause.hint, code=cause.code, detail=cause.detail)
        self.state = state
        self.listed = listed


Refresh = Generator[FileRequest, bytes | None, RefreshResult]


def refresh(state: TrustState, *, vin: str, now: datetime, inventory: VehicleInventory) -> Refresh:
    """Verify everything both repositories say now.

    Args:
        state: from `provision` or from the last refresh.
        vin: of this vehicle.
        now: from a secure time source, UTC.
        inventory: the ECUs of this vehicle with the release counters they committed.

    Yields:
        The next file that is needed; send its bytes, or None when the repository has no such file.

    Returns:
        What to install, and the state to persist first.

    Raises:
        RefreshRefused: an attack; its code names which.
        Unavailable: a file that must exist was not there (`drop_request`).
    """
    now = max(now, state.verified_at)
    director = TrustedRepository(
        state.director,
        name="director",
        now=now,
        vin=vin,
        check_targets=partial(check_director, inventory=inventory),
    )
    image = TrustedRepository(state.image, name="image", now=now, check_targets=check_image_repository)
    listed = False
    try:
        director_targets = yield from _refresh_one(director)
        image_targets = yield from _refresh_one(image)
        listed = True
        targets = match_targets(director_targets, image_targets, inventory, now=now)
    except Untrusted as error:
        raise RefreshRefused(
            error, state=replace(state, director=director.state, image=image.state), listed=listed
        ) from error
    return RefreshResult(
        state=TrustState(image=image.state, director=director.state, verified_at=now),
        targets=targets,
        vehicle_package=director_targets.vehicle_package,
        targets_version=director_targets.version,
        changed=director.state.targets != state.director.targets,
    )


def match_targets(
    director: Targets, image: Targets, inventory: VehicleInventory, *, now: datetime
) -> Mapping[str, VerifiedTarget]:
    """Return, by ECU serial, the images that both repositories vouch for.

    A decision to go back is taken from the Image repository alone, and only while it has not expired, for the release,
    the ECU and the image that it names: the keys of a Director are online, and an old release stays signed for ever.

    Raises:
        Untrusted: `arbitrary_software` when the repositories disagree, `wrong_hardware`, `rollback` for a
            release counter below the committed one, `unknown_ecu`, `repeated_ecu`, `partial_bundle`.

    Source: Uptane 2.1 section 5.4.4.2 step 10; section 5.4.3.3 for hardware id and release counter.
    """
    check_director(director, inventory=inventory)
    ecus = inventory.by_serial()
    release_id = director.vehicle_package.release_id if director.vehicle_package is not None else ""
    decided = [
        one for one in image.downgrades if one.release_id == release_id and now < parse_time(one.expires)
    ]
    found: dict[str, VerifiedTarget] = {}
    for filename, target in director.targets.items():
        _check_consensus(filename, target, image)
        must_match, terms = target.custom.must_match, image.targets[filename].custom.terms
        for serial, ecu_target in target.custom.ecus.items():
            ecu = ecus[serial]
            if ecu.hardware_id not in must_match.hardware_ids:
                raise refuse(Attack.WRONG_HARDWARE, f"{filename} is not for the hardware of ECU {serial}")
            if must_match.release_counter < ecu.release_counter:
                raise refuse(
                    Attack.ROLLBACK,
                    f"{filename}: release counter {must_match.release_counter}, "
                    f"ECU {serial} committed {ecu.release_counter}",
                )
            if terms is not None and terms.version != ecu_target.version:
                raise refuse(
                    Attack.ARBITRARY_SOFTWARE,
                    f"{filename} is version {terms.version}, the Director calls it {ecu_target.version}",
                )
            found[serial] = VerifiedTarget(
                serial=serial,
                filename=filename,
                length=target.length,
                sha256=target.hashes.sha256,
                sha512=target.hashes.sha512,
                hardware_ids=tuple(must_match.hardware_ids),
                release_counter=must_match.release_counter,
                ecu_target=ecu_target,
                terms=terms,
                may_go_back_over=tuple(
                    digest
                    for decision in decided
                    if (decision.ecu, decision.sha256) == (ecu_target.name, target.hashes.sha256)
                    for digest in decision.over
                ),
            )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedImage:
    """An image as the Image repository lists it; for which ECU nobody says."""

    filename: str
    length: int
    sha256: str
    sha512: str


def find_image(trust: TrustState, sha256: str, *, hardware_id: str, version: str) -> ListedImage | None:
    """Return an image that the newest verified Targets of the Image repository list, by its digest; None: there is none.

    Nothing is installed by it: it names what an ECU runs already, however that came there.

    Args:
        trust: of the vehicle.
        sha256: of the image, in hex.
        hardware_id: of the ECU that runs it.
        version: as the ECU calls it; of several names for the same bytes, that one's.

    Raises:
        Untrusted: the stored metadata does not read back.
    """
    if not trust.image.targets:
        return None
    found = [
        (name, target)
        for name, target in sorted(parse_file(trust.image.targets, Targets).signed.targets.items())
        if target.hashes.sha256 == sha256 and hardware_id in target.custom.must_match.hardware_ids
    ]
    named = [one for one in found if one[1].custom.terms and one[1].custom.terms.version == version]
    for filename, target in [*named, *found]:
        return ListedImage(
            filename=filename, length=target.length, sha256=sha256, sha512=target.hashes.sha512
        )
    return None


def check_director(targets: Targets, *, inventory: VehicleInventory) -> None:
    """Check what the Director's Targets say about this vehicle's ECUs.

    Raises:
        Untrusted: `unknown_ecu`, `repeated_ecu`, `partial_bundle`; `arbitrary_software` if it decides on downgrades.

    Source: Uptane 2.1 section 5.4.4.6 steps 7 to 9.
    """
    if targets.downgrades or any(one.custom.terms is not None for one in targets.targets.values()):
        raise refuse(Attack.ARBITRARY_SOFTWARE, "the Director says what only the Image repository decides")
    known = inventory.by_serial()
    targeted: set[str] = set()
    for filename, target in targets.targets.items():
        if not target.custom.ecus:
            raise refuse(Attack.PARTIAL_BUNDLE, f"{filename} is for no ECU")
        for serial in target.custom.ecus:
            if serial not in known:
                raise refuse(Attack.UNKNOWN_ECU, f"ECU {serial} is not in this vehicle")
            if serial in targeted:
                raise refuse(Attack.REPEATED_ECU, f"ECU {serial} is told to install two images")
            targeted.add(serial)
    if targets.vehicle_package is None:
        if targeted:
            raise refuse(Attack.PARTIAL_BUNDLE, "targets without a vehicle package")
        return
    _check_package(targets.vehicle_package, targeted=targeted, known=set(known))


def check_image_repository(targets: Targets) -> None:
    """Check that the Image repository speaks of images only, never of a vehicle.

    Raises:
        Untrusted: `malformed`.
    """
    if targets.vehicle_package is not None or any(one.custom.ecus for one in targets.targets.values()):
        raise refuse(Attack.MALFORMED, "the Image repository speaks of one vehicle")


def _refresh_one(repository: TrustedRepository) -> Generator[FileRequest, bytes | None, Targets]:
    for _ in range(ROOT_ROTATIONS_MAX):
        raw = yield _request(repository, f"{repository.root.version + 1}.root.json", METADATA_BYTES_MAX)
        if raw is None:
            break
        repository.update_root(raw)
    else:
        raise refuse(Attack.ENDLESS_DATA, f"more than {ROOT_ROTATIONS_MAX} new roots in one refresh")
    repository.finish_roots()
    repository.update_timestamp((yield from _must(repository, "timestamp.json", TIMESTAMP_BYTES_MAX)))
    snapshot = repository.current_snapshot()
    if snapshot is None:
        info = repository.snapshot_info
        snapshot = yield from _must(repository, f"{info.version}.snapshot.json", info.length)
    repository.update_snapshot(snapshot)
    targets = repository.current_targets()
    if targets is None:
        info = repository.targets_info
        targets = yield from _must(repository, f"{info.version}.targets.json", info.length)
    return repository.update_targets(targets)


def _must(
    repository: TrustedRepository, filename: str, bytes_max: int
) -> Generator[FileRequest, bytes | None, bytes]:
    raw = yield _request(repository, filename, bytes_max)
    if raw is None:
        raise Unavailable(
            f"the {repository.name} repository has no {filename}",
            code="drop_request",
            hint="the next poll tries again",
        )
    return raw


def _request(repository: TrustedRepository, filename: str, bytes_max: int) -> FileRequest:
    return FileRequest(repository=repository.name, filename=filename, bytes_max=bytes_max)


def _check_consensus(filename: str, target: Target, image: Targets) -> None:
    vouched = image.targets.get(filename)
    if vouched is None:
        raise refuse(Attack.ARBITRARY_SOFTWARE, f"{filename} is not in the Image repository")
    if (vouched.length, vouched.hashes) != (target.length, target.hashes):
        raise refuse(Attack.ARBITRARY_SOFTWARE, f"{filename} is another image in the Image repository")
    if vouched.custom.must_match != target.custom.must_match:
        raise refuse(
            Attack.ARBITRARY_SOFTWARE,
            f"{filename} has another hardware id or counter in the Image repository",
        )


def _check_package(package: VehiclePackage, *, targeted: set[str], known: set[str]) -> None:
    """Check that every targeted ECU is in exactly one group, and that the groups can be ordered."""
    grouped = [serial for group in package.groups for serial in group.ecus]
    if len(set(grouped)) != len(grouped):
        raise refuse(Attack.REPEATED_ECU, "an ECU is in two update groups")
    if set(grouped) != targeted:
        raise refuse(Attack.PARTIAL_BUNDLE, "the update groups and the targets name different ECUs")
    if not {check.ecu for check in package.post_checks} <= known:
        raise refuse(Attack.UNKNOWN_ECU, "a check after the update names an ECU that is not in this vehicle")
    names = [group.name for group in package.groups]
    if len(set(names)) != len(names):
        raise refuse(Attack.PARTIAL_BUNDLE, "two update groups have one name")
    waiting = {group.name: set(group.after) for group in package.groups}
    while waiting:
        free = {name for name, after in waiting.items() if waiting.keys().isdisjoint(after)}
        if not free:
            raise refuse(Attack.PARTIAL_BUNDLE, "the update groups wait for each other")
        waiting = {name: after for name, after in waiting.items() if name not in free}
    if not {name for group in package.groups for name in group.after} <= set(names):
        raise refuse(Attack.PARTIAL_BUNDLE, "an update group waits for one that does not exist")
