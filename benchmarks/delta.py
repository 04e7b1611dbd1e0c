"""Size of deltas on real pairs, ours and four peers' in the same run, and the memory that applying takes.

Pairs: two consecutive Debian kernels (the package unpacked to a tar, and the image in it, unpacked as it runs), busybox
and u-boot of two Debian releases, the shared object of two consecutive releases of a large wheel, and Zephyr builds. What cannot be had is said and
left out. Packages come through apt with its own signatures, wheels through pip with the versions named here; both
stay in `.firmware/delta`.

Run: python -m benchmarks delta; DELTA_LARGE=1 also measures the pairs of 40 to 120 MB, once
"""

from __future__ import annotations

import hashlib
import importlib
import io
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import hdiffpatch
import msgspec

from benchmarks.figures import Figure
from ringroad.build.deltas.choose import EcuClass
from ringroad.build.deltas.make import make_delta
from ringroad.protocol.delta import hpatchlite, ihex

FOLDER = Path(".firmware/delta")
PEERS = ("bsdiff4==1.3.2", "detools==0.53.0", "bitstruct==8.24.0", "humanfriendly==10.0", "heatshrink2==0.15.0",
         "pyelftools==0.33", "lz4==4.4.5", "zstandard==0.25.0")  # fmt: skip
WHEEL = ("duckdb", "1.4.2", "1.4.3")
SOURCES = """deb http://deb.debian.org/debian bookworm main
deb http://deb.debian.org/debian-security bookworm-security main
deb http://deb.debian.org/debian trixie main
"""
KERNEL = "boot/vmlinuz-"  # in a kernel's package
LZ4 = b"\x02\x21\x4c\x18"  # the payload of a Debian kernel: LZ4's older frame, in blocks
LZ4_BLOCK_BYTES = 8 << 20
STACK_BYTES = 512 << 20
MCU_BYTES = 4096  # of buffers
LARGE_BYTES = 32 * 1024**2  # images above this: only when asked for
BIG_BYTES = 8 * 1024**2  # images above this: only the peers' best setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two images, the second newer."""

    name: str
    ecu_class: EcuClass
    base: bytes
    new: bytes


def run() -> list[Figure]:
    FOLDER.mkdir(parents=True, exist_ok=True)
    peers = FOLDER / "peers"
    if not wheel(peers, *PEERS):
        return []
    sys.path.insert(0, str(peers))
    ratios: dict[str, dict[str, float]] = {"linux": {}, "mcu": {}}
    any_ram: dict[str, float] = {}
    for pair in pairs():
        known = kept(pair)
        if known is None and len(pair.new) > LARGE_BYTES and not os.environ.get("DELTA_LARGE"):
            print(
                f"{pair.name}: {len(pair.new):,} bytes take minutes and gigabytes: left out without DELTA_LARGE=1"
            )
            continue
        found = known or keep(pair, compare(pair))
        show(pair, found)
        judged = found.bounded if pair.ecu_class == "mcu" else found.free
        ratios[pair.ecu_class][pair.name] = found.ours / min(judged.values())
        if pair.ecu_class == "mcu":
            any_ram[pair.name] = found.ours / min(found.free.values())
    return summary(ratios, any_ram)


class Sizes(msgspec.Struct, frozen=True):
    """Bytes of the deltas of one pair."""

    kind: str
    ours: int
    free: dict[str, int]  # of peers, whatever memory applying takes
    bounded: dict[str, int]  # of peers that 4 KiB of buffers apply


def compare(pair: Pair) -> Sizes:
    kind, delta = make_delta(pair.ecu_class, pair.base, pair.new)
    flat = (ihex.flatten(pair.base), ihex.flatten(pair.new))
    peer_pair = (flat[0] or pair.base, flat[1] or pair.new)  # peers get what the file says, too
    bounded = bounded_peers(*peer_pair) if pair.ecu_class == "mcu" else {}
    return Sizes(
        kind=kind,
        ours=len(delta),
        free={name: len(made) for name, made in free_peers(*peer_pair).items() if made},
        bounded={name: len(made) for name, made in bounded.items() if made},
    )


def kept(pair: Pair) -> Sizes | None:
    """What was measured of exactly these images: the large pairs take a quarter of an hour on a busy machine."""
    path = place(pair)
    return msgspec.json.decode(path.read_bytes(), type=Sizes) if path.exists() else None


def keep(pair: Pair, sizes: Sizes) -> Sizes:
    place(pair).write_bytes(msgspec.json.encode(sizes))
    return sizes


def place(pair: Pair) -> Path:
    return FOLDER / f"sizes-{hashlib.sha256(pair.base + pair.new).hexdigest()[:16]}.json"


def show(pair: Pair, sizes: Sizes) -> None:
    print(f"{pair.name}: {len(pair.base):,} -> {len(pair.new):,} bytes, {sizes.kind} {sizes.ours:,}")
    peers = sizes.free | sizes.bounded | {"xz, whole": len(lzma.compress(pair.new, preset=6))}
    for name, size in sorted(peers.items(), key=lambda item: item[1]):
        print(f"    {name:36} {size:>12,}   ours is {sizes.ours / size:6.1%} of it")


def summary(ratios: Mapping[str, Mapping[str, float]], any_ram: Mapping[str, float]) -> list[Figure]:
    figures = [
        Figure(
            name=f"delta.{kind}.size_ratio_best_peer", value=round(max(found.values()), 4), unit="ratio",
            target=1.0, better="lower",
            note="worst pair; " + ", ".join(f"{name} {ratio:.3f}" for name, ratio in found.items()),
        )
        for kind, found in ratios.items() if found
    ]  # fmt: skip
    if any_ram:
        note = "against peers that need more than 4 KiB of buffers; " + ", ".join(
            f"{name} {ratio:.3f}" for name, ratio in any_ram.items()
        )
        figures.append(
            Figure(
                name="delta.mcu.size_ratio_best_peer_any_ram", value=round(max(any_ram.values()), 4),
                unit="ratio", target=None, better="lower", note=note,
            )
        )  # fmt: skip
    return figures


def worst_memory(figures: list[Figure]) -> list[Figure]:
    worst: dict[str, Figure] = {}
    for figure in figures:
        if figure.name not in worst or worst[figure.name].value < figure.value:
            worst[figure.name] = figure
    return list(worst.values())


# Peers -----------------------------------------------------------------------------------------------


def free_peers(base: bytes, new: bytes) -> dict[str, bytes | None]:
    """Each with the setting that is best here, whatever memory it takes to apply."""
    bsdiff4 = importlib.import_module("bsdiff4")  # only there once it was fetched
    made: dict[str, bytes | None] = {
        "HDiffPatch, lzma2": hdiffpatch.diff(base, new, hdiffpatch.Lzma2Config(), validate=False),
        "bsdiff4": deep(lambda: bsdiff4.diff(base, new)),
        "detools sequential, lzma": detools(base, new, compression="lzma"),
        "zstd -19 --patch-from": zstd(base, new),
    }
    if len(new) < BIG_BYTES:
        made["HDiffPatch, zstd -19"] = hdiffpatch.diff(
            base, new, hdiffpatch.ZStdConfig(level=19), validate=False
        )
        made["detools sequential, lzma, cortex-m4"] = detools(
            base, new, compression="lzma", data_format="arm-cortex-m4"
        )
    return made


def bounded_peers(base: bytes, new: bytes) -> dict[str, bytes | None]:
    """Those that an MCU applies within 4 KiB of buffers."""
    dictionary = hpatchlite.DICTIONARY_BYTES_MAX
    return {
        "HPatchLite, tinyuz": hdiffpatch.diff_lite(
            base, new, compression=hdiffpatch.TuzConfig(dict_size=dictionary)
        ),
        "HPatchLite, tamp 2 KiB": hdiffpatch.diff_lite(
            base, new, compression=hdiffpatch.TampConfig(window=11)
        ),
        "detools, crle": detools(base, new, compression="crle"),
        "detools, heatshrink 2 KiB": detools(base, new, compression="heatshrink", heatshrink_window_sz2=11),
        "detools, heatshrink 2 KiB, cortex-m4": detools(
            base, new, compression="heatshrink", heatshrink_window_sz2=11, data_format="arm-cortex-m4"
        ),
    }


def deep(make: Callable[[], bytes]) -> bytes:
    """Return what is made with a large stack: bsdiff4 sorts by recursion, and a kernel is more than 8 MiB of it."""
    before = threading.stack_size(STACK_BYTES)
    try:
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(make).result()
    finally:
        threading.stack_size(before)


def detools(base: bytes, new: bytes, **settings: Any) -> bytes:
    out = io.BytesIO()
    importlib.import_module("detools").create_patch(io.BytesIO(base), io.BytesIO(new), out, **settings)
    return out.getvalue()


def zstd(base: bytes, new: bytes) -> bytes | None:
    if shutil.which("zstd") is None:
        print("    zstd is not installed: left out (apt install zstd)")
        return None
    before, after, patch = (FOLDER / f"{os.getpid()}-{name}" for name in ("base", "new", "patch"))
    before.write_bytes(base)
    after.write_bytes(new)
    command = ["zstd", "-19", "--long=27", "-q", "-f", f"--patch-from={before}", str(after), "-o", str(patch)]
    done = subprocess.run(command, check=False, timeout=3_600)
    made = patch.read_bytes() if done.returncode == 0 else None
    for path in (before, after, patch):
        path.unlink(missing_ok=True)
    return made


# Memory ----------------------------------------------------------------------------------------------

# The kernel's high-water mark of this program alone: `ru_maxrss` also counts what the parent had before it.
_APPLY = """
import hashlib, os, sys
from ringroad.protocol.delta.apply import rebuild
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
kind, base, delta, length = *sys.argv[1:4], int(sys.argv[4])
b, d = os.open(base, os.O_RDONLY), os.open(delta, os.O_RDONLY)
before = peak()
digest = hashlib.sha256()
for piece in rebuild(kind, lambda o, n: os.pread(b, n, o), os.fstat(b).st_size,
                     lambda o, n: os.pread(d, n, o), os.fstat(d).st_size, length=length):
    digest.update(piece)
print(peak() - before, digest.hexdigest())
"""


def applied(pair: Pair, kind: str, delta: bytes) -> Figure:
    """Apply in a process of its own; for an MCU count the buffers instead, which are all it would need."""
    if pair.ecu_class == "mcu":
        base, new = ihex.flatten(pair.base) or pair.base, ihex.flatten(pair.new) or pair.new
        buffers = hpatchlite.Buffers(1 << 30)
        pieces = hpatchlite.rebuild(
            lambda o, n: base[o : o + n], len(base), lambda o, n: delta[o : o + n], len(delta),
            length=len(new), buffers=buffers,
        )  # fmt: skip
        assert b"".join(pieces) == new
        return Figure(
            name="delta.mcu.apply_ram_kib", value=round(buffers.used_bytes / 1024, 2), unit="KiB", target=4.0,
            better="lower", note=f"every buffer of the applier, counted; {pair.name}",
        )  # fmt: skip
    paths = FOLDER / f"{os.getpid()}-base", FOLDER / f"{os.getpid()}-delta"
    paths[0].write_bytes(pair.base)
    paths[1].write_bytes(delta)
    command = [sys.executable, "-c", _APPLY, kind, *map(str, paths), str(len(pair.new))]
    started = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    seconds = time.perf_counter() - started
    for path in paths:
        path.unlink()
    kib, digest = done.stdout.split()
    assert digest == hashlib.sha256(pair.new).hexdigest()
    print(f"    applied in {seconds:.1f} s, {int(kib) / 1024:.1f} MiB more than the process had")
    return Figure(
        name="delta.linux.apply_rss_mib", value=round(int(kib) / 1024, 1), unit="MiB", target=16.0,
        better="lower", note=f"what applying adds to the process; {pair.name}",
    )  # fmt: skip


# Pairs -----------------------------------------------------------------------------------------------


def pairs() -> list[Pair]:
    found = [*zephyr(), *shared_object()]
    if shutil.which("apt-get") is None:
        print("apt-get is not here: Debian's pairs are left out")
        return found
    return [*found, *sorted(debian(), key=lambda pair: len(pair.new))]


def zephyr() -> list[Pair]:
    def hex_file(build: str) -> bytes:
        return (files(f"zephyr_4_4_0_hci_usb_nrf52840dk_{build}") / "firmware.hex").read_bytes()

    return [
        Pair(name=f"zephyr {build}", ecu_class="mcu", base=hex_file("default"), new=hex_file(build))
        for build in ("legacy", "acl_502")
    ]


def shared_object() -> list[Pair]:
    name, *versions = WHEEL
    objects = []
    for version in versions:
        folder = FOLDER / f"{name}-{version}"
        if not wheel(folder, f"{name}=={version}"):
            return []
        objects.append(max(folder.rglob("*.so"), key=lambda path: path.stat().st_size).read_bytes())
    return [Pair(name=f"{name} {versions[1]}", ecu_class="linux", base=objects[0], new=objects[1])]


def wheel(folder: Path, *requirements: str) -> bool:
    if folder.exists():
        return True
    target = ["install", "-q", "--target", str(folder), "--no-deps", *requirements]
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    command = [uv, "pip", *target, "--python", sys.executable]
    if subprocess.run(command, check=False, timeout=300).returncode == 0:
        return True
    print(f"{', '.join(requirements)} cannot be had: left out")
    shutil.rmtree(folder, ignore_errors=True)
    return False


def debian() -> list[Pair]:
    (FOLDER / "sources.list").write_text(SOURCES, encoding="ascii")
    if apt("update").returncode != 0:
        print("deb.debian.org cannot be reached: Debian's pairs are left out")
        return []
    listed = {name: versions(name) for name in ("busybox-static", "u-boot-qemu")}
    kernels = sorted(
        line.split(" ")[0]
        for line in apt_cache("search", "--names-only", r"^linux-image-6\.1\.0-[0-9]+-cloud-amd64-unsigned$")
    )[-2:]
    wanted = [
        ("kernel package", [f"{name}={versions(name)[0]}" for name in kernels], ""),
        ("kernel image", [f"{name}={versions(name)[0]}" for name in kernels], KERNEL),
        ("busybox", [f"busybox-static={one}" for one in reversed(listed["busybox-static"])], "bin/busybox"),
        (
            "u-boot",
            [f"u-boot-qemu={one}" for one in reversed(listed["u-boot-qemu"])],
            "qemu_arm64/u-boot.bin",
        ),
    ]
    found = []
    for name, packages, member in wanted:
        images = [unpacked(package, member) for package in packages]
        if len(images) != 2 or not all(images):
            print(f"{name}: two versions cannot be had: left out")
            continue
        found.append(Pair(name=name, ecu_class="linux", base=images[0], new=images[1]))
    return found


def versions(package: str) -> list[str]:
    return list(dict.fromkeys(line.split("|")[1].strip() for line in apt_cache("madison", package)))


def unpacked(package: str, member: str) -> bytes:
    """Return a package as one uncompressed tar, or the file in it that ends in `member`."""
    folder = (FOLDER / "debs" / hashlib.sha256(package.encode()).hexdigest()[:12]).absolute()
    if not list(folder.glob("*.deb")):
        folder.mkdir(parents=True, exist_ok=True)
        apt("download", package, cwd=folder)
    deb = next(folder.glob("*.deb"), None)
    if deb is None:
        return b""
    tar = subprocess.run(
        ["dpkg-deb", "--fsys-tarfile", str(deb)], check=True, capture_output=True, timeout=300
    ).stdout
    if not member:
        return tar
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        name = next(
            one for one in archive.getnames() if one.endswith(member) or (member == KERNEL and KERNEL in one)
        )
        held = archive.extractfile(name)
        assert held is not None
        return vmlinux(held.read()) if member == KERNEL else held.read()


def vmlinux(image: bytes) -> bytes:
    """Return what a packed kernel image unpacks at start; deltas between packed images are as large as these."""
    block = importlib.import_module("lz4.block")
    at, found = image.index(LZ4) + len(LZ4), b""
    while len(found) % LZ4_BLOCK_BYTES == 0:  # the last one is shorter
        size = int.from_bytes(image[at : at + 4], "little")
        found += block.decompress(image[at + 4 : at + 4 + size], uncompressed_size=LZ4_BLOCK_BYTES)
        at += 4 + size
    return found


def apt_options() -> list[str]:
    state = (FOLDER / "apt").absolute()
    for folder in ("lists/partial", "cache/archives/partial"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    options = {
        "Dir::Etc::sourcelist": str((FOLDER / "sources.list").absolute()), "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": str(state / "lists"), "Dir::Cache": str(state / "cache"),
        "APT::Sandbox::User": "root" if os.getuid() == 0 else "", "Acquire::Languages": "none",
    }  # fmt: skip
    return [part for name, value in options.items() for part in ("-o", f"{name}={value}")]


def apt(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    command = ["apt-get", *apt_options(), "-qq", *arguments]
    return subprocess.run(command, check=False, cwd=cwd, capture_output=True, timeout=300)


def apt_cache(*arguments: str) -> list[str]:
    command = ["apt-cache", *apt_options(), *arguments]
    listed = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    return listed.stdout.splitlines()
