"""What the API shows of quality: results, yields, alarms, gates."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from ringroad.build.quality.gate_kinds import NamedKind
from ringroad.build.quality.results import Outcome
from ringroad.build.quality.store_gates import DAYS, JudgedGate
from ringroad.build.quality.store_watch import StoredAlarm
from ringroad.build.quality.yields import Belief, Kind, Yields
from ringroad.http.views import View

CELLS_SHOWN: Final = 50  # worst ones


class RefusedResultView(View, frozen=True, kw_only=True):
    """A result that was not believed."""

    id: str
    vehicle: str
    station: str
    reason: str


class ResultsTaken(View, frozen=True, kw_only=True):
    """What became of a delivery of results."""

    taken: int
    repeated: int  # known before
    refused: list[RefusedResultView]


class ResultView(View, frozen=True, kw_only=True):
    """One result of a check, as it is kept."""

    id: str
    plant_id: str
    station: str
    gate: str  # that makes this check; empty if none does
    check: str
    vehicle: str
    order_id: str | None  # the vehicle, if it is an order of ours
    variant: str
    software: str
    lots: dict[str, str]  # part to lot, of what was fitted at this station
    passed: bool
    attempt: int  # of this check on this vehicle; above 1 after rework
    outcome: Outcome
    at: datetime
    told_at: datetime
    told_by: str


class ShareView(View, frozen=True, kw_only=True):
    """First-pass yield of something: what was seen, and what is believed."""

    vehicles: int
    failed: int  # of these, not right at once
    first_pass: float  # believed share that is right at once
    low: float  # between these with probability 0.9
    high: float


class LevelView(ShareView, frozen=True, kw_only=True):
    """A station, or a variant, a software version or a lot at it."""

    station: str
    kind: Kind
    value: str  # empty for the station itself; part=lot for a lot
    times: float  # as often as the station otherwise fails; 1 for a station


class CellView(ShareView, frozen=True, kw_only=True):
    """Vehicles alike at a station."""

    station: str
    variant: str
    software: str
    lots: dict[str, str]


class YieldsView(View, frozen=True, kw_only=True):
    """First-pass yield of a line."""

    programme_id: str
    days: int
    rolled: float  # share of vehicles that pass all stations at once
    rolled_low: float
    rolled_high: float
    levels: list[LevelView]
    cells: list[CellView]  # the worst ones
    cells_total: int
    pooling: dict[str, float]  # how alike things of a kind are, in failures; of cells, in vehicles


class StopOffer(View, frozen=True, kw_only=True):
    """A quality stop that a person may begin because of an alarm."""

    station: str
    kind: str
    reason: str
    options: list[str]


class AlarmView(View, frozen=True, kw_only=True):
    """Something at a station fails more often than before."""

    id: str
    programme_id: str
    plant_id: str
    station: str
    kind: Kind
    value: str
    vehicles: int
    failed: int
    usual: float  # failures that were to be expected
    says: str  # in words
    evidence: dict[str, Any]
    offer: StopOffer | None  # where a stop helps: not for a software version, and not once it is closed
    finding_id: str | None
    opened_at: datetime
    closed_at: datetime | None
    closed_by: str
    reason: str


class KindView(View, frozen=True, kw_only=True):
    """Vehicles alike at a station: of one variant, software and lots."""

    key: str  # to decide with
    says: str  # in words


class ProposedKindView(KindView, frozen=True, kw_only=True):
    """Vehicles of which a gate should inspect every one, and what that does."""

    permille: float  # of all vehicles of the line
    vehicles: int  # that were checked
    failed: int  # of these, not right at once
    times: float  # as often as the station's other vehicles; between the next two nine times of ten
    times_low: float
    times_high: float
    would_have_caught: float  # estimated bad vehicles of 90 days, that the gate as it is let pass
    saves: float  # estimated cost of 1,000 vehicles, against looking at these by chance; in the unit of the gate's costs
    why: str  # the above in words


class GateView(View, frozen=True, kw_only=True):
    """A quality gate: what is known of it, and how many vehicles it should inspect."""

    plant_id: str
    generation: int  # of the plant document
    station: str
    gate: str
    inspect_permille: (
        int  # vehicles of 1,000 that it inspects by chance now: all that are of no kind of `inspects_all`
    )
    inspects_all: list[KindView]  # kinds of vehicles of which it inspects every one
    decided: str  # on what that rests; empty: as the plant's structure says
    left: int  # vehicles that left it in 90 days
    inspected: int
    refused: int
    missed: int  # escapes that it had looked at
    slipped: int  # escapes that it had not
    escape_rate: float  # believed share of vehicles that leave it bad
    escape_low: float
    escape_high: float
    proposed_permille: int  # in all
    others_permille: int  # proposed of vehicles that are of no kind of `all_of`, by chance
    changes: bool  # whether the proposal is worth a decision
    reasons: list[str]
    all_of: list[
        ProposedKindView
    ]  # kinds of vehicles of which it should inspect every one, what saves most first
    unnamed: int  # other kinds that are worth an inspection, and would save little each
    cost_now: float | None  # expected of 1,000 vehicles, in the unit of the gate's costs
    cost_then: float | None
    escapes_now: float  # expected of 1,000 vehicles
    escapes_then: float


def gate_view(found: JudgedGate) -> GateView:
    """Return a gate as the API shows it. Pure."""
    record, proposal = found.record, found.proposal
    low, high = record.escapes.between()
    return GateView(
        plant_id=found.plant_id, generation=found.generation, station=record.station, gate=record.gate,
        inspect_permille=record.inspect_permille,
        inspects_all=[KindView(key=each.key, says=each.says) for each in record.all_of], decided=found.decided.origin.evidence if found.decided else "",
        left=record.left, inspected=record.inspected, refused=record.refused, missed=record.missed,
        slipped=record.slipped, escape_rate=record.escapes.fails, escape_low=1 - high, escape_high=1 - low,
        proposed_permille=proposal.inspect_permille,
        others_permille=proposal.others_permille, changes=proposal.changes, reasons=list(proposal.reasons),
        all_of=[_proposed_kind(each, left=record.left) for each in proposal.named], unnamed=proposal.unnamed,
        cost_now=proposal.cost_now, cost_then=proposal.cost_then,
        escapes_now=proposal.escapes_now, escapes_then=proposal.escapes_then,
    )  # fmt: skip


def _proposed_kind(found: NamedKind, *, left: int) -> ProposedKindView:
    caught = found.more * left / 1000
    between = f"{found.times_low:.1f} to {found.times_high:.1f}"
    told = [
        f"{100 * found.share:.1f} % of vehicles",
        f"{found.failed} of {found.vehicles} failed, {found.times:.1f} times as often as others there ({between})",
        *(
            [f"would have caught an estimated {caught:.0f} more bad ones in {DAYS} days"]
            if caught >= 1 / 2
            else []
        ),
        f"would save an estimated {found.saves:.0f} per 1,000 vehicles",
    ]
    return ProposedKindView(
        key=found.kind.key, says=found.kind.says, permille=1000 * found.share, vehicles=found.vehicles,
        failed=found.failed, times=found.times, times_low=found.times_low, times_high=found.times_high,
        would_have_caught=caught, saves=found.saves, why="; ".join(told),
    )  # fmt: skip


class InspectionView(View, frozen=True, kw_only=True):
    """Whether a gate looks at a vehicle, and what came of it."""

    order_id: str
    vin: str | None  # once it is born
    station: str
    gate: str
    inspect: bool
    permille: int  # the chance with which it was chosen; 1000 where every vehicle is, and for a contained lot
    reason: str
    drawn_at: datetime
    passed: bool | None  # by the newest results of the gate; null for none yet


class ContainedLotView(View, frozen=True, kw_only=True):
    """A lot of which every vehicle on the line is looked at."""

    id: str
    programme_id: str
    part: str
    lot: str
    reason: str
    contained_at: datetime
    contained_by: str
    released_at: datetime | None
    released_by: str
    release_reason: str
    on_line: int | None = None  # orders that had it when it was contained; said once
    born: int | None = None  # vehicles that had left the line with it by then; said once


def yields_view(programme_id: str, found: Yields, *, days: int) -> YieldsView:
    """Return yields as the API shows them, the worst cells first. Pure."""
    worst = sorted(found.cells, key=lambda each: (-each.belief.fails, each.tally.station))
    rolled, low, high = found.rolled
    return YieldsView(
        programme_id=programme_id, days=days, rolled=rolled, rolled_low=low, rolled_high=high,
        levels=[
            LevelView(
                station=each.station, kind=each.kind, value=each.value, times=each.times,
                **_share(each.vehicles, each.failed, each.belief),
            )
            for each in found.levels
        ],
        cells=[
            CellView(
                station=each.tally.station, variant=each.tally.variant, software=each.tally.software,
                lots=dict(each.tally.lots), **_share(each.tally.vehicles, each.tally.failed, each.belief),
            )
            for each in worst[:CELLS_SHOWN]
        ],
        cells_total=len(found.cells), pooling=dict(found.strengths),
    )  # fmt: skip


def alarm_view(alarm: StoredAlarm) -> AlarmView:
    """Return an alarm as the API shows it. Pure."""
    says = alarm_words(alarm.station, alarm.kind, alarm.value, alarm.evidence)
    offered = alarm.closed_at is None and alarm.kind != "software"
    offer = StopOffer(
        station=alarm.station, kind="quality", reason=says,
        options=[alarm.value] if alarm.kind == "variant" else [],
    )  # fmt: skip
    given = {name: getattr(alarm, name) for name in AlarmView.__struct_fields__ if hasattr(alarm, name)}
    return msgspec.convert(
        given
        | {
            "vehicles": alarm.evidence["vehicles"], "failed": alarm.evidence["failed"],
            "usual": alarm.evidence["usual_milli"] / 1000, "says": says, "offer": offer if offered else None,
        },
        AlarmView, from_attributes=True,
    )  # fmt: skip


def alarm_words(station: str, kind: Kind, value: str, evidence: Mapping[str, Any]) -> str:
    """Say what fails, in one line with station, lot and version. Pure."""
    part, _, lot = value.partition("=")
    of = {
        "station": "", "variant": f" of {value}", "software": f" with software {value}",
        "lot": f" with lot {lot} of {part}",
    }[kind]  # fmt: skip
    beside = [
        f"{words}{most[0]}"
        for name, words, least in (("variant", "", 0.75), ("software", "software ", 0.5), ("lot", "lot ", 0.5))
        if name != kind and (name != "variant" or kind == "software")  # software may be well with other variants
        and (most := _most_of(evidence.get("failing", {}).get(name, {})))[1] > least * evidence["failed"]
    ]  # fmt: skip
    told = f"; most of them {' and '.join(beside)}" if beside else ""
    usual = evidence["usual_milli"] / 1000
    return f"{station}: {evidence['failed']} of {evidence['vehicles']} vehicles{of} failed, {usual:.1f} were usual{told}"


def _most_of(counts: Mapping[str, int]) -> tuple[str, int]:
    """Return what has the most, and how many; the database keeps no order of them."""
    return max(counts.items(), key=lambda each: each[1], default=("", 0))


def _share(vehicles: int, failed: int, belief: Belief) -> dict[str, Any]:
    low, high = belief.between()
    return {
        "vehicles": vehicles, "failed": failed, "first_pass": belief.first_pass, "low": low, "high": high,
    }  # fmt: skip
