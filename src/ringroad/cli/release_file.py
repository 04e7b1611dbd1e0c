"""Reads what a person writes to describe a release, and makes the document that the API takes. Pure.

A package is named ``VERSION`` where its ECU is known, ``ECU@VERSION``, by its id or by the end of its id.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from ringroad.build.release_shape import document_of_packages
from ringroad.cli.client import TAIL_CHARS_MIN
from ringroad.kernel.errors import InvalidInput, NotFound

KEYS: Final = frozenset({
    "programme", "name", "version", "change", "variants", "untouched", "groups", "post_checks", "preconditions",
    "notes", "rxswin", "rxswins", "downgrade",
})  # fmt: skip
HEAD: Final = frozenset({"programme", "name", "version", "change"})

Rows = Sequence[Mapping[str, Any]]


def read_file(text: str, *, filename: str) -> dict[str, Any]:
    """Read a release file, TOML or JSON by its name.

    Raises:
        InvalidInput: it cannot be read, or has a key that means nothing.
    """
    try:
        content = json.loads(text) if filename.endswith(".json") else tomllib.loads(text)
    except (json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
        kind = "JSON" if filename.endswith(".json") else "TOML"
        raise InvalidInput(f"{filename} is not {kind}: {error}") from error
    if not isinstance(content, dict):
        raise InvalidInput(f"{filename} must be a table at its top")
    unknown = sorted(content.keys() - KEYS)
    if unknown:
        raise InvalidInput(
            f"{filename}: unknown key {unknown[0]!r}", hint=f"known are {', '.join(sorted(KEYS))}"
        )
    missing = [name for name in ("name", "version", "variants") if name not in content]
    if missing:
        raise InvalidInput(f"{filename}: {missing[0]!r} is missing")
    variants = content["variants"]
    if not isinstance(variants, dict) or not all(isinstance(ecus, dict) for ecus in variants.values()):
        raise InvalidInput(f"{filename}: variants must be tables of ECU = package")
    return content


def document_of_file(content: Mapping[str, Any], packages: Rows) -> dict[str, Any]:
    """Return the release document of a file, each package found.

    Raises:
        NotFound: a package is not there.
        InvalidInput: a package's name fits several, or it is for another ECU.
    """
    variants = {
        variant: {ecu: find_package(f"{word}", packages, ecu=ecu)["id"] for ecu, word in ecus.items()}
        for variant, ecus in content["variants"].items()
    }
    rest = {key: value for key, value in content.items() if key not in HEAD and key != "variants"}
    touched = sorted({ecu for ecus in variants.values() for ecu in ecus})
    return {"variants": variants, "groups": [{"name": "all", "ecus": touched}]} | rest


def document_of_options(
    programme: Mapping[str, Any],
    packages: Rows,
    *,
    words: Iterable[str],
    groups: Iterable[str],
    post_checks: Iterable[str],
    preconditions: Iterable[str] = (),
    notes: str = "",
    rxswins: Iterable[str] = (),
) -> dict[str, Any]:
    """Return the release document for packages that go to every variant with their ECU.

    ECUs without a package are declared untouched; without groups all packages are one update group,
    the Primary last.

    Args:
        programme: its document.
        packages: of the programme.
        words: what names the packages.
        groups: ``NAME=ECU,ECU``, installed in this order.
        post_checks: ``ECU=KIND``.
        preconditions: what must hold before any of the ECUs is touched.
        notes: for people.
        rxswins: ``SYSTEM=RXSWIN``, or the one of the whole vehicle.

    Raises:
        NotFound: a package is not there.
        InvalidInput: an option cannot be read, or two packages are for one ECU.
    """
    chosen: dict[str, str] = {}
    for word in words:
        package = find_package(word, packages)
        if package["ecu"] in chosen:
            raise InvalidInput(f"two packages are for {package['ecu']}")
        chosen[package["ecu"]] = package["id"]
    return document_of_packages(
        programme,
        chosen,
        groups=_groups(groups),
        post_checks=[
            {"ecu": ecu, "kind": kind} for ecu, kind in (_pair(text, "ECU=KIND") for text in post_checks)
        ],
        preconditions=list(preconditions),
        notes=notes,
        rxswin=next((text for text in rxswins if "=" not in text), ""),
        rxswins=dict(_pair(text, "SYSTEM=RXSWIN") for text in rxswins if "=" in text),
    )


def find_package(word: str, packages: Rows, *, ecu: str = "") -> Mapping[str, Any]:
    """Return the one package that `word` names.

    Args:
        word: ``ECU@VERSION``, an id, the end of one; only a version where `ecu` is known.
        packages: to look in.
        ecu: that it must be for; empty: any.

    Raises:
        NotFound: no package fits.
        InvalidInput: several do, or it is for another ECU.
    """
    wanted_ecu, _, version = word.rpartition("@")
    found = [row for row in packages if row["id"] == word]
    if not found and (wanted_ecu or ecu):
        found = [row for row in packages if row["ecu"] == (wanted_ecu or ecu) and row["version"] == version]
    if not found and len(word) >= TAIL_CHARS_MIN:
        found = [row for row in packages if row["id"].endswith(word)]
    where = f"{ecu} " if ecu else ""
    if not found:
        raise NotFound(
            f"there is no package {where}{word}",
            hint="ECU@VERSION or an id; ringroad package list shows all",
        )
    if len(found) > 1:
        ids = ", ".join(str(row["id"]) for row in found[:5])
        raise InvalidInput(f"{len(found)} packages are called {where}{word}", hint=f"use an id: {ids}")
    if ecu and found[0]["ecu"] != ecu:
        raise InvalidInput(f"package {word} is for {found[0]['ecu']}, not for {ecu}")
    return found[0]


def _groups(texts: Iterable[str]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for text in texts:
        name, ecus = _pair(text, "NAME=ECU,ECU")
        after = [made[-1]["name"]] if made else []
        made.append({"name": name, "ecus": [ecu.strip() for ecu in ecus.split(",")], "after": after})
    return made


def _pair(text: str, form: str) -> tuple[str, str]:
    left, sign, right = text.partition("=")
    if not (left.strip() and sign and right.strip()):
        raise InvalidInput(f"{text[:60]!r} is not {form}")
    return left.strip(), right.strip()
