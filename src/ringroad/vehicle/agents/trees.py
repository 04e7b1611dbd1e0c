"""Tar archives into folders, and the digest of a folder.

An archive is a file system, or an OCI image layout (its specification v1): then its one manifest is followed, every
blob is checked against its digest, and the layers are put on each other with their whiteouts.

Invariants: nothing is written outside the folder, whatever names and links an archive holds; and no more is unpacked, or
passed over, than a constant, however small the archive was packed.
"""

from __future__ import annotations

import hashlib
import lzma
import stat
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, NoReturn, Self, TypeVar

import msgspec

from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.limits import IMAGE_BYTES_MAX
from ringroad.vehicle.agents.disk import Disk

ENTRIES_MAX: Final = 200_000  # of one archive; a full Debian desktop has about as many
UNPACKED_BYTES_MAX: Final = 4 * IMAGE_BYTES_MAX  # bytes; file systems compress to a half or a third
CHUNK_BYTES: Final = 1 << 20
LAYERS_MAX: Final = 128  # as many as container engines allow
DOCUMENT_BYTES_MAX: Final = (
    4 << 20
)  # index or manifest. Source: OCI distribution specification, manifest limit
DEPTH_MAX: Final = (
    128  # folders in folders; paths of Linux end at 4,096 bytes, those of real images at a tenth of it
)
# Bytes of a header's own data: a path of 4,096 bytes and the attributes of one inode (64 KiB) fit many times.
HEADER_BYTES_MAX: Final = 1 << 20
_HEADERS: Final = frozenset(
    {
        tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
    }
)  # fmt: skip
_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
T = TypeVar("T")


class _Descriptor(msgspec.Struct, frozen=True):
    mediaType: str = ""  # noqa: N815 - OCI's name
    digest: str = ""


class _Index(msgspec.Struct, frozen=True):
    manifests: tuple[_Descriptor, ...] = ()


class _Manifest(msgspec.Struct, frozen=True):
    layers: tuple[_Descriptor, ...] = ()


def unpack(archive: Path, folder: Path, disk: Disk, *, bytes_max: int = UNPACKED_BYTES_MAX) -> None:
    """Put the file system that an archive holds into an empty folder.

    Args:
        archive: the file.
        folder: empty.
        disk: of the folder.
        bytes_max: of all files that are unpacked, those of lower layers included.

    Raises:
        InvalidInput: it is no tar archive, names something outside, or holds what a file system here may not.
        OSError: the folder cannot be written.
    """
    try:
        with tarfile.open(archive, "r:*", tarinfo=_Entry) as tar:
            if "oci-layout" in _names(tar, bytes_max):
                left = bytes_max
                for layer in _layers(tar):
                    with tarfile.open(fileobj=layer, mode="r:*", tarinfo=_Entry) as inner:
                        left -= _apply(inner, folder, disk, whiteouts=True, bytes_max=left)
            else:
                _apply(tar, folder, disk, whiteouts=False, bytes_max=bytes_max)
    except (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error, ValueError, RecursionError) as error:
        raise InvalidInput(f"the archive does not read: {error}") from error


def tree_digest(folder: Path) -> str:
    """Return the SHA-256 over all names, modes, link targets and contents below a folder. Raises: OSError."""
    digest = hashlib.sha256()
    for path, name in sorted(_walk(folder, ""), key=lambda entry: entry[1]):
        status = path.lstat()
        digest.update(f"{name}\0{stat.S_IMODE(status.st_mode):o}\0".encode("utf-8", "surrogateescape"))
        if stat.S_ISLNK(status.st_mode):
            digest.update(b"link\0" + str(path.readlink()).encode("utf-8", "surrogateescape") + b"\0")
        elif stat.S_ISDIR(status.st_mode):
            digest.update(b"folder\0")
        else:
            with path.open("rb") as file:
                digest.update(b"file\0" + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _walk(folder: Path, before: str) -> Iterator[tuple[Path, str]]:
    for path in folder.iterdir():
        name = f"{before}{path.name}"
        yield path, name
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path, f"{name}/")


# Layers ---------------------------------------------------------------------------------------------


class _Entry(tarfile.TarInfo):
    """An entry whose header is looked at before what belongs to it is read, which tarfile does whatever its size."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Return the entry. Raises: InvalidInput."""
        entry = super().frombuf(buf, encoding, errors)
        if entry.type in _HEADERS and entry.size > HEADER_BYTES_MAX:
            _refuse(f"a header of {entry.size} bytes, limit {HEADER_BYTES_MAX}")
        if entry.type == tarfile.GNUTYPE_SPARSE:
            _refuse_holes(entry.name)
        return entry

    # What tarfile calls for the three formats that name a sparse file in a PAX header, before the entry is given.
    def _proc_gnusparse_00(self, next: Self, *_: object) -> NoReturn:  # noqa: A002 - tarfile's name
        _refuse_holes(next.name)

    _proc_gnusparse_01 = _proc_gnusparse_10 = _proc_gnusparse_00


def _refuse_holes(name: str) -> NoReturn:
    _refuse(f"{name} is stored as a sparse file")  # the list of its holes has no limit


def _names(tar: tarfile.TarFile, bytes_max: int) -> set[str]:
    """Return the names of an archive's entries, read one by one: they are counted before all are here."""
    names: set[str] = set()
    passed = 0
    for count, entry in enumerate(tar, 1):
        passed += entry.size  # to come to the next entry, so much is unpacked
        if passed > bytes_max:
            _refuse(f"the archive unpacks to more than {bytes_max} bytes")
        if count > ENTRIES_MAX:
            _refuse(f"the archive has more than {ENTRIES_MAX} entries")
        names.add(entry.name.removeprefix("./"))
    return names


def _layers(tar: tarfile.TarFile) -> Iterator[IO[bytes]]:
    index = _document(_member(tar, "index.json").read(DOCUMENT_BYTES_MAX + 1), _Index)
    manifests = [one for one in index.manifests if one.mediaType == _MANIFEST]
    if len(manifests) != 1:
        _refuse(f"the image layout has {len(manifests)} manifests; one is unpacked")
    layers = _document(_blob(tar, manifests[0]).read(DOCUMENT_BYTES_MAX + 1), _Manifest).layers
    if not 0 < len(layers) <= LAYERS_MAX:
        _refuse(f"the image has {len(layers)} layers; 1 to {LAYERS_MAX} are unpacked")
    for layer in layers:
        if layer.mediaType not in {_LAYER, f"{_LAYER}+gzip"}:
            _refuse(f"a layer is {layer.mediaType}; tar and tar+gzip are unpacked")
        yield _blob(tar, layer)


def _document(data: bytes, kind: type[T]) -> T:
    if len(data) > DOCUMENT_BYTES_MAX:
        _refuse(f"a document of the image layout is longer than {DOCUMENT_BYTES_MAX} bytes")
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        _refuse(f"a document of the image layout is not understood: {error}")


def _blob(tar: tarfile.TarFile, descriptor: _Descriptor) -> IO[bytes]:
    """Return a blob after its digest was checked."""
    algorithm, _, value = descriptor.digest.partition(":")
    if algorithm != "sha256" or len(value) != 64 or not value.isalnum():
        _refuse(f"digest {algorithm}:{value[:12]} is none of sha256")
    blob = _member(tar, f"blobs/sha256/{value}")
    if hashlib.file_digest(blob, "sha256").hexdigest() != value:  # type: ignore[arg-type]
        _refuse(f"blob {value[:12]} does not match its digest")
    blob.seek(0)
    return blob


def _member(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    found = None
    for spelled in (name, f"./{name}"):
        if found is None and spelled in tar.getnames():
            found = tar.extractfile(spelled)
    if found is None:
        _refuse(f"the image layout has no {name}")
    return found


# Entries --------------------------------------------------------------------------------------------


def _apply(tar: tarfile.TarFile, folder: Path, disk: Disk, *, whiteouts: bool, bytes_max: int) -> int:
    """Unpack one archive; return the bytes of its files."""
    unpacked = 0
    if whiteouts:
        # They hide what lower layers hold and nothing of their own, wherever they stand in it.
        # Source: OCI image specification 1.0, layer.md, whiteouts.
        for name in sorted(_names(tar, bytes_max)):
            _hide(_parts(name), folder, disk)
    for count, entry in enumerate(tar, 1):
        unpacked += entry.size
        if entry.islnk():  # it becomes a copy
            unpacked += _linked(entry, folder, disk).stat().st_size
        if unpacked > bytes_max:
            _refuse(f"the archive unpacks to more than {bytes_max} bytes")
        if count > ENTRIES_MAX:
            _refuse(f"the archive has more than {ENTRIES_MAX} entries")
        parts = _parts(entry.name)
        if not parts:
            continue  # the root itself
        path = _place(folder, parts, disk)
        if not (whiteouts and path.name.startswith(_WHITEOUT)):
            _put(tar, entry, path, folder, disk)
    return unpacked


def _hide(parts: list[str], folder: Path, disk: Disk) -> None:
    """Apply an entry of a layer if it is a whiteout. Behind a link or a file there is nothing to hide."""
    if not parts or not parts[-1].startswith(_WHITEOUT):
        return
    hidden = _one_name(parts[-1].removeprefix(_WHITEOUT))
    at = folder
    for part in parts[:-1]:
        at = at / part
        if at.is_symlink() or not at.is_dir():
            return
    if parts[-1] == _OPAQUE:
        for old in sorted(at.iterdir()):
            disk.remove(old)
    else:
        disk.remove(at / hidden)


def _put(tar: tarfile.TarFile, entry: tarfile.TarInfo, path: Path, folder: Path, disk: Disk) -> None:
    mode = entry.mode & 0o755  # nobody but the owner writes, nothing runs as somebody else
    if entry.isdir():
        if path.is_symlink() or not path.is_dir():
            disk.remove(path)
            disk.make_folder(path)
        disk.set_mode(path, mode | 0o700)
        return
    disk.remove(path)
    if entry.issym():
        disk.link(path, entry.linkname)
        return
    if entry.islnk():
        linked = _linked(entry, folder, disk)
        _copy(linked.open("rb"), path, disk, linked.stat().st_mode & 0o755)
        return
    content = tar.extractfile(entry) if entry.isfile() else None
    if content is None:
        _refuse(f"{entry.name} is neither file, folder nor link")
    _copy(content, path, disk, mode | 0o400)


def _linked(entry: tarfile.TarInfo, folder: Path, disk: Disk) -> Path:
    """Return the file that a hard link stands for."""
    linked = _place(folder, _parts(entry.linkname), disk)
    if linked.is_symlink() or not linked.is_file():
        _refuse(f"{entry.name} is a link to {entry.linkname}, which is no file")
    return linked


def _copy(content: IO[bytes], path: Path, disk: Disk, mode: int) -> None:
    with content:
        chunk = content.read(CHUNK_BYTES)
        while True:
            disk.append(path, chunk, mode=mode | 0o200)
            chunk = content.read(CHUNK_BYTES)
            if not chunk:
                break
    disk.set_mode(path, mode)


def _parts(name: str) -> list[str]:
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if name.startswith("/") or ".." in parts or "\0" in name:
        _refuse(f"{name!r} leads outside")
    if len(parts) > DEPTH_MAX:
        _refuse(f"a name has more than {DEPTH_MAX} parts")
    return parts


def _one_name(name: str) -> str:
    if name in {"", ".", ".."}:
        _refuse("a whiteout names nothing")
    return name


def _place(folder: Path, parts: list[str], disk: Disk) -> Path:
    """Return the path of an entry, with every folder above it; none of them may be a link."""
    at = folder
    for part in parts[:-1]:
        at = at / part
        if at.is_symlink() or (at.exists() and not at.is_dir()):
            _refuse(f"{'/'.join(parts)} lies behind {part}, which is no folder")
        if not at.exists():
            disk.make_folder(at)
    return at / parts[-1]


def _refuse(message: str) -> NoReturn:
    raise InvalidInput(message, code="image_malformed")
