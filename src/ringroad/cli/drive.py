"""`ringroad fleet drive`: simulated vehicles of a folder drive, report and update themselves, in one process."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from ringroad.cli.client import Client
from ringroad.cli.groups import example, with_client
from ringroad.cli.names import read_duration_s
from ringroad.cli.shell import Shell
from ringroad.cli.simulated import logging_to_file, run_until_told, shown, vehicles_folder
from ringroad.cli.tables import counted
from ringroad.cli.vehicle import is_running, journal_line
from ringroad.kernel.errors import InvalidInput, NotFound, RingroadError
from ringroad.kernel.limits import PAGE_ROWS_MAX
from ringroad.sim.assembly import BornVehicle, power_on
from ringroad.sim.fleet import Fleet
from ringroad.sim.plant import BORN
from ringroad.sim.vecu.fault_memory import TEST_FAILED, StoredFault
from ringroad.sim.vecu.script import Behaviour, FaultRate, Script, read_script
from ringroad.vehicle.diagnostics.bulk import LogRing
from ringroad.vehicle.gateway import new_client
from ringroad.vehicle.memory import Observer
from ringroad.vehicle.states import CampaignState, EcuMoved, Entry, Moved

LOOK_S: Final = 1.0  # seconds between two looks for vehicles that were born meanwhile
CONNECTIONS_MAX: Final = 40  # of all vehicles together
PERMILLE_DEFAULT: Final = 50  # of operation cycles
FIRST_CYCLE: Final = 10  # in which a fault may occur: by then a vehicle has said that it has none
_FAULT = re.compile(r"([^@=\s]+)@([^@=\s]+)=([^@=:\s]+)(?::(\d{1,4}))?")


@click.command(
    "drive", epilog=example("ringroad fleet drive", "ringroad fleet drive --fault brake@1.1.0=C0040-64")
)
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Of the vehicles; default: vehicles in the var folder."
)
@click.option("--vehicle", "vins", multiple=True, metavar="VIN", help="Only this one. May be repeated.")
@click.option(
    "--fault", "faults", multiple=True, metavar="ECU@VERSION=CODE",
    help=f"This software raises this code in {PERMILLE_DEFAULT} of 1000 operation cycles; :PERMILLE after the code"
    " says another number. May be repeated.",
)  # fmt: skip
@click.option("--script", type=click.Path(path_type=Path), help="A fault script for all ECUs.")
@click.option("--cycle", help="From one operation cycle to the next; default: half of the setting poll_s.")
@click.option("--seed", type=int, default=1, show_default=True, help="Which ECU fails when.")
@with_client
def drive(
    shell: Shell,
    client: Client,
    *,
    folder: Path | None,
    vins: Sequence[str],
    faults: Sequence[str],
    script: Path | None,
    cycle: str | None,
    seed: int,
) -> None:
    """Let simulated vehicles drive until Ctrl-C.

    Each is a running orchestrator over virtual ECUs: it polls, reports telemetry and faults, and updates itself.
    Vehicles that `ringroad plant run` bears meanwhile join in.
    """
    settings = shell.settings()
    place = vehicles_folder(settings, folder)
    cycle_s = max(1, read_duration_s(cycle)) if cycle else settings.poll_s / 2
    behaviour = read_script(script) if script else Script()
    if faults:
        behaviour = with_faults(behaviour, [read_fault(each) for each in faults], _packages(client))
    told, kept = _Told(shell=shell), LogRing(alone=False)
    garage = _Garage(folder=place, told=told, script=behaviour, seed=seed, only=named_in(place, vins))

    async def work(stop: asyncio.Event) -> None:
        authority = await garage.authority(stop)
        if authority is None:
            return
        async with new_client(ca_file=authority, connections_max=CONNECTIONS_MAX) as http:
            fleet = Fleet(
                clock=shell.clock, ids=shell.ids, seed=seed, client=http, cycle_s=cycle_s, observe=told.observer,
                on_fault=told.fault, log=kept,
            )  # fmt: skip
            try:
                while not stop.is_set():
                    await garage.let_out(fleet)
                    await _pause(stop)
            finally:
                await fleet.stop()

    with logging_to_file(settings, "vehicles", kept) as log:
        shell.say(f"vehicles of {shown(place)} drive until Ctrl-C; their log: {shown(log)}")
        run_until_told(work)
    shell.show(
        {"vehicles": garage.out, "faults": told.faults}, text=f"{counted(len(garage.out), 'vehicle')} parked"
    )


def named_in(place: Path, vins: Sequence[str]) -> frozenset[str]:
    """Return these vehicles, if all of them were born into a folder. Raises: NotFound."""
    for vin in vins:
        if not (place / vin / BORN).is_file():
            raise NotFound(
                f"there is no vehicle {vin[:40]!r} in {shown(place)}", hint="its folders are named by VIN"
            )
    return frozenset(vins)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault that a software version shows.

    Attributes:
        ecu: name in the programme.
        version: of the package.
        rate: which code, how often.
    """

    ecu: str
    version: str
    rate: FaultRate


def read_fault(text: str) -> Fault:
    """Return what ``brake@1.1.0=C0040-64`` or ``brake@1.1.0=C0040-64:120`` says. Raises: InvalidInput."""
    match = _FAULT.fullmatch(text.strip())
    try:
        if match is not None:
            permille = int(match[4]) if match[4] else PERMILLE_DEFAULT
            rate = msgspec.convert(
                {"code": match[3], "rate_permille": permille, "first_cycle": FIRST_CYCLE}, type=FaultRate
            )
            return Fault(ecu=match[1], version=match[2], rate=rate)
    except (msgspec.ValidationError, ValueError) as error:
        raise InvalidInput(f"{text[:60]!r} is no fault: {error}", hint=_FAULT_HINT) from error
    raise InvalidInput(f"{text[:60]!r} is no fault", hint=_FAULT_HINT)


_FAULT_HINT: Final = "for example brake@1.1.0=C0040-64, or brake@1.1.0=C0040-64:120 for 120 of 1000 cycles"


def with_faults(script: Script, faults: Sequence[Fault], packages: Sequence[Mapping[str, Any]]) -> Script:
    """Return the script with faults added to the images of the packages that they name. Pure.

    Raises:
        NotFound: there is no such package.
    """
    images = dict(script.images)
    for fault in faults:
        found = {
            row["image_sha256"]
            for row in packages
            if (row["ecu"], row["version"]) == (fault.ecu, fault.version)
        }
        if not found:
            raise NotFound(
                f"there is no package {fault.ecu}@{fault.version}", hint="ringroad package list shows all"
            )
        for sha256 in found:
            before = images.get(sha256, Behaviour())
            images[sha256] = msgspec.structs.replace(before, faults=(*before.faults, fault.rate))
    return msgspec.structs.replace(script, images=images)


@dataclass(slots=True, kw_only=True)
class _Garage:
    """The vehicles of a folder, and which of them are out."""

    folder: Path
    told: _Told
    script: Script
    seed: int
    only: frozenset[str] = frozenset()  # these alone; empty: all
    out: list[str] = field(default_factory=list)
    _seen: set[Path] = field(default_factory=set)

    async def authority(self, stop: asyncio.Event) -> Path | None:
        """Return the certificate authority of the first vehicle; wait for one. None: asked to stop."""
        waits = False
        while not (found := self._born()) and not stop.is_set():
            if not waits:
                self.told.shell.say("no vehicle yet; ringroad plant run bears some")
            waits = True
            await _pause(stop)
        return found[0] / "ca.pem" if found else None

    async def let_out(self, fleet: Fleet) -> None:
        """Let every vehicle drive that is not out yet."""
        before = len(self.out)
        for folder in self._born():
            if folder in self._seen:
                continue
            self._seen.add(folder)
            try:
                vehicle = await asyncio.to_thread(self._power_on, folder, fleet)
            except RingroadError as error:
                self.told.shell.say(f"{folder.name}  stays: {error.message}")
                continue
            fleet.start(vehicle)
            self.out.append(vehicle.vin)
        if new := len(self.out) - before:
            self.told.shell.say(f"{counted(new, 'vehicle')} on the road")

    def _born(self) -> list[Path]:
        born = sorted(note.parent for note in self.folder.glob(f"*/{BORN}"))
        return [folder for folder in born if not self.only or folder.name in self.only]

    def _power_on(self, folder: Path, fleet: Fleet) -> BornVehicle:
        registration = json.loads((folder / BORN).read_text("utf-8"))["registration"]
        if registration["gateway"] != "native":
            raise InvalidInput("a box with SWUpdate; run that on it")
        if is_running(folder):
            raise InvalidInput("another process drives it")
        return power_on(folder, clock=fleet.clock, script=self.script, seed=self.seed)


@dataclass(slots=True, kw_only=True)
class _Told:
    """Tells a person what the vehicles do: faults when they are first seen; how updates begin, falter and end."""

    shell: Shell
    faults: list[dict[str, str]] = field(default_factory=list)
    _seen: set[tuple[str, str, str]] = field(default_factory=set)  # VIN, ECU, code

    def observer(self, vehicle: BornVehicle) -> Observer:
        names = {ecu.serial: ecu.name for ecu in vehicle.config.ecus}

        def tell(entry: Entry, state: CampaignState) -> None:
            line = journal_line(entry, state, names)
            is_plain = isinstance(entry, Moved | EcuMoved) and not entry.code
            if line and (not is_plain or (isinstance(entry, Moved) and state.resting)):
                self._say(vehicle, line)

        return tell

    def fault(self, vehicle: BornVehicle, serial: str, fault: StoredFault) -> None:
        name = next(ecu.name for ecu in vehicle.config.ecus if ecu.serial == serial)
        key = (vehicle.vin, name, fault.code)
        if fault.status & TEST_FAILED and key not in self._seen:
            self._seen.add(key)
            self.faults.append({"vin": vehicle.vin, "ecu": name, "code": fault.code})
            self._say(vehicle, f"fault {fault.code} on {name}")

    def _say(self, vehicle: BornVehicle, line: str) -> None:
        self.shell.say(f"{self.shell.clock.now():%H:%M:%S}  {vehicle.vin}  {line}")


def _packages(client: Client) -> list[dict[str, Any]]:
    """Return all packages, page by page."""
    found: list[dict[str, Any]] = []
    while len(found) % PAGE_ROWS_MAX == 0:
        rows = client.get("/packages", limit=PAGE_ROWS_MAX, offset=len(found))
        if not rows:
            break
        found += rows
    return found


async def _pause(stop: asyncio.Event) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), LOOK_S)
