"""`ringroad plant world`: the example world, ramped up with and without cloning, without a server."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from ringroad.build.plant.read import PLANT_BYTES_MAX, read_plant
from ringroad.cli.client import open_client
from ringroad.cli.groups import access_of, example, read_text
from ringroad.cli.plant_world_page import world_page
from ringroad.cli.shell import Shell
from ringroad.cli.tables import table
from ringroad.kernel.errors import InvalidInput
from ringroad.sim.world import Costs, Ramp, Site, Way, stations_of
from ringroad.sim.world_flow import FlowBack, flow_back
from ringroad.sim.world_result import PlantResult, Spread, run_world, sums_of_world, to_document

_SHOWN: Final[dict[Way, str]] = {
    "cloned": "cloned", "alone": "work study alone", "copied": "copied, no doubt",
}  # fmt: skip
SEEDS_MAX: Final = 200
DAYS_MAX: Final = 60  # of one ramp
PLANTS_MAX: Final = 20
WORLD_BYTES_MAX: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldFile:
    """What a world's file says."""

    mother: str
    takt_s: float
    pilot: tuple[int, ...]
    days: int
    plants: tuple[Site, ...]
    home: Home


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """The mother plant, as `Site` has it."""

    hours: float
    costs: Costs


@click.command(
    "world", epilog=example("ringroad plant world examples/world/world.toml", "ringroad plant world world.toml --seeds 20 --html world.html")
)  # fmt: skip
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--seeds", type=click.IntRange(1, SEEDS_MAX), default=5, show_default=True, help="Worlds to draw."
)
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a page with pictures.")
@click.option(
    "--sums", type=click.Path(path_type=Path, file_okay=False),
    help="Write what each plant of the first world says to its mother after its ramp, a file each, into this folder.",
)  # fmt: skip
@click.option(
    "--flow-back", "flows", is_flag=True,
    help="Let what clones found be proved on their mother's twin, tried there, and taken over by the others.",
)  # fmt: skip
@click.option(
    "--keep", is_flag=True, help="Keep the figures at the server, for its Clones page; it has the mother."
)
@click.pass_obj
def world(
    shell: Shell, *, path: Path, seeds: int, html: Path | None, sums: Path | None, flows: bool, keep: bool
) -> None:
    """Ramp up the plants in PATH with what their mother knows, and without; nothing is changed anywhere.

    What is true of each plant is drawn from a seed. Figures are means, with what nine of ten worlds are between.
    """
    found = read_world(read_text(path, bytes_max=WORLD_BYTES_MAX), name=str(path))
    mother = read_plant(read_text(path.parent / found.mother, bytes_max=PLANT_BYTES_MAX))
    known = {key.path[-1] for key in stations_of(mother)[0]}
    if not known:
        raise InvalidInput(f"no station of {found.mother} has both cycle_s and first_pass")
    for site in found.plants:
        if strange := sorted(site.rebuilt.keys() - known):
            raise InvalidInput(f"{site.id} rebuilt {strange[0]!r}, which {found.mother} does not have")
    ramp = Ramp(takt_s=found.takt_s, pilot=found.pilot, days=found.days)
    results = run_world(mother, found.plants, ramp, seeds=seeds)
    document: dict[str, Any] = {
        "seeds": seeds,
        "mother": mother.id,
        "plants": [to_document(each) for each in results],
    }
    flow = None
    if flows:
        home = Site(
            id=mother.id, name=mother.identity.name, site=mother.identity.site, continent="", hours=found.home.hours,
            costs=found.home.costs,
        )  # fmt: skip
        flow = flow_back(mother, home, found.plants, ramp, seeds=seeds, threads=os.cpu_count() or 1)
        document["flow_back"] = flow.to_document()
    if html is not None:
        html.write_text(world_page(document), encoding="utf-8")
    if sums is not None:
        sums.mkdir(parents=True, exist_ok=True)
        for said in sums_of_world(mother, found.plants, ramp):
            text = json.dumps(said.to_document(), indent=1) + "\n"
            (sums / f"{said.plant}.json").write_text(text, encoding="utf-8")
    if keep:
        with open_client(access_of(shell)) as client:
            client.post(f"/plants/{mother.id}/worlds", {"figures": figures_of(document)})
    shell.show(document, text=world_text(results) + (flow_text(flow) if flow else ""))


def read_world(source: str, *, name: str) -> WorldFile:
    """Read a world's file. Raises: InvalidInput, with what is wrong."""
    try:
        found = msgspec.convert(tomllib.loads(source), type=WorldFile, strict=True)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise InvalidInput(f"{name}: {error}") from error
    if not 1 <= found.days <= DAYS_MAX or not 1 <= len(found.plants) <= PLANTS_MAX or not found.takt_s > 0:
        raise InvalidInput(f"{name}: 1 to {DAYS_MAX} days, 1 to {PLANTS_MAX} plants, and a takt above 0")
    if any(each < 1 for each in found.pilot):
        raise InvalidInput(f"{name}: a pilot day builds a vehicle or more")
    if not 0 < found.home.hours <= 24 or min(_costs(found.home)) < 0:
        raise InvalidInput(f"{name}: home has hours of a day, and costs of 0 or more")
    for site in found.plants:
        if (
            not 0 < site.hours <= 24
            or min(*_costs(site), *site.rebuilt.values(), 1.0) < 0
            or 0 in site.rebuilt.values()
        ):
            raise InvalidInput(
                f"{name}: {site.id} has hours of a day, costs of 0 or more, and factors above 0"
            )
    return found


def world_text(results: list[PlantResult]) -> str:
    """Return what the world shows, for a terminal."""
    rows = []
    for each in results:
        for way, shown in _SHOWN.items():
            of = each.ways[way]
            rows.append(
                (each.site.id if way == "cloned" else "", shown, _of(of.cycles_to_known), _of(of.vehicles_to_rate),
                 _of(of.unit_cost), f"{100 * of.first_pass.mean:.1f} %")
            )  # fmt: skip
    lines = [
        table(("plant", "begins", "cycles to 5 %", "vehicles to rate", "eur a vehicle", "first pass"), rows),
        "",
    ]
    for each in results:
        saved = each.saved["unit_cost"]
        said = f"{each.site.id}, {each.site.continent}: cloning saves {_of(saved)} eur a vehicle of the first ten days"
        said += f" and {_of(each.saved['cycles_to_known'])} cycles of each station"
        if not each.helps:
            said += "; in more than one of ten worlds it saves nothing" + (
                ": it is no clone" if each.site.kind == "bought" else ""
            )
        lines.append(said)
    return "\n".join(lines)


def figures_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a server keeps of a world: its figures, without the days."""
    plants = [
        {name: each[name] for name in ("id", "name", "site", "continent", "kind", "helps", "saved")}
        | {
            way: {name: figure for name, figure in each["ways"][way].items() if name != "days"}
            for way in _SHOWN
        }
        for each in document["plants"]
    ]
    return {"seeds": document["seeds"], "plants": plants, "flow_back": document.get("flow_back")}


def flow_text(flow: FlowBack) -> str:
    """Return what flowed back, for a terminal."""
    rows = [
        (
            each.clone,
            " ".join(each.stations),
            f"{each.proposed} of {flow.seeds}",
            each.proved,
            each.kept,
            each.reason,
        )
        for each in flow.flows
    ]
    parts = [
        "",
        "",
        table(("from", "station", "proposed", "proved", "kept", "twin"), rows, empty="nothing flowed back"),
    ]
    if any(each.kept for each in flow.flows):
        parts += ["", table(
            ("with what was kept", "eur a vehicle less"),
            [(name, f"{each.mean:.2f} ({each.low:.2f} to {each.high:.2f})") for name, each in flow.saved.items()],
        )]  # fmt: skip
    return "\n".join(parts)


def _costs(site: Site | Home) -> tuple[float, ...]:
    costs = site.costs
    return (costs.wage_h, costs.line_h, costs.parts, costs.inspect, costs.rework, costs.escape)


def _of(spread: Spread) -> str:
    return f"{spread.mean:.0f} ({spread.low:.0f} to {spread.high:.0f})"
