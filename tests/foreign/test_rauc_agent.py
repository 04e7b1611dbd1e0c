"""Debian's unmodified RAUC writes the slots of a box for its agent, over a D-Bus of the test's own.

RAUC mounts a bundle through a loop device, and the slots of the first test are loop devices, block devices as in a box.
Where this machine gives none, the slots are files, the agent says what is missing, and the old slot stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringroad.protocol.vehicle import EcuTarget
from ringroad.vehicle.agents.base import (
    BytesSource,
    Done,
    EcuImage,
    EcuInventory,
    Failed,
    Reason,
    UpdateAgent,
    no_progress,
)
from ringroad.vehicle.agents.disk import RealDisk
from ringroad.vehicle.agents.plugins import AgentSite, factory_of

pytestmark = [
    pytest.mark.foreign,
    pytest.mark.skipif(
        any(shutil.which(tool) is None for tool in ("rauc", "dbus-daemon", "mksquashfs", "openssl")),
        reason="rauc, dbus, squashfs-tools or openssl is not installed: apt install rauc dbus squashfs-tools openssl",
    ),
]
SLOT_BYTES = 65_536
BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={folder}/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>
"""
SYSTEM = """[system]
compatible=ringroad-box
bootloader=custom
bundle-formats=+plain
activate-installed=false
mountprefix={folder}/mnt
statusfile={folder}/status

[keyring]
path={folder}/rauc.crt

[handlers]
bootloader-custom-backend={folder}/backend

[slot.rootfs.0]
device={slots[0]}
type=raw
bootname=A

[slot.rootfs.1]
device={slots[1]}
type=raw
bootname=B
"""
BACKEND = """#!/bin/sh
case "$1" in
  get-primary) cat {folder}/primary ;;
  set-primary) echo "$2" > {folder}/primary ;;
  get-state) cat {folder}/state.$2 ;;
  set-state) echo "$3" > {folder}/state.$2 ;;
esac
"""
# What a restart of the box does: RAUC's service starts anew, and the slot is the one that the bootloader took.
RESTART = """#!/bin/sh
export DBUS_STARTER_BUS_TYPE=session DBUS_SESSION_BUS_ADDRESS=unix:path={folder}/bus
pid=$(cat {folder}/service.pid 2>/dev/null)
if [ -n "$pid" ]; then
  kill "$pid" 2>/dev/null
  while grep -q '^State:.[^Z]' /proc/$pid/status 2>/dev/null; do sleep 0.05; done
fi
setsid rauc --conf={folder}/system.conf service --override-boot-slot=$(cat {folder}/primary) \\
  > {folder}/service.log 2>&1 < /dev/null &
echo $! > {folder}/service.pid
for try in $(seq 1200); do
  rauc --conf={folder}/system.conf status > /dev/null 2>&1 && exit 0
  sleep 0.05
done
cat {folder}/service.log
exit 1
"""


def sh(*command: str, cwd: Path) -> None:
    subprocess.run(command, cwd=cwd, check=True, capture_output=True, timeout=120)


@contextlib.contextmanager
def block_device(file: Path) -> Iterator[Path]:
    """Give a block device with the file behind it, or the file itself where there is none to be had."""
    made = subprocess.run(
        ["losetup", "--find", "--show", str(file)], check=False, capture_output=True, text=True, timeout=60
    )
    if made.returncode != 0:
        yield file
        return
    device = Path(made.stdout.strip())
    try:
        yield device
    finally:
        sh("losetup", "--detach", str(device), cwd=file.parent)


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A box under power: its bus, and RAUC's service on it. A short path, for the socket."""
    made = Path(tempfile.mkdtemp(prefix="rrr"))
    files = [made / "slot0", made / "slot1"]
    for slot in files:
        slot.write_bytes(bytes(SLOT_BYTES))
    with contextlib.ExitStack() as attached:
        slots = (
            [attached.enter_context(block_device(slot)) for slot in files]
            if hasattr(request, "param")
            else files
        )
        subject = (
            "-subj",
            "/CN=rauc",
            "-days",
            "2",
            "-nodes",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        )
        sh("openssl", "req", "-x509", *subject, "-keyout", "rauc.key", "-out", "rauc.crt", cwd=made)
        for name, text in (
            ("bus.conf", BUS),
            ("system.conf", SYSTEM),
            ("backend", BACKEND),
            ("restart", RESTART),
        ):
            (made / name).write_text(text.format(folder=made, slots=slots))
            (made / name).chmod(0o755)
        for name, text in (("primary", "A\n"), ("state.A", "good\n"), ("state.B", "good\n")):
            (made / name).write_text(text)
        for name in ("room", "mnt"):
            (made / name).mkdir()
        with subprocess.Popen(
            ["dbus-daemon", f"--config-file={made}/bus.conf", "--nofork"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as bus:  # fmt: skip
            try:
                give_up_at = time.monotonic() + 60
                while not (made / "bus").exists() and time.monotonic() < give_up_at:
                    time.sleep(0.02)
                sh(str(made / "restart"), cwd=made)
                yield made
            finally:
                service = made / "service.pid"
                if service.exists():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(service.read_text()), signal.SIGTERM)
                bus.terminate()
    shutil.rmtree(made, ignore_errors=True)


def agent_for(folder: Path) -> UpdateAgent:
    site = AgentSite(
        name="box", serial="BOX", hardware_id="box-1", mode="ab", folder=folder / "room", disk=RealDisk("buffered"),
        settings={
            "conf": f"{folder}/system.conf", "restart": f"{folder}/restart", "bus": f"unix:path={folder}/bus",
            "health": f"grep -q well {folder}/slot1",
        },
    )  # fmt: skip
    return factory_of("rauc", {})(site)


def bundle(
    folder: Path, payload: bytes, version: str, *, key: str = "rauc", compatible: str = "ringroad-box"
) -> bytes:
    content = folder / f"content-{version}-{key}-{compatible}"
    content.mkdir()
    (content / "rootfs.img").write_bytes(payload.ljust(SLOT_BYTES, b"\0"))
    (content / "manifest.raucm").write_text(
        f"[update]\ncompatible={compatible}\nversion={version}\n\n[image.rootfs]\nfilename=rootfs.img\n"
    )
    out = folder / f"{content.name}.raucb"
    sh("rauc", f"--cert={key}.crt", f"--key={key}.key", "bundle", str(content), str(out), cwd=folder)
    return out.read_bytes()


def image_of(data: bytes, counter: int) -> EcuImage:
    return EcuImage(
        serial="BOX", target=EcuTarget(name="box", mode="ab", format="bin", version=f"{counter}.0"),
        filename="box.raucb", sha256=hashlib.sha256(data).hexdigest(), length_bytes=len(data), release_counter=counter,
        hardware_ids=("box-1",),
    )  # fmt: skip


def can_mount(folder: Path) -> bool:
    """Whether this machine gives a loop device and lets us mount, asked without RAUC."""
    (folder / "probe").mkdir()
    (folder / "probe" / "file").write_bytes(b"x")
    sh("mksquashfs", "probe", "probe.squashfs", cwd=folder)
    tried = subprocess.run(
        ["mount", "-t", "squashfs", "-o", "loop,ro", "probe.squashfs", "mnt"],
        cwd=folder, check=False, capture_output=True, timeout=60,
    )  # fmt: skip
    if tried.returncode == 0:
        sh("umount", "mnt", cwd=folder)
    return tried.returncode == 0


async def inventory(agent: UpdateAgent) -> EcuInventory:
    found = await agent.inventory()
    assert isinstance(found, EcuInventory), found
    return found


@pytest.mark.parametrize("folder", ["devices"], indirect=True)
def test_a_bundle_is_installed_booted_checked_and_confirmed_or_the_missing_loop_device_is_named(
    folder: Path,
) -> None:
    mounts = can_mount(folder)

    async def story() -> None:
        agent, data = agent_for(folder), bundle(folder, b"all is well", "2.0")
        wanted = image_of(data, 2)
        seen: list[int] = []
        outcome = await agent.prepare(wanted, BytesSource(data), progress=lambda done, _: seen.append(done))
        if isinstance(outcome, Failed) and (not mounts or "loop device" in outcome.detail):
            assert outcome.reason is Reason.CHECK_FAILED
            assert (await inventory(agent)).staged is None
            return
        assert outcome == Done(), outcome
        assert seen[-1] == len(data)
        assert (folder / "slot1").read_bytes().startswith(b"all is well")
        assert (folder / "primary").read_text() == "A\n"  # installed is not activated
        assert await agent.prepare(wanted, BytesSource(data), progress=no_progress) == Done(already=True)
        assert await agent.activate(wanted) == Done()
        assert await agent.activate(wanted) == Done(already=True)
        found = await inventory(agent)
        assert (found.running and found.running.version, found.trial) == ("2.0", True)
        assert await agent.verify(wanted, frozenset({"version", "self_test"})) == Done()
        assert await agent.commit(wanted) == Done()
        assert (folder / "state.B").read_text() == "good\n"
        found = await inventory(agent_for(folder))
        assert (found.trial, found.committed_counter) == (False, 2)
        sick = bundle(folder, b"sick", "3.0")
        for outcome in (
            await agent.prepare(image_of(sick, 3), BytesSource(sick), progress=no_progress),
            await agent.activate(image_of(sick, 3)),
            await agent.rollback(image_of(sick, 3), progress=no_progress),
        ):
            assert outcome == Done(), outcome
        found = await inventory(agent)
        assert (found.running and found.running.version, found.trial, found.committed_counter) == (
            "2.0",
            False,
            2,
        )

    asyncio.run(story())


@pytest.mark.parametrize("fault", ["tampered", "another key", "another box"])
def test_what_rauc_refuses_fails_with_its_words_and_nothing_is_staged(folder: Path, fault: str) -> None:
    async def story() -> None:
        if fault == "another key":
            subject = (
                "-subj",
                "/CN=other",
                "-days",
                "2",
                "-nodes",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
            )
            sh("openssl", "req", "-x509", *subject, "-keyout", "other.key", "-out", "other.crt", cwd=folder)
        data = bundle(
            folder, b"new", "2.0", key="other" if fault == "another key" else "rauc",
            compatible="other-box" if fault == "another box" else "ringroad-box",
        )  # fmt: skip
        if fault == "tampered":
            data = data[:100] + bytes((data[100] ^ 1,)) + data[101:]
        agent = agent_for(folder)
        outcome = await agent.prepare(image_of(data, 2), BytesSource(data), progress=no_progress)
        assert isinstance(outcome, Failed)
        assert outcome.reason is Reason.CHECK_FAILED
        assert outcome.detail
        assert (folder / "slot1").read_bytes() == bytes(SLOT_BYTES)
        found = await inventory(agent)
        assert (found.staged, found.committed_counter) == (None, 0)

    asyncio.run(story())


def test_a_service_that_is_not_there_is_unreachable(folder: Path) -> None:
    os.kill(int((folder / "service.pid").read_text()), signal.SIGTERM)
    (folder / "bus").unlink()
    answer = asyncio.run(agent_for(folder).inventory())
    assert isinstance(answer, Failed)
    assert answer.reason is Reason.UNREACHABLE
    (folder / "service.pid").unlink()
