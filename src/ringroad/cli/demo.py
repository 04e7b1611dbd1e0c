"""`ringroad demo`: one whole lap on real engines, in a folder of its own, while the console shows it live."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import httpx
import structlog

from ringroad.cli.engines import READY
from ringroad.cli.keys import KeyCounts, KeyFolders, init_keys, load_offline_signers
from ringroad.cli.shell import Shell
from ringroad.cli.supervisor import DEMO, end_supervisor, prepare_var, read_state
from ringroad.kernel.clock import new_secret
from ringroad.kernel.errors import Conflict, InvalidInput, Unavailable
from ringroad.sim.api import TIMEOUT_S, Api
from ringroad.sim.assembly import Surroundings
from ringroad.sim.demo.processes import Processes
from ringroad.sim.demo.report import lap_lines
from ringroad.sim.demo.server import Server, sign_up
from ringroad.sim.demo.story import PROGRAMME, Cast, Story
from ringroad.sim.fleet import Fleet
from ringroad.sim.plant import Plant, PlantSettings
from ringroad.storage.process import leashed
from ringroad.storage.settings import Settings
from ringroad.trust.sign import add_signatures
from ringroad.vehicle.gateway import new_client

MARKER = "RINGROAD-DEMO"  # a folder with a file of this name may be emptied by the next demo
READY_LOOK_S = 0.05  # seconds between two looks whether the engines have started
CYCLE_S = 1.0  # seconds between two operation cycles of an ECU
TELEMETRY_S = 2.0  # seconds between two telemetry batches of a vehicle
CONNECTIONS_MAX = 40  # of all vehicles together
# A story of two minutes needs finer ticks than a fleet that is watched for weeks.
PACE = {
    "poll_s": 2, "poll_busy_s": 1, "worker_interval_ms": 100, "detect_every_s": 2, "measure_tick_s": 1,
    "measure_gap_s": 20, "measure_exposure_s_min": 60,
}  # fmt: skip
PORTS = {"http_port": 8080, "https_port": 8443, "mqtt_port": 1883, "nats_port": 4222}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a demo runs."""

    folder: Path
    ports: dict[str, int]

    @property
    def var(self) -> Path:
        """The server's folder."""
        return self.folder / "server"

    @property
    def http(self) -> str:
        """Origin of console, API and DDI."""
        return f"http://127.0.0.1:{self.ports['http_port']}"


@click.command("demo")
@click.option("--once", is_flag=True, help="End with the lap; otherwise the console stays up until Ctrl-C.")
@click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), default=1, show_default=True, help="Which story is told."
)
@click.option("--vehicles", type=click.IntRange(20, 500), default=50, show_default=True, help="In the field.")
@click.option("--folder", type=click.Path(path_type=Path), default=Path("var") / DEMO, show_default=True)
@click.option("--firmware", type=click.Path(path_type=Path), default=Path(".firmware"), show_default=True)
@click.pass_obj
def command(  # noqa: PLR0917 - click's form
    shell: Shell,
    once: bool,  # noqa: FBT001
    seed: int,
    vehicles: int,
    folder: Path,
    firmware: Path,
) -> None:
    """Run one lap: signal, design, build, ship, adapt. The folder of an earlier demo is emptied first."""
    source = Path("examples/road/programme.toml")
    if not source.exists():
        raise InvalidInput(f"{source} is not here", hint="run the demo in the checkout's folder")
    place = Place(folder=folder.absolute(), ports=free_ports())
    if (place.folder / MARKER).exists() and read_state(Settings(var=place.var)):
        end_supervisor(Settings(var=place.var), shell.clock)  # of a demo that was killed
    empty(place.folder)
    started_s = shell.clock.monotonic_s()

    def say(stage: str, text: str) -> None:
        click.echo(f"{shell.clock.monotonic_s() - started_s:6.1f}s  {stage:<7} {text}", err=shell.json)

    # A demo that is asked to end ends its vehicles and engines too, also one that a shell runs in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger("warning"),
        logger_factory=structlog.PrintLoggerFactory((place.folder / "demo.log").open("w", encoding="utf-8")),
    )
    keys = KeyFolders(public=place.var / "keys", offline=place.folder / "keys-offline")
    prepare_var(Settings(var=place.var))
    init_keys(keys, root=KeyCounts(keys=3, threshold=2), image_targets=KeyCounts(keys=3, threshold=2))
    say("", "keys made: Root 2 of 3 and Image Targets 2 of 3 offline, the rest online")
    with serving(place) as token:
        say("", f"engines run; console {place.http}/")
        result = asyncio.run(
            _tell(
                shell,
                place,
                keys,
                token=token,
                say=say,
                seed=seed,
                cast=Cast(vehicles=vehicles),
                firmware=firmware,
                programme=source.read_text("utf-8"),
            )
        )
        wall_s = shell.clock.monotonic_s() - started_s
        shell.show(
            {"wall_s": wall_s, **result}, text="\n".join(["", *lap_lines(result), f"\n{wall_s:.0f} s in all"])
        )
        if not once:
            click.echo(
                f"\nconsole {place.http}/  account admin, password {result['password']}\nCtrl-C ends it",
                err=True,
            )
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()


async def _tell(
    shell: Shell,
    place: Place,
    keys: KeyFolders,
    *,
    token: str,
    say: Any,
    seed: int,
    cast: Cast,
    firmware: Path,
    programme: str,
) -> dict[str, Any]:
    signers = load_offline_signers(keys, repository="image", role="targets")
    password = new_secret(9).hex()
    async with people(place, token, password) as server, vehicles(shell, place, seed) as (fleet, processes):
        story = Story(
            server=server, fleet=fleet, processes=processes, say=say, clock=shell.clock, cast=cast, seed=seed,
            sign=lambda payload: add_signatures(payload, signers), ddi_url=place.http, firmware_folder=firmware,
            work=place.folder, programme_source=programme,
            plant=Plant(
                settings=PlantSettings(
                    folder=place.folder / "vehicles", stations=5, takt_s=60, time_factor=60 / 0.02, seed=seed,
                    durability="buffered", births="buffered",
                ),
                registrar=server.registrar(PROGRAMME),
                surroundings=Surroundings(
                    server_url=f"https://127.0.0.1:{place.ports['https_port']}", mqtt_host="127.0.0.1",
                    mqtt_port=place.ports["mqtt_port"], ca_pem=(place.var / "pki" / "ca.pem").read_bytes(),
                    image_root=_root(keys, "image"), director_root=_root(keys, "director"),
                    telemetry_s=TELEMETRY_S, retry_base_s=0.2,
                ),
                clock=shell.clock, secret=new_secret, vin_numbers=itertools.count(1),
                on_birth=_not_wired,
            ),
        )  # fmt: skip
        story.plant.on_birth = story.welcome
        story.plant.script = await asyncio.to_thread(story.script)
        return {**await story.run(), "password": password, "restarts": processes.restarts}


async def _not_wired(_birth: Any) -> None:
    raise Unavailable("the story is not wired to the plant")


def _root(keys: KeyFolders, repository: str) -> bytes:
    return (keys.public / repository / "1.root.json").read_bytes()


@asynccontextmanager
async def people(place: Place, token: str, password: str) -> AsyncIterator[Server]:
    """Sign up the admin and a second person; four eyes are four."""
    async with httpx.AsyncClient(base_url=place.http, timeout=TIMEOUT_S, trust_env=False) as client:
        admin = Api(client, await sign_up(client, one_time=token, password=password), asyncio.sleep)
        made = await admin.post("/accounts", {"name": "approver", "role": "approver"})
        approver = Api(
            client, await sign_up(client, one_time=made["token"], password=new_secret(9).hex()), asyncio.sleep
        )
        yield Server(operator=admin, approver=approver)


@asynccontextmanager
async def vehicles(shell: Shell, place: Place, seed: int) -> AsyncIterator[tuple[Fleet, Processes]]:
    """Hold the vehicles of this process and those that are processes; end them all."""
    processes = Processes()
    async with new_client(ca_file=place.var / "pki" / "ca.pem", connections_max=CONNECTIONS_MAX) as client:
        fleet = Fleet(clock=shell.clock, ids=shell.ids, seed=seed, client=client, cycle_s=CYCLE_S)
        try:
            yield fleet, processes
        finally:
            await fleet.stop()
            await processes.stop()


@contextmanager
def serving(place: Place) -> Iterator[str]:
    """Run `ringroad up` in the demo's folder; yield the one-time token.

    Raises:
        Unavailable: it did not start.
    """
    process, token = _start_engines(place)
    try:
        yield token
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def _start_engines(place: Place) -> tuple[subprocess.Popen[bytes], str]:
    """Start them; once more with other ports when somebody else took one since it was found free."""
    log = place.folder / "up.log"
    for last in (False, True):
        process = _launch(place, log)
        try:
            return process, _token(process, log)
        except Unavailable as error:
            process.terminate()
            process.wait(30)
            if last or "is in use" not in error.hint:
                raise
            place.ports.update(free_ports(usual=False))
    raise Unavailable("the engines did not start")


def _launch(place: Place, log: Path) -> subprocess.Popen[bytes]:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RINGROAD_")},
        **{f"RINGROAD_{name.upper()}": str(value) for name, value in {**PACE, **place.ports}.items()},
    }
    command_line = [sys.executable, "-m", "ringroad.cli", "--var", str(place.var), "up"]
    log.unlink(missing_ok=True)
    log.touch(mode=0o600)  # it holds the token
    with log.open("ab") as out:
        return subprocess.Popen(
            leashed(command_line, end_with=signal.SIGTERM),
            env=environment,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )


def _token(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait until everything runs; return the one-time token.

    Raises:
        Unavailable: it ended instead; the hint is what it said.
    """
    ended = False
    while not ended:
        ended = process.poll() is not None
        told = log.read_text("utf-8")
        if f"\n{READY}" in told:
            return next(line.split()[1] for line in told.splitlines() if line.split()[:1] == ["token"])
        time.sleep(READY_LOOK_S)
    raise Unavailable("the engines did not start", hint=log.read_text("utf-8").strip()[-500:] or f"see {log}")


def free_ports(*, usual: bool = True) -> dict[str, int]:
    """Return the usual ports where they are free, others where they are not."""
    found: dict[str, int] = {}
    for name, number in PORTS.items():
        for wanted in (number, 0) if usual else (0,):
            with socket.socket() as probe, contextlib.suppress(OSError):
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", wanted))
                found[name] = probe.getsockname()[1]
                break
    return found


def empty(folder: Path) -> None:
    """Make a fresh demo folder; an earlier demo's is emptied, anything else is left alone.

    Raises:
        Conflict: the folder holds something else.
    """
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).exists():
            raise Conflict(f"{folder} is not empty and not a demo's", hint="--folder names another one")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)  # PostgreSQL may run under an account of its own
    (folder / MARKER).write_text("made by ringroad demo; may be emptied by the next one\n", encoding="ascii")
