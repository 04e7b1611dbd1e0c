"""`ringroad fleet drive`: simulated vehicles of a folder drive, report and update themselves, in one process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click

from ringroad.cli.client import Client
from ringroad.cli.drive_scripts import PERMILLE_DEFAULT, Scripts, check_faults, check_scripts, read_scripts
from ringroad.cli.groups import example, with_client
from ringroad.cli.names import read_duration_s
from ringroad.cli.shell import Shell
from ringroad.cli.simulated import logging_to_file, run_until_told, shown, vehicles_folder
from ringroad.cli.vehicle import is_running, journal_line
from ringroad.kernel.errors import InvalidInput, NotFound, RingroadError
from ringroad.kernel.limits import PAGE_ROWS_MAX
from ringroad.kernel.plurals import counted
from ringroad.sim.assembly import BornVehicle, power_on
from ringroad.sim.fleet import Fleet
from ringroad.sim.plant import BORN
from ringroad.sim.vecu.config import ServerConfig
from ringroad.sim.vecu.fault_memory import TEST_FAILED, StoredFault
from ringroad.sim.vecu.script import Script, read_script
from ringroad.vehicle.config import EcuConfig, read_config
from ringroad.vehicle.diagnostics.bulk import LogRing
from ringroad.vehicle.gateway import new_client
from ringroad.vehicle.memory import Observer
from ringroad.vehicle.states import CampaignState, EcuMoved, Entry, Moved

LOOK_S: Final = 1.0  # seconds between two looks for vehicles that were born meanwhile
CONNECTIONS_MAX: Final = 40  # of all vehicles together
LEFT_MAX: Final = 20  # ECUs of which is told what of their scripts did not happen


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
@click.option(
    "--script", "given", multiple=True, metavar="[ECU=]FILE",
    help="A fault script for one ECU of every vehicle, or for all that have none of their own here. May be repeated.",
)  # fmt: skip
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
    given: Sequence[str],
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
    scripts = read_scripts(given, faults)
    if faults:
        check_faults(scripts.faults, _packages(client))
    told, kept = _Told(shell=shell), LogRing(alone=False)
    garage = _Garage(folder=place, told=told, scripts=scripts, seed=seed, only=named_in(place, vins))

    async def work(stop: asyncio.Event) -> None:
        authority = await garage.authority(stop)
        if authority is None:
            return
        check_scripts(scripts, garage.ecus())
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
                left = garage.outstanding(fleet)
                for line in left[:LEFT_MAX]:
                    shell.say(line)
                if left[LEFT_MAX:]:
                    shell.say(f"... and on {counted(len(left) - LEFT_MAX, 'ECU')} more")

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


@dataclass(slots=True, kw_only=True)
class _Garage:
    """The vehicles of a folder, and which of them are out."""

    folder: Path
    told: _Told
    scripts: Scripts
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

    def ecus(self) -> list[EcuConfig]:
        """Return the ECUs of all vehicles that are there."""
        return [ecu for folder in self._born() if _is_native(folder) for ecu in read_config(folder).ecus]

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
                why = "; ".join(filter(None, (error.message, error.hint)))
                self.told.shell.say(f"{folder.name}  stays: {why}")
                continue
            fleet.start(vehicle)
            self.out.append(vehicle.vin)
        if new := len(self.out) - before:
            self.told.shell.say(f"{counted(new, 'vehicle')} on the road")

    def outstanding(self, fleet: Fleet) -> list[str]:
        """Return what of the scripts did not happen, a line for each ECU."""
        names = {ecu.serial: ecu.name for vehicle in fleet.vehicles.values() for ecu in vehicle.config.ecus}
        return [
            f"{vin}  {names[serial]}: did not happen: {', '.join(port.outstanding)}"
            for vin, vehicle in sorted(fleet.vehicles.items())
            for serial, port in vehicle.ports.items()
            if port.outstanding
        ]

    def _born(self) -> list[Path]:
        born = sorted(note.parent for note in self.folder.glob(f"*/{BORN}"))
        return [folder for folder in born if not self.only or folder.name in self.only]

    def _power_on(self, folder: Path, fleet: Fleet) -> BornVehicle:
        if not _is_native(folder):
            raise InvalidInput("a box with SWUpdate; run that on it")
        if is_running(folder):
            raise InvalidInput("another process drives it")
        return power_on(
            folder,
            clock=fleet.clock,
            seed=self.seed,
            script=lambda ecu, server: self._script(folder, ecu, server),
        )

    def _script(self, folder: Path, ecu: EcuConfig, server: ServerConfig) -> Script:
        named = server.server.script
        if not named:
            return self.scripts.script(ecu, Script())
        if self.scripts.given(ecu.name) is not None:
            self.told.shell.say(
                f"{folder.name}  {ecu.name} leaves {named} of its own: --script goes before it"
            )
            return self.scripts.script(ecu, Script())
        self.told.shell.say(f"{folder.name}  {ecu.name} follows {named} of its own")
        return self.scripts.script(ecu, read_script(server.path(named)))


def _is_native(folder: Path) -> bool:
    registration = json.loads((folder / BORN).read_text("utf-8"))["registration"]
    return bool(registration["gateway"] == "native")


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
