"""Mender artifacts as mender-artifact writes them, and as it never would."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import lzma
import tarfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

Files = Sequence[tuple[str, bytes]]


def zstd(content: bytes) -> bytes:
    """Return one zstd frame."""
    return pa.Codec("zstd").compress(content, asbytes=True)  # type: ignore[no-any-return]


def tar(files: Files, *, kind: int = tarfile.USTAR_FORMAT) -> bytes:
    """Return a tar archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as archive:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def header_files(
    *, name: str = "release-2.1.0", device_type: Sequence[str] = ("default:1.0",), **provides: str
) -> Files:
    """Return what a header holds."""
    info = {
        "payloads": [{"type": "rootfs-image"}],
        "artifact_provides": {"artifact_name": name},
        "artifact_depends": {"device_type": list(device_type)},
    }
    own = {
        "type": "rootfs-image",
        "artifact_provides": {"rootfs-image.checksum": "0" * 64, **provides},
        "artifact_depends": {"rootfs-image.checksum": "1" * 64},
        "clears_artifact_provides": ["rootfs-image.*"],
    }
    return [
        ("header-info", json.dumps(info).encode()),
        ("headers/0000/type-info", json.dumps(own).encode()),
        ("headers/0000/meta-data", b""),
    ]


def make_mender(
    payload: Files = (("rootfs.ext4", b"firmware " * 2_000),),
    *,
    header: Files | None = None,
    pack: str = ".gz",
    version: Mapping[str, Any] | None = None,
    manifest: Callable[[dict[str, str]], Mapping[str, str]] = dict,
    signature: bytes | None = b"c2lnbmVk",
    kind: int = tarfile.USTAR_FORMAT,
    extra: Files = (),
) -> bytes:
    """Return an artifact; `manifest` may change what its manifest says."""
    packed: Mapping[str, Callable[[bytes], bytes]] = {
        ".gz": gzip.compress, ".xz": lzma.compress, ".zst": zstd, "": bytes,
    }  # fmt: skip
    first = json.dumps(version if version is not None else {"format": "mender", "version": 3}).encode()
    head = packed[pack](tar(header_files() if header is None else header))
    digests = {"version": first, f"header.tar{pack}": head}
    digests |= {f"data/0000/{name}": content for name, content in payload}
    said = manifest({name: hashlib.sha256(content).hexdigest() for name, content in digests.items()})
    files: list[tuple[str, bytes]] = [
        ("version", first),
        ("manifest", "".join(f"{sha256}  {name}\n" for name, sha256 in said.items()).encode()),
    ]
    if signature is not None:
        files.append(("manifest.sig", signature))
    files += [(f"header.tar{pack}", head), (f"data/0000.tar{pack}", packed[pack](tar(payload, kind=kind)))]
    return tar([*files, *extra])
