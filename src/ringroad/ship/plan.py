"""Plan a campaign: facts about vehicles and a release in, an immutable plan out. Pure.

Vehicles that look the same to the query and have the same software are one population: each is resolved once
(`resolve.py`), however many vehicles it has. The plan says for each population the query selects whether it is a
match, already has the software, does not fit, or is not known well enough, and why; it cuts the lot of all matches
into waves. `store/targets.py` makes populations and deals the lot, in the database.

A control group may be held back: dealt out first, by the same lot, and told nothing.

Invariants:
    No decision looks at a single vehicle of a population.
    The same request and populations give the same plan, whatever their order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate
from typing import Literal

from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.hours import Window
from ringroad.protocol.vehicle import PHASES, Phase, Urgency
from ringroad.ship.claims import SuccessRule, rules_of
from ringroad.ship.gate import DURATION_S_MAX, VEHICLES_MAX, GatePolicy
from ringroad.ship.guard import HARM, Past
from ringroad.ship.match import REASONS_MAX, NotSelected, as_like, match_vehicle
from ringroad.ship.model import KnownImages, ReleaseFacts, VehicleFacts
from ringroad.ship.query import Node, keys_in, parse_query, terms_of
from ringroad.ship.ramp import HarmBudget
from ringroad.ship.resolve import Resolution, Verdict, resolve
from ringroad.ship.retry import RetryPolicy
from ringroad.ship.strata import read_alone

WAVES_MAX = 50  # waves per campaign
SEED_CHARS_MAX = 200  # characters
PRIORITY_MAX = 9  # of campaigns that share vehicles; an emergency recall goes before all of them

LateJoiners = Literal["frozen", "included"]
Stratum = Literal["variant", "region", "gateway"]
VERDICTS: tuple[Verdict, ...] = ("match", "control", "already_installed", "mismatch", "unknown")


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveSize:
    """How many vehicles a wave takes: a count, or a share of all matches. Exactly one is set.

    Attributes:
        vehicles, permille: which.
        not_before: an instant before which it does not begin, of whole minutes; None for none.
    """

    vehicles: int | None = None
    permille: int | None = None
    not_before: datetime | None = None

    def __post_init__(self) -> None:
        """Refuse a size that is none or two."""
        if (self.vehicles is None) == (self.permille is None):
            raise InvalidInput("a wave is sized by vehicles or by permille", hint='{"vehicles": 20}')
        if self.vehicles is not None and not 1 <= self.vehicles <= VEHICLES_MAX:
            raise InvalidInput(f"wave vehicles must be between 1 and {VEHICLES_MAX}")
        if self.permille is not None and not 1 <= self.permille <= 1000:
            raise InvalidInput("wave permille must be between 1 and 1000")
        at = self.not_before
        if at is not None and (at.tzinfo is None or at.second or at.microsecond):
            raise InvalidInput(
                "not_before of a wave is no instant of whole minutes",
                hint="with its offset: 2027-01-11T08:00Z or 2027-01-11T08:00+01:00",
            )

    def of(self, total: int) -> int:
        """Return how many of `total` vehicles that is, at least one."""
        return self.vehicles if self.vehicles is not None else max(1, total * (self.permille or 0) // 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """What the campaign manager asks for.

    Attributes:
        query: which vehicles, in the query language.
        waves: sizes in order; what they leave over becomes one more wave.
        gate: what each wave must show.
        vehicle_deadline_s: seconds from the offer within which a vehicle must have an outcome, its window open or not.
        window: when a vehicle may be told to begin, by its own clock; None for always.
        seed: anything; deals vehicles out to waves.
        stratify_by: each wave has the same share of each variant, region, gateway.
        rollback_installed: after a halt, vehicles that have the release are told to return.
        control: how many of the matches are held back, to compare the others with; None for nobody.
        ramp: a budget of harm that sets the pace instead of waves; None for waves.
        priority: who is served first where campaigns share vehicles; 0 is last.
        recall: an emergency, served before every priority and in place of what waits at the vehicle.
        urgency: ``soft`` leaves it to the driver, or to a DDI device, when it is installed; ``download_only`` stores
            it in the vehicle, for a later campaign to install.
        retry: which failures are worth another attempt; None for none.
        late_joiners: whether vehicles that the query selects only while the campaign runs are left out or join it.
        consent: each driver is asked first, unless they agreed to all updates.
        consent_phases: before which a native vehicle asks; a DDI device asks once, before the first of them.
    """

    query: str
    waves: tuple[WaveSize, ...] = (WaveSize(permille=20), WaveSize(permille=200))
    gate: GatePolicy = field(default_factory=GatePolicy)
    vehicle_deadline_s: int = 7 * 86_400
    window: Window | None = None
    seed: str = "1"
    stratify_by: tuple[Stratum, ...] = ("variant", "region")
    rollback_installed: bool = False
    control: WaveSize | None = None
    ramp: HarmBudget | None = None
    priority: int = 0
    recall: bool = False
    urgency: Urgency = "forced"
    consent: bool = False
    consent_phases: tuple[Phase, ...] = ("download", "install")
    retry: RetryPolicy | None = None
    late_joiners: LateJoiners = "frozen"

    @property
    def level(self) -> int:
        """The priority, with a recall above all."""
        return PRIORITY_MAX + 1 if self.recall else self.priority

    def opens_at(self, wave: int) -> datetime | None:
        """Return the instant before which a wave, counted from 1, does not begin; None for none."""
        return self.waves[wave - 1].not_before if self.ramp is None and wave <= len(self.waves) else None

    def __post_init__(self) -> None:
        """Refuse what could not be carried out."""
        dated = [each for each in self.waves if each.not_before is not None] if self.ramp else []
        if dated or (self.control is not None and self.control.not_before is not None):
            raise InvalidInput(
                "only a wave has a date: a control group is held back at once, and a budget of harm has no waves",
                hint="leave not_before out",
            )
        if len(self.waves) > WAVES_MAX:
            raise InvalidInput(f"{len(self.waves)} waves, limit {WAVES_MAX}")
        if not 1 <= self.vehicle_deadline_s <= DURATION_S_MAX:
            raise InvalidInput(f"vehicle_deadline_s must be between 1 and {DURATION_S_MAX}")
        if not 0 <= self.priority <= PRIORITY_MAX:
            raise InvalidInput(f"priority must be between 0 and {PRIORITY_MAX}")
        if len(self.seed) > SEED_CHARS_MAX:
            raise InvalidInput(f"seed is longer than {SEED_CHARS_MAX} characters")
        if self.urgency == "download_only":
            self._refuse_what_installs()
        if self.consent and not self.consent_phases:
            raise InvalidInput("consent needs a phase to ask before", hint=f"of {', '.join(PHASES)}")
        harm = self.gate.sequential and {metric.name for metric in self.gate.sequential.metrics} & HARM
        if self.ramp is not None and not harm:
            raise InvalidInput(
                "a budget of harm needs a sequential gate with a metric that counts harm",
                hint=f"one of {', '.join(sorted(HARM))}",
            )

    def _refuse_what_installs(self) -> None:
        """Refuse what has a meaning only for vehicles that run the release."""
        given = {
            "a control group": self.control, "metrics against it": self.gate.sequential,
            "a budget of harm": self.ramp, "a return after a halt": self.rollback_installed,
        }  # fmt: skip
        useless = [name for name, value in given.items() if value]
        if useless:
            raise InvalidInput(
                f"a plan that only downloads has no use for {', '.join(useless)}: no vehicle will run the release",
                hint="leave that for the plan that installs",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What tells vehicles apart for a query, beside programme, variant, region and gateway.

    What may be different on each vehicle is not looked at as such: only whether it is one that the query names, or
    like a pattern of it. Telemetry is not here: what it means for the query is decided outside of the database
    (`match.sample_marks`).

    Attributes:
        ecus: names of ECUs that the query looks at; a plan is about all.
        attributes: names of those the query looks at.
        vins, tags, lists, serials: those it names.
        vin_patterns, tag_patterns, list_patterns, serial_patterns: those it names, as LIKE takes them.
        release, born, filenames, images: whether it looks at these; a plan is about all images.
    """

    ecus: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    vins: tuple[str, ...] = ()
    vin_patterns: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    tag_patterns: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    list_patterns: tuple[str, ...] = ()
    serials: tuple[str, ...] = ()
    serial_patterns: tuple[str, ...] = ()
    release: bool = False
    born: bool = False
    filenames: bool = False
    images: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """Vehicles that are the same to the query and to the release; `vehicle` is any one of them."""

    kind: bytes  # names the population
    vehicles: int
    vehicle: VehicleFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A population that the query selects, and what became of it. `number` names it within the plan."""

    number: int
    kind: bytes
    vehicles: int
    stratum: str
    example: str  # VIN of the vehicle that was looked at
    resolution: Resolution


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """An immutable campaign plan; which vehicle is in which wave is kept beside it, and bound by a digest."""

    release_id: str
    release_version: str
    request: PlanRequest
    facts_as_of: datetime
    control_vehicles: int  # held back
    wave_vehicles: tuple[int, ...]  # per wave
    resolved: tuple[Resolved, ...]
    not_selected: Mapping[str, int]  # vehicles of the programme by the term that leaves them out
    no_rollback_image: Mapping[
        str, int
    ]  # vehicles by in-place ECU whose running image cannot be fetched again
    install_s_estimate: int  # of the slowest vehicle
    not_known: int = 0  # of those not selected, vehicles of which too little is known to say
    past: Mapping[str, Past] = field(default_factory=dict)  # how earlier installations ended, by metric
    success: Mapping[str, SuccessRule] = field(
        default_factory=dict
    )  # what a DDI vehicle's is worth, by variant
    ddi_vehicles: Mapping[str, int] = field(default_factory=dict)  # matches that speak DDI, by variant

    def count(self, verdict: Verdict) -> int:
        """Vehicles with this verdict."""
        if verdict == "control":
            return self.control_vehicles
        found = sum(each.vehicles for each in self.resolved if each.resolution.verdict == verdict)
        return found - self.control_vehicles if verdict == "match" else found

    @property
    def strata(self) -> list[str]:
        """Names of the strata whose evidence a sequential gate reads alone as well."""
        matches: Counter[str] = Counter()
        for each in self.resolved:
            if each.resolution.verdict == "match":
                matches[each.stratum.replace("\t", "/")] += each.vehicles
        return read_alone(matches, held=self.control_vehicles)

    @property
    def wave_starts(self) -> list[int]:
        """Places in the lot, from 1, at which each wave begins; those before the first are the control group's."""
        return list(accumulate(self.wave_vehicles[:-1], initial=self.control_vehicles + 1))


def asked_of(query: Node) -> Asked:
    """Return what tells vehicles apart for this query."""
    terms = list(terms_of(query))
    roots = {term.field.root for term in terms}

    def named(root: str, prop: str = "") -> tuple[tuple[str, ...], tuple[str, ...]]:
        exact, patterns = set[str](), set[str]()
        for term in terms:
            if term.field.root == root and term.field.prop == prop:
                if term.op == "~":
                    patterns.update(as_like(value) for value in term.values)
                else:
                    exact.update(term.values)
        return tuple(sorted(exact)), tuple(sorted(patterns))

    (vins, vin_patterns), (tags, tag_patterns), (lists, list_patterns) = map(named, ("vin", "tag", "list"))
    serials, serial_patterns = named("ecu", "serial")
    return Asked(
        ecus=keys_in(query, "ecu"),
        attributes=keys_in(query, "attribute"),
        vins=vins,
        vin_patterns=vin_patterns,
        tags=tags,
        tag_patterns=tag_patterns,
        lists=lists,
        list_patterns=list_patterns,
        serials=serials,
        serial_patterns=serial_patterns,
        release="release" in roots,
        born="born" in roots,
        filenames=any(term.field.prop == "filename" for term in terms),
        images=any(term.field.prop == "sha256" for term in terms),
    )


def make_plan(
    request: PlanRequest,
    release: ReleaseFacts,
    populations: Iterable[Population],
    images: KnownImages,
    *,
    now: datetime,
    past: Mapping[str, Past] | None = None,
    earlier: Sequence[ReleaseFacts] = (),
) -> Plan:
    """Plan a campaign over the vehicles of the release's programme.

    Args:
        request: what is asked for.
        release: what is to be installed.
        populations: of the programme, told apart for the same query.
        images: what can be fetched again.
        now: the server's time.
        past: how installations of earlier campaigns ended, by metric; what a sequential gate compares with.
        earlier: signed releases that may be installed on the way.

    Raises:
        QueryError: the query cannot be read.
    """
    query = parse_query(request.query)
    left_out: Counter[str] = Counter()
    unbacked: Counter[str] = Counter()
    ddi_vehicles: Counter[str] = Counter()
    not_known = 0
    resolved: list[Resolved] = []
    for population in sorted(populations, key=lambda each: each.kind):
        outcome = match_vehicle(query, population.vehicle)
        if isinstance(outcome, NotSelected):
            left_out[outcome.term] += population.vehicles
            not_known += population.vehicles if outcome.unknown else 0
            continue
        found = Resolved(
            number=len(resolved) + 1,
            kind=population.kind,
            vehicles=population.vehicles,
            stratum="\t".join(str(getattr(population.vehicle, name)) for name in request.stratify_by),
            example=population.vehicle.vin,
            resolution=resolve(population.vehicle, release, images, earlier, now=now),
        )
        resolved.append(found)
        if found.resolution.verdict == "match":
            for ecu in ecus_without_rollback(population.vehicle, release, images):
                unbacked[ecu] += population.vehicles
            if population.vehicle.gateway == "ddi":
                ddi_vehicles[population.vehicle.variant] += population.vehicles
    matches = [each for each in resolved if each.resolution.verdict == "match"]
    held, waves = cut_waves(request, sum(each.vehicles for each in matches))
    return Plan(
        release_id=release.id,
        release_version=release.version,
        request=request,
        facts_as_of=now,
        control_vehicles=held,
        wave_vehicles=waves,
        resolved=tuple(resolved),
        not_selected=bounded(left_out),
        not_known=not_known,
        no_rollback_image=dict(sorted(unbacked.items())),
        install_s_estimate=max((each.resolution.install_s for each in matches), default=0),
        past=past or {},
        success=rules_of(release),
        ddi_vehicles=dict(sorted(ddi_vehicles.items())),
    )


def ecus_without_rollback(
    vehicle: VehicleFacts, release: ReleaseFacts, images: KnownImages
) -> tuple[str, ...]:
    """Name in-place ECUs whose running image has no package: it could not be flashed back."""
    return tuple(
        name
        for name, package in release.variants.get(vehicle.variant, {}).items()
        if name in release.ecus
        and release.ecus[name].storage == "inplace"
        and vehicle.ecus[name].image_sha256 != package.image_sha256
        and vehicle.ecus[name].image_sha256 not in images.counter_of
    )


def cut_waves(request: PlanRequest, matches: int) -> tuple[int, tuple[int, ...]]:
    """Cut the lot of so many matches into the control group and waves; empty waves are dropped.

    Returns:
        Vehicles held back, and vehicles per wave; together all of them.
    """
    held = min(matches, request.control.of(matches)) if request.control and matches else 0
    left = matches - held
    counts: list[int] = []
    for size in (*(() if request.ramp else request.waves), WaveSize(vehicles=max(1, matches))):
        part = min(left, size.of(matches))
        if part:
            counts.append(part)
            left -= part
    return held, tuple(counts)


def bounded(counts: Counter[str]) -> dict[str, int]:
    """Return vehicles per reason, most frequent first; after `REASONS_MAX` the rest is "other"."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rest = sum(vehicles for _, vehicles in ordered[REASONS_MAX:])
    return dict(ordered[:REASONS_MAX]) | ({"other": rest} if rest else {})
