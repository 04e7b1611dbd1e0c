"""A hawkBit distribution set, as its management API tells it, with its modules' artifacts and hashes. Pure.

Source: hawkBit management API, GET /rest/v1/distributionsets/{id}, whose `modules` hold what
GET /rest/v1/softwaremodules/{id}/artifacts answers, under `artifacts`.

Invariant: what is returned names each file by a plain name, a size and a sha256; a file is checked against all of its
hashes before it is used.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from ringroad.kernel.errors import InvalidInput, Untrusted
from ringroad.kernel.limits import IMAGE_BYTES_MAX

SET_BYTES_MAX: Final = 4 * 1024**2  # bytes of the document; a set of 33 modules has 30 kB
MODULES_MAX: Final = 256
NAME_CHARS_MAX: Final = 200
PART_BYTES: Final = 1024**2
AS_ANSWERED: Final = "give it as GET /rest/v1/distributionsets/{id} answers, each module with its artifacts"
AGAIN: Final = "download it again"
_FILENAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+ -]{0,199}")
_HEX: Final = {"sha256": 64, "sha1": 40, "md5": 32}


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactFile:
    """One file that a module needs."""

    filename: str
    size: int
    hashes: Mapping[str, str]  # sha256, and whatever else hawkBit has


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One software module with its one file."""

    name: str
    version: str
    kind: str
    file: ArtifactFile


@dataclass(frozen=True, slots=True, kw_only=True)
class DistributionSet:
    """A distribution set."""

    name: str
    version: str
    modules: tuple[Module, ...]
    sha256: str  # of the document


def read_set(content: bytes) -> DistributionSet:
    """Read a distribution set.

    Raises:
        InvalidInput: it is none, or not one that can be installed; the message names the module.
    """
    if len(content) > SET_BYTES_MAX:
        _refuse(f"the document has more than {SET_BYTES_MAX} bytes")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        _refuse(f"the document is no JSON: {str(error)[:120]}")
    if not isinstance(document, dict):
        _refuse("the document is no distribution set")
    if document.get("complete") is False or document.get("deleted") is True:
        _refuse(
            "hawkBit says that this set is incomplete or deleted", hint="complete it there, and read it again"
        )
    modules = document.get("modules")
    if not isinstance(modules, list) or not 0 < len(modules) <= MODULES_MAX:
        _refuse(f"the set has no modules, or more than {MODULES_MAX}")
    read = tuple(_module(each) for each in modules)
    if len({each.name for each in read}) != len(read):
        _refuse("two modules have the same name")
    return DistributionSet(
        name=_text(document, "name", "the set"),
        version=_text(document, "version", "the set"),
        modules=read,
        sha256=hashlib.sha256(content).hexdigest(),
    )


def check_file(wanted: ArtifactFile, read: Callable[[int], bytes], *, size: int) -> None:
    """Compare a file with what the set says of it.

    Raises:
        InvalidInput: it has another size.
        Untrusted: it hashes to something else.
    """
    if size != wanted.size:
        _refuse(f"{wanted.filename} has {size} bytes, the set says {wanted.size}", hint=AGAIN)
    digests = {name: hashlib.new(name, usedforsecurity=False) for name in wanted.hashes}
    while part := read(PART_BYTES):
        for digest in digests.values():
            digest.update(part)
    for name, digest in digests.items():
        if digest.hexdigest() != wanted.hashes[name]:
            raise Untrusted(
                f"{wanted.filename} is not the file of the set: its {name} is {digest.hexdigest()}",
                code="hash_mismatch",
                hint=AGAIN,
            )


def _module(document: object) -> Module:
    if not isinstance(document, dict):
        _refuse("a module is no object")
    name = _text(document, "name", "a module")
    artifacts = document.get("artifacts")
    if not isinstance(artifacts, list):
        _refuse(
            f"module {name!r} has no artifacts",
            hint="add what GET /rest/v1/softwaremodules/{id}/artifacts answers to the module, as artifacts",
        )
    if len(artifacts) != 1:
        _refuse(f"module {name!r} has {len(artifacts)} files; an ECU takes one")
    return Module(
        name=name,
        version=_text(document, "version", f"module {name!r}"),
        kind=str(document.get("type", ""))[:NAME_CHARS_MAX],
        file=_artifact(artifacts[0], name),
    )


def _artifact(document: object, module: str) -> ArtifactFile:
    if not isinstance(document, dict):
        _refuse(f"module {module!r}: an artifact is no object")
    filename, size = document.get("providedFilename"), document.get("size")
    if not isinstance(filename, str) or not _FILENAME.fullmatch(filename) or ".." in filename:
        _refuse(f"module {module!r}: {str(filename)[:80]!r} is no plain file name")
    if type(size) is not int or not 0 < size <= IMAGE_BYTES_MAX:
        _refuse(f"module {module!r}: {filename} has no size from 1 to {IMAGE_BYTES_MAX} bytes")
    given = document.get("hashes")
    hashes = {}
    for name, chars in _HEX.items():
        value = given.get(name) if isinstance(given, dict) else None
        if value is None and name != "sha256":
            continue
        if not isinstance(value, str) or not re.fullmatch(rf"[0-9a-fA-F]{{{chars}}}", value):
            _refuse(f"module {module!r}: {filename} has no {name}")
        hashes[name] = value.lower()
    return ArtifactFile(filename=filename, size=size, hashes=hashes)


def _text(document: Mapping[str, Any], key: str, what: str) -> str:
    value = document.get(key)
    if not isinstance(value, str) or not value.strip() or len(value) > NAME_CHARS_MAX or "\0" in value:
        _refuse(f"{what} has no {key} of up to {NAME_CHARS_MAX} characters")
    return value


def _refuse(message: str, *, hint: str = AS_ANSWERED) -> NoReturn:
    raise InvalidInput(message, code="distribution_set", hint=hint)
