"""Mender artifacts as mender-artifact writes them, and as it never would."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import lzma
import tarfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

Files = Sequence[tuple[str, bytes]]
RSA_KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def public_pem(key: PrivateKey) -> str:
    """Return a key as it is registered."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def signed_with(key: PrivateKey) -> Callable[[bytes], bytes]:
    """Return what signs a manifest as mender-artifact does."""

    def sign(manifest: bytes) -> bytes:
        if isinstance(key, rsa.RSAPrivateKey):
            return base64.b64encode(key.sign(manifest, padding.PKCS1v15(), SHA256()))
        r, s = decode_dss_signature(key.sign(manifest, ec.ECDSA(SHA256())))
        return base64.b64encode(r.to_bytes(32) + s.to_bytes(32))

    return sign


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
    signature: bytes | Callable[[bytes], bytes] | None = b"c2lnbmVk",
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
    listed = "".join(f"{sha256}  {name}\n" for name, sha256 in said.items()).encode()
    files: list[tuple[str, bytes]] = [("version", first), ("manifest", listed)]
    if signature is not None:
        files.append(("manifest.sig", signature(listed) if callable(signature) else signature))
    files += [(f"header.tar{pack}", head), (f"data/0000.tar{pack}", packed[pack](tar(payload, kind=kind)))]
    return tar([*files, *extra])
