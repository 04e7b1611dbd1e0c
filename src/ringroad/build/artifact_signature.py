"""Who signed an artifact, and may it become a package? Pure.

An ECU's setting `mender_signature` says what becomes of an artifact that no registered key signed: `required` refuses
it, which is what holds unless somebody says otherwise; `reported` takes it, and the release's check says so.

An ECU that has the setting, with either word, takes nothing but Mender artifacts: what is none has no signature to
look at, and its client might read it as one all the same.

Invariant: an artifact counts as signed only by a key that is good now, for this programme and this ECU's supplier.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from ringroad.build.model import Ecu, Package, Problem, Programme, Severity
from ringroad.kernel.errors import InvalidInput, Untrusted
from ringroad.trust.artifact_keys import ArtifactKey, find_signer

SETTING: Final = "mender_signature"
POLICIES: Final = ("required", "reported")
EVERY_SUPPLIER: Final = ""

State = Literal["signed", "unsigned", "unknown_key", "unread"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredKey:
    """A key that is good, for whom, and what it is called."""

    id: str
    name: str
    supplier: str  # as in the programme; empty: every supplier
    key: ArtifactKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """What is known of an artifact's signature."""

    state: State
    sentence: str
    key_id: str | None = None


def judge_signature(details: Mapping[str, Any], keys: Iterable[RegisteredKey], *, ecu: Ecu) -> Signed:
    """Say who signed an artifact.

    Args:
        details: what was read from it.
        keys: that are good for its programme.
        ecu: that it is for.
    """
    manifest, signature = details.get("manifest_sha256"), details.get("manifest_signature")
    if not isinstance(manifest, str):
        return Signed(state="unread", sentence="was read before signatures were verified")
    if not isinstance(signature, str):
        return Signed(state="unsigned", sentence="is not signed")
    fitting = [each for each in keys if each.supplier in (EVERY_SUPPLIER, ecu.supplier)]
    found = find_signer([each.key for each in fitting], manifest_sha256=manifest, signature=signature)
    for each in fitting:
        if found is not None and each.key.sha256 == found.sha256:
            return Signed(state="signed", sentence=f"is signed with the key {each.name!r}", key_id=each.id)
    whose = f"supplier {ecu.supplier!r}" if fitting else f"supplier {ecu.supplier!r}, who has none"
    return Signed(state="unknown_key", sentence=f"is signed with no registered key of {whose}")


def require_signature(found: Signed, *, ecu: Ecu) -> None:
    """Refuse an artifact that must be signed and is not.

    Raises:
        Untrusted: the ECU's setting requires a registered key's signature.
    """
    if found.state == "signed" or policy_of(ecu) == "reported":
        return
    raise Untrusted(
        f"the Mender artifact for {ecu.name} {found.sentence}",
        code="artifact_unsigned" if found.state == "unsigned" else "artifact_signature",
        hint=f"ringroad release key add registers whoever signs it; {SETTING} of {ecu.name} in programme.toml says whether"
        " it must be signed",
    )


def require_mender(image_format: str, *, ecu: Ecu) -> None:
    """Refuse what is no Mender artifact for an ECU that says what becomes of those.

    Raises:
        InvalidInput: the ECU has the setting, and this is another format.
    """
    if SETTING in ecu.settings and image_format != "mender":
        raise InvalidInput(
            f"{ecu.name} takes Mender artifacts only, this is {image_format}",
            code="not_mender",
            hint=f"{SETTING} of {ecu.name} in programme.toml says so",
        )


def policy_of(ecu: Ecu) -> str:
    """Return what becomes of an artifact that no registered key signed."""
    return "reported" if ecu.settings.get(SETTING) == "reported" else "required"


def loosened(old: Programme, new: Programme, keys: Sequence[RegisteredKey]) -> str | None:
    """Say how a programme's new text changes who may sign for its ECUs, for an approver to agree; None: it does not.

    An ECU that is left out may come back with other words, so leaving it out counts where keys are registered, and so
    does a new one that asks for no signature.

    Args:
        old: the programme as it is stored.
        new: what takes its place.
        keys: that are good for it now.
    """
    suppliers = {each.supplier for each in keys}
    for name, ecu in sorted(new.ecus.items()):
        before = old.ecus.get(name)
        if policy_of(ecu) == "reported" and (before is None or policy_of(before) == "required"):
            return f"{name} would take Mender artifacts that nobody signed"
        if before is None:
            continue
        if SETTING in before.settings and SETTING not in ecu.settings:
            return f"{name} would take other files than Mender artifacts"
        if before.supplier != ecu.supplier and suppliers & {before.supplier, ecu.supplier}:
            return f"{name} would be signed for by {ecu.supplier!r} in place of {before.supplier!r}"
    gone = sorted(old.ecus.keys() - new.ecus.keys())
    return f"{gone[0]} would be left out, and keys are registered" if gone and keys else None


def signature_problems(
    programme: Programme, packages: Mapping[str, Package], used: Iterable[str], keys: Sequence[RegisteredKey]
) -> list[Problem]:
    """Return what a release's check has to say of its artifacts' signatures, by the keys that are good now."""
    found = []
    for package_id in sorted(set(used)):
        package = packages.get(package_id)
        ecu = programme.ecus.get(package.ecu) if package else None
        if package is None or ecu is None or (package.format != "mender" and SETTING not in ecu.settings):
            continue
        if package.format != "mender":
            message = (
                f"{package.name} {package.version} is no Mender artifact, and {ecu.name} takes nothing else"
            )
            hint = f"{SETTING} of {ecu.name} in programme.toml says so"
            found.append(Problem(severity=Severity.BLOCKING, code="not_mender", message=message, hint=hint))
            continue
        signed = judge_signature(package.facts.get("details") or {}, keys, ecu=ecu)
        if signed.state == "signed":
            continue
        blocking = policy_of(ecu) == "required"
        found.append(
            Problem(
                severity=Severity.BLOCKING if blocking else Severity.WARNING,
                code="artifact_signature",
                message=f"{package.name} {package.version} for {ecu.name} {signed.sentence}",
                hint="add it again under a new version"
                if signed.state == "unread"
                else "ringroad release key list",
            )
        )
    return found
