"""May the end of a site's line flash its release now? Decided of what the site holds, whether or not its hub answers.

Pure: no clock, no database, no network.

Invariant: what is missing, has ended or is not in the verified metadata is never flashed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from ringroad.build.model import Package
from ringroad.trust.metadata import Target, Targets, parse_file
from ringroad.trust.plant_key import PlantKey, read_plant_key
from ringroad.trust.released import first_end
from ringroad.trust.state import RepositoryState


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a site verified of its hub's word, the last time it could.

    Attributes:
        image: the Image repository, whole.
        director_root: the newest.
        certificate: of the site's own key.
        verified_at: when; the site's clock is never believed when it says an earlier time.
        seen_at: the latest time that the site knows of; its clock is not believed when it says an earlier one.
    """

    image: RepositoryState
    director_root: bytes
    certificate: bytes
    verified_at: datetime
    seen_at: datetime

    @property
    def plant_key(self) -> PlantKey:
        """The certificate, read; it was verified when it was taken."""
        return read_plant_key(self.certificate)

    @property
    def end(self) -> tuple[datetime, str]:
        """When the first of all that is held ends, and which."""
        key = self.plant_key
        return min(first_end(self.image), (key.expires_at, "certificate of this site's key"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Flash:
    """It may, until then."""

    until: datetime
    ends: str  # what ends then


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """It may not.

    Attributes:
        code: stable: nothing_held, expired, not_released, image_missing.
        reason: for a person.
        until: when what it holds ends, or ended; None: it holds nothing.
    """

    code: str
    reason: str
    until: datetime | None = None


def decide_flash(
    held: Held | None, packages: Iterable[Package], *, missing: Collection[str], now: datetime
) -> Flash | Stand:
    """Decide on a release.

    Args:
        held: what the site verified; None: nothing yet.
        packages: of the release, for every variant.
        missing: digests of images that are not here.
        now: UTC.
    """
    if held is None:
        return Stand(
            code="nothing_held",
            reason="this site has no verified metadata and no certified key from its hub yet",
        )
    until, ends = held.end
    if until <= max(now, held.verified_at, held.seen_at):
        return Stand(
            code="expired",
            reason=f"the {ends} that this site holds ended at {until:%Y-%m-%d %H:%M} UTC: its hub has to be reached",
            until=until,
        )
    wanted = list(packages)
    unknown = not_released(held.image, wanted)
    if unknown:
        return Stand(
            code="not_released",
            reason=f"{unknown[0]} is not in the metadata that this site verified",
            until=until,
        )
    absent = [each.filename for each in wanted if each.image_sha256 in missing]
    if absent:
        return Stand(
            code="image_missing",
            reason=f"{len(absent)} images are not here yet, {absent[0]} first",
            until=until,
        )
    return Flash(until=until, ends=ends)


def not_released(image: RepositoryState, packages: Iterable[Package]) -> list[str]:
    """Return the files of packages that verified Targets do not list exactly so."""
    targets = parse_file(image.targets, Targets).signed.targets
    return [each.filename for each in packages if not _listed(targets, each)]


def _listed(targets: dict[str, Target], package: Package) -> bool:
    found = targets.get(package.filename)
    if found is None:
        return False
    hashes, must = found.hashes, found.custom.must_match
    return (
        (found.length, hashes.sha256, hashes.sha512)
        == (package.image_bytes, package.image_sha256, package.image_sha512)
        and sorted(must.hardware_ids) == sorted(package.hardware_ids)
        and must.release_counter == package.release_counter
    )
