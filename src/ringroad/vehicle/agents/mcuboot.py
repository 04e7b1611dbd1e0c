"""Update agent of a microcontroller whose bootloader is MCUboot: two slots, test, confirm, revert.

The image is transferred over UDS as to any A/B ECU; what is more is said before the first byte is sent:

1. The image is MCUboot's, its hash holds, and the key of this ECU's bootloader signed it.
2. Header and protected entries say what the signed metadata say: version and security counter.
3. Behind its entries stands nothing, or erased flash: a slot's trailer is the bootloader's to write, since one that
   came with the image (``imgtool sign --pad --confirm``) could confirm it before it ever ran.
4. Dependencies on the chip's other images are checked by the bootloader, in the slot that does not run.

`activate` is a test: the next reset reverts. `commit` confirms, and only then the security counter advances.

Settings: ``public_key``, and ``swap``, how the bootloader was built: ``direct-xip`` with revert, ``scratch``, ``move``.
The slots either take turns, or their contents are exchanged while the ECU starts, which its agent waits for.
What only overwrites (``MCUBOOT_OVERWRITE_ONLY``) has nothing to go back to, and is refused.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ringroad.kernel.errors import InvalidInput, Untrusted
from ringroad.trust.mcuboot import McubootKey, mcuboot_key, mcuboot_version, verify_mcuboot
from ringroad.vehicle.agents.ab import AbAgent
from ringroad.vehicle.agents.base import (
    EcuImage,
    Failed,
    ImageSource,
    Reason,
    UpdateAgent,
    read_image,
)
from ringroad.vehicle.agents.plugins import AgentSite
from ringroad.vehicle.agents.session import EcuAccess, Refusal
from ringroad.vehicle.agents.uds import way
from ringroad.vehicle.uds import UdsChannel

IMAGE_BYTES_MAX: Final = (
    32 << 20
)  # bytes; the largest flash of a microcontroller that runs MCUboot, external included


SWAPS: Final = frozenset({"direct-xip", "scratch", "move"})
SWAP_S_MAX: Final = 180.0  # s from a reset until the ECU answers: 1 MiB three times over, at 25 KB/s


class McubootAgent(AbAgent):
    """An `UpdateAgent` for one ECU with MCUboot.

    Args:
        channel: to the ECU.
        access: how it is unlocked.
        key: of its bootloader.
    """

    def __init__(self, channel: UdsChannel, access: EcuAccess, key: McubootKey) -> None:
        super().__init__(channel, access)
        self._key = key

    async def _look(self, image: EcuImage, source: ImageSource) -> None:
        if image.target.format != "mcuboot":
            raise Refusal(Reason.UNSUPPORTED_FORMAT, f"{image.target.format} is not MCUboot's format")
        content = await read_image(image, source, bytes_max=IMAGE_BYTES_MAX)
        if isinstance(content, Failed):
            raise Refusal(content.reason, content.detail)
        try:
            found = verify_mcuboot(content, self._key)  # 1
        except InvalidInput as error:
            raise Refusal(Reason.IMAGE_MALFORMED, error.message) from error
        except Untrusted as error:
            raise Refusal(Reason.SIGNATURE_WRONG, error.message) from error
        if content[len(content) - found.trailing_bytes :].strip(b"\xff"):  # 3
            detail = (
                f"{found.trailing_bytes} bytes behind its entries are no erased flash: sign it without --pad"
            )
            raise Refusal(Reason.IMAGE_MALFORMED, detail)
        version, counter = mcuboot_version(found.version), found.security_counter  # 2
        if version != image.target.version:
            detail = f"its header says {version}, {image.target.version} was signed"
            raise Refusal(Reason.IMAGE_MALFORMED, detail)
        if counter != image.release_counter:
            detail = f"its security counter is {counter}, {image.release_counter} was signed"
            raise Refusal(Reason.IMAGE_MALFORMED, detail)


def make_agent(site: AgentSite) -> UpdateAgent:
    """Return the agent of an ECU with MCUboot. Raises: InvalidInput, without its bootloader's key."""
    channel, access = way(site)
    site.known("public_key", "swap")
    swap = site.setting("swap", "direct-xip")
    if swap not in SWAPS:
        raise InvalidInput(
            f"{site.name}: an MCUboot that swaps by {swap!r} is not known, or has nothing to go back to",
            hint=f"swap is one of {', '.join(sorted(SWAPS))}",
        )
    if swap != "direct-xip":
        access = replace(access, restart_s_max=max(access.restart_s_max, SWAP_S_MAX))
    if site.mode != "ab":
        raise InvalidInput(f'{site.name}: MCUboot keeps two slots here, so its mode is "ab"')
    return McubootAgent(channel, access, mcuboot_key(site.setting("public_key").encode()))
