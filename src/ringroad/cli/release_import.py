"""`ringroad release import`: what was qualified elsewhere becomes packages and a draft, its files checked again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ringroad.build.hawkbit_set import DistributionSet, check_file, read_set
from ringroad.build.images import ImageFacts, read_image
from ringroad.cli.client import Client
from ringroad.cli.groups import example, with_client
from ringroad.cli.names import programme_of
from ringroad.cli.release_file import document_of_options
from ringroad.cli.shell import Shell
from ringroad.cli.tables import size, tail
from ringroad.cli.uploads import upload
from ringroad.kernel.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One package to be."""

    path: Path
    ecu: str
    name: str
    image: ImageFacts
    version: str | None  # the module's own, where the image has none


@dataclass(frozen=True, slots=True, kw_only=True)
class Qualified:
    """What a file or a set holds, read and checked."""

    name: str
    version: str
    origin: str
    parts: tuple[Part, ...]


@click.command(
    "import",
    epilog=example(
        "ringroad release import winter.json --files artifacts --ecu rootfs=telebox",
        "ringroad release import release-2.1.0.mender --ecu telebox",
    ),
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--files",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder with the artifacts of a distribution set; default: where FILE lies.",
)
@click.option(
    "--ecu",
    "ecus",
    multiple=True,
    help="MODULE=ECU, or the ECU of a Mender artifact; default: the only DDI one.",
)
@click.option("--programme", help="The vehicle programme; default: the only one.")
@click.option("--name", help="What people call the release; default: as it is called there.")
@click.option("--version", help="Its version; default: as it is there.")
@click.option("--packages-only", is_flag=True, help="Add the packages and make no release.")
@with_client
def import_release(
    shell: Shell,
    client: Client,
    *,
    file: Path,
    files: Path | None,
    ecus: tuple[str, ...],
    programme: str | None,
    name: str | None,
    version: str | None,
    packages_only: bool,
) -> None:
    """Make packages and a draft out of FILE: a hawkBit distribution set (JSON) or a Mender artifact.

    Every file is read to its end and compared with the sizes and hashes that come with it.
    """
    programme_id = programme_of(client, programme)
    document = client.get(f"/programmes/{programme_id}")["document"]
    speaking = sorted(key for key, ecu in document["ecus"].items() if ecu["agent"] == "ddi")
    if file.suffix == ".json":
        found = _of_set(read_set(_content(file)), files or file.parent, _ecus_of(ecus), speaking)
    else:
        found = _of_artifact(file, ecus, speaking, version)
    for each in found.parts:
        if each.ecu not in document["ecus"]:
            raise InvalidInput(f"programme {programme_id} has no ECU {each.ecu!r}")
    made = [_add(client, programme_id, each) for each in found.parts]
    lines = [
        f"package {row['id']}  {row['ecu']} {row['version']}, {row['format']}, {size(row['image_bytes'])}"
        for row in made
    ]
    if packages_only:
        shell.show({"packages": made}, text="\n".join(lines))
        return
    body = {
        "programme_id": programme_id,
        "name": name or found.name,
        "version": version or found.version,
        "document": document_of_options(
            document, made, words=[row["id"] for row in made], groups=(), post_checks=(), notes=found.origin
        ),
    }
    release = client.post("/releases", body)
    lines += [f"release {release['id']}", f"next: ringroad release check {tail(release['id'])}"]
    shell.show({"packages": made, "release": release}, text="\n".join(lines))


def _of_set(found: DistributionSet, folder: Path, ecus: Mapping[str, str], speaking: list[str]) -> Qualified:
    if unknown := sorted(ecus.keys() - {module.name for module in found.modules}):
        raise InvalidInput(
            f"the set has no module {unknown[0]!r}",
            hint="it has " + ", ".join(repr(module.name) for module in found.modules),
        )
    parts = []
    for module in found.modules:
        ecu = ecus.get(module.name)
        if ecu is None and len(found.modules) == len(speaking) == 1:
            ecu = speaking[0]
        if ecu is None:
            raise InvalidInput(f"no ECU is named for module {module.name!r}", hint=f"--ecu {module.name}=ECU")
        path = folder / module.file.filename
        try:
            with path.open("rb") as source:
                check_file(module.file, source.read, size=path.stat().st_size)
        except OSError as error:
            raise InvalidInput(
                f"{path} cannot be read: {error.strerror}", hint="--files names its folder"
            ) from error
        image = read_image(path)
        parts.append(Part(path=path, ecu=ecu, name=module.name, image=image, version=module.version))
    if len({part.ecu for part in parts}) != len(parts):
        raise InvalidInput("two modules are for the same ECU")
    origin = f"from the hawkBit distribution set {found.name} {found.version}, sha256 {found.sha256}"
    return Qualified(name=found.name, version=found.version, origin=origin, parts=tuple(parts))


def _of_artifact(file: Path, ecus: tuple[str, ...], speaking: list[str], version: str | None) -> Qualified:
    image = read_image(file, declared_format="mender")
    ecu = ecus[0] if len(ecus) == 1 else speaking[0] if len(speaking) == 1 and not ecus else None
    if ecu is None:
        raise InvalidInput("one ECU must be named", hint="--ecu ECU")
    if image.version is None and version is None:
        raise InvalidInput("the artifact says no version", hint="--version")
    name = str(image.details["artifact_name"])
    part = Part(path=file, ecu=ecu, name=name[:200], image=image, version=version)
    origin = f"from the Mender artifact {name[:200]}, sha256 {image.sha256}"
    return Qualified(name=name[:200], version=version or image.version or "", origin=origin, parts=(part,))


def _add(client: Client, programme_id: str, part: Part) -> Any:
    query = {
        "programme_id": programme_id,
        "ecu": part.ecu,
        "name": part.name,
        "version": None if part.image.version is not None else part.version,  # the image's own counts
        "format": part.image.format,
    }
    return upload(client, "/packages", part.path, query=query)


def _ecus_of(words: tuple[str, ...]) -> dict[str, str]:
    pairs = [word.rpartition("=") for word in words]
    if bad := [word for word, (module, _, ecu) in zip(words, pairs, strict=True) if not (module and ecu)]:
        raise InvalidInput(f"{bad[0][:80]!r} is no MODULE=ECU", hint="for example rootfs=telebox")
    return {module: ecu for module, _, ecu in pairs}


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}") from error
