"""The distributed example's vehicle around a process of its own: `ringroad vehicle run` over real HTTPS.

Its 33 ECUs are those that `ringroad vehicle rehearse` builds: virtual ones behind DoIP, CAN, CAN FD and HTTP, with MCUboot
on some, and folders for a container and a disk; a thread gives them power, another one serves the desk.
"""

from __future__ import annotations

import asyncio
import copy
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from ringroad.kernel.clock import SystemClock
from ringroad.protocol.vehicle import VehicleState
from ringroad.sim.assembly import PARKED, keep_signals
from ringroad.sim.rehearsal import Plan, Rehearsal, build
from ringroad.sim.vecu.server import VecuServer
from ringroad.vehicle.agents.base import Failed
from ringroad.vehicle.connect import connect_agents
from ringroad.vehicle.identity import ManifestBook
from ringroad.vehicle.memory import read_state
from support.ports import free_port
from support.power_cuts import Server, all_ecus, inventory_keys, plan_of
from support.vehicle_size import OTHERS

T = TypeVar("T")

PATIENCE_S: Final = 240.0
HUNG_SIGNAL: Final = signal.SIGQUIT  # ends a process that hangs; no kill of ours has its status
ENDS: Final = {"SUCCEEDED", "ROLLED_BACK", "FAILED", "ROLLBACK_FAILED"}
SAID: Final = "said.log"  # what the process said
SAID_CHARS_MAX: Final = 2_000  # of it that are shown
REST_REQUESTS: Final = 4  # requests after which the vehicle has started and rests
SIGNALS: Final = 50  # VSS signals of which the vehicle keeps a ring
SOC_BYTES: Final = 256 * 1024  # of an image, as `rehearse` has them
MCU_BYTES: Final = 16 * 1024
# Development tools bring what some libraries import where it is; a vehicle has none of it.
START: Final = f"""
import sys
sys.modules.update(dict.fromkeys({OTHERS!r}))
from ringroad.cli import main
main()
"""


def certificate(folder: Path) -> Path:
    """A self-signed certificate for loopback, and its key beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "ca.pem").write_bytes(made.public_bytes(Encoding.PEM))
    return folder / "ca.pem"


@contextmanager
def serving(app: Any, folder: Path) -> Iterator[str]:
    """Serve an application over HTTPS on loopback; give its address."""
    ca = certificate(folder)
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, ssl_certfile=str(ca), ssl_keyfile=str(folder / "key.pem"),
        log_level="error", lifespan="off", ws="none",
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        yield f"https://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(60)


def until(done: Callable[[], bool], *, pause_s: float = 0.02) -> None:
    """Wait, but not for ever."""
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError("it takes too long")
        time.sleep(pause_s)


class Powered:
    """A vehicle whose ECUs have power and whose server answers; `start` starts the vehicle's own process."""

    def __init__(self, rehearsal: Rehearsal, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self.rehearsal, self.server, self._loop = rehearsal, server, loop

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do work where the ECUs are."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=PATIENCE_S)

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        """Start the vehicle's process; `said` has what it says."""
        with (self.rehearsal.folder / SAID).open("wb") as said:
            return subprocess.Popen(
                [sys.executable, "-c", START, "vehicle", "run", "--data", str(self.rehearsal.folder)],
                env={**os.environ, **environment}, stdout=said, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def said(self) -> str:
        """What the newest process said last."""
        return (self.rehearsal.folder / SAID).read_text("utf-8")[-SAID_CHARS_MAX:]

    def live(self, **environment: str) -> int:
        """Run the vehicle's process until it ends by itself, or the update is over and the server knows; return its status.

        One that does neither is killed in the end, and has the status of that signal.
        """
        process = self.start(**environment)
        try:
            until(lambda: ended(process) or self.done())
            process.terminate()
        except TimeoutError:
            process.send_signal(HUNG_SIGNAL)
        finally:
            process.wait(60)
        return process.returncode

    def done(self) -> bool:
        """Whether the update is over, and the server told of it and of what the ECUs run since."""
        folder = self.rehearsal.folder
        return bool(self.told()) and not ManifestBook(folder, durability="buffered").due(read_state(folder))

    def power_cycle(self) -> None:
        """Take every ECU's power away and give it back."""

        async def cycle() -> None:
            for server in self.rehearsal.servers:
                if isinstance(server, VecuServer):
                    server.port.power_cycle()

        self.run(cycle())

    def running(self) -> dict[str, tuple[str, bool, int] | Failed]:
        """Version, trial and committed counter of every ECU by name, as it answers; or why it does not."""

        async def ask() -> dict[str, tuple[str, bool, int] | Failed]:
            found: dict[str, tuple[str, bool, int] | Failed] = {}
            agents = connect_agents(self.rehearsal.folder, self.rehearsal.config)
            for ecu in self.rehearsal.config.ecus:
                answer = await agents[ecu.serial].inventory()
                await agents[ecu.serial].close()
                if isinstance(answer, Failed):
                    found[ecu.name] = answer
                    continue
                version = answer.running.version if answer.running is not None else "nothing"
                found[ecu.name] = (version, answer.trial, answer.committed_counter)
            return found

        return self.run(ask())

    def told(self) -> set[VehicleState]:
        """The ends of updates that the server was told of."""
        return {one.state for one in list(self.server.reports.values()) if not one.ecu} & ENDS


@contextmanager
def powered(rehearsal: Rehearsal, **settings: Any) -> Iterator[Powered]:
    """Give a vehicle's ECUs power, and it a server; `settings` are of its configuration."""
    server = Server(
        desk=rehearsal.desk, clock=SystemClock(), vin=rehearsal.config.vin, keys=inventory_keys(rehearsal)
    )
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    made = Powered(rehearsal, server, loop)
    power = rehearsal.power(SystemClock())
    try:
        with serving(server, rehearsal.folder / "pki") as url:
            rehearsal.config = msgspec.structs.replace(
                rehearsal.config, server_url=url, ca_file="pki/ca.pem", **settings
            )
            made.run(power.__aenter__())
            signals = asyncio.run_coroutine_threadsafe(
                keep_signals(rehearsal.folder / rehearsal.config.signals_file), loop
            )
            try:
                yield made
            finally:
                signals.cancel()
                made.run(power.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()


def built(folder: Path, plan: Plan) -> Rehearsal:
    """Build a vehicle with the old release. Its power is off."""
    return asyncio.run(build(plan, folder, clock=SystemClock(), secret=secrets.token_bytes))


def copied(rehearsal: Rehearsal, folder: Path, *, failing: str) -> Rehearsal:
    """Return the same vehicle, its power off, in a new folder; the new software of ECU `failing` fails its self-test."""
    shutil.copytree(rehearsal.folder, folder, symlinks=True)
    plan = replace(rehearsal.plan, failing=failing)
    return replace(rehearsal, plan=plan, folder=folder, desk=copy.copy(rehearsal.desk))


# Memory -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What the vehicle's process had resident, and how long it took to its first poll."""

    idle_kib: int
    peak_kib: int
    start_s: float
    start_cpu_s: float  # of its own work, which another process's hardly changes


def memory_of_an_update(folder: Path, **settings: Any) -> Memory:
    """Run the process of the whole vehicle, let it rest, update every ECU, end it; return its memory."""
    vehicle = built(folder / "vehicle", plan_of(all_ecus(), soc_bytes=SOC_BYTES, mcu_bytes=MCU_BYTES))
    signals = {**PARKED, **{f"Vehicle.Signal{n}": n / 7 for n in range(SIGNALS)}}
    (vehicle.folder / vehicle.config.signals_file).write_bytes(msgspec.json.encode(signals))
    # Nobody is its broker: what it observes is stored, with the ring of its signals around faults.
    with powered(vehicle, mqtt_host="127.0.0.1", mqtt_port=free_port(), telemetry_s=5.0, **settings) as bench:
        server, began = bench.server, time.monotonic()
        process = bench.start()
        try:
            until(lambda: ended(process) or bool(server.asked))
            start_s, start_cpu_s = time.monotonic() - began, _cpu_s(process.pid)
            until(lambda: ended(process) or (server.asked > REST_REQUESTS and bool(server.manifests)))
            idle_kib = _status(process.pid, "VmRSS")
            vehicle.order()
            until(lambda: ended(process) or bool(bench.told()))
            assert bench.told() == {"SUCCEEDED"}, bench.told()
            peak_kib = _status(process.pid, "VmHWM")
        finally:
            process.terminate()
            process.wait(60)
            assert process.returncode == 0, bench.said()
    return Memory(idle_kib=idle_kib, peak_kib=peak_kib, start_s=start_s, start_cpu_s=start_cpu_s)


def ended(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is not None


def _cpu_s(pid: int) -> float:
    """What a process computed so far, in seconds of a core."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _status(pid: int, name: str) -> int:
    """A field of /proc, in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
