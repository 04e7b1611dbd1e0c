"""Plan a campaign: facts about vehicles and a release in, an immutable plan out. Pure.

The plan says for each vehicle the query selects whether it is a match, already has the software, does not
fit, or is not known well enough, and why; it deals the matches out to waves.

A control group may be held back: dealt out first, by the same lot, and told nothing.

Invariants:
    A vehicle is a match only if every ECU the release touches is known, present and of a fitting hardware.
    The wave of a vehicle depends on seed, stratum and VIN, never on the order in which vehicles arrive.
    The same request and facts give the same plan, byte for byte.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.hours import Window
from ringroad.kernel.versions import parse_range
from ringroad.ship.gate import DURATION_S_MAX, VEHICLES_MAX, GatePolicy
from ringroad.ship.guard import HARM, Past
from ringroad.ship.match import NotSelected, ReasonTally, match_vehicle
from ringroad.ship.model import KnownImages, PackageFacts, ReleaseFacts, VehicleFacts
from ringroad.ship.query import parse_query
from ringroad.ship.ramp import HarmBudget

WAVES_MAX = 50  # waves per campaign
SEED_CHARS_MAX = 200  # characters
PRIORITY_MAX = 9  # of campaigns that share vehicles; an emergency recall goes before all of them
_RANK_SCALE = 1 << 53  # ranks within a stratum, scaled to integers

# Seconds an ECU of each storage needs per megabyte, and once. Estimates for the checker, not promises:
# flashing over DoIP with 4 kB blocks moves 1 to 8 MB/s, writing an inactive bank about 20 MB/s.
INSTALL_S_PER_MB = {"ab": 0.05, "inplace": 1.0}
INSTALL_S_PER_ECU = {"ab": 15, "inplace": 60}

Stratum = Literal["variant", "region", "gateway"]
Urgency = Literal["forced", "soft"]
Verdict = Literal["match", "control", "already_installed", "mismatch", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveSize:
    """How many vehicles a wave takes: a count, or a share of all matches. Exactly one is set."""

    vehicles: int | None = None
    permille: int | None = None

    def __post_init__(self) -> None:
        """Refuse a size that is none or two."""
        if (self.vehicles is None) == (self.permille is None):
            raise InvalidInput("a wave is sized by vehicles or by permille", hint='{"vehicles": 20}')
        if self.vehicles is not None and not 1 <= self.vehicles <= VEHICLES_MAX:
            raise InvalidInput(f"wave vehicles must be between 1 and {VEHICLES_MAX}")
        if self.permille is not None and not 1 <= self.permille <= 1000:
            raise InvalidInput("wave permille must be between 1 and 1000")

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
        urgency: how a DDI device is told; ``soft`` leaves it to the device when it downloads and installs.
        consent: a DDI device is shown the update only to confirm it, unless its driver agreed to all updates.
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

    @property
    def level(self) -> int:
        """The priority, with a recall above all."""
        return PRIORITY_MAX + 1 if self.recall else self.priority

    def __post_init__(self) -> None:
        """Refuse what could not be carried out."""
        if len(self.waves) > WAVES_MAX:
            raise InvalidInput(f"{len(self.waves)} waves, limit {WAVES_MAX}")
        if not 1 <= self.vehicle_deadline_s <= DURATION_S_MAX:
            raise InvalidInput(f"vehicle_deadline_s must be between 1 and {DURATION_S_MAX}")
        if not 0 <= self.priority <= PRIORITY_MAX:
            raise InvalidInput(f"priority must be between 0 and {PRIORITY_MAX}")
        if len(self.seed) > SEED_CHARS_MAX:
            raise InvalidInput(f"seed is longer than {SEED_CHARS_MAX} characters")
        harm = self.gate.sequential and {metric.name for metric in self.gate.sequential.metrics} & HARM
        if self.ramp is not None and not harm:
            raise InvalidInput(
                "a budget of harm needs a sequential gate with a metric that counts harm",
                hint=f"one of {', '.join(sorted(HARM))}",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One vehicle against one release. `reason` is short and countable: ``hardware: brake HW-2``."""

    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One selected vehicle in the plan; wave 0 means that it takes no part. `rank` is its place in the lot."""

    vin: str
    verdict: Verdict
    reason: str = ""
    wave: int = 0
    rank: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Deal:
    """How matches were dealt out: who is held back, the wave (from 1) and place in the lot of all others."""

    control: frozenset[str]
    wave_of: Mapping[str, int]
    rank_of: Mapping[str, int]
    wave_vehicles: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """An immutable campaign plan; `targets` are sorted by VIN."""

    release_id: str
    release_version: str
    request: PlanRequest
    facts_as_of: datetime
    wave_vehicles: tuple[int, ...]  # per wave
    targets: tuple[Target, ...]
    not_selected: Mapping[str, int]  # vehicles of the programme by the term that leaves them out
    no_rollback_image: Mapping[
        str, int
    ]  # vehicles by in-place ECU whose running image cannot be fetched again
    install_s_estimate: int  # of the slowest variant
    targets_sha256: str
    not_known: int = 0  # of those not selected, vehicles of which too little is known to say
    past: Mapping[str, Past] = field(default_factory=dict)  # how earlier installations ended, by metric

    def count(self, verdict: Verdict) -> int:
        """Vehicles with this verdict."""
        return sum(target.verdict == verdict for target in self.targets)


def make_plan(
    request: PlanRequest,
    release: ReleaseFacts,
    vehicles: Iterable[VehicleFacts],
    images: KnownImages,
    *,
    now: datetime,
    past: Mapping[str, Past] | None = None,
) -> Plan:
    """Plan a campaign over the vehicles of the release's programme.

    Args:
        request: what is asked for.
        release: what is to be installed.
        vehicles: those of the programme.
        images: what can be fetched again.
        now: the server's time.
        past: how installations of earlier campaigns ended, by metric; what a sequential gate compares with.

    Raises:
        QueryError: the query cannot be read.
    """
    query = parse_query(request.query)
    left_out = ReasonTally(examples_max=0)
    judged: list[tuple[str, Judgement]] = []
    strata: dict[tuple[str, ...], list[str]] = defaultdict(list)
    unbacked: Counter[str] = Counter()
    not_known = 0
    for vehicle in vehicles:
        outcome = match_vehicle(query, vehicle)
        if isinstance(outcome, NotSelected):
            left_out.add(outcome.term, vehicle.vin, outcome.actual)
            not_known += outcome.unknown
            continue
        judgement = judge_vehicle(vehicle, release, images)
        judged.append((vehicle.vin, judgement))
        if judgement.verdict == "match":
            strata[_stratum(request.stratify_by, vehicle)].append(vehicle.vin)
            unbacked.update(ecus_without_rollback(vehicle, release, images))
    sizes = () if request.ramp else request.waves
    dealt = deal_waves(sizes, strata, seed=request.seed, control=request.control)
    targets = tuple(
        Target(
            vin=vin,
            verdict="control" if vin in dealt.control else judgement.verdict,
            reason=judgement.reason,
            wave=dealt.wave_of.get(vin, 0),
            rank=dealt.rank_of.get(vin, 0),
        )
        for vin, judgement in sorted(judged, key=lambda pair: pair[0])
    )
    return Plan(
        release_id=release.id,
        release_version=release.version,
        request=request,
        facts_as_of=now,
        wave_vehicles=dealt.wave_vehicles,
        targets=targets,
        not_selected=left_out.counts(),
        not_known=not_known,
        no_rollback_image=dict(sorted(unbacked.items())),
        install_s_estimate=estimate_install_s(release),
        targets_sha256=digest_targets(targets),
        past=past or {},
    )


def judge_vehicle(vehicle: VehicleFacts, release: ReleaseFacts, images: KnownImages) -> Judgement:
    """Decide whether the release fits this vehicle.

    1. Vehicle: of the programme, of a variant the release covers, not blocked.
    2. Each ECU the release touches: present, hardware fits.
    3. Configuration: known. Over DDI there is no inventory, so an unknown one is accepted there.
    4. Nothing to do when every image is already there.
    5. No ECU goes below the release counter of the image it runs.
    6. What the packages require of other ECUs is there, or comes with the release.
    """
    packages = release.variants.get(vehicle.variant)
    if vehicle.programme_id != release.programme_id:  # 1
        return Judgement(verdict="mismatch", reason=f"programme: {vehicle.programme_id}")
    if not packages:
        return Judgement(verdict="mismatch", reason=f"variant_not_in_release: {vehicle.variant}")
    if vehicle.blocked_reason:
        return Judgement(verdict="mismatch", reason=f"blocked: {vehicle.blocked_reason}")
    for name, package in packages.items():  # 2
        ecu = vehicle.ecus.get(name)
        if ecu is None:
            return Judgement(verdict="mismatch", reason=f"no_ecu: {name}")
        if ecu.hardware_id not in package.hardware_ids:
            return Judgement(verdict="mismatch", reason=f"hardware: {name} {ecu.hardware_id}")
    installed = {name: vehicle.ecus[name].image_sha256 for name in packages}
    if None in installed.values() and vehicle.gateway != "ddi":  # 3
        name = next(name for name, sha256 in installed.items() if sha256 is None)
        return Judgement(verdict="unknown", reason=f"configuration: {name} never reported")
    if all(installed[name] == package.image_sha256 for name, package in packages.items()):  # 4
        return Judgement(verdict="already_installed")
    for name, package in packages.items():  # 5
        counter = images.counter_of.get(installed[name] or "")
        if counter is not None and package.release_counter < counter:
            return Judgement(verdict="mismatch", reason=f"release_counter: {name} runs {counter}")
    return _judge_requirements(vehicle, packages)  # 6


def _judge_requirements(vehicle: VehicleFacts, packages: Mapping[str, PackageFacts]) -> Judgement:
    for package in packages.values():
        for name, wanted in package.requires:
            coming, there = packages.get(name), vehicle.ecus.get(name)
            version = coming.version if coming else there.version if there else None
            if there is None:
                return Judgement(verdict="mismatch", reason=f"requires: {package.ecu} needs {name} {wanted}")
            if version is None or (fits := parse_range(wanted).holds(version)) is None:
                return Judgement(verdict="unknown", reason=f"requires: version of {name} not known")
            if not fits:
                return Judgement(verdict="mismatch", reason=f"requires: {package.ecu} needs {name} {wanted}")
    return Judgement(verdict="match")


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


def deal_waves(
    sizes: Sequence[WaveSize],
    strata: Mapping[tuple[str, ...], Sequence[str]],
    *,
    seed: str,
    control: WaveSize | None = None,
) -> Deal:
    """Deal vehicles out so that the control group and each wave have about the same share of each stratum.

    Within a stratum vehicles are ordered by hash(seed, VIN); their relative rank orders them across
    strata; the control group, then waves are cut from that order. Empty waves are dropped.
    """
    ranked: list[tuple[int, bytes, str]] = []
    for vins in strata.values():
        hashed = sorted((hashlib.sha256(f"{seed}:{vin}".encode()).digest(), vin) for vin in vins)
        count = len(hashed)
        ranked.extend(
            ((2 * rank + 1) * _RANK_SCALE // (2 * count), digest, vin)
            for rank, (digest, vin) in enumerate(hashed)
        )
    ranked.sort()
    lot = [vin for _, _, vin in ranked]
    held = control.of(len(lot)) if control and lot else 0
    taken = min(held, len(lot))
    wave_of: dict[str, int] = {}
    counts: list[int] = []
    for size in (*sizes, WaveSize(vehicles=max(1, len(lot)))):
        part = lot[taken : taken + size.of(len(lot))]
        if part:
            counts.append(len(part))
            wave_of.update((vin, len(counts)) for vin in part)
            taken += len(part)
    return Deal(
        control=frozenset(lot[:held]),
        wave_of=wave_of,
        rank_of={vin: rank for rank, vin in enumerate(lot, 1)},
        wave_vehicles=tuple(counts),
    )


def estimate_install_s(release: ReleaseFacts) -> int:
    """Estimate seconds of installation for the slowest variant, ECUs one after another."""
    return max((_variant_s(release, packages) for packages in release.variants.values()), default=0)


def _variant_s(release: ReleaseFacts, packages: Mapping[str, PackageFacts]) -> int:
    seconds = 0.0
    for name, package in packages.items():
        storage = release.ecus[name].storage if name in release.ecus else "inplace"
        seconds += INSTALL_S_PER_ECU[storage] + INSTALL_S_PER_MB[storage] * package.image_bytes / 1_000_000
    return round(seconds)


def digest_targets(targets: Iterable[Target]) -> str:
    """Return the SHA-256 that binds the plan document to its list of vehicles."""
    digest = hashlib.sha256()
    for target in targets:
        digest.update(
            f"{target.vin}\t{target.verdict}\t{target.reason}\t{target.wave}\t{target.rank}\n".encode()
        )
    return digest.hexdigest()


def _stratum(stratify_by: Sequence[Stratum], vehicle: VehicleFacts) -> tuple[str, ...]:
    return tuple(str(getattr(vehicle, name)) for name in stratify_by)
