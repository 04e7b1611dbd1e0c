"""The values of the build stage: programme, packages, releases, findings of a check.

Not here: how they are read (`programme.py`, `images/`), decided (`release.py`) or kept (`store.py`).

Invariant: all values are frozen; a `Programme` that exists was valid when it was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from ringroad.build.calendar import Calendar
from ringroad.trust.metadata import Downgrade

Storage = Literal["ab", "inplace"]
Agent = Literal["ab", "uds", "mcuboot", "sovd", "files", "container", "swupdate", "rauc", "ddi"]
DDI_SUCCESS = ("stated", "after_restart", "word")  # what a DDI client's word is worth: ship/claims.py
ImageFormat = Literal["bin", "ihex", "srec", "mcuboot", "swu", "mender"]
ReleaseState = Literal["draft", "checked", "signed", "withdrawn"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ecu:
    """One kind of control unit of a programme."""

    name: str
    hardware_id: str
    bus: str
    os: str
    security: str
    storage: Storage
    storage_bytes: int  # bytes one bank (A/B) or the application area (in place) holds
    supplier: str
    primary: bool
    agent: Agent
    settings: Mapping[str, str] = field(
        default_factory=dict
    )  # of the agent, for every vehicle of the programme


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What is built under one name: its ECUs, and the options that may be ordered with it."""

    name: str
    ecus: tuple[str, ...]
    options: tuple[str, ...]


BUFFER_DEFAULT = 1  # vehicles; a place between two stations
SPREAD_PERMILLE_DEFAULT = 50  # manual work of one content varies by about 5 %


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """One station of the line, as the twin sees it. What is left out does not happen.

    Attributes:
        name: of the station.
        cycle_s: seconds per vehicle.
        extra_s: seconds more for an option or a variant.
        buffer: vehicles that may wait before it.
        spread_permille: standard deviation of its times, in thousandths of their mean.
        transfer_s: seconds from the station before.
        uptime_s: mean seconds of work between two breakdowns.
        repair_s: mean seconds of work of a breakdown.
        rework_permille: vehicles of 1,000 that its gate refuses.
        rework_s: seconds of repair.
        rework_to: station that a repaired vehicle comes back to; "" for this one.
        operators: pool of people who work here.
        carriers: pool of vehicles that bring vehicles here.
        return_s: seconds a carrier needs to come back.
    """

    name: str
    cycle_s: int
    extra_s: Mapping[str, int] = field(default_factory=dict)
    buffer: int = BUFFER_DEFAULT
    spread_permille: int = SPREAD_PERMILLE_DEFAULT
    transfer_s: int = 0
    uptime_s: int = 0
    repair_s: int = 0
    rework_permille: int = 0
    rework_s: int = 0
    rework_to: str = ""
    operators: str = ""
    carriers: str = ""
    return_s: int = 0

    def to_document(self) -> dict[str, Any]:
        """Return its JSON form, without what is as it is by default."""
        plain = Station(name=self.name, cycle_s=self.cycle_s)
        named = [each.name for each in fields(self)]
        kept = {name: getattr(self, name) for name in named if getattr(self, name) != getattr(plain, name)}
        return {"name": self.name, "cycle_s": self.cycle_s} | kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """At most `p` of any `q` successive vehicles may have the option, or be of the variant so named.

    A soft one yields to due times and paint batches. In the twin, `p` crews serve it at its station, each for the
    takts of `q` vehicles: a violated window makes the line wait.

    Source: CSPLib prob001.
    """

    option: str
    p: int
    q: int
    soft: bool = False
    station: str = ""  # where; "" for the first one


@dataclass(frozen=True, slots=True, kw_only=True)
class Paint:
    """The paint shop before the line: options that are colours, and how many of one may follow each other."""

    colours: tuple[str, ...]
    batch_max: int  # vehicles; then the guns are cleaned


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One assembly line: stations in order, and what they can bear."""

    name: str
    stations: tuple[Station, ...]
    ratios: tuple[Ratio, ...]
    paint: Paint | None = None
    pools: Mapping[str, int] = field(default_factory=dict)  # operators and carriers that stations share
    freeze: int = 0  # vehicles next to enter that keep their places, whatever happens, if they may be built
    calendar: Calendar | None = None  # when it works; None: always

    @property
    def takt_s(self) -> int:
        """Seconds between two vehicles: the slowest station's cycle."""
        return max(station.cycle_s for station in self.stations)


@dataclass(frozen=True, slots=True, kw_only=True)
class Programme:
    """A vehicle programme, as `programme.toml` says it."""

    id: str
    name: str
    variants: Mapping[str, Variant]
    ecus: Mapping[str, Ecu]
    line: Line

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form that `programme.document` holds."""
        return {
            "id": self.id,
            "name": self.name,
            "variants": {
                name: {"ecus": list(variant.ecus), "options": list(variant.options)}
                for name, variant in self.variants.items()
            },
            "ecus": {
                name: {
                    "hardware_id": ecu.hardware_id,
                    "bus": ecu.bus,
                    "os": ecu.os,
                    "security": ecu.security,
                    "storage": ecu.storage,
                    "supplier": ecu.supplier,
                    "primary": ecu.primary,
                    "agent": ecu.agent,
                    "storage_bytes": ecu.storage_bytes,
                }
                | ({"settings": dict(ecu.settings)} if ecu.settings else {})
                for name, ecu in self.ecus.items()
            },
            "line": {
                "name": self.line.name,
                "stations": [station.to_document() for station in self.line.stations],
                "ratios": [
                    {"option": r.option, "p": r.p, "q": r.q}
                    | ({"soft": True} if r.soft else {})
                    | ({"station": r.station} if r.station else {})
                    for r in self.line.ratios
                ],
            }
            | ({"paint": _paint(self.line.paint)} if self.line.paint else {})
            | ({"pools": dict(self.line.pools)} if self.line.pools else {})
            | ({"freeze": self.line.freeze} if self.line.freeze else {})
            | ({"calendar": self.line.calendar.to_document()} if self.line.calendar else {}),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Programme:
        """Return the programme that `to_document` wrote; the database keeps only valid ones."""
        line = document["line"]
        return cls(
            id=document["id"],
            name=document["name"],
            variants={
                name: Variant(name=name, ecus=tuple(body["ecus"]), options=tuple(body["options"]))
                for name, body in document["variants"].items()
            },
            ecus={name: Ecu(name=name, **body) for name, body in document["ecus"].items()},
            line=Line(
                name=line["name"],
                stations=tuple(Station(**station) for station in line["stations"]),
                ratios=tuple(Ratio(**ratio) for ratio in line["ratios"]),
                paint=Paint(colours=tuple(line["paint"]["colours"]), batch_max=line["paint"]["batch_max"])
                if "paint" in line
                else None,
                pools=line.get("pools", {}),
                freeze=line.get("freeze", 0),
                calendar=Calendar.from_document(line["calendar"]) if "calendar" in line else None,
            ),
        )


def _paint(paint: Paint) -> dict[str, Any]:
    return {"colours": list(paint.colours), "batch_max": paint.batch_max}


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """A package works only next to another ECU's software in this range."""

    ecu: str
    range: str  # for example ">=1.2, <2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A software package: one image for one ECU of one programme. A row of `software_package`."""

    id: str
    programme_id: str
    ecu: str
    name: str
    version: str
    filename: str  # the Uptane target name
    format: ImageFormat
    hardware_ids: tuple[str, ...]
    image_sha256: str  # hex; also the blob's name
    image_sha512: str
    image_bytes: int  # bytes of the file
    release_counter: int
    facts: Mapping[str, Any] = field(default_factory=dict)  # what was read from the image
    requires: tuple[Requirement, ...] = ()
    conflicts: tuple[Requirement, ...] = ()  # what must not run beside it
    upgrades_from: str = "*"  # versions of its own ECU that it may be installed over
    added_at: datetime

    @property
    def storage_bytes(self) -> int:
        """Bytes the image takes on the ECU: text formats are stored decoded, all others as they are."""
        if self.format in ("ihex", "srec"):
            return int(self.facts.get("length", self.image_bytes))
        return self.image_bytes


class Severity(StrEnum):
    """Does a problem stop the release?"""

    BLOCKING = "blocking"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One finding of a check, for a person to act on."""

    severity: Severity
    code: str
    message: str
    hint: str = ""

    def to_document(self) -> dict[str, str]:
        """Return the JSON form kept in `release.findings`."""
        return {
            "severity": self.severity.value,
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A row of `release`."""

    id: str
    programme_id: str
    name: str
    version: str
    state: ReleaseState
    change_id: str | None
    lap_id: str | None
    document: Mapping[str, Any]
    findings: tuple[Problem, ...]
    generation: int
    created_by: str
    created_at: datetime
    signed_at: datetime | None
    downgrades: tuple[Downgrade, ...] = ()  # that a second person approved

    @property
    def package_ids(self) -> tuple[str, ...]:
        """All packages of all variants, each once, in a stable order."""
        return tuple(
            sorted({package for ecus in self.document["variants"].values() for package in ecus.values()})
        )
