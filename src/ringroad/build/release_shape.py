"""Has a release document the shape it must have? Types and known members only, no meaning.

Invariant: after an empty answer every other check may index the document without care.
"""

# ruff: noqa: PERF401 - one append per rule reads as the rule; the lists are short
from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, get_args

import msgspec

from ringroad.build.model import Problem, Severity
from ringroad.kernel.limits import ECUS_MAX
from ringroad.protocol.vehicle import PostCheck

POST_CHECK_KINDS: Final = get_args(msgspec.structs.fields(PostCheck)[1].type)
NOTES_CHARS_MAX: Final = 2_000  # protocol.vehicle.ShortText
PRECONDITIONS_MAX: Final = 64
_GROUPS_MAX: Final = ECUS_MAX
RXSWINS_MAX: Final = (
    64  # type-approved systems of a vehicle; there are some 160 UN regulations, few with software
)
_RXSWIN: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._/\-]{0,98}[A-Za-z0-9])?")
WHOLE_VEHICLE: Final = "vehicle"  # the system of an RXSWIN that is declared without one


def check_shape(document: Mapping[str, Any]) -> list[Problem]:
    """Return a blocking problem for each member that is missing, unknown or of another type."""
    checks: dict[str, Callable[[object], bool]] = {
        "variants": lambda value: _mapping(value, lambda ecus: _mapping(ecus, _text)),
        "untouched": lambda value: _mapping(value, _texts),
        "groups": lambda value: _rows(
            value, {"name": _text, "ecus": _texts, "after": _texts}, {"name", "ecus"}
        ),
        "post_checks": lambda value: _rows(value, {"ecu": _text, "kind": _kind}, {"ecu", "kind"}),
        "preconditions": lambda value: _texts(value) and len(value) <= PRECONDITIONS_MAX,  # type: ignore[arg-type]
        "notes": lambda value: isinstance(value, str) and len(value) <= NOTES_CHARS_MAX,
        "downgrade": _downgrade,
        "rxswin": lambda value: isinstance(value, str) and len(value) <= NOTES_CHARS_MAX,
        "rxswins": _rxswins,
    }
    found: list[Problem] = []
    for name in ("variants", "groups"):
        if name not in document:
            found.append(_problem("missing", f"the release document has no {name!r}"))
    for name, value in document.items():
        if name not in checks:
            found.append(_problem("unknown_member", f"the release document has an unknown member {name!r}"))
        elif name == "post_checks" and _rows(value, {"ecu": _text, "kind": _text}, {"ecu", "kind"}):
            bad = sorted({row["kind"] for row in value if not _kind(row["kind"])})
            if bad:
                known = ", ".join(POST_CHECK_KINDS)
                found.append(
                    _problem("unknown_post_check", f"unknown post-check {', '.join(bad)}; known are {known}")
                )
        elif not checks[name](value):
            found.append(
                _problem(
                    "malformed", f"{name!r} does not have the shape that docs/reference/programme.md gives"
                )
            )
    return found


def _problem(code: str, message: str) -> Problem:
    return Problem(severity=Severity.BLOCKING, code=code, message=message)


def _text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 200


def _downgrade(value: object) -> bool:
    """Say whether this is a mark: why, and for each ECU the versions it may go back from."""
    return (
        isinstance(value, Mapping)
        and set(value) == {"reason", "ecus"}
        and isinstance(value["reason"], str)
        and 0 < len(value["reason"].strip()) <= NOTES_CHARS_MAX
        and _mapping(value["ecus"], _text)
        and len(value["ecus"]) > 0
    )


def _rxswins(value: object) -> bool:
    """Say whether this names type-approved systems, and the RXSWIN of each."""
    return (
        isinstance(value, Mapping)
        and 0 < len(value) <= RXSWINS_MAX
        and all(
            _text(system)
            and str(system).isprintable()
            and isinstance(number, str)
            and _RXSWIN.fullmatch(number)
            for system, number in value.items()
        )
    )


def rxswins_of(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the RXSWIN of each type-approved system that a release declares; a single one is the whole vehicle's.

    Source: UN R156, 2.1.3 and 7.2.1.2.
    """
    single = document.get("rxswin")
    return ({WHOLE_VEHICLE: single} if single else {}) | dict(document.get("rxswins") or {})


def _kind(value: object) -> bool:
    return value in POST_CHECK_KINDS


def _texts(value: object) -> bool:
    return isinstance(value, list) and len(value) <= ECUS_MAX and all(_text(item) for item in value)


def _mapping(value: object, inner: Callable[[object], bool]) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) <= ECUS_MAX
        and all(_text(key) and inner(item) for key, item in value.items())
    )


def _rows(value: object, members: Mapping[str, Callable[[object], bool]], needed: set[str]) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= _GROUPS_MAX
        and all(
            isinstance(row, Mapping)
            and needed <= set(row)
            and all(name in members and members[name](item) for name, item in row.items())
            for row in value
        )
    )


def document_of_packages(
    programme: Mapping[str, Any],
    chosen: Mapping[str, str],
    *,
    groups: Sequence[Mapping[str, Any]] = (),
    post_checks: Sequence[Mapping[str, str]] = (),
    preconditions: Sequence[str] = (),
    notes: str = "",
    rxswin: str = "",
    rxswins: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the release document for packages that go to every variant with their ECU.

    ECUs without a package are declared untouched; without groups all packages are one update group, the Primary last.

    Args:
        programme: its document.
        chosen: package id by ECU.
        groups: as the document has them.
        post_checks: as the document has them.
        preconditions: as the document has them.
        notes: for people.
        rxswin: software identification number for type approval, of the whole vehicle.
        rxswins: the same for each type-approved system.
    """
    built = {name: variant["ecus"] for name, variant in programme["variants"].items()}
    variants = {name: {ecu: chosen[ecu] for ecu in ecus if ecu in chosen} for name, ecus in built.items()}
    primary_last = sorted(chosen, key=lambda ecu: (bool(programme["ecus"].get(ecu, {}).get("primary")), ecu))
    document: dict[str, Any] = {
        "variants": {name: ecus for name, ecus in variants.items() if ecus},
        "untouched": {name: [ecu for ecu in ecus if ecu not in chosen] for name, ecus in built.items()},
        "groups": list(groups) or [{"name": "all", "ecus": primary_last}],
        "post_checks": list(post_checks),
    } | ({"preconditions": list(preconditions)} if preconditions else {})
    document |= ({"notes": notes} if notes else {}) | ({"rxswin": rxswin} if rxswin else {})
    return document | ({"rxswins": dict(rxswins)} if rxswins else {})
