"""What a DDI client's word "success" is worth, and what a device must say before it counts. Pure.

rauc-hawkbit-updater and others close an action with success before they restart into what they wrote. Such a word is
a claim: the device is not told the update again, and the action stays open until the device says what it runs. A claim
that nothing confirms ends at the vehicle's deadline, as one that fell silent while it installed.

What a client does is said in the programme, in the settings of its ECU, and kept in the plan:

- `success = "stated"`, unless said otherwise: its success is a claim. `version_attribute` names the attribute in which
  it states, from the software that runs, the version or the SHA-256 of what that is.
- `success = "after_restart"`: it says success only when the new software runs, as SWUpdate does with `-c 2`.
- `success = "word"`: it cannot state anything; its word is taken, and the checker says so.

Invariants:
    Whatever is not known to be better is a claim.
    What a device stated before it claimed, or a version that it ran before as well, confirms nothing: of the ECUs that
    it states, one at least was to change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ringroad.ship.model import PlanFinding, ReleaseFacts, Severity

Success = Literal["stated", "after_restart", "word"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SuccessRule:
    """What a kind of vehicle's success is worth.

    Attributes:
        success: when it is taken for true.
        attributes: by ECU, the attribute that states what that runs.
        keeps_old: every ECU has two banks, and runs the old one until the new one is whole.
    """

    success: Success = "stated"
    attributes: Mapping[str, str] = field(default_factory=dict)
    keeps_old: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaited:
    """What an action puts on an ECU, and what that is known to have run before."""

    ecu: str
    version: str
    sha256: str
    version_before: str | None = None
    sha256_before: str | None = None

    @property
    def changes(self) -> bool:
        """Whether it gets other software than it is known to have run."""
        return self.sha256_before != self.sha256


def rules_of(release: ReleaseFacts) -> dict[str, SuccessRule]:
    """Return the rule of each variant; of several ECUs, the most careful word counts."""
    rules = {}
    for variant, packages in release.variants.items():
        settings = {ecu: release.ecus[ecu].settings for ecu in sorted(packages) if ecu in release.ecus}
        words = {each.get("success", "stated") for each in settings.values()}
        chosen: Success = "stated"
        if words == {"after_restart"}:
            chosen = "after_restart"
        elif words and words <= {"word", "after_restart"}:
            chosen = "word"
        named = {ecu: name for ecu, each in settings.items() if (name := each.get("version_attribute"))}
        keeps_old = len(settings) == len(packages) and all(
            release.ecus[ecu].storage == "ab" for ecu in settings
        )
        rules[variant] = SuccessRule(success=chosen, attributes=named, keeps_old=keeps_old)
    return rules


def confirms(rule: SuccessRule, data: Mapping[str, Any], awaited: Sequence[Awaited]) -> bool:
    """Tell whether a device's attributes say that it runs all that the action puts on it.

    An ECU that the action leaves as it was states what it runs, too; that alone is no evidence.

    Args:
        rule: of its kind.
        data: attributes of one statement, made after the claim.
        awaited: one per ECU of the release.
    """
    named = [each for each in awaited if each.ecu in rule.attributes]
    stated = all(_is(each, data.get(rule.attributes[each.ecu])) for each in named)
    return stated and any(each.changes for each in named)


def check_success(rules: Mapping[str, SuccessRule], vehicles: Mapping[str, int]) -> list[PlanFinding]:
    """Look at what the success of DDI vehicles will be worth.

    Args:
        rules: by variant.
        vehicles: of the plan that speak DDI, by variant.
    """
    word = sum(count for variant, count in vehicles.items() if _rule(rules, variant).success == "word")
    mute = sum(
        count
        for variant, count in vehicles.items()
        if _rule(rules, variant).success == "stated" and not _rule(rules, variant).attributes
    )
    findings = []
    if word:
        findings.append(
            PlanFinding(
                severity=Severity.WARNING, code="success_is_word",
                message=f"of {word} DDI vehicles success is the client's word: it may be said before the new software"
                " ever ran",
                hint="version_attribute in the ECU's settings lets the device state what it runs; else soak, and"
                " compare silence",
            )
        )  # fmt: skip
    if mute:
        findings.append(
            PlanFinding(
                severity=Severity.WARNING, code="success_unconfirmed",
                message=f"{mute} DDI vehicles count as installed only when they state their release (installedBase);"
                " those that do not end as silent",
                hint="in the ECU's settings: version_attribute names the attribute that states what it runs, success ="
                ' "after_restart" is for a client that confirms by itself, as SWUpdate does',
            )
        )  # fmt: skip
    return findings


def _rule(rules: Mapping[str, SuccessRule], variant: str) -> SuccessRule:
    return rules.get(variant, SuccessRule())


def _is(awaited: Awaited, stated: object) -> bool:
    if not isinstance(stated, str):
        return False
    stated = stated.strip()
    if stated.lower() == awaited.sha256.lower():
        return True
    return stated == awaited.version and not (awaited.changes and awaited.version_before == awaited.version)
