"""`ringroad plant`: plants, and a simulated one that builds what the schedule says. Its vehicles are folders."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import httpx

from ringroad.build.model import Line, Programme
from ringroad.build.working_time import rests_until
from ringroad.cli import (
    plant_balance,
    plant_clone,
    plant_document,
    plant_events,
    plant_opcua,
    plant_proposal,
    plant_work,
    plant_world,
)
from ringroad.cli.client import Client
from ringroad.cli.groups import EXIT_NO, ClientGroup, access_of, example, with_client
from ringroad.cli.names import programme_of
from ringroad.cli.plant_home import surroundings, vin_plant
from ringroad.cli.shell import Shell
from ringroad.cli.simulated import logging_to_file, run_until_told, shown, vehicles_folder
from ringroad.cli.tables import exactly, table, tail
from ringroad.kernel.clock import Clock, new_secret
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound, RingroadError
from ringroad.kernel.limits import PAGE_ROWS_MAX
from ringroad.kernel.plurals import counted
from ringroad.sim.api import TIMEOUT_S, Api
from ringroad.sim.checks import StationChecks
from ringroad.sim.end_of_line import LotOnLine, OutOf
from ringroad.sim.plant import Birth, LineOrder, Plant, PlantSettings, Recovered
from ringroad.sim.registrar import HttpRegistrar
from ringroad.sim.stations import StationClocks
from ringroad.vehicle.files import FolderLock

ATTEMPTS_MAX = 2  # of a request, until the line is said to stand; it is tried again every takt
NO_ORDER = "no_order"
SLOW_PERCENT_MAX = 1_000
OnWorked = Callable[[Sequence[tuple[int, LineOrder]]], Awaitable[None]]


@click.group("plant", cls=ClientGroup)
def group() -> None:
    """Plants: their documents, and a simulated one that builds what the schedule says."""


for _command in (
    *plant_document.commands, *plant_clone.commands, *plant_proposal.commands, *plant_events.commands, plant_opcua.opcua,
):  # fmt: skip
    group.add_command(_command)
group.add_command(plant_balance.command)
group.add_command(plant_work.work)
group.add_command(plant_world.world)


@group.command(
    "run", epilog=example("ringroad plant run --once", "ringroad plant run --count 10 --speed 600")
)
@click.option("--programme", help="The vehicle programme; default: the only one.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="For the vehicles; default: vehicles in the var folder."
)
@click.option("--once", is_flag=True, help="End when nothing more may be built; else wait for orders.")
@click.option("--count", type=click.IntRange(1, 1_000_000), help="End after so many vehicles.")
@click.option(
    "--speed", type=click.FloatRange(0.1, 1e6), default=60.0, show_default=True,
    help="Seconds of the line in a second on the wall; 1 is real time.",
)  # fmt: skip
@click.option(
    "--by-calendar", is_flag=True,
    help="Stand while the line's calendar is shut, by the clock on the wall; else vehicles are built at any hour.",
)  # fmt: skip
@click.option(
    "--slow", metavar="STATION=PERCENT", multiple=True,
    help="Let a station take so much longer than the programme says, to see its twin notice.",
)  # fmt: skip
@click.option(
    "--faulty", metavar="STATION=PERCENT", multiple=True,
    help="Let so many vehicles with one lot of a station's part fail its check, to see who notices.",
)  # fmt: skip
@click.option(
    "--lot", "lots", metavar="STATION:PART=LOT[@SUPPLIER]", multiple=True,
    help="Fit a part of this lot at a station, to every vehicle.",
)  # fmt: skip
@click.option(
    "--fail",
    "failing",
    metavar="CHECK",
    multiple=True,
    help="Let a check of the end of the line fail, to see it refuse.",
)
@with_client
def run(
    shell: Shell,
    client: Client,
    *,
    programme: str | None,
    folder: Path | None,
    once: bool,
    count: int | None,
    speed: float,
    by_calendar: bool,
    slow: tuple[str, ...],
    faulty: tuple[str, ...],
    lots: tuple[str, ...],
    failing: tuple[str, ...],
) -> int:
    """Run the line: vehicles enter in sequence and are born at its end.

    Each is flashed with the baseline through the update agents, tests itself, and becomes a folder.
    `ringroad fleet drive` lets them drive; `ringroad plant drift` shows what the stations measured.

    The takt alone paces it, `--speed` times as fast as the plan says; times that stations tell are those of the line.

    Ctrl-C ends it; what stands on the line then, or after a kill, is built by the next run.
    Exit status 1 when a vehicle could not be built.
    """
    settings = shell.settings()
    programme = programme_of(client, programme)
    home = surroundings(settings, client.address.url)
    reason = why_nothing(programme, _schedule(client, programme))
    if reason is not None and (once or count) and reason.code != NO_ORDER:
        raise reason
    place = vehicles_folder(settings, folder)
    line = Programme.from_document(client.get(f"/programmes/{programme}")["document"]).line
    told_of = stations_told(programme, line, shell.clock, slow=slow, faulty=faulty)
    line_settings = PlantSettings(
        folder=place, stations=len(line.stations), takt_s=line.takt_s, time_factor=speed, durability="buffered",
        out_of=OutOf(lots=lots_on_line(lots, line), failing=frozenset(failing)),
        vin_plant=vin_plant(settings, client),
    )  # fmt: skip
    first = 1 + sum(row["vehicles"] for row in client.get("/fleet/versions"))
    told = _Told(shell=shell, releases=Releases(client))
    access = access_of(shell)
    lock = _lock(place)
    try:
        _begin(shell, programme, line, speed=speed, by_calendar=by_calendar)
        if reason is not None:
            shell.say(f"nothing to build{'' if once else ', the line waits'}: {reason.message}")

        async def work(stop: asyncio.Event) -> None:
            async with httpx.AsyncClient(
                base_url=access.address.url, verify=access.verify, timeout=TIMEOUT_S, trust_env=False
            ) as http:
                api = Api(http, access.token or "", asyncio.sleep, attempts_max=ATTEMPTS_MAX)
                plant = Plant(
                    settings=line_settings, registrar=HttpRegistrar(api, programme), surroundings=home,
                    clock=shell.clock, secret=new_secret, vin_numbers=itertools.count(first), on_birth=told.birth,
                    on_refused=told.refusal, on_stand=told.stand, on_stopped=told.stopped, on_worked=told_of(api),
                    on_rest=told.rest, rests_until=lambda: rests_until(line.calendar if by_calendar else None, now=shell.clock.now()),
                )  # fmt: skip
                told.recovery(await plant.recover())
                await plant.run(stop=stop, births_max=count, until_empty=once)

        with logging_to_file(settings, "plant"):
            run_until_told(work)
    finally:
        lock.close()
    held = _held(_schedule(client, programme))
    value = {"folder": place, "born": told.born, "refused": told.refused, "held": held}
    shell.show(value, text=_summary(len(told.born), held, place, given=folder is not None))
    return EXIT_NO if told.refused else 0


@group.command("drift", epilog=example("ringroad plant drift"))
@click.option("--programme", help="The vehicle programme; default: the only one.")
@with_client
def drift(shell: Shell, client: Client, *, programme: str | None) -> int:
    """Show whether stations take the times that the line's twin is told.

    A twin that is out of calibration releases no schedule; the running one stays.
    Exit status 1 when it is.
    """
    twin = client.get(f"/programmes/{programme_of(client, programme)}/twin")
    shell.show(twin, text=drift_text(twin))
    return 0 if twin["may_release"] else EXIT_NO


def drift_text(twin: Mapping[str, Any]) -> str:
    """Return a twin's state, station by station, and what to do if it is wrong."""
    rows = table(
        ("station", "vehicles", "", "cycle", "measured", "spread", "measured"),
        (
            (
                each["name"], each["vehicles"], f"{each['how'] or each['state']}", f"{each['cycle_s']} s",
                "-" if each["measured_cycle_s"] is None else f"{each['measured_cycle_s']:.1f} s",
                f"{each['spread_permille'] / 10:g} %",
                "-" if each["measured_spread_permille"] is None else f"{each['measured_spread_permille'] / 10:g} %",
            )
            for each in twin["stations"]
        ), empty="the line has no station",
    )  # fmt: skip
    said = {
        "unmeasured": "no station was measured enough: the twin's times are the programme's",
        "agrees": "the line takes the times that its twin is told",
    }.get(twin["state"])
    if said is not None:
        return f"{rows}\n\n{said}"
    wrong = [each for each in twin["stations"] if each["state"] == "differs"]
    of, _, plant_id = str(twin["source"]).partition(" ")
    by_plant = of == "plant"
    into = f"the document of {twin['source']}" if by_plant else "the programme's file"
    command = f"ringroad {'plant' if by_plant else 'programme'} import FILE --replace"
    learn = f" (or: ringroad plant learn {plant_id})" if by_plant else ""
    lines = (
        rows,
        "",
        f"the twin is out of calibration and releases no schedule; to recalibrate, write into {into}",
        *(f'  station "{each["name"]}": {recalibrated(each, by_plant=by_plant)}' for each in wrong),
        f"then: {command}{learn}; the line is planned again with it",
    )
    return "\n".join(lines)


def recalibrated(station: Mapping[str, Any], *, by_plant: bool = False) -> str:
    """Return what says what was measured, in a programme's file or in a plant document."""
    cycle_s, spread = max(1, round(station["measured_cycle_s"])), station["measured_spread_permille"] or 0
    if by_plant:
        return f"cycle_s = {{ mean = {cycle_s}, spread_permille = {spread} }}"
    return f"cycle_s = {cycle_s}, spread_permille = {spread}"


def stations_told(
    programme: str, line: Line, clock: Clock, *, slow: Sequence[str], faulty: Sequence[str]
) -> Callable[[Api], OnWorked]:
    """Return who tells what stations measured and checked, once there is a server to tell. Raises: InvalidInput."""
    slower = {name: 1 + percent / 100 for name, percent in stations_of(slow, line).items()}
    bad = {name: percent / 100 for name, percent in stations_of(faulty, line, percent_max=100).items()}

    def over(api: Api) -> OnWorked:
        clocks = StationClocks(api=api, programme_id=programme, line=line, clock=clock, slow=slower)
        checks = StationChecks(api=api, programme_id=programme, line=line, clock=clock, faulty=bad)

        async def tell(worked: Sequence[tuple[int, LineOrder]]) -> None:
            await clocks.tell(worked)
            await checks.tell(worked)

        return tell

    return over


def stations_of(given: Sequence[str], line: Line, *, percent_max: int = SLOW_PERCENT_MAX) -> dict[str, int]:
    """Read ``STATION=PERCENT``. Raises: InvalidInput."""
    names = [station.name for station in line.stations]
    found: dict[str, int] = {}
    for each in given:
        name, _, percent = each.rpartition("=")
        if name not in names:
            raise InvalidInput(f"the line has no station {name!r}", hint=f"one of {', '.join(names)}")
        if not percent.isdecimal() or not 0 <= int(percent) <= percent_max:
            raise InvalidInput(
                f"{each!r} is not STATION=PERCENT",
                hint=f"for example {names[0]}=10; up to {percent_max}",
            )
        found[name] = int(percent)
    return found


def lots_on_line(given: Sequence[str], line: Line) -> tuple[LotOnLine, ...]:
    """Read ``STATION:PART=LOT[@SUPPLIER]``. Raises: InvalidInput."""
    names = [station.name for station in line.stations]
    found = []
    for each in given:
        station, _, rest = each.partition(":")
        part, _, lot = rest.partition("=")
        number, _, supplier = lot.partition("@")
        if not (station and part and number):
            raise InvalidInput(
                f"{each!r} is not STATION:PART=LOT", hint=f"for example {names[0]}:battery=B-17@cells-co"
            )
        if station not in names:
            raise InvalidInput(f"the line has no station {station!r}", hint=f"one of {', '.join(names)}")
        found.append(LotOnLine(station=station, part=part, lot=number, supplier=supplier))
    return tuple(found)


@dataclass(slots=True, kw_only=True)
class _Told:
    """Tells a person what the plant does, and keeps it for the answer."""

    shell: Shell
    releases: Releases
    born: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    stands: bool = False

    async def birth(self, birth: Birth) -> None:
        self.stands = False
        release = self.releases.name_of(birth.release_id)
        ecus = counted(len(birth.registration["ecus"]), "ECU")
        self.shell.say(
            f"{birth.vin}  {birth.variant}  {release}, {ecus} flashed  (order {tail(birth.order_id)})"
        )
        self.born.append(
            {
                "vin": birth.vin,
                "order_id": birth.order_id,
                "variant": birth.variant,
                "release_id": birth.release_id,
            }
        )

    def refusal(self, order: LineOrder, error: RingroadError) -> None:
        why = f"{error.message} ({error.hint})" if error.hint else error.message
        self.shell.say(f"order {tail(order.id)} was not built and is open again: {why}")
        self.refused.append(
            {"order_id": order.id, "code": error.code, "message": error.message, "hint": error.hint}
        )

    def stand(self, error: RingroadError) -> None:
        if not self.stands:
            self.shell.say(f"the line stands: {error.message}")
        self.stands = True

    def stopped(self, stations: Mapping[str, str]) -> None:
        if not self.stands:
            named = "; ".join(f"{station}, {reason}" for station, reason in stations.items())
            self.shell.say(f"the line stands: {named}; ringroad schedule resume STATION lets it go on")
        self.stands = True

    def rest(self, until: datetime) -> None:
        if not self.stands:
            self.shell.say(rest_text(until))
        self.stands = True

    def recovery(self, found: Recovered) -> None:
        for vin in found.registered:
            self.shell.say(f"{vin}  was built before and is on record now")
        for vin in found.scrapped:
            self.shell.say(f"{vin}  was half built and is scrapped; its order is built again")


def _begin(shell: Shell, programme: str, line: Line, *, speed: float, by_calendar: bool) -> None:
    """Say how fast a line runs, and that it builds though its calendar is shut."""
    stations = counted(len(line.stations), "station")
    shell.say(f"{line.name} of {programme}: {stations}, a vehicle every {line.takt_s / speed:.3g} s")
    if not by_calendar and (until := rests_until(line.calendar, now=shell.clock.now())):
        shell.say(f"{rest_text(until)}, and this run builds nevertheless; --by-calendar waits")


def rest_text(until: datetime) -> str:
    """Return that a line rests, and until when. Pure."""
    return f"the line rests by its calendar until {exactly(until.isoformat())}"


@dataclass(slots=True)
class Releases:
    """What people call releases, asked for once each."""

    client: Client
    _names: dict[str, str] = field(default_factory=dict)

    def name_of(self, release_id: str) -> str:
        """Return name and version."""
        if release_id not in self._names:
            row = self.client.get(f"/releases/{release_id}")
            self._names[release_id] = f"{row['name']} {row['version']}"
        return self._names[release_id]


def why_nothing(programme: str, schedule: Mapping[str, Any] | None) -> RingroadError | None:
    """Say why a line has nothing to build, as an error with a hint; None if it has. Pure.

    Args:
        programme: its name.
        schedule: the newest, with `open_orders`: how many orders of its sequence wait or are on the line.
    """
    if schedule is None:
        return NotFound(
            f"{programme} has no schedule yet", hint="order a vehicle: ringroad order add --variant VARIANT"
        )
    document = schedule["document"]
    if document["baseline_release_id"] is None:
        return Conflict(
            "the line has no baseline release to flash", hint="set one: ringroad release baseline set VERSION"
        )
    if schedule["open_orders"]:
        return None
    if document["held"]:
        return Conflict(
            f"every open order is held: {hold_text(document['held'])}",
            hint="ringroad schedule unblock OPTION lifts a block; a baseline must cover the variant",
        )
    return Conflict("no order is open", hint="ringroad order add --variant VARIANT", code=NO_ORDER)


def hold_text(held: Sequence[Mapping[str, Any]]) -> str:
    """Return how many orders are held, by reason."""
    reasons = Counter(each["reason"] for each in held)
    return "; ".join(f"{counted(count, 'order')}: {reason}" for reason, count in sorted(reasons.items()))


def _schedule(client: Client, programme: str) -> dict[str, Any] | None:
    """Return the newest schedule, with the number of its orders that are not built yet."""
    rows = client.get(f"/programmes/{programme}/schedules", limit=1)
    if not rows:
        return None
    waiting = {
        order["id"]
        for state in ("open", "building")
        for order in client.get("/orders", programme_id=programme, state=state, limit=PAGE_ROWS_MAX)
    }
    return {**rows[0], "open_orders": len(waiting.intersection(rows[0]["document"]["sequence"]))}


def _held(schedule: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    return schedule["document"]["held"] if schedule else []


def _summary(born: int, held: Sequence[Mapping[str, Any]], place: Path, *, given: bool) -> str:
    lines = [f"{counted(born, 'vehicle')} born, in {shown(place)}"]
    if held:
        lines.append(f"held back: {hold_text(held)}")
    if born:
        lines.append(f"next: ringroad fleet drive{f' --folder {shown(place)}' * given}")
    return "\n".join(lines)


def _lock(place: Path) -> FolderLock:
    """Be the only plant on a folder. Raises: Conflict, Unavailable."""
    try:
        return FolderLock(place)
    except Conflict as error:
        raise Conflict(
            f"a plant already builds in {shown(place)}", hint="end it first, or use another --folder"
        ) from error
