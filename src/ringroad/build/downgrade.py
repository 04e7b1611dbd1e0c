"""Releases that take ECUs back to older software: what such a release must say, and what exactly is decided. Pure.

A release is signed for good, so an old one must never be the reason to go back: the new release names the ECUs and
the versions they may go back from, a second person approves, and the offline keys sign the images by digest.

Invariants:
    A decision names both images by digest, and ends.
    An image below the release counter of the one it would replace is in no decision: the vehicle committed that counter.

Source: ADR 0082.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from ringroad.build.model import Package, Problem, Severity
from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.versions import parse_range, parse_version, version_key
from ringroad.trust.metadata import EXPIRES, OVER_MAX, Downgrade

LIFETIME: Final = timedelta(days=180)  # as long as Image Targets hold; a campaign over a fleet takes weeks


def check_downgrade(
    document: Mapping[str, Any],
    packages: Mapping[str, Package],
    known: Sequence[Package],
    running: Mapping[str, Sequence[str]],
) -> list[Problem]:
    """Check what a release says about going back; the document's shape must have passed.

    Args:
        document: of the release.
        packages: by id, at least those the release names.
        known: every package of the ECUs that the release names in its mark.
        running: versions that vehicles on the road may run, by ECU name.
    """
    mark = document.get("downgrade")
    marked: Mapping[str, str] = mark["ecus"] if mark else {}
    found: list[Problem] = []
    for ecu, wanted in marked.items():
        try:
            parse_range(wanted)
        except InvalidInput as error:
            found.append(
                _blocking("downgrade_unreadable", f"downgrade of {ecu}: {error.message}", error.hint)
            )
            continue
        coming = _coming(document, packages, ecu)
        if not coming:
            found.append(
                _blocking("downgrade_untouched", f"the downgrade names {ecu!r}, which gets no package")
            )
        for package in coming:
            over = _over(package, wanted, known)
            if not over:
                said = f"no package of {ecu} in {wanted} is newer than {package.version} and has no higher counter"
                hint = "an ECU never goes below its counter: package the old software with the counter of the newest"
                found.append(_blocking("downgrade_of_nothing", said, hint))
            elif len(over) > OVER_MAX:
                said = f"{len(over)} packages of {ecu} are in {wanted}, limit {OVER_MAX}"
                found.append(_blocking("downgrade_too_wide", said))
    return found + list(_unmarked(document, packages, running, marked))


def decide_downgrades(
    release_id: str,
    document: Mapping[str, Any],
    packages: Mapping[str, Package],
    known: Sequence[Package],
    *,
    asked_by: str,
    approved_by: str,
    now: datetime,
) -> tuple[Downgrade, ...]:
    """Return the decisions that an approval makes: for each image, the digests that it may go over from now on.

    Raises:
        InvalidInput: the release does not ask to go back.
    """
    mark = document.get("downgrade")
    if not mark:
        raise InvalidInput(
            "the release does not ask to go back",
            hint="mark it: [downgrade] with reason and ecus, docs/reference/programme.md",
        )
    return tuple(
        Downgrade(
            release_id=release_id,
            ecu=ecu,
            version=package.version,
            sha256=package.image_sha256,
            over={each.image_sha256: each.version for each in _over(package, wanted, known)},
            reason=mark["reason"],
            asked_by=asked_by,
            approved_by=approved_by,
            expires=(now + LIFETIME).strftime(EXPIRES),
        )
        for ecu, wanted in sorted(mark["ecus"].items())
        for package in _coming(document, packages, ecu)
    )


def _coming(document: Mapping[str, Any], packages: Mapping[str, Package], ecu: str) -> list[Package]:
    ids = {given[ecu] for given in document["variants"].values() if ecu in given}
    return [packages[package_id] for package_id in sorted(ids) if package_id in packages]


def _over(package: Package, wanted: str, known: Sequence[Package]) -> list[Package]:
    """Return the packages that `package` may go over: newer, in the range, of no higher counter."""
    fits, key = parse_range(wanted), parse_version(package.version)
    return [
        each
        for each in known
        if each.ecu == package.ecu
        and key < parse_version(each.version)
        and fits.holds(each.version)
        and each.image_sha256 != package.image_sha256
        and each.release_counter <= package.release_counter
    ]


def _unmarked(
    document: Mapping[str, Any],
    packages: Mapping[str, Package],
    running: Mapping[str, Sequence[str]],
    marked: Mapping[str, str],
) -> Iterator[Problem]:
    for ecu in sorted({ecu for given in document["variants"].values() for ecu in given} - set(marked)):
        for package in _coming(document, packages, ecu):
            key = version_key(package.version)
            keys = {version: version_key(version) for version in running.get(ecu, ())}
            newer = [version for version, other in keys.items() if key and other and key < other]
            if newer:
                yield Problem(
                    severity=Severity.WARNING,
                    code="downgrade_unmarked",
                    message=f"{ecu} {package.version} is older than {', '.join(newer[:5])}, which vehicles run;"
                    " those would not take it",
                    hint="to take them back on purpose, mark the release: [downgrade]",
                )


def _blocking(code: str, message: str, hint: str = "") -> Problem:
    return Problem(severity=Severity.BLOCKING, code=code, message=message, hint=hint)
