"""May a release be signed? One check of it as a whole, against programme, packages and counters.

Pure: no clock, no database. `store.py` loads the facts and keeps the findings.

Invariant: what is missing, unknown or unreadable is a blocking problem; only what is known to be
harmless is a warning.
"""

# ruff: noqa: PERF401 - one append per rule reads as the rule; the lists are short
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from ringroad.build.model import Ecu, Package, Problem, Programme, Severity
from ringroad.build.release_groups import check_groups
from ringroad.build.release_shape import check_shape
from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.versions import parse_range
from ringroad.protocol.preconditions import parse_precondition

PROBLEMS_MAX: Final = 200  # kept with the release; a person reads the first ten

_FORMATS: Final = {
    "ab": ("bin", "ihex", "srec", "mcuboot"),
    "uds": ("bin", "ihex", "srec", "mcuboot"),
    "mcuboot": ("mcuboot",),
    "sovd": ("bin", "ihex", "srec", "mcuboot"),
    "files": ("bin", "ihex", "srec", "mcuboot"),
    "container": ("bin",),
    "swupdate": ("swu",),
    "rauc": ("bin",),
    "ddi": ("swu", "mender", "bin"),
}


def check_release(
    programme: Programme,
    release_document: Mapping[str, Any],
    packages: Mapping[str, Package],
    counters: Mapping[str, int],
    running: Mapping[str, Sequence[str]],
) -> list[Problem]:
    """Check a release as a whole.

    Args:
        programme: what is built.
        release_document: packages per variant, untouched ECUs, groups, post-checks, preconditions.
        packages: by id, at least those the release names.
        counters: highest release counter ever signed, by ECU name; an ECU without one has 0.
        running: versions that vehicles on the road may run, by ECU name; decides about requirements
            towards ECUs that this release leaves untouched.

    Returns:
        Problems, blocking ones first; empty if there is nothing to say.
    """
    problems = check_shape(release_document)
    if not problems:
        problems += _check_cover(programme, release_document, packages)
        problems += _check_packages(programme, release_document, packages, counters)
        problems += _check_requirements(programme, release_document, packages, running)
        problems += check_groups(programme, release_document)
        problems += _check_post_checks(release_document)
        problems += _check_preconditions(programme, release_document)
    unique = list(dict.fromkeys(problems))
    unique.sort(key=lambda problem: problem.severity is not Severity.BLOCKING)
    return unique[:PROBLEMS_MAX]


def check_bytes(packages: Mapping[str, Package], alike: Iterable[Package]) -> list[Problem]:
    """Warn of packages whose bytes another version of their ECU has: who runs those is not updated.

    Args:
        packages: of a release, by id.
        alike: packages of the programme with the same images; those of the release among them.
    """
    found: list[Problem] = []
    for package in packages.values():
        others = [
            each
            for each in alike
            if (each.ecu, each.image_sha256) == (package.ecu, package.image_sha256) and each.id != package.id
        ]
        if not others:
            continue
        ecu, versions = package.ecu, ", ".join(each.version for each in others[:5])
        hint = f"a vehicle that runs {versions} leaves {ecu} out, and goes on to tell that version; "
        if max(each.release_counter for each in others) < package.release_counter:
            hint = (
                f"a vehicle that runs {versions} installs them again for the higher counter, if the release brings it"
                " another image too; one that runs all images of a release is never offered it; "
            )
        found.append(
            Problem(
                severity=Severity.WARNING,
                code="same_bytes",
                message=f"{package.name} {package.version} for {ecu} has the bytes of {versions}",
                hint=f"{hint}was the right file added?",
            )
        )
    return found


def blocks(problems: Iterable[Problem]) -> bool:
    """Tell whether any problem stops the release."""
    return any(problem.severity is Severity.BLOCKING for problem in problems)


def touched_ecus(release_document: Mapping[str, Any]) -> set[str]:
    """Return the names of all ECUs that get a package in any variant."""
    return {ecu for ecus in release_document["variants"].values() for ecu in ecus}


def blocking(code: str, message: str, hint: str = "") -> Problem:
    """Return a problem that stops the release."""
    return Problem(severity=Severity.BLOCKING, code=code, message=message, hint=hint)


def _check_cover(
    programme: Programme, document: Mapping[str, Any], packages: Mapping[str, Package]
) -> list[Problem]:
    """Every ECU of every variant has a package or is declared untouched, and never both."""
    found: list[Problem] = []
    untouched: Mapping[str, list[str]] = document.get("untouched", {})
    for name in sorted({*document["variants"], *untouched} - set(programme.variants)):
        found.append(blocking("unknown_variant", f"the programme has no variant {name!r}"))
    for name, variant in programme.variants.items():
        given: Mapping[str, str] = document["variants"].get(name, {})
        left = untouched.get(name, [])
        for ecu in variant.ecus:
            if ecu in given and ecu in left:
                found.append(
                    blocking("covered_twice", f"{name}: {ecu} has a package and is declared untouched")
                )
            elif ecu not in given and ecu not in left:
                found.append(
                    blocking(
                        "not_covered",
                        f"{name}: nothing is said about {ecu}",
                        "give it a package or declare it untouched",
                    )
                )
        for ecu in [*given, *left]:
            if ecu not in variant.ecus:
                found.append(blocking("unknown_ecu", f"{name}: the variant has no ECU {ecu!r}"))
        for ecu, package in given.items():
            if package not in packages:
                found.append(
                    blocking(
                        "unknown_package", f"{name}: {ecu} names package {package!r}, which does not exist"
                    )
                )
    if not touched_ecus(document):
        found.append(blocking("empty", "the release changes nothing"))
    return found


def _check_packages(
    programme: Programme,
    document: Mapping[str, Any],
    packages: Mapping[str, Package],
    counters: Mapping[str, int],
) -> list[Problem]:
    """Each package is for this ECU, this hardware, fits it, and does not go back."""
    found: list[Problem] = []
    for given in document["variants"].values():
        for name, package_id in given.items():
            package, ecu = packages.get(package_id), programme.ecus.get(name)
            if package is None or ecu is None:
                continue  # said by _check_cover
            label = f"{package.name} {package.version} for {name}"
            if package.programme_id != programme.id:
                found.append(
                    blocking("wrong_programme", f"{label} belongs to programme {package.programme_id!r}")
                )
            if package.ecu != name:
                found.append(blocking("wrong_ecu", f"{label} was made for ECU {package.ecu!r}"))
            if ecu.hardware_id not in package.hardware_ids:
                fits = ", ".join(package.hardware_ids) or "none"
                found.append(
                    blocking("wrong_hardware", f"{label}: hardware {ecu.hardware_id!r}, package fits {fits}")
                )
            if package.format not in _FORMATS[ecu.agent]:
                found.append(
                    blocking("wrong_format", f"{label}: agent {ecu.agent!r} cannot install {package.format}")
                )
            if package.storage_bytes > ecu.storage_bytes:
                found.append(
                    blocking(
                        "too_large",
                        f"{label} needs {package.storage_bytes} bytes, the ECU holds {ecu.storage_bytes}",
                    )
                )
            counter = counters.get(name, 0)
            if package.release_counter < counter:
                found.append(
                    blocking(
                        "downgrade",
                        f"{label} has release counter {package.release_counter}, {counter} was already signed",
                        "to go back on purpose, package the old software with a new counter",
                    )
                )
    return found


def _check_requirements(
    programme: Programme,
    document: Mapping[str, Any],
    packages: Mapping[str, Package],
    running: Mapping[str, Sequence[str]],
) -> list[Problem]:
    """What a package needs of its neighbours holds in every variant it goes to."""
    found: list[Problem] = []
    for name, given in document["variants"].items():
        members = programme.variants[name].ecus if name in programme.variants else ()
        for package in [packages[package_id] for package_id in given.values() if package_id in packages]:
            for requirement in package.requires:
                label = (
                    f"{name}: {package.name} {package.version} requires {requirement.ecu} {requirement.range}"
                )
                neighbour = packages.get(given.get(requirement.ecu, ""))
                versions = [neighbour.version] if neighbour else running.get(requirement.ecu, ())
                if requirement.ecu not in members:
                    found.append(blocking("dependency_absent", f"{label}, which the variant does not have"))
                elif not versions:
                    found.append(
                        blocking(
                            "dependency_unknown",
                            f"{label}, and it is not known what runs there",
                            "add a package for it",
                        )
                    )
                else:
                    found += _unmet(label, requirement.range, versions)
            for conflict in package.conflicts:
                neighbour = packages.get(given.get(conflict.ecu, ""))
                if neighbour and parse_range(conflict.range).holds(neighbour.version) is not False:
                    clash = f"{name}: {package.name} {package.version} conflicts with {conflict.ecu} {conflict.range}"
                    found.append(blocking("conflict", f"{clash}, and the release brings {neighbour.version}"))
    return found


def _unmet(label: str, wanted: str, versions: Sequence[str]) -> list[Problem]:
    try:
        accepted = parse_range(wanted)
    except InvalidInput as error:
        return [blocking("dependency_unreadable", f"{label}: {error.message}", error.hint)]
    bad = [version for version in versions if not accepted.holds(version)]
    return [blocking("dependency_unmet", f"{label}, but there is {', '.join(bad[:5])}")] if bad else []


def _check_preconditions(programme: Programme, document: Mapping[str, Any]) -> list[Problem]:
    found: list[Problem] = []
    for text in document.get("preconditions", []):
        try:
            parse_precondition(text)
        except InvalidInput as error:
            found.append(blocking("precondition_unreadable", f"{error.message}: {text}", error.hint))
    if not document.get("preconditions"):
        found += [
            Problem(
                severity=Severity.WARNING,
                code="no_precondition",
                message=f"{name} is updated in place without a precondition, also while the vehicle drives",
                hint="--precondition 'Vehicle.Speed == 0'; preconditions hold for every ECU of the release",
            )
            for name in sorted(touched_ecus(document))
            if name in programme.ecus and _in_place(programme.ecus[name])
        ]
    return found


def _in_place(ecu: Ecu) -> bool:
    """Say whether its running software is erased first; a DDI device keeps no preconditions of ours."""
    return ecu.storage == "inplace" and ecu.agent != "ddi"


def _check_post_checks(document: Mapping[str, Any]) -> list[Problem]:
    touched = touched_ecus(document)
    found: list[Problem] = []
    for check in document.get("post_checks", []):
        if check["ecu"] not in touched:
            found.append(
                blocking(
                    "post_check_untouched",
                    f"post-check {check['kind']} names {check['ecu']!r}, which gets no package",
                )
            )
    for ecu in sorted(touched - {check["ecu"] for check in document.get("post_checks", [])}):
        warning = Problem(
            severity=Severity.WARNING,
            code="no_post_check",
            message=f"{ecu} has no post-check",
            hint="without one a wave shows a bad update only by faults",
        )
        found.append(warning)
    return found
