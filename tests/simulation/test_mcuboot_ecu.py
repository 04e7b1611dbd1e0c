"""A virtual ECU with MCUboot and its agent: what is not signed for it never runs, and a test reverts by itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import imgtool.main as imgtool_main
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from ringroad.kernel.clock import SystemClock
from ringroad.kernel.errors import InvalidInput
from ringroad.sim.agentkit import Image, Kit, check_agent
from ringroad.sim.benches import HARDWARE, SECRET, SERIAL, VIN, VecuBench
from ringroad.sim.vecu.config import EcuConfig
from ringroad.sim.vecu.flash import ExchangeName
from ringroad.trust.mcuboot import Dependency, McubootSigner, sign_mcuboot
from ringroad.vehicle.agents.base import EcuImage, Failed, Outcome, Reason
from ringroad.vehicle.agents.plugins import factory_of

ECDSA = ec.generate_private_key(ec.SECP256R1())
ED25519 = ed25519.Ed25519PrivateKey.generate()
APP = b"application " * 150
TRAILER = bytes.fromhex("77c295f360d2ef7f3552500f2cb67980")  # what MCUboot's slot trailer ends with


def image(
    key: McubootSigner, version: str = "2.0.0", counter: int = 2, *, needs: tuple[Dependency, ...] = ()
) -> Image:
    content = sign_mcuboot(
        APP + version.encode(), key, version=version, security_counter=counter, dependencies=needs
    )
    return Image(content=content, version=version, release_counter=counter, format="mcuboot")


def padded(tail: bytes) -> Image:
    plain = image(ECDSA)
    return replace(plain, content=plain.content + tail)


def bench(
    key: McubootSigner,
    *,
    agent: str = "mcuboot",
    new: Image | None = None,
    others: tuple[str, ...] = (),
    swap: ExchangeName = "direct-xip",
) -> VecuBench:
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    config = EcuConfig(
        serial=SERIAL, hardware_id=HARDWARE, vin=VIN, layout="ab", bank_bytes=16_384, secret=SECRET, block_bytes=1_026,
        mcuboot_key=pem, mcuboot_images=others, mcuboot_swap=swap,
    )  # fmt: skip
    return VecuBench(
        factory_of(agent, {}), clock=SystemClock(), old=image(key, "1.0.0", 1), new=new or image(key), mode="ab",
        settings={"public_key": pem, "swap": swap} if agent == "mcuboot" else {}, config=config,
    )  # fmt: skip


def told(kit: Kit, story: Callable[[Kit], Awaitable[None]]) -> None:
    async def run() -> None:
        await kit.begin()
        await story(kit)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("key", "swap"),
    [(ECDSA, "direct-xip"), (ED25519, "scratch"), (ED25519, "move")],
    ids=["ecdsa-p256, direct-xip", "ed25519, scratch", "ed25519, move"],
)
def test_the_agent_passes_the_kit(key: McubootSigner, swap: ExchangeName) -> None:
    async def rows() -> list[str]:
        return [
            f"{row.name}: {row.problem}"
            async for row in check_agent(bench(key, swap=swap), keeps=(500,))
            if row.problem
        ]

    assert asyncio.run(rows()) == []


def test_a_test_is_reverted_by_the_next_reset_and_the_counter_advances_in_commit_alone() -> None:
    async def story(kit: Kit) -> None:
        for verb in ("prepare", "install", "activate", "verify"):
            await kit.done(verb, kit.verb(verb))
        found = await kit.inventory()
        assert (found.running and found.running.version, found.trial, found.committed_counter) == (
            "2.0.0",
            True,
            1,
        )
        await kit.restart()
        await kit.runs(kit.bench.old, "after the reset", for_good=True)
        for verb in ("activate", "commit"):
            await kit.done(verb, kit.verb(verb))
        await kit.restart()
        await kit.runs(kit.bench.new, "after the commit", for_good=True)

    told(Kit(bench(ECDSA)), story)


def failed(outcome: Outcome) -> Failed:
    assert isinstance(outcome, Failed), outcome
    return outcome


@pytest.mark.parametrize(
    ("new", "change", "reason", "word"),
    [
        (image(ED25519), {}, Reason.SIGNATURE_WRONG, "not signed with this ECU's key"),
        (image(ECDSA, "2.0.1"), {"version": "2.0.0"}, Reason.IMAGE_MALFORMED, "header says 2.0.1"),
        (image(ECDSA, counter=5), {"release_counter": 2}, Reason.IMAGE_MALFORMED, "security counter is 5"),
        (replace(image(ECDSA), content=b"no image at all"), {}, Reason.IMAGE_MALFORMED, "MCUboot header"),
        (padded(b"\xff" * 64 + b"\x01" + b"\xff" * 7 + TRAILER), {}, Reason.IMAGE_MALFORMED, "without --pad"),
        (padded(bytes(64)), {}, Reason.IMAGE_MALFORMED, "no erased flash"),
        (replace(image(ECDSA), format="bin"), {}, Reason.UNSUPPORTED_FORMAT, "not MCUboot's"),
        (
            image(ECDSA, needs=(Dependency(image=1, version_min=(1, 1, 0, 0)),)),
            {}, Reason.DEPENDENCY_FAILED, "",
        ),
    ],
    ids=["key", "version", "counter", "no image", "confirmed trailer", "zeros", "format", "dependency"],
)  # fmt: skip
def test_what_was_not_signed_for_this_ecu_is_refused_and_nothing_changes(
    new: Image, change: dict[str, object], reason: Reason, word: str
) -> None:
    async def story(kit: Kit) -> None:
        refused = failed(await kit.verb("prepare"))
        assert (refused.reason, word in refused.detail) == (reason, True), refused
        assert failed(await kit.verb("activate")).reason is Reason.NOT_STAGED
        await kit.runs(kit.bench.old, "after a refusal", for_good=True)

    kit = Kit(bench(ECDSA, new=replace(new, **change), others=("1.0.9",)))  # type: ignore[arg-type]
    told(kit, story)


def test_erased_flash_behind_an_image_is_taken() -> None:
    async def story(kit: Kit) -> None:
        await kit.forward()

    told(Kit(bench(ECDSA, new=padded(b"\xff" * 100))), story)


def test_a_dependency_that_the_chips_other_image_meets_is_taken() -> None:
    async def story(kit: Kit) -> None:
        await kit.forward()

    needs = (Dependency(image=1, version_min=(1, 1, 0, 0)),)
    told(Kit(bench(ECDSA, new=image(ECDSA, needs=needs), others=("1.1.0",))), story)


def test_the_bootloader_itself_starts_nothing_that_its_key_did_not_sign() -> None:
    """Even a tester that vouches for the image cannot make it run: the agent for any A/B ECU does not look inside."""

    async def story(kit: Kit) -> None:
        assert failed(await kit.verb("prepare")).reason is Reason.DEPENDENCY_FAILED
        await kit.runs(kit.bench.old, "after a forged image", for_good=True)

    told(Kit(bench(ECDSA, agent="uds", new=image(ED25519))), story)


def test_an_older_security_counter_is_refused_for_good_after_a_commit() -> None:
    async def story(kit: Kit) -> None:
        await kit.forward()
        older: EcuImage = kit.image(kit.bench.old)
        outcome = await kit.verb("prepare", kit.bench.old, as_signed=older)
        assert failed(outcome).reason is Reason.COUNTER_TOO_LOW

    told(Kit(bench(ED25519)), story)


def signed_by_imgtool(folder: Path, *more: str) -> Image:
    """An image of the real tool, for slots of 8 KiB and sectors of 4 KiB."""
    pem = ECDSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(pem)
    (folder / "app.bin").write_bytes(APP)
    given = "sign -k key.pem --header-size 0x200 --pad-header -S 0x2000 --align 8 --version 2.0.0 --security-counter 2"
    with contextlib.chdir(folder):
        assert not imgtool_main.imgtool([*given.split(), *more, "app.bin", "out.bin"], standalone_mode=False)
    return Image(
        content=(folder / "out.bin").read_bytes(), version="2.0.0", release_counter=2, format="mcuboot"
    )


@pytest.mark.parametrize("swap", ["direct-xip", "scratch", "move"])
def test_what_imgtool_signs_is_tested_reverted_and_confirmed_however_the_slots_are_swapped(
    swap: ExchangeName, tmp_path: Path
) -> None:
    async def story(kit: Kit) -> None:
        for verb in ("prepare", "install", "activate", "verify"):
            await kit.done(verb, kit.verb(verb))
        await kit.restart()
        await kit.runs(kit.bench.old, "after the reset", for_good=True)
        for verb in ("activate", "commit"):
            await kit.done(verb, kit.verb(verb))
        await kit.restart()
        await kit.runs(kit.bench.new, "after the commit", for_good=True)

    told(Kit(bench(ECDSA, new=signed_by_imgtool(tmp_path), swap=swap)), story)


@pytest.mark.parametrize("more", [("--pad",), ("--pad", "--confirm"), ("--pad", "--overwrite-only")])
def test_a_trailer_of_imgtool_is_refused_whatever_bootloader_it_is_for(
    more: tuple[str, ...], tmp_path: Path
) -> None:
    async def story(kit: Kit) -> None:
        refused = failed(await kit.verb("prepare"))
        assert (refused.reason, "without --pad" in refused.detail) == (Reason.IMAGE_MALFORMED, True), refused

    told(Kit(bench(ECDSA, new=signed_by_imgtool(tmp_path, *more))), story)


@pytest.mark.parametrize("swap", ["overwrite", "ram-load", ""])
def test_a_bootloader_that_has_nothing_to_go_back_to_gets_no_agent(swap: str) -> None:
    made = bench(ECDSA)
    made._settings = {**made._settings, "swap": swap}
    with pytest.raises(InvalidInput, match="nothing to go back to"):
        made.power_on()


@pytest.mark.parametrize("settings", [{}, {"public_key": "no key"}, {"public_key": 3}])
def test_an_agent_without_the_bootloaders_key_is_not_made(settings: dict[str, str | int]) -> None:
    made = VecuBench(
        factory_of("mcuboot", {}), clock=SystemClock(), old=image(ECDSA), new=image(ECDSA), mode="ab",
        settings=settings,
    )  # fmt: skip
    with pytest.raises(InvalidInput):
        made.power_on()


def test_a_key_that_is_none_stops_the_virtual_ecu() -> None:
    config = EcuConfig(
        serial=SERIAL, hardware_id=HARDWARE, vin=VIN, layout="ab", secret=SECRET, mcuboot_key="no key"
    )
    made = VecuBench(
        factory_of("uds", {}),
        clock=SystemClock(),
        old=image(ECDSA),
        new=image(ECDSA),
        mode="ab",
        config=config,
    )
    with pytest.raises(InvalidInput):
        made.power_on()
