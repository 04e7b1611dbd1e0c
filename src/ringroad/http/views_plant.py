"""What the API shows of plants: documents, their parameters as people read them, and differences."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from ringroad.build.model import Line
from ringroad.build.plant.diff import PlantDiff, StructureChange
from ringroad.build.plant.line_state import LineState, stations_of
from ringroad.build.plant.model import Plant
from ringroad.build.plant.parameters import KINDS, Key
from ringroad.build.plant.posterior import Posterior
from ringroad.build.plant.store import StoredPlant, TakenPlant
from ringroad.build.plant.store_events import DeadLetter
from ringroad.http.views import View


class ParameterView(View, frozen=True, kw_only=True):
    """One belief of a plant."""

    key: str
    name: str  # ISA-95: enterprise, site, area, line, cell
    kind: str
    per: str  # option, change, milestone; empty if there is one of it
    family: str  # time, share or rate
    mean: float
    low: float  # between these with probability 0.9
    high: float
    n: float  # observations it is worth
    spread_permille: int | None  # of one observed time
    plant: str  # that observed it; empty: a person's word
    learned_at: datetime | None
    evidence: str


class PlantView(View, frozen=True, kw_only=True):
    """A plant document, without its content."""

    id: str
    name: str
    enterprise: str
    site: str
    parent: str
    generation: int  # 0: read out of a programme's file
    structure_sha256: str
    parameters_sha256: str
    lines: list[str]
    stations: int
    parameters: int
    runs: list[str]  # programmes that its lines build here
    made_by: str
    made_at: datetime


class PlantDocumentView(PlantView, frozen=True, kw_only=True):
    """A plant document, whole."""

    document: dict[str, Any]
    beliefs: list[ParameterView]


class ImportedPlantView(PlantDocumentView, frozen=True, kw_only=True):
    """A plant document as it was taken."""

    kept: list[str]  # parameters that were decided or learned here, and that the document did not name
    doubts: list[str]  # what is likely to be a mistake
    looks_at_less: list[str]  # in words, what its gates look at less than those of the generation before


class StructureChangeView(View, frozen=True, kw_only=True):
    """One place that is not the same."""

    path: str
    before: Any
    after: Any


class ParameterDriftView(View, frozen=True, kw_only=True):
    """One parameter that is not the same."""

    key: str
    how: str  # missing, new, differs, learned
    sigma: float  # difference in standard errors of both beliefs
    before: ParameterView | None
    after: ParameterView | None


class PlantDiffView(View, frozen=True, kw_only=True):
    """How two plants differ."""

    before: str
    after: str
    same_structure: bool
    same_parameters: bool
    structure: list[StructureChangeView]
    parameters: list[ParameterDriftView]
    bindings: list[StructureChangeView]


def plant_view(stored: StoredPlant, runs: list[str]) -> PlantView:
    """Return a plant without its content."""
    return PlantView(**_head(stored, runs))


def document_view(stored: StoredPlant, runs: list[str]) -> PlantDocumentView:
    """Return a plant, whole."""
    plant = stored.plant
    return PlantDocumentView(
        **_head(stored, runs),
        document=plant.to_document(),
        beliefs=[parameter_view(plant, key, plant.parameters[key]) for key in sorted(plant.parameters)],
    )


def imported_view(taken: TakenPlant, runs: list[str], doubts: list[str]) -> ImportedPlantView:
    """Return a plant as it was taken."""
    whole = msgspec.structs.asdict(document_view(taken.stored, runs))
    return ImportedPlantView(
        **whole, kept=[str(each) for each in taken.kept], doubts=doubts,
        looks_at_less=list(taken.looks_at_less),
    )  # fmt: skip


def parameter_view(plant: Plant, key: Key, belief: Posterior) -> ParameterView:
    """Return one belief as people read it."""
    low, high = belief.interval()
    return ParameterView(
        key=str(key),
        name=plant.full_name(key.path),
        kind=key.kind,
        per=key.per,
        family=KINDS[key.kind].family,
        mean=belief.mean,
        low=low,
        high=high,
        n=belief.n,
        spread_permille=belief.spread_permille if belief.family == "time" else None,
        plant=belief.origin.plant,
        learned_at=belief.origin.learned_at,
        evidence=belief.origin.evidence,
    )


def diff_view(before: Plant, after: Plant, found: PlantDiff) -> PlantDiffView:
    """Return how two plants differ."""
    return PlantDiffView(
        before=before.id,
        after=after.id,
        same_structure=before.structure_sha256 == after.structure_sha256,
        same_parameters=before.parameters_sha256 == after.parameters_sha256,
        structure=[_change(each) for each in found.structure],
        bindings=[_change(each) for each in found.bindings],
        parameters=[
            ParameterDriftView(
                key=str(drift.key), how=drift.how, sigma=drift.sigma,
                before=parameter_view(before, drift.key, drift.before) if drift.before else None,
                after=parameter_view(after, drift.key, drift.after) if drift.after else None,
            )
            for drift in found.parameters
        ],
    )  # fmt: skip


def _head(stored: StoredPlant, runs: list[str]) -> dict[str, Any]:
    plant, identity = stored.plant, stored.plant.identity
    lines = plant.structure.lines
    return {
        "id": identity.id, "name": identity.name, "enterprise": identity.enterprise, "site": identity.site,
        "parent": identity.parent, "generation": stored.generation,
        "structure_sha256": plant.structure_sha256, "parameters_sha256": plant.parameters_sha256,
        "lines": [line.name for line in lines], "stations": sum(len(line.stations) for line in lines),
        "parameters": len(plant.parameters), "runs": runs, "made_by": stored.made_by, "made_at": stored.made_at,
    }  # fmt: skip


def _change(each: StructureChange) -> StructureChangeView:
    return StructureChangeView(path=each.path, before=each.before, after=each.after)


class StationStateView(View, frozen=True, kw_only=True):
    """One station now."""

    name: str
    inside: list[str]  # orders in it
    behind: list[str]  # orders that left it and are not in the next
    left: int  # vehicles that left it
    passed: int  # results
    failed: int
    stopped: str  # why it stands; empty while it works
    last_at: datetime | None  # newest event


class LineStateView(View, frozen=True, kw_only=True):
    """A line after so many events of its stations."""

    programme_id: str
    position: int
    at: datetime | None  # of the newest event, by its station's clock
    built: int  # vehicles that left the line
    stations: list[StationStateView]
    failed: dict[str, list[str]]  # orders on the line whose checks failed and did not pass since


class MesEventView(View, frozen=True, kw_only=True):
    """An event that was taken."""

    position: int
    received_at: datetime
    event: dict[str, Any]


class RefusedEventView(View, frozen=True, kw_only=True):
    """An event that cannot be, and why."""

    programme_id: str
    event_id: str
    order_id: str
    station: str
    code: str
    reason: str
    raw: str  # as it came
    received_at: datetime


class RestView(View, frozen=True, kw_only=True):
    """A rest of a line."""

    since: datetime  # now, of one that began before
    until: datetime


class PlannedVehicleView(View, frozen=True, kw_only=True):
    """When a vehicle of a schedule passes the line, at mean times and if nothing else stops."""

    order_id: str
    enters_at: datetime | None  # none: it is on the line
    leaves_at: datetime
    due_at: datetime | None
    late: bool


class LineTimesView(View, frozen=True, kw_only=True):
    """When the vehicles of the current schedule pass the line."""

    programme_id: str
    generation: int  # of the schedule
    calendar: str  # that the line works by; empty: always
    time_zone: str  # of the calendar
    at: datetime  # from when on this is said
    rests_until: datetime | None  # the line rests now
    rests: list[RestView]  # until the last of these vehicles has left
    vehicles: list[PlannedVehicleView]  # the first 200


class BranchView(View, frozen=True, kw_only=True):
    """A line after events that did not happen."""

    state: LineStateView
    refused: list[str]  # which of them cannot be, and why


class EventsAccepted(View, frozen=True, kw_only=True):
    """Events that the stream has."""

    accepted: int


def line_state_view(programme_id: str, state: LineState, line: Line) -> LineStateView:
    """Return the state of a line, station by station."""
    return LineStateView(
        programme_id=programme_id,
        position=state.position,
        at=state.at,
        built=state.built,
        stations=[
            StationStateView(
                name=name, inside=list(inside), behind=list(behind), left=each.left, passed=each.passed,
                failed=each.failed, stopped=each.stopped, last_at=each.last_at,
            )
            for name, each, inside, behind in stations_of(state, line)
        ],
        failed={order: list(each.failed) for order, each in state.vehicles.items() if each.failed},
    )  # fmt: skip


def refused_view(letter: DeadLetter) -> RefusedEventView:
    """Return an event that cannot be, as it came."""
    return RefusedEventView(
        programme_id=letter.programme_id, event_id=letter.event_id, order_id=letter.order_id,
        station=letter.station, code=letter.code, reason=letter.reason,
        raw=letter.raw.decode("utf-8", "backslashreplace").replace("\0", "\\0"), received_at=letter.received_at,
    )  # fmt: skip


def amount(family: str, value: float) -> str:
    """Return a value in a unit that people read."""
    if family == "share":
        return f"{100 * value:.3g} %"
    for unit, seconds in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if value >= 2 * seconds:
            return f"{value / seconds:.3g} {unit}"
    return f"{value:.3g} s"
