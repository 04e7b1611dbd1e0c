"""MCUboot images as `build` sees them. The hash is checked; the signature is the ECU's own business (its key lives there)."""

from __future__ import annotations

from ringroad.build.images.facts import AddressRange, Parsed
from ringroad.trust.mcuboot import HEADER_BYTES, MAGIC, mcuboot_version, read_mcuboot

__all__ = ["HEADER_BYTES", "MAGIC", "parse_mcuboot", "peek"]


def peek(data: bytes) -> Parsed | None:
    """Return what an MCUboot image inside a hex file says, or None if there is none.

    Raises:
        InvalidInput: it starts like one but is broken.
    """
    return parse_mcuboot(data) if data[:4] == MAGIC else None


def parse_mcuboot(data: bytes | memoryview) -> Parsed:
    """Read an MCUboot image and check its hash.

    Raises:
        InvalidInput: see `trust.mcuboot.read_mcuboot`.
    """
    image = read_mcuboot(data)
    load, end = image.load_address, image.header_bytes + image.payload_bytes
    return Parsed(
        length=len(data),
        version=mcuboot_version(image.version),
        load_address=load,
        ranges=() if load is None else (AddressRange(start=load, end=load + end),),
        security_counter=image.security_counter,
        details={
            "header_bytes": image.header_bytes,
            "payload_bytes": image.payload_bytes,
            "flags": image.flags,
            "hash": image.hash_name,
            "signatures": list(image.signatures),
            "dependencies": [
                {"image": one.image, "version_min": mcuboot_version(one.version_min)}
                for one in image.dependencies
            ],
            "trailing_bytes": image.trailing_bytes,
        },
    )
