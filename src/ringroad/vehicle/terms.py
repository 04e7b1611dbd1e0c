"""May these images run on this vehicle, by what the offline keys say of them? Pure.

The server decides the same before it offers a release (`ship/resolve.py`); here the vehicle does not have to believe it.

Invariants:
    * No ECU goes back to an older version unless a signed decision names both images, or it returns to the image that
      this vehicle itself ran before.
    * What is not known is never held to be fitting.

Source: ADR 0082.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.versions import parse_range, version_key
from ringroad.trust.metadata import EcuRange, Terms
from ringroad.trust.state import VerifiedTarget
from ringroad.vehicle.agents.base import Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Why no plan can be made."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """What one ECU runs, before or after.

    Attributes:
        version: as it says itself, or as the image is called; None if nobody knows.
        sha256: of the image; empty if the bootloader answers.
        terms: of the image, if it is known.
        failed: why the ECU did not say what it runs.
    """

    version: str | None
    sha256: str = ""
    terms: Terms | None = None
    failed: Failed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One ECU that gets another image.

    Attributes:
        name: of the ECU.
        target: its new image.
        returns: whether it is the image that it ran before, by order of a return.
    """

    name: str
    target: VerifiedTarget
    returns: bool = False


def check_terms(changes: Sequence[Change], running: Mapping[str, Runs]) -> Refused | None:
    """Return the first thing that stands against making `changes` to what runs, or None.

    1. Each image is newer than the one it replaces, or a signed decision or a return lets it go back.
    2. Each may be installed over the version that runs. Whoever decided on the very image decided that too.
    3. Everything that runs afterwards, new or staying, has what it requires and nothing that it conflicts with.

    Args:
        changes: all ECUs that get another image.
        running: what every ECU of the vehicle runs now, by name.
    """
    try:
        after = {**running, **{one.name: as_running(one.target) for one in changes}}
        return next(_refusals(changes, running, after), None)
    except InvalidInput as error:
        return Refused(code="bad_terms", detail=error.message)


def _refusals(
    changes: Sequence[Change], running: Mapping[str, Runs], after: Mapping[str, Runs]
) -> Iterator[Refused]:
    for one in changes:
        runs = running.get(one.name, Runs(version=None))
        if one.returns or runs.sha256 in one.target.may_go_back_over:
            continue
        yield from _older(one, runs)  # 1
        yield from _over(one, runs)  # 2
    for name, there in after.items():  # 3
        if there.terms is not None:
            for wanted in there.terms.requires:
                yield from _beside(name, wanted, after, code="requires")
            for unwanted in there.terms.conflicts:
                yield from _beside(name, unwanted, after, code="conflicts")


def _older(one: Change, runs: Runs) -> Iterator[Refused]:
    old, new = version_key(runs.version or ""), version_key(one.target.ecu_target.version)
    # Without an order on the ECU's side nothing is known to be older; the release counter still holds.
    if old is not None and (new is None or new < old):
        said = f"{one.name} would go back from {runs.version} to {one.target.ecu_target.version}"
        yield Refused(code="downgrade_undecided", detail=f"{said}, and no signed decision says that it may")


def _over(one: Change, runs: Runs) -> Iterator[Refused]:
    terms = one.target.terms
    if terms is None or terms.upgrades_from == "*":
        return
    if not parse_range(terms.upgrades_from).holds(runs.version or ""):
        said = f"{one.name} {terms.version} may be installed only over {terms.upgrades_from}"
        yield Refused(code="upgrades_from", detail=f"{said}, and there is {runs.version or 'an unknown one'}")


def _beside(name: str, other: EcuRange, after: Mapping[str, Runs], *, code: str) -> Iterator[Refused]:
    there = after.get(other.ecu)
    if there is None:
        if code == "requires":
            yield Refused(code=code, detail=f"{name} requires {other.ecu}, which the vehicle does not have")
        return
    fits = parse_range(other.range).holds(there.version or "")
    said = f"{name} {'requires' if code == 'requires' else 'conflicts with'} {other.ecu} {other.range}"
    if fits is None and there.failed is not None:
        yield Refused(code=there.failed.reason, detail=f"{said}, and {other.ecu} does not say what it runs")
    elif fits is None or fits is (code == "conflicts"):
        yield Refused(code=code, detail=f"{said}, and it would run {there.version or 'an unknown version'}")


def as_running(target: VerifiedTarget) -> Runs:
    """Return what an ECU runs that has this image."""
    return Runs(version=target.ecu_target.version, sha256=target.sha256, terms=target.terms)
