"""Archives become folders, and nothing else: no name, link or layer writes outside, no blob differs from its digest."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import lzma
import os
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from ringroad.kernel.errors import InvalidInput
from ringroad.vehicle.agents import trees
from ringroad.vehicle.agents.disk import RealDisk
from ringroad.vehicle.agents.trees import tree_digest, unpack

DISK = RealDisk("buffered")
Entry = tuple[str, bytes | str | None]  # name; content, None: folder, text: link target


def tar(*entries: Entry, change: Callable[[tarfile.TarInfo], None] = lambda _: None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, what in entries:
            entry = tarfile.TarInfo(name)
            content = what if isinstance(what, bytes) else b""
            entry.size = len(content)
            if what is None:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            elif isinstance(what, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, what
            change(entry)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def layout(
    *layers: bytes, zipped: bool = True, spoil: Callable[[dict[str, bytes]], None] = lambda _: None
) -> bytes:
    """An OCI image layout with these layers."""
    blobs = [gzip.compress(layer, mtime=0) if zipped else layer for layer in layers]
    kind = "application/vnd.oci.image.layer.v1.tar" + ("+gzip" if zipped else "")
    manifest = json.dumps(
        {
            "layers": [
                {"mediaType": kind, "digest": f"sha256:{digest(blob)}", "size": len(blob)} for blob in blobs
            ]
        }
    ).encode()
    index = {
        "manifests": [
            {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": f"sha256:{digest(manifest)}",
            }
        ]
    }
    files = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "index.json": json.dumps(index).encode()}
    files |= {f"blobs/sha256/{digest(blob)}": blob for blob in (*blobs, manifest)}
    spoil(files)
    return tar(*files.items())


def unpacked(tmp_path: Path, data: bytes) -> Path:
    (tmp_path / "archive").write_bytes(data)
    folder = tmp_path / "folder"
    folder.mkdir()
    unpack(tmp_path / "archive", folder, DISK)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("wrap", [bytes, gzip.compress])
def test_an_archive_becomes_files_folders_and_links(tmp_path: Path, wrap: Callable[[bytes], bytes]) -> None:
    folder = unpacked(
        tmp_path, wrap(tar(("./", None), ("bin/app", b"run"), ("lib", None), ("bin/sh", "/bin/app")))
    )
    assert names(folder) == ["bin", "bin/app", "bin/sh", "lib"]
    assert (folder / "bin/app").read_bytes() == b"run"
    assert str((folder / "bin/sh").readlink()) == "/bin/app"


def test_nothing_in_an_archive_keeps_rights_that_are_more_than_its_owners(tmp_path: Path) -> None:
    def wild(entry: tarfile.TarInfo) -> None:
        entry.mode = 0o6777

    folder = unpacked(tmp_path, tar(("app", b"x"), change=wild))
    assert (folder / "app").stat().st_mode & 0o7777 == 0o755


class Noted(RealDisk):
    """A disk that notes whose rights it was told."""

    told: ClassVar[list[str]] = []

    def set_mode(self, path: Path, mode: int) -> None:
        self.told.append(f"{path.name} {mode:o}")
        super().set_mode(path, mode)


def test_the_rights_of_files_and_folders_are_durable_steps_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(tar(("bin", None), ("bin/app", b"x")))
    (tmp_path / "folder").mkdir()
    unpack(tmp_path / "archive", tmp_path / "folder", Noted("fsync"))
    assert Noted.told == ["bin 755", "app 644"]
    assert (tmp_path / "folder/bin/app").stat().st_mode & 0o7777 == 0o644


def test_a_hard_link_is_a_copy_of_a_file_before_it(tmp_path: Path) -> None:
    def hard(entry: tarfile.TarInfo) -> None:
        if entry.name == "b":
            entry.type, entry.linkname = tarfile.LNKTYPE, "a"

    folder = unpacked(tmp_path, tar(("a", b"same"), ("b", b""), change=hard))
    assert (folder / "b").read_bytes() == b"same"


@pytest.mark.parametrize("zipped", [True, False])
def test_layers_are_put_on_each_other_with_their_whiteouts(tmp_path: Path, zipped: bool) -> None:  # noqa: FBT001
    first = tar(("etc/old", b"1"), ("etc/kept", b"2"), ("cache/a", b"3"), ("cache/b", b"4"), ("app", b"old"))
    second = tar(("etc/.wh.old", b""), ("cache/.wh..wh..opq", b""), ("cache/c", b"5"), ("app", b"new"))
    folder = unpacked(tmp_path, layout(first, second, zipped=zipped))
    assert names(folder) == ["app", "cache", "cache/c", "etc", "etc/kept"]
    assert (folder / "app").read_bytes() == b"new"


def test_a_whiteout_hides_nothing_of_its_own_layer_wherever_it_stands(tmp_path: Path) -> None:
    first = tar(("cache/a", b"1"), ("cache/deep/b", b"2"), ("app", b"old"), ("way", "app"))
    second = tar(
        ("cache/c", b"3"), ("cache/deep/d", b"4"), ("cache/.wh..wh..opq", b""), ("app", b"new"), (".wh.app", b""),
        ("way", None), ("way/e", b"5"), ("way/.wh..wh..opq", b""),
    )  # fmt: skip
    folder = unpacked(tmp_path, layout(first, second))
    assert names(folder) == ["app", "cache", "cache/c", "cache/deep", "cache/deep/d", "way", "way/e"]
    assert (folder / "app").read_bytes() == b"new"


def device(entry: tarfile.TarInfo) -> None:
    entry.type = tarfile.CHRTYPE


def hard_link_out(entry: tarfile.TarInfo) -> None:
    entry.type, entry.linkname = tarfile.LNKTYPE, "../archive"


def hard_link_to_a_link(entry: tarfile.TarInfo) -> None:
    if entry.name == "b":
        entry.type, entry.linkname = tarfile.LNKTYPE, "a"


def named_with_a_nul(entry: tarfile.TarInfo) -> None:
    entry.pax_headers = {"linkpath": "b\0c"}


def zlib_spoilt(data: bytes) -> bytes:
    """A gzip stream whose deflate data end in a block of no kind."""
    squeeze = zlib.compressobj(wbits=31)
    return squeeze.compress(data[:20_480]) + squeeze.flush(zlib.Z_FULL_FLUSH) + b"\xff" * 1_000


@pytest.mark.parametrize(
    "data",
    [
        tar(("../evil", b"x")),
        tar(("a/../../evil", b"x")),
        tar(("/etc/evil", b"x")),
        tar(("way", ".."), ("way/evil", b"x")),
        tar(("way", "/tmp"), ("way/deep/evil", b"x")),  # noqa: S108
        tar(("file", b"x"), ("file/evil", b"x")),
        tar(("null", b""), change=device),
        tar(("link", b""), change=hard_link_out),
        tar(("a", "/etc/passwd"), ("b", b""), change=hard_link_to_a_link),
        b"no archive",
        tar(("a", b"x" * 2_000))[:1_000],
        layout(tar(("a/.wh...", b""))),
        layout(tar(("way", "..")), tar(("way/evil", b"x"))),
        layout(tar(("way", "..")), tar(("way/.wh.archive", b""))),
        layout(),
        layout(b"no layer"),
        lzma.compress(tar(("a", os.urandom(50_000))))[:20_000] + b"spoilt" * 5_000,
        gzip.compress(tar(("a", os.urandom(50_000))))[:20_000] + b"spoilt" * 5_000,
        zlib_spoilt(tar(("a", bytes(range(256)) * 400))),
        tar(("/".join("d" * 1_200), None)),
        tar(("a", "b"), change=named_with_a_nul),
    ],
)
def test_what_leads_outside_or_does_not_read_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(InvalidInput):
        unpacked(tmp_path, data)
    assert not (tmp_path / "evil").exists()
    assert (tmp_path / "archive").exists()


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (gzip.compress(tar(("zeros", bytes(100_000)))), 100_000),
        (layout(tar(("a", bytes(40_000))), tar(("a", bytes(60_000)))), 100_000),
    ],
    ids=["archive", "layers"],
)
def test_an_archive_that_grows_beyond_the_limit_is_refused(tmp_path: Path, data: bytes, size: int) -> None:
    (tmp_path / "archive").write_bytes(data)
    for name, bytes_max in (("enough", size), ("short", size - 1)):
        folder = tmp_path / name
        folder.mkdir()
        if name == "enough":
            unpack(tmp_path / "archive", folder, DISK, bytes_max=bytes_max)
        else:
            with pytest.raises(InvalidInput, match="unpacks to more"):
                unpack(tmp_path / "archive", folder, DISK, bytes_max=bytes_max)


def test_a_hard_link_counts_as_the_copy_that_it_becomes(tmp_path: Path) -> None:
    def hard(entry: tarfile.TarInfo) -> None:
        if entry.name != "a":
            entry.type, entry.linkname = tarfile.LNKTYPE, "a"

    (tmp_path / "archive").write_bytes(tar(("a", bytes(1_000)), ("b", b""), ("c", b""), change=hard))
    for name, bytes_max in (("enough", 3_000), ("short", 2_999)):
        folder = tmp_path / name
        folder.mkdir()
        if name == "enough":
            unpack(tmp_path / "archive", folder, DISK, bytes_max=bytes_max)
        else:
            with pytest.raises(InvalidInput, match="unpacks to more"):
                unpack(tmp_path / "archive", folder, DISK, bytes_max=bytes_max)


def test_the_entries_of_an_archive_are_counted_while_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "ENTRIES_MAX", 2)
    # What stands behind the third header does not read, so it was not read.
    data = zlib_spoilt(tar(("a", b""), ("b", b""), ("c", b""), ("d", os.urandom(30_000))))
    with pytest.raises(InvalidInput, match="more than 2 entries"):
        unpacked(tmp_path, data)


def header(kind: bytes, size: int) -> bytes:
    """An entry's header, and nothing of what it says comes behind it."""
    entry = tarfile.TarInfo("large")
    entry.type, entry.size = kind, size
    return entry.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("zipped", [True, False], ids=["gzip", "plain"])
@pytest.mark.parametrize(
    ("kind", "size", "problem"),
    [
        (tarfile.REGTYPE, 1 << 40, "unpacks to more than"),
        (b"?", 1 << 40, "unpacks to more than"),  # of a kind that nobody knows, which is passed over
        (tarfile.XHDTYPE, 1 << 40, "a header of"),
        (tarfile.XGLTYPE, trees.HEADER_BYTES_MAX + 1, "a header of"),
        (tarfile.GNUTYPE_LONGNAME, 1 << 40, "a header of"),
        (tarfile.GNUTYPE_LONGLINK, 1 << 40, "a header of"),
        (tarfile.GNUTYPE_SPARSE, 1, "sparse"),
    ],
)
def test_what_an_entry_says_of_its_size_is_judged_before_it_is_passed_over(
    tmp_path: Path,
    kind: bytes,
    size: int,
    problem: str,
    zipped: bool,  # noqa: FBT001
) -> None:
    data = header(kind, size)
    with pytest.raises(InvalidInput, match=problem):
        unpacked(tmp_path, gzip.compress(data) if zipped else data)
    assert names(tmp_path / "folder") == []


@pytest.mark.parametrize(
    "named",
    [
        {"GNU.sparse.size": "1", "GNU.sparse.numblocks": "0"},
        {"GNU.sparse.map": "0,1", "GNU.sparse.size": "1"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1"},
    ],
    ids=["0.0", "0.1", "1.0"],
)
@pytest.mark.parametrize(
    "kind", [tarfile.XHDTYPE, tarfile.XGLTYPE], ids=["its own header", "a header of all"]
)
def test_a_sparse_file_is_refused_in_each_format_before_its_holes_are_read(
    tmp_path: Path, named: dict[str, str], kind: bytes
) -> None:
    entry = tarfile.TarInfo("large")
    entry.size = 1 << 20
    if kind == tarfile.XHDTYPE:
        entry.pax_headers = named
        data = entry.tobuf(tarfile.PAX_FORMAT)
    else:
        data = tarfile.TarInfo.create_pax_global_header(named) + entry.tobuf(tarfile.USTAR_FORMAT)
    holes = b"900000\n" + b"0\n" * 1_000  # behind the thousandth there is nothing to read
    with pytest.raises(InvalidInput, match="large is stored as a sparse file"):
        unpacked(tmp_path, data + holes)
    assert names(tmp_path / "folder") == []


def other_layer(files: dict[str, bytes]) -> None:
    name = next(name for name in files if name.startswith("blobs/"))
    files[name] = gzip.compress(tar(("evil", b"x")))


def no_blob(files: dict[str, bytes]) -> None:
    del files[next(name for name in files if name.startswith("blobs/"))]


def two_manifests(files: dict[str, bytes]) -> None:
    index = json.loads(files["index.json"])
    files["index.json"] = json.dumps({"manifests": index["manifests"] * 2}).encode()


def other_algorithm(files: dict[str, bytes]) -> None:
    files["index.json"] = files["index.json"].replace(b"sha256:", b"md5:")


def zstd_layers(files: dict[str, bytes]) -> None:
    name = list(files)[-1]
    manifest = files.pop(name).replace(b"+gzip", b"+zstd")
    files[f"blobs/sha256/{digest(manifest)}"] = manifest
    old = name.removeprefix("blobs/sha256/").encode()
    files["index.json"] = files["index.json"].replace(old, digest(manifest).encode())


def no_json(files: dict[str, bytes]) -> None:
    files["index.json"] = b"{"


def a_list(files: dict[str, bytes]) -> None:
    files["index.json"] = b"[]"


def index_of(content: bytes) -> Callable[[dict[str, bytes]], None]:
    def spoil(files: dict[str, bytes]) -> None:
        files["index.json"] = content

    spoil.__name__ = f"index {content[:20]!r}"
    return spoil


def manifest_of(content: bytes) -> Callable[[dict[str, bytes]], None]:
    def spoil(files: dict[str, bytes]) -> None:
        name = list(files)[-1]
        del files[name]
        files[f"blobs/sha256/{digest(content)}"] = content
        old = name.removeprefix("blobs/sha256/").encode()
        files["index.json"] = files["index.json"].replace(old, digest(content).encode())

    spoil.__name__ = f"manifest {content[:20]!r}"
    return spoil


DEEP = b'{"more":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


def no_index(files: dict[str, bytes]) -> None:
    del files["index.json"]


@pytest.mark.parametrize(
    "spoil",
    [
        other_layer,
        no_blob,
        two_manifests,
        other_algorithm,
        zstd_layers,
        no_json,
        a_list,
        no_index,
        *(
            index_of(it)
            for it in (b'{"manifests":null}', b'{"manifests":[1]}', b'{"manifests":7}', b"\xff\xfe", DEEP)
        ),
        *(manifest_of(it) for it in (b'{"layers":null}', b'{"layers":["a"]}', b'{"layers":{"a":1}}', DEEP)),
    ],
    ids=lambda spoil: spoil.__name__,
)
def test_an_image_layout_that_is_not_what_it_says_is_refused(
    tmp_path: Path, spoil: Callable[[dict[str, bytes]], None]
) -> None:
    with pytest.raises(InvalidInput):
        unpacked(tmp_path, layout(tar(("app", b"x")), spoil=spoil))


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "app").write_bytes(b"other"),
        lambda folder: (folder / "more").write_bytes(b""),
        lambda folder: (folder / "app").chmod(0o700),
        lambda folder: (folder / "app").rename(folder / "renamed"),
        lambda folder: (folder / "empty").mkdir(),
        lambda folder: ((folder / "way").unlink(), (folder / "way").symlink_to("elsewhere")),
    ],
    ids=["content", "file", "mode", "name", "folder", "link"],
)
def test_any_change_in_a_folder_changes_its_digest(tmp_path: Path, change: Callable[[Path], object]) -> None:
    folder = unpacked(tmp_path, tar(("app", b"x"), ("way", "app")))
    before = tree_digest(folder)
    assert tree_digest(folder) == before
    change(folder)
    assert tree_digest(folder) != before
