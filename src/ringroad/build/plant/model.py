"""The plant document: what a plant is made of, and what it believes of each part.

Four parts, kept apart: who it is (`Identity`), its structure, which a clone copies, its parameters, which a plant
learns, and bindings to its controls. Names follow ISA-95: enterprise, site, area, line, cell.

Pure. Invariant: a `Plant` that exists has passed `check.py`; all values are frozen.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from typing import Any, Final, Literal

from ringroad.build.calendar import Calendar
from ringroad.build.model import BUFFER_DEFAULT, Paint, Ratio
from ringroad.build.plant.alike import Alike, read_alike
from ringroad.build.plant.parameters import Key, Thing, path_text
from ringroad.build.plant.posterior import Posterior

SCHEMA: Final = 1  # of the document; another one is refused
Mode = Literal["road", "rail", "sea", "air"]
ResourceKind = Literal["machine", "tool", "people"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a plant is. A clone has another one.

    Attributes:
        id: of the document.
        name: for people.
        enterprise: ISA-95 enterprise.
        site: ISA-95 site.
        parent: the plant it was cloned from; "" for none.
        time_zone: IANA name of the clock on its walls, which its calendars go by; "": each says its own.
    """

    id: str
    name: str
    enterprise: str
    site: str
    parent: str = ""
    time_zone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A quality gate at a station: what it looks for, and how many of 1,000 vehicles it inspects.

    Attributes:
        name: of the gate.
        checks: that it makes.
        inspect_permille: where its parameter `inspects` says nothing else.
        inspect_cost: of one inspection; 0: nobody said.
        escape_cost: of a bad vehicle that leaves it, in the same unit; 0: nobody said.
    """

    name: str
    checks: tuple[str, ...] = ()
    inspect_permille: int = 1000
    inspect_cost: int = 0
    escape_cost: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A station of a line.

    Attributes:
        name: ISA-95 cell.
        buffer: vehicles that may wait before it.
        tools: names of what works here.
        gates: quality gates, in order.
        rework_to: station that a repaired vehicle comes back to; "" for this one.
        operators: pool of people who work here.
        carriers: pool of vehicles that bring vehicles here.
    """

    name: str
    buffer: int = BUFFER_DEFAULT
    tools: tuple[str, ...] = ()
    gates: tuple[Gate, ...] = ()
    rework_to: str = ""
    operators: str = ""
    carriers: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantLine:
    """A line of cells.

    Attributes:
        name: ISA-95 line.
        area: ISA-95 area.
        programme: the vehicle programme it builds; "" for none.
        stations: in order.
        ratios: what stations can bear.
        paint: the paint shop before it.
        pools: operators and carriers that stations share.
        calendar: when it works; "" for always.
        freeze: vehicles next to enter that keep their places in any replan.
    """

    name: str
    area: str
    programme: str = ""
    stations: tuple[Cell, ...]
    ratios: tuple[Ratio, ...] = ()
    paint: Paint | None = None
    pools: Mapping[str, int] = field(default_factory=dict)
    calendar: str = ""
    freeze: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A machine, a tool or a team of a shop.

    Attributes:
        name: within the shop.
        kind: what it is.
        count: how many alike.
        calendar: when it works; "" for always.
        families: set-up families it can be set up for; none: it needs no set-up.
    """

    name: str
    kind: ResourceKind = "machine"
    count: int = 1
    calendar: str = ""
    families: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a routing.

    Attributes:
        name: within the routing.
        resources: any one of them can do it.
        after: steps of the same routing that must be done before.
        family: set-up family it needs; "" for none.
        splits: whether a break may interrupt it.
    """

    name: str
    resources: tuple[str, ...]
    after: tuple[str, ...] = ()
    family: str = ""
    splits: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """How a shop makes one product.

    Attributes:
        product: what it makes, one for each vehicle.
        steps: of its making.
        options: options or variants of the vehicles that need it; none: all do.
    """

    product: str
    steps: tuple[Step, ...]
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """A shop: press, body, battery. Its jobs choose among resources."""

    name: str
    area: str
    resources: tuple[Resource, ...]
    routings: tuple[Routing, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AgvFleet:
    """Vehicles that carry material: how many, how much each, and to which lines, shops and zones."""

    name: str
    count: int
    carries: int = 1
    serves: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """A part of the warehouse; the one with the lowest rank is picked from first."""

    name: str
    places: int
    rank: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Warehouse:
    """Where parts wait."""

    name: str
    area: str
    zones: tuple[Zone, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """A way that parts come by.

    Attributes:
        name: of the leg.
        supplier: who sends.
        mode: of transport.
        parts: what comes by it: options, variants or part numbers.
        milestones: in order; the last one is arrival.
    """

    name: str
    supplier: str
    mode: Mode = "road"
    parts: tuple[str, ...]
    milestones: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """What a clone copies."""

    lines: tuple[PlantLine, ...] = ()
    shops: tuple[Shop, ...] = ()
    calendars: tuple[Calendar, ...] = ()
    agvs: tuple[AgvFleet, ...] = ()
    warehouse: Warehouse | None = None
    legs: tuple[Leg, ...] = ()

    def things(self) -> Iterator[tuple[tuple[str, ...], Thing, Any]]:
        """Yield everything that may have parameters: its path below the site, what it is, and itself."""
        for line in self.lines:
            for cell in line.stations:
                path = (line.area, line.name, cell.name)
                yield path, "station", cell
                for gate in cell.gates:
                    yield (*path, gate.name), "gate", gate
        for shop in self.shops:
            for resource in shop.resources:
                yield (shop.area, shop.name, resource.name), "resource", resource
            for routing in shop.routings:
                for step in routing.steps:
                    yield (shop.area, shop.name, routing.product, step.name), "step", step
        for agv in self.agvs:
            yield ("agvs", agv.name), "agv", agv
        if self.warehouse:
            for zone in self.warehouse.zones:
                yield (self.warehouse.area, self.warehouse.name, zone.name), "zone", zone
        for leg in self.legs:
            yield ("legs", leg.name), "leg", leg


@dataclass(frozen=True, kw_only=True)
class Plant:
    """One plant, whole.

    Attributes:
        identity: who it is.
        structure: what it is made of.
        parameters: what it believes, by name.
        bindings: path of a station to its OPC UA nodes, by what each says (`opcua.py`).
    """

    identity: Identity
    structure: Structure
    parameters: Mapping[Key, Posterior]
    bindings: Mapping[tuple[str, ...], Mapping[str, str]] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Id of the document."""
        return self.identity.id

    @cached_property
    def structure_sha256(self) -> str:
        """Content hash of the structure alone: equal for a plant and its clone."""
        return digest(plain(self.structure))

    @cached_property
    def parameters_sha256(self) -> str:
        """Content hash of the parameters alone."""
        return digest(parameters_document(self.parameters))

    def calendars(self) -> dict[str, Calendar]:
        """Return its calendars by name, by its own clock: a clone has the hours of its parent, in its own time zone."""
        zone = self.identity.time_zone
        found = self.structure.calendars
        return {each.name: replace(each, time_zone=zone) if zone else each for each in found}

    def inspect_permille(self, path: tuple[str, ...], gate: Gate) -> int:
        """Return how many of 1,000 vehicles the gate at a path inspects: as decided, or else as its structure says."""
        decided = self.parameters.get(Key(path, "inspects"))
        return gate.inspect_permille if decided is None else round(1000 * decided.mean)

    def inspects_all(self, path: tuple[str, ...]) -> tuple[Alike, ...]:
        """Return the kinds of vehicles of which the gate at a path inspects every one, as decided."""
        return tuple(
            read_alike(key.per)
            for key, decided in sorted(self.parameters.items(), key=lambda each: each[0])
            if key.path == path and key.kind == "inspects_all" and decided.mean > 1 / 2
        )

    def to_document(self) -> dict[str, Any]:
        """Return its JSON form, which has the shape of the TOML form: `read.py` reads both."""
        document: dict[str, Any] = {"schema": SCHEMA, "plant": plain(self.identity)}
        document |= plain(self.structure)
        document["parameters"] = parameters_document(self.parameters)
        if self.bindings:
            document["bindings"] = {
                path_text(path): dict(self.bindings[path]) for path in sorted(self.bindings)
            }
        return document

    def full_name(self, path: tuple[str, ...]) -> str:
        """Return the ISA-95 name of something: enterprise, site and the path below it."""
        return path_text((self.identity.enterprise, self.identity.site, *path))


def parameters_document(parameters: Mapping[Key, Posterior]) -> dict[str, Any]:
    """Return parameters as nested tables: path, kind, and option or the like."""
    found: dict[str, Any] = {}
    for key in sorted(parameters):
        at = found.setdefault(path_text(key.path), {})
        if key.per:
            at.setdefault(key.kind, {})[key.per] = parameters[key].to_document()
        else:
            at[key.kind] = parameters[key].to_document()
    return found


def plain(value: Any) -> Any:
    """Return a value as JSON types, without what is as it is by default."""
    if is_dataclass(value) and not isinstance(value, type):
        body = {}
        for each in fields(value):
            held = getattr(value, each.name)
            default = each.default_factory() if callable(each.default_factory) else each.default
            if held not in (default, ()):
                body[each.name] = plain(held)
        return body
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    return value


def digest(document: Any) -> str:
    """Return the sha256 of a JSON document, whatever the order of its keys."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
