"""MCUboot images: header, payload, type-length-value areas; read, verified, and for tests and simulations made.

Source: MCUboot docs/design.md, imgtool 2.5. Bytes in, values out.
Encrypted images are refused: their hash covers the plain text, which nobody here can see.

Invariant: an `McubootImage` exists only for bytes whose hash was checked; `verify_mcuboot` returns only if one of its
signatures was made by the key.
"""

from __future__ import annotations

import hashlib
import re
import struct
from dataclasses import dataclass
from typing import Final, NoReturn

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from ringroad.kernel.errors import InvalidInput, Untrusted

MAGIC: Final = b"\x3d\xb8\xf3\x96"
HEADER_BYTES: Final = 32
_INFO_MAGIC: Final = 0x6907
_PROTECTED_MAGIC: Final = 0x6908
_ENCRYPTED_FLAGS: Final = 0x4 | 0x8
_RAM_LOAD: Final = 0x20
_ROM_FIXED: Final = 0x100
_KEY_HASH: Final = 0x01
_PUBLIC_KEY: Final = 0x02
_HASHES: Final = {0x10: "sha256", 0x11: "sha384", 0x12: "sha512"}
_ECDSA: Final = 0x22
_ED25519: Final = 0x24
_SIGNATURES: Final = {0x20: "rsa2048", _ECDSA: "ecdsa", 0x23: "rsa3072", _ED25519: "ed25519"}
_SECURITY_COUNTER: Final = 0x50
_DEPENDENCY: Final = 0x40
_TRAILERS: Final = (
    bytes.fromhex("77c295f360d2ef7f3552500f2cb67980"),  # BOOT_MAX_ALIGN 8
    bytes.fromhex("2de15d29410b8d77679c110f1f8a"),  # larger alignment: two bytes of alignment stand before it
)

Tlv = tuple[int, bytes]
McubootVersion = tuple[int, int, int, int]  # major, minor, revision, build
McubootKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
McubootSigner = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """Another image of the chip that this one needs, at least of that version."""

    image: int
    version_min: McubootVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class McubootImage:
    """What an image says about itself; its hash was checked, its signatures were not.

    Attributes:
        version: of the header.
        load_address: None where the header does not fix one.
        header_bytes: before the payload.
        payload_bytes: of the payload.
        flags: of the header.
        hash_name: of the digest.
        digest: of header, payload and protected entries; what was signed.
        security_counter: anti-rollback counter, of the protected entries.
        dependencies: of the protected entries.
        tlvs: entries that no hash covers: signatures, keys.
        trailing_bytes: erased flash or slot trailer behind the entries.
    """

    version: McubootVersion
    load_address: int | None
    header_bytes: int
    payload_bytes: int
    flags: int
    hash_name: str
    digest: bytes
    security_counter: int | None
    dependencies: tuple[Dependency, ...]
    tlvs: tuple[Tlv, ...]
    trailing_bytes: int

    @property
    def signatures(self) -> tuple[str, ...]:
        """The kinds of its signatures."""
        return tuple(_SIGNATURES[kind] for kind, _ in self.tlvs if kind in _SIGNATURES)

    def unmet(self, images: dict[int, McubootVersion]) -> Dependency | None:
        """Return a dependency that the chip's images do not meet: too old, or no such image."""
        for dependency in self.dependencies:
            found = images.get(dependency.image)
            if found is None or found < dependency.version_min:
                return dependency
        return None


def read_mcuboot(data: bytes | memoryview) -> McubootImage:
    """Read an image and check its hash.

    Raises:
        InvalidInput: truncated, no hash, a hash that does not match, encrypted, or bytes under no hash; with a code
            ``image_...``.
    """
    if len(data) < HEADER_BYTES:
        _refuse("truncated", f"{len(data)} bytes; an MCUboot header has {HEADER_BYTES}")
    magic, load, header, protected, size, flags = struct.unpack_from("<4sIHHII", data, 0)
    if magic != MAGIC:
        _refuse("mislabelled", f"byte 0: {bytes(magic).hex()} is not MCUboot's magic {MAGIC.hex()}")
    if header < HEADER_BYTES:
        _refuse("malformed", f"byte 8: header size {header} is below {HEADER_BYTES}")
    if flags & _ENCRYPTED_FLAGS:
        _refuse("unsupported", "byte 16: the image is encrypted, so its hash cannot be checked here")
    if size == 0:
        _refuse("empty", "byte 12: the image has no payload")
    payload_end = header + size
    protected_tlvs: list[Tlv] = []
    hashed_end = payload_end
    if protected:
        protected_tlvs, hashed_end = _tlvs(data, payload_end, _PROTECTED_MAGIC)
        if hashed_end - payload_end != protected:
            _refuse(
                "malformed",
                f"byte 10: header announces {protected} protected bytes, found {hashed_end - payload_end}",
            )
    tlvs, end = _tlvs(data, hashed_end, _INFO_MAGIC)
    algorithm, digest = _check_hash(data, hashed_end, tlvs)
    return McubootImage(
        version=struct.unpack_from("<BBHI", data, 20),
        load_address=load if flags & (_RAM_LOAD | _ROM_FIXED) else None,
        header_bytes=header,
        payload_bytes=size,
        flags=flags,
        hash_name=algorithm,
        digest=digest,
        security_counter=_counter(protected_tlvs),
        dependencies=_dependencies(protected_tlvs),
        tlvs=tuple(tlvs),
        trailing_bytes=_check_trailing(data, end),
    )


def mcuboot_key(pem: bytes) -> McubootKey:
    """Return the public key of a bootloader. Raises: InvalidInput, if it is none of ECDSA P-256 or Ed25519."""
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidInput("the MCUboot key is no public key in PEM", hint="imgtool getpub -e pem") from error
    if isinstance(key, ed25519.Ed25519PublicKey) or (
        isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    ):
        return key
    raise InvalidInput("the MCUboot key is neither ECDSA P-256 nor Ed25519")


def verify_mcuboot(data: bytes | memoryview, key: McubootKey) -> McubootImage:
    """Read an image and verify it as a bootloader with that key would.

    1. Its hash, over header, payload and protected entries.
    2. A signature that stands behind the hash of this key.
    3. That signature, over the digest.

    Raises:
        InvalidInput: see `read_mcuboot`.
        Untrusted: the key made none of its signatures.
    """
    image = read_mcuboot(data)  # 1
    encoded = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ours = False
    for kind, value in image.tlvs:
        if kind in {_KEY_HASH, _PUBLIC_KEY}:  # 2: a key stands before each signature
            ours = value in {
                encoded,
                hashlib.new("sha256", encoded).digest(),
                hashlib.new(image.hash_name, encoded).digest(),
            }
        elif kind in _SIGNATURES:
            if ours and _signed(key, kind, value, image):  # 3
                return image
            ours = False
    raise Untrusted("the image is not signed with this ECU's key", code="signature_wrong")


def sign_mcuboot(
    payload: bytes,
    key: McubootSigner,
    *,
    version: str,
    security_counter: int,
    dependencies: tuple[Dependency, ...] = (),
    header_bytes: int = HEADER_BYTES,
) -> bytes:
    """Make a signed image out of a payload, as ``imgtool sign`` does; for simulations and tests.

    Raises:
        InvalidInput: the version is none of MCUboot's.
    """
    entries = struct.pack("<HHI", _SECURITY_COUNTER, 4, security_counter)
    for one in dependencies:
        entries += struct.pack("<HHB3xBBHI", _DEPENDENCY, 12, one.image, *one.version_min)
    protected = struct.pack("<HH", _PROTECTED_MAGIC, 4 + len(entries)) + entries
    header = struct.pack(
        "<4sIHHIIBBHI4x",
        MAGIC,
        0,
        header_bytes,
        len(protected),
        len(payload),
        0,
        *parse_mcuboot_version(version),
    )
    hashed = header.ljust(header_bytes, b"\0") + payload + protected
    digest = hashlib.sha256(hashed).digest()
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        kind, signature = _ED25519, key.sign(digest)
    else:
        kind, signature = _ECDSA, key.sign(digest, ec.ECDSA(Prehashed(SHA256())))
    tlvs = b"".join(
        struct.pack("<HH", number, len(value)) + value
        for number, value in ((0x10, digest), (_KEY_HASH, hashlib.sha256(public).digest()), (kind, signature))
    )
    return hashed + struct.pack("<HH", _INFO_MAGIC, 4 + len(tlvs)) + tlvs


def parse_mcuboot_version(text: str) -> McubootVersion:
    """Return the parts of a version such as ``1.2.3+4``. Raises: InvalidInput."""
    found = re.fullmatch(r"(\d{1,3})\.(\d{1,3})\.(\d{1,5})(?:\+(\d{1,10}))?", text)
    parts = tuple(int(part or 0) for part in found.groups()) if found else ()
    if len(parts) != 4 or max(parts[:2]) > 0xFF or parts[2] > 0xFFFF or parts[3] > 0xFFFF_FFFF:
        raise InvalidInput(
            f"{text!r} is no MCUboot version", hint="major.minor.revision, and +build if not 0"
        )
    return parts


def mcuboot_version(version: McubootVersion) -> str:
    """Return a version as people write it."""
    major, minor, revision, build = version
    return f"{major}.{minor}.{revision}" + (f"+{build}" if build else "")


def _signed(key: McubootKey, kind: int, signature: bytes, image: McubootImage) -> bool:
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            if kind != _ED25519:
                return False
            key.verify(signature, image.digest)
            return True
        if kind != _ECDSA or image.hash_name != "sha256":
            return False
        key.verify(_without_padding(signature), image.digest, ec.ECDSA(Prehashed(SHA256())))
    except InvalidSignature:
        return False
    return True


def _without_padding(signature: bytes) -> bytes:
    """Cut what older imgtool wrote behind a DER signature to make all of them 72 bytes long."""
    end = 2 + signature[1] if len(signature) > 1 else 0
    return signature[:end] if not any(signature[end:]) else signature


def _tlvs(data: bytes | memoryview, at: int, magic: int) -> tuple[list[Tlv], int]:
    """Read one area of type-length-values; return it and the position after it."""
    name = "protected TLV" if magic == _PROTECTED_MAGIC else "TLV"
    if len(data) < at + 4:
        _refuse("truncated", f"byte {at}: the {name} area is missing; the file has {len(data)} bytes")
    found, total = struct.unpack_from("<HH", data, at)
    if found != magic:
        _refuse("malformed", f"byte {at}: {found:#06x} where the {name} area must start with {magic:#06x}")
    end = at + total
    if len(data) < end:
        _refuse("truncated", f"byte {at}: the {name} area ends at byte {end}; the file has {len(data)} bytes")
    items: list[Tlv] = []
    at += 4
    while at < end:
        if end < at + 4:
            _refuse("malformed", f"byte {at}: a {name} entry does not fit its area")
        kind, length = struct.unpack_from("<HH", data, at)
        if end < at + 4 + length:
            _refuse("malformed", f"byte {at}: a {name} entry of {length} bytes does not fit its area")
        items.append((kind, bytes(data[at + 4 : at + 4 + length])))
        at += 4 + length
    if at != end:
        _refuse("malformed", f"byte {end}: the {name} area has no room for its own header")
    return items, end


def _check_hash(data: bytes | memoryview, hashed_end: int, tlvs: list[Tlv]) -> tuple[str, bytes]:
    checked, digest = "", b""
    for kind, value in tlvs:
        if kind in _HASHES:
            checked = _HASHES[kind]
            digest = hashlib.new(checked, data[:hashed_end]).digest()
            if digest != value:
                _refuse("hash_mismatch", f"the {checked} TLV does not match bytes 0 to {hashed_end}")
    if not checked:
        _refuse("hash_missing", "the image has no hash TLV", hint="sign it with imgtool")
    return checked, digest


def _check_trailing(data: bytes | memoryview, end: int) -> int:
    """Bytes after the TLVs are under no hash: only erased flash or a slot trailer may stand there."""
    tail = data[end:]
    if not len(tail):
        return 0
    first = tail[0]
    blank = first in (0x00, 0xFF) and bytes(tail) == bytes([first]) * len(tail)
    if not blank and not any(bytes(tail[-len(magic) :]) == magic for magic in _TRAILERS):
        _refuse("malformed", f"byte {end}: {len(tail)} bytes follow the TLVs and no hash covers them")
    return len(tail)


def _counter(tlvs: list[Tlv]) -> int | None:
    for kind, value in tlvs:
        if kind == _SECURITY_COUNTER:
            if len(value) != 4:
                _refuse("malformed", f"the security counter has {len(value)} bytes, not 4")
            return int.from_bytes(value, "little")
    return None


def _dependencies(tlvs: list[Tlv]) -> tuple[Dependency, ...]:
    found: list[Dependency] = []
    for kind, value in tlvs:
        if kind == _DEPENDENCY:
            if len(value) != 12:
                _refuse("malformed", f"a dependency TLV has {len(value)} bytes, not 12")
            image, *version = struct.unpack("<B3xBBHI", value)
            found.append(
                Dependency(image=image, version_min=(version[0], version[1], version[2], version[3]))
            )
    return tuple(found)


def _refuse(code: str, message: str, *, hint: str = "") -> NoReturn:
    raise InvalidInput(message, code=f"image_{code}", hint=hint)
