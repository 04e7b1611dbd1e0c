"""Update agent of a microcontroller whose bootloader is MCUboot: two slots, test, confirm, revert.

The image is transferred over UDS as to any A/B ECU; what is more is said before the first byte is sent:

1. The image is MCUboot's, its hash holds, and the key of this ECU's bootloader signed it.
2. Header and protected entries say what the signed metadata say: version and security counter.
3. Behind its entries stands nothing, or erased flash: a slot's trailer is the bootloader's to write, since one that
   came with the image (``imgtool sign --pad --confirm``) could confirm it before it ever ran.
4. Dependencies on the chip's other images are checked by the bootloader, in the slot that does not run.

`activate` is a test: the next reset reverts. `commit` confirms, and only then the security counter advances.

Settings: ``public_key``, and ``swap``, how the bootloader was built: ``direct-xip`` with revert, ``scratch``, ``move``.
The slots either take turns, or their contents are exchanged while the ECU starts. Then its agent waits for as long as
the exchange of its slot takes, also when it finds the ECU silent: the vehicle may have restarted in the middle of one.
What only overwrites (``MCUBOOT_OVERWRITE_ONLY``) has nothing to go back to, and is refused.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ringroad.kernel.errors import InvalidInput, Unavailable, Untrusted
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
from ringroad.vehicle.agents.wire import SlotStatus
from ringroad.vehicle.uds import NegativeResponse, UdsChannel

IMAGE_BYTES_MAX: Final = (
    32 << 20
)  # bytes; the largest flash of a microcontroller that runs MCUboot, external included


SWAPS: Final = frozenset({"direct-xip", "scratch", "move"})
SWAP_COPIES: Final = 3  # times that a slot's bytes are erased and written in one exchange, at most
SWAP_BYTES_PER_S: Final = 25_000  # of a slow chip, with the erasing
SWAP_MARGIN_S: Final = 60.0  # for its start, the check of the signature, and a chip that is slower still
SWAP_S_MIN: Final = 180.0  # s that an ECU is waited for whose slots are smaller, or not known yet


def swap_s_max(slot_bytes: int) -> float:
    """Return how long an ECU that exchanges its slots may be silent after a reset, in s. Pure."""
    copied_bytes = SWAP_COPIES * min(slot_bytes, IMAGE_BYTES_MAX)
    return max(SWAP_S_MIN, copied_bytes / SWAP_BYTES_PER_S + SWAP_MARGIN_S)


class McubootAgent(AbAgent):
    """An `UpdateAgent` for one ECU with MCUboot.

    Args:
        channel: to the ECU.
        access: how it is unlocked.
        key: of its bootloader.
        exchanges: its slots are exchanged while it starts.
    """

    def __init__(
        self, channel: UdsChannel, access: EcuAccess, key: McubootKey, *, exchanges: bool = False
    ) -> None:
        if exchanges:
            access = replace(access, restart_s_max=max(access.restart_s_max, SWAP_S_MIN))
        super().__init__(channel, access)
        self._key = key
        self._exchanges = exchanges
        self._slot_bytes = 0  # until it answered once
        self._given_up = False  # it was silent for longer than its slots take, and has not answered since

    async def _status(self) -> SlotStatus:
        if not self._exchanges:
            return await super()._status()
        status = await self._patient_status()
        self._given_up = False
        self._slot_bytes = status.capacity_bytes
        longest = max(self._ecu.access.restart_s_max, swap_s_max(self._slot_bytes))
        self._ecu.access = replace(self._ecu.access, restart_s_max=longest)
        return status

    async def _patient_status(self) -> SlotStatus:
        """Ask an ECU that may be exchanging its slots. Raises: as `_status`."""
        try:
            return await super()._status()
        except NegativeResponse:
            raise
        except Unavailable:
            if self._given_up:
                raise
        try:
            await self._ecu.wait_for_restart()
        except Unavailable:
            self._given_up = self._slot_bytes > 0
            raise
        return await super()._status()

    def _named(self, status: SlotStatus, image: EcuImage) -> bool:
        # Version and counter stand in the bytes themselves, and ECUs write them in their own ways.
        return status.staged is not None and status.staged.sha256.hex() == image.sha256

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
    if site.mode != "ab":
        raise InvalidInput(f'{site.name}: MCUboot keeps two slots here, so its mode is "ab"')
    key = mcuboot_key(site.setting("public_key").encode())
    return McubootAgent(channel, access, key, exchanges=swap != "direct-xip")
