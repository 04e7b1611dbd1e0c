from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.build.images import detect_format, mender, read_image
from ringroad.build.importing import read_upload
from ringroad.kernel.errors import InvalidInput
from support.mender import header_files, make_mender, tar, zstd

PAYLOAD = (("rootfs.ext4", b"firmware " * 2_000),)
GOOD = make_mender()


@pytest.mark.parametrize("pack", ["", ".gz", ".xz", ".zst"])
@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_an_artifact_is_read_with_what_it_provides_and_depends_on(pack: str, kind: int) -> None:
    facts = read_image(make_mender(pack=pack, kind=kind))
    assert (facts.format, facts.version, facts.length) == ("mender", "2.1.0", facts.file_bytes)
    assert facts.details["artifact_name"] == "release-2.1.0"
    assert facts.details["depends"]["device_type"] == ["default:1.0"]
    assert facts.details["payload_bytes"] == len(PAYLOAD[0][1])
    assert facts.details["signature"] == "present"
    assert facts.details["payload_types"] == ["rootfs-image"]


@pytest.mark.parametrize("said", [b'"type": "", ', b""], ids=["empty", "absent"])
def test_a_type_that_only_header_info_names_counts(said: bytes) -> None:
    header = [
        (name, content.replace(b'"type": "rootfs-image", ', said) if name.endswith("type-info") else content)
        for name, content in header_files()
    ]
    assert read_image(make_mender(header=header)).details["payload_types"] == ["rootfs-image"]


def test_long_names_and_several_files_are_read() -> None:
    payload = (("a/" * 80 + "image.bin", b"x"), ("second", b""))
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        assert read_image(make_mender(payload, kind=kind)).details["payload_bytes"] == 1


@pytest.mark.parametrize(
    ("name", "provides", "version"),
    [
        ("release-2.1.0", {"rootfs-image.version": "3.0.0"}, "3.0.0"),
        ("2.1", {}, "2.1"),
        ("v7", {}, "7"),
        ("nightly", {}, None),
    ],
)
def test_the_version_is_the_payloads_own_or_the_names(
    name: str, provides: dict[str, str], version: str | None
) -> None:
    assert read_image(make_mender(header=header_files(name=name, **provides))).version == version


def without(name: str) -> Callable[[dict[str, str]], dict[str, str]]:
    return lambda said: {key: value for key, value in said.items() if key != name}


def info(**changed: Any) -> list[tuple[str, bytes]]:
    files = dict(header_files())
    files["header-info"] = json.dumps(json.loads(files["header-info"]) | changed).encode()
    return list(files.items())


def linked() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        link = tarfile.TarInfo("rootfs.ext4")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return out.getvalue()


def with_payload(part: bytes, name: str = "data/0000.tar.gz") -> bytes:
    """An artifact whose payload part is these bytes."""
    out: list[tuple[str, bytes]] = []
    with tarfile.open(fileobj=io.BytesIO(GOOD)) as archive:
        for member in archive.getmembers():
            content = archive.extractfile(member)
            assert content is not None
            out.append((member.name, content.read()))
    return tar([*out[:-1], (name, part)])


BOMB = gzip.compress(tar([("zeros", bytes(48 * 1024**2))]))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (GOOD[:700], "truncated"),
        (GOOD.rstrip(b"\0"), "truncated"),
        (GOOD[: len(GOOD) // 2], "truncated"),
        (GOOD + b"more", "malformed"),
        (make_mender(version={"format": "other", "version": 3}), "mislabelled"),
        (make_mender(version={"format": "mender", "version": 2}), "unsupported"),
        (make_mender(manifest=without("version")), "malformed"),
        (make_mender(manifest=without("data/0000/rootfs.ext4")), "malformed"),
        (make_mender(manifest=lambda said: said | {"data/0000/other": "0" * 64}), "truncated"),
        (make_mender(manifest=lambda said: said | {"data/0000/rootfs.ext4": "0" * 64}), "checksum"),
        (make_mender(manifest=lambda said: said | {"header.tar.gz": "0" * 64}), "checksum"),
        (make_mender(manifest=lambda said: said | {"x y": "no digest"}), "malformed"),
        (make_mender(manifest=lambda _: {}), "malformed"),
        (make_mender((("../../etc/passwd", b"x"),)), "malformed"),
        (make_mender((("/etc/passwd", b"x"),)), "malformed"),
        (make_mender((("a/./b", b"x"),)), "malformed"),
        (make_mender((("a\\..\\b", b"x"),)), "malformed"),
        (make_mender(header=[]), "malformed"),
        (make_mender(header=info(payloads=[])), "malformed"),
        (make_mender(header=info(payloads=[{"type": "other"}])), "malformed"),
        (make_mender(header=info(artifact_provides={})), "malformed"),
        (make_mender(header=info(artifact_provides={"artifact_name": 3})), "malformed"),
        (make_mender(header=info(artifact_depends={"device_type": [{"a": 1}]})), "malformed"),
        (make_mender(header=[("header-info", b"[" * 100_000)]), "malformed"),
        (make_mender(extra=[("data/0002.tar.gz", gzip.compress(tar([])))]), "malformed"),
        (make_mender(extra=[("scripts.sh", b"rm -rf /")]), "unsupported"),
        (with_payload(linked(), "data/0000.tar"), "unsupported"),
        (with_payload(b"no gzip"), "malformed"),
        (with_payload(gzip.compress(tar(PAYLOAD))[:-6]), "truncated"),
        (with_payload(gzip.compress(tar(PAYLOAD)) + b"more"), "malformed"),
        (with_payload(b"no zstd", "data/0000.tar.zst"), "malformed"),
        (with_payload(zstd(tar(PAYLOAD))[:-6], "data/0000.tar.zst"), "truncated"),
        (with_payload(zstd(tar(PAYLOAD)) + b"more", "data/0000.tar.zst"), "malformed"),
        (with_payload(gzip.compress(tar(PAYLOAD)), "header.tar.gz"), "malformed"),
    ],
)
def test_a_bad_artifact_is_refused_with_the_reason(data: bytes, code: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_image(data, declared_format="mender")
    assert refused.value.code == f"image_{code}"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"hello", "neither a Mender artifact nor a hawkBit distribution set"),
        (b"", "neither a Mender artifact nor a hawkBit distribution set"),
        (b"\x1f\x8b" + bytes(600), "neither a Mender artifact nor a hawkBit distribution set"),
        (make_mender()[:700], "not copied whole"),
    ],
)
def test_what_is_no_whole_artifact_is_refused_with_what_to_do(data: bytes, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_upload(memoryview(data), ecus=["telebox"], speaking=[])
    assert words in str(caught.value)
    assert caught.value.hint


def test_what_unpacks_to_too_much_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mender, "IMAGE_BYTES_MAX", 4 * 1024**2)
    monkeypatch.setattr(mender, "RATIO_FREE_BYTES", 1024**2)
    with pytest.raises(InvalidInput) as refused:
        read_image(with_payload(BOMB))
    assert refused.value.code == "image_oversized"
    with pytest.raises(InvalidInput) as refused:
        read_image(with_payload(zstd(bytes(8 * 1024**2)), "data/0000.tar.zst"))
    assert refused.value.code == "image_oversized"


def test_other_archives_are_no_artifacts() -> None:
    assert detect_format(tar(PAYLOAD)[:1024]) == "bin"
    assert detect_format(GOOD[:1024]) == "mender"
    with pytest.raises(InvalidInput, match="declared as mender"):
        read_image(tar(PAYLOAD), declared_format="mender")


def header(
    name: bytes, *, kind: bytes = b"0", size: int = 0, magic: bytes = b"", prefix: bytes = b""
) -> bytes:
    """One block of a tar, as any program could write it; without magic it is as old as v7."""
    block = bytearray(512)
    block[: len(name)], block[124:136], block[148:156], block[156:157] = (
        name,
        b"%011o\0" % size,
        b" " * 8,
        kind,
    )
    block[257 : 257 + len(magic)], block[345 : 345 + len(prefix)] = magic, prefix
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def record(kind: bytes, body: bytes, name: bytes = b"././@PaxHeader") -> bytes:
    return header(name, kind=kind, size=len(body)) + body + bytes(-len(body) % 512)


AS_V7 = header(b"version", size=34) + GOOD[512:]
SIGNED_SUM = bytearray(header(b"version", size=34, prefix=b"\xff"))
SIGNED_SUM[148:156] = b"%06o\0 " % (sum(SIGNED_SUM[:148]) + 8 * 32 + sum(SIGNED_SUM[156:]) - 256)


@pytest.mark.parametrize(
    "data",
    [
        record(b"x", b"19 comment=nothing\n") + GOOD,
        record(b"x", b"19 comment=nothing\n", name=b"070701") + GOOD,
        record(b"x", b"19 comment=nothing\n", name=b"\x3d\xb8\xf3\x96") + GOOD,
        record(b"g", b"19 comment=nothing\n") * 3 + GOOD,
        record(b"x", b"16 path=version\n") + header(b"other", size=34) + GOOD[512:],
        record(b"x", b"27 GNU.sparse.name=version\n") + header(b"other", size=34) + GOOD[512:],
        record(b"L", b"version\0") + header(b"other", size=34) + GOOD[512:],
        record(b"K", b"nowhere\0") + GOOD,
        header(b"a volume", kind=b"V") + GOOD,
        header(b"version.json", size=34) + GOOD[512:],
        header(b"1", size=34, magic=b"ustar\x0000", prefix=b"version") + GOOD[512:],
        bytes(SIGNED_SUM) + GOOD[512:],
        header(b"x", kind=b"x", size=1 << 20) + GOOD,
        header(b"x", kind=b"x") * 70 + GOOD,
        AS_V7,
    ],
)
def test_no_header_in_front_of_an_artifact_makes_something_else_of_it(data: bytes) -> None:
    assert detect_format(data) == "mender"


def test_an_artifact_behind_a_pax_header_or_in_an_old_tar_is_read_as_one() -> None:
    for data in (AS_V7, record(b"x", b"19 comment=nothing\n") + GOOD):
        assert read_image(data).details["artifact_name"] == "release-2.1.0"


def with_size(field: bytes) -> bytes:
    """A header of `version` with this size."""
    block = bytearray(header(b"version"))
    block[124:136], block[148:156] = field.ljust(12, b"\0"), b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    "data",
    [
        record(b"L", b"version\0") + record(b"x", b"19 comment=nothing\n") + GOOD,
        record(b"x", b"19 comment=nothing\n") + record(b"L", b"version\0") + GOOD,
        with_size(b"\x0000000042") + GOOD[512:],
        with_size(b" \x0042") + GOOD[512:],
    ],
)
def test_a_tar_that_readers_read_differently_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"pax header and a GNU name|size is no number"):
        read_image(data)


def test_other_tars_with_such_headers_stay_what_they_are() -> None:
    long = (("layers/" * 30 + "version", b"x"),)
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        assert detect_format(tar(long, kind=kind)) == "bin"
    assert detect_format(b"version\0" + bytes(1_024)) == "bin"  # no tar at all


SMALL = make_mender((("f", b"x"),), pack="")


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(SMALL) - 1), st.integers(1, 255))
def test_a_flipped_byte_is_refused_or_was_padding(at: int, flip: int) -> None:
    changed = SMALL[:at] + bytes([SMALL[at] ^ flip]) + SMALL[at + 1 :]
    try:
        facts = read_image(changed)
    except InvalidInput:
        return
    assert facts.format == "bin" or facts.details["artifact_name"]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(GOOD)), st.binary(max_size=1024))
def test_whatever_follows_a_good_beginning_is_read_or_refused(at: int, rest: bytes) -> None:
    try:
        facts = read_image(GOOD[:at] + rest) if at + len(rest) else None
    except InvalidInput:
        return
    # What was cut off is the padding behind the last file.
    assert facts is None or facts.format == "bin" or facts.details["payload_bytes"] == len(PAYLOAD[0][1])
