"""What MCUboot on a virtual ECU asks of a slot before it starts it; slots and swaps are `flash.py`'s.

Slots take turns instead of being copied: MCUboot's direct-XIP with revert.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ringroad.kernel.errors import InvalidInput, Untrusted
from ringroad.sim.vecu.flash import Signed
from ringroad.trust.mcuboot import mcuboot_key, mcuboot_version, parse_mcuboot_version, verify_mcuboot


def bootloader(public_key: str, other_images: Sequence[str]) -> Callable[[bytes, Signed], bool]:
    """Return what says whether a slot's content may be started.

    Args:
        public_key: in PEM; what is not signed with it is never started.
        other_images: versions of the chip's images 1, 2, ..., which are not updated here.

    Raises:
        InvalidInput: key or versions are none.
    """
    key = mcuboot_key(public_key.encode())
    images = {number: parse_mcuboot_version(text) for number, text in enumerate(other_images, 1)}

    def accepts(content: bytes, signed: Signed) -> bool:
        try:
            image = verify_mcuboot(content, key)
        except (InvalidInput, Untrusted):
            return False
        return (
            mcuboot_version(image.version) == signed.version
            and image.security_counter == signed.release_counter
            and image.unmet({0: image.version, **images}) is None
        )

    return accepts
