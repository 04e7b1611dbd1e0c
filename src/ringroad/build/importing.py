"""What another update server qualified, as it was sent: read, checked, and matched with ECUs. Pure: bytes in, values out.

One body is sent: a Mender artifact as it is, or a tar of a hawkBit distribution set (its JSON first, then its files under
the names that it gives them).

1. What is wrong with the whole is an error: nobody could say what it would become.
2. What is wrong with one module is a value, so that a person sees all of it at once.

Invariant: a module without a refusal was read to its last byte, and agrees with every hash that came with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ringroad.build.hawkbit_set import SET_BYTES_MAX, DistributionSet, Module, check_file, read_set
from ringroad.build.images import ImageFacts, read_image
from ringroad.build.images.facts import refuse
from ringroad.build.images.mender import is_mender
from ringroad.build.images.tar import BLOCK_BYTES, Read, entries
from ringroad.kernel.errors import InvalidInput, RingroadError

NAME_CHARS_MAX: Final = 200
_USTAR: Final = b"ustar"  # in each header of a tar by POSIX or GNU
_USTAR_AT: Final = 257  # byte of the header
_JSON_START: Final = b"{[ \t\r\n\xef"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file that came, and the ECU that it is for."""

    module: str  # as it is called there
    filename: str
    ecu: str | None  # None: nobody said, and it cannot be guessed
    version: str | None  # the image's own, else the module's
    content: memoryview | None
    image: ImageFacts | None
    error: RingroadError | None  # why it cannot be taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was sent."""

    kind: Literal["hawkbit", "mender"]
    name: str
    version: str | None
    sha256: str  # of the set's document, or of the artifact
    parts: tuple[Part, ...]

    @property
    def origin(self) -> str:
        """Where it came from, for a release's notes."""
        what = "hawkBit distribution set" if self.kind == "hawkbit" else "Mender artifact"
        name = f"{self.name} {self.version}" if self.kind == "hawkbit" else self.name
        return f"from the {what} {name}, sha256 {self.sha256}"


def read_upload(data: memoryview, *, ecus: Sequence[str], speaking: Sequence[str]) -> Found:
    """Read what was sent.

    Args:
        data: the whole body.
        ecus: ``MODULE=ECU``, or one ``ECU`` where there is one module.
        speaking: the programme's ECUs that speak DDI; the only one is taken where nobody says which.

    Raises:
        InvalidInput: it is nothing that can be imported, or `ecus` names what is not there.
    """
    if is_mender(data) and not bytes(data[:100]).rstrip(b"\0").endswith(
        b".json"
    ):  # `version-2.json` is a set's
        return _of_artifact(data, ecus, speaking)
    if data and data[0] in _JSON_START:
        return _of_set(bytes(data[: SET_BYTES_MAX + 1]), {}, ecus, speaking)
    if bytes(data[_USTAR_AT : _USTAR_AT + len(_USTAR)]) != _USTAR:
        refuse(
            "unsupported", "this is neither a Mender artifact nor a hawkBit distribution set",
            hint="a .mender file that was copied whole, or a set's JSON, alone or first in a tar with its files",
        )  # fmt: skip
    document, files = _unpack(data)
    return _of_set(document, files, ecus, speaking)


def _unpack(data: memoryview) -> tuple[bytes, dict[str, memoryview]]:
    at = 0

    def read(size: int) -> bytes:
        nonlocal at
        part = bytes(data[at : at + size])
        at += len(part)
        return part

    document: bytes | None = None
    files: dict[str, memoryview] = {}
    for entry in entries(read, what="the upload", keep_bytes_max=SET_BYTES_MAX):
        end = at - (-entry.size % BLOCK_BYTES)
        if document is None:
            if entry.content is None or not entry.name.endswith(".json"):
                refuse(
                    "unsupported", "the first file of the upload is no distribution set",
                    hint="a tar whose first file is the set's JSON, or a Mender artifact",
                )  # fmt: skip
            document = entry.content
        elif entry.name in files:
            refuse("malformed", f"{entry.name[:80]!r} is in the upload twice")
        else:
            files[entry.name] = data[end - entry.size : end]
    if document is None:
        refuse("empty", "the upload has no file")
    return document, files


def _of_set(
    document: bytes, files: Mapping[str, memoryview], ecus: Sequence[str], speaking: Sequence[str]
) -> Found:
    found = read_set(document)
    chosen = _chosen(found, ecus)
    if len(found.modules) == len(speaking) == 1:
        chosen.setdefault(found.modules[0].name, speaking[0])
    wanted = {module.file.filename for module in found.modules}
    if extra := sorted(files.keys() - wanted):
        raise InvalidInput(f"the set has no file {extra[0][:80]!r}", code="distribution_set")
    parts = [_of_module(module, files.get(module.file.filename), chosen) for module in found.modules]
    return Found(
        kind="hawkbit", name=found.name, version=found.version, sha256=found.sha256, parts=_one_per_ecu(parts)
    )


def _chosen(found: DistributionSet, words: Sequence[str]) -> dict[str, str]:
    names = [module.name for module in found.modules]
    chosen: dict[str, str] = {}
    for word in words:
        module, sign, ecu = word.rpartition("=")
        if not sign and len(names) == 1:
            module = names[0]
        if not module or not ecu:
            raise InvalidInput(f"{word[:80]!r} is no MODULE=ECU", hint="for example rootfs=telebox")
        if module not in names:
            raise InvalidInput(
                f"the set has no module {module[:80]!r}",
                hint="it has " + ", ".join(repr(name) for name in names)[:400],
            )
        chosen[module] = ecu
    return chosen


def _of_module(module: Module, content: memoryview | None, chosen: Mapping[str, str]) -> Part:
    image, error = None, None
    try:
        if content is None:
            raise InvalidInput(f"{module.file.filename} did not come with the set", code="file_missing")
        check_file(module.file, _reader(content), size=len(content))
        image = read_image(content)
        if module.name not in chosen:
            raise InvalidInput(
                f"no ECU is named for module {module.name!r}", hint=f"--ecu {module.name}=ECU", code="no_ecu"
            )
    except RingroadError as refused:
        error = refused
    own = image.version if image else None
    return Part(
        module=module.name, filename=module.file.filename, ecu=chosen.get(module.name),
        version=own or module.version, content=content, image=image, error=error,
    )  # fmt: skip


def _reader(content: memoryview) -> Read:
    at = 0

    def read(size: int) -> bytes:
        nonlocal at
        part = bytes(content[at : at + size])
        at += len(part)
        return part

    return read


def _one_per_ecu(parts: Sequence[Part]) -> tuple[Part, ...]:
    ecus = [part.ecu for part in parts if part.ecu is not None]
    if len(set(ecus)) != len(ecus):
        raise InvalidInput("two modules are for the same ECU")
    return tuple(parts)


def _of_artifact(data: memoryview, ecus: Sequence[str], speaking: Sequence[str]) -> Found:
    try:
        image = read_image(data, declared_format="mender")
    except InvalidInput as bad:
        raise InvalidInput(
            bad.message, code=bad.code, detail=bad.detail,
            hint=bad.hint or "the artifact is damaged or was not copied whole: compare its checksum with the original's",
        ) from bad  # fmt: skip
    name = str(image.details["artifact_name"])[:NAME_CHARS_MAX]
    words = [word.rpartition("=")[2] for word in ecus]
    ecu = words[0] if len(words) == 1 else speaking[0] if len(speaking) == 1 and not words else None
    error = None if ecu else InvalidInput("one ECU must be named", hint="--ecu ECU", code="no_ecu")
    part = Part(
        module=name, filename=f"{image.sha256[:16]}.mender", ecu=ecu, version=image.version, content=data, image=image,
        error=error,
    )  # fmt: skip
    return Found(kind="mender", name=name, version=image.version, sha256=image.sha256, parts=(part,))
