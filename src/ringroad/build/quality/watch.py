"""Alarms: does anything at a station fail more often than the rest, or than it did before? Pure.

Watched are each station, and each variant, software version and lot at it, in each period (`periods.py`) anew. What is
watched is compared with vehicles of the same variant at the same station that do not have it: those beside it, and
those of the two periods before (of a software version, of four); a station and a variant only with the periods before.

Vehicles fall into blocks as they come. A full block that has some of what is watched is one tick of the e-value of
`kernel/rates.py`, with the newest vehicles to compare with that no tick before has taken: each vehicle tells once, so
that evidence may be looked at after every block.

False alarms are bounded over everything that is ever watched on a line, for ever: with probability `ALPHA_PPM` at most
is there one at all. It is shared in the order in which things are first watched: the j-th gets 1 / (j (j + 1)) of it,
which sums up to one.

A station, a variant and a software version have two e-values, with half of their share each, since soon nothing more
comes to compare them with. The first is quick: it takes up to four vehicles for each while there are many, and tells of
what is far worse at once. The second goes slowly, and finds what is a little worse: of stations and variants it spends
the vehicles before evenly over the period. Lots come with others beside them, and have the first alone.

New software may harm one variant and be well with the others: its second e-value has half of its stake on each variant
apart, and reaches further back. Which thing is named is decided by the first alone, or a station that got worse would be
blamed on software.

Of what fails too often at one station, the thing that explains most is the alarm; its vehicles are then left out, and
what still fails too often without them is another one.

Source: `kernel/rates.py`; given their sum, failures of two groups of vehicles alike are hypergeometric, whose e-value
is at most that of the binomial: Hoeffding, "Probability inequalities for sums of bounded random variables" (1963),
theorem 4. Foster and Stine, "Alpha-investing" (2008), for spending along a sequence. Vovk and Wang, "E-values:
calibration, combination and applications" (2021), section 4, for stakes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Any, Final, NamedTuple

from ringroad.build.quality.periods import BEHIND, BEHIND_LONG, first_of
from ringroad.build.quality.yields import Kind, Tally
from ringroad.kernel.rates import Tick, log_e_above, log_sum_exp, rejects

ALPHA_PPM: Final = 50_000  # chance of a false alarm at all, in millionths
BLOCK: Final = 20  # vehicles at a station, after which evidence is looked at
NEAR_NATS: Final = 1.0  # two that explain as much: the more particular one is named
ALARMS_MAX: Final = 20  # of one look
RATIO_MAX: Final = 4  # vehicles compared with, for each of what is watched; more tell little more
SPARE: Final = (
    50  # vehicles left to compare with, for each of which a vehicle takes one: the last ones go slowly
)
SPARE_LONG: Final = 200  # the same, of a software version
HALF: Final = math.log(2)  # nats that half of a stake, or of a share of the bound, costs
_PARTICULAR: Final[tuple[Kind, ...]] = ("lot", "software", "variant", "station")


class Watched(NamedTuple):
    """What is watched: a station, or a variant, software version or lot at it."""

    station: str
    kind: Kind
    value: str


@dataclass(frozen=True, kw_only=True)
class Counted(Tally):
    """Vehicles alike at a station in one block of it."""

    period: int
    block: int

    @cached_property
    def watched(self) -> tuple[Watched, ...]:
        """What these vehicles tell of."""
        return tuple(
            Watched(self.station, kind, value) for kind in _PARTICULAR for value in self.values(kind)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """How often something failed in the newest period, and what that is worth.

    Attributes:
        vehicles: of it.
        failed: of these.
        usual: failures, had it failed as often as what it is compared with.
        compared: vehicles it is compared with.
        log_e: nats against "not more often than those".
        explains: the same of all variants together, counted alike for every kind: by it is chosen what is named.
        number: in the order of what is watched.
    """

    vehicles: int
    failed: int
    usual: float
    compared: int
    log_e: float
    explains: float
    number: int

    @property
    def hypotheses(self) -> int:
        """What the bound on false alarms is divided by."""
        return self.number * (self.number + 1)

    @property
    def alarms(self) -> bool:
        """Whether it is enough."""
        return rejects(self.log_e, alpha_ppm=ALPHA_PPM, hypotheses=self.hypotheses)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Something fails more often than before.

    Attributes:
        watched: what.
        evidence: how much.
        failing: of the vehicles that failed: how many were of which variant, software and lot.
    """

    watched: Watched
    evidence: Evidence
    failing: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def to_document(self) -> dict[str, Any]:
        """Return the evidence as a fact keeps it."""
        seen = self.evidence
        return {
            "vehicles": seen.vehicles, "failed": seen.failed, "usual_milli": round(1000 * seen.usual),
            "compared": seen.compared, "log_e_micronats": round(1e6 * seen.log_e),
            "hypotheses": seen.hypotheses, "alpha_ppm": ALPHA_PPM,
            "failing": {kind: dict(values) for kind, values in self.failing.items()},
        }  # fmt: skip


def newest_periods(counts: Iterable[Counted]) -> dict[str, int]:
    """Return the newest period of each station."""
    found: dict[str, int] = {}
    for each in counts:
        found[each.station] = max(each.period, found.get(each.station, 0))
    return found


def unnumbered(counts: Sequence[Counted], known: Container[tuple[Watched, int]]) -> list[tuple[Watched, int]]:
    """Return what is watched in its newest period and has no number there yet."""
    newest = newest_periods(counts)
    found = {
        (watched, each.period)
        for each in counts
        if each.period == newest[each.station] > 0
        for watched in each.watched
    }
    return sorted(each for each in found if each not in known)


def find_alarms(
    counts: Sequence[Counted], numbers: Mapping[tuple[Watched, int], int], standing: Iterable[Watched] = ()
) -> list[Alarm]:
    """Return what fails too often, the clearest first.

    Args:
        counts: of full blocks of a line; of each station the newest period and `BEHIND_LONG` before it, of which those
            before `BEHIND` need no lots.
        numbers: of what is watched, by period, from 1.
        standing: alarms that are not closed: vehicles of these tell of nothing else.
    """
    seen = set(standing)
    newest = newest_periods(
        counts
    )  # also where all of it belongs to an alarm: a period before is not looked at again
    full = dict(evidence_of(counts, numbers, newest))
    rest = [each for each in counts if not seen.intersection(each.watched)]
    found: list[Alarm] = []
    while len(found) < ALARMS_MAX:
        left = full if len(rest) == len(counts) else dict(evidence_of(rest, numbers, newest))
        loud = {w: e for w, e in left.items() if w not in seen and e.alarms and full[w].alarms}
        if not loud:
            break
        most = max(each.explains for each in loud.values())
        near = [w for w, e in loud.items() if e.explains >= most - NEAR_NATS]
        watched = min(
            (w for w in near if not _is_all(w, near, left)),
            key=lambda w: (_PARTICULAR.index(w.kind), -loud[w].explains, w),
        )
        found.append(Alarm(watched=watched, evidence=loud[watched], failing=_failing(rest, watched)))
        seen.add(watched)
        rest = [each for each in rest if watched not in each.watched]
    return found


def _is_all(watched: Watched, near: Sequence[Watched], left: Mapping[Watched, Evidence]) -> bool:
    """Return whether a variant is all that its station builds: then the station is to be named."""
    station = Watched(watched.station, "station", "")
    return watched.kind == "variant" and station in near and left[watched].vehicles == left[station].vehicles


def evidence_of(
    counts: Sequence[Counted],
    numbers: Mapping[tuple[Watched, int], int],
    newest: Mapping[str, int] | None = None,
) -> Iterator[tuple[Watched, Evidence]]:
    """Yield the evidence against everything that is watched in the newest period of its station."""
    newest = newest_periods(counts) if newest is None else newest
    by_station: dict[str, list[Counted]] = {}
    for each in sorted(counts, key=lambda each: each.block):
        by_station.setdefault(each.station, []).append(each)
    for station, told in by_station.items():
        period = newest[station]
        long = [each for each in told if each.period >= period - BEHIND_LONG]
        rows = [each for each in long if each.period >= period - BEHIND]
        for watched in dict.fromkeys(w for each in rows if each.period == period for w in each.watched):
            if (watched, period) in numbers:
                yield watched, _evidence(watched, rows, long, period, numbers[watched, period])


def _evidence(
    watched: Watched, rows: Sequence[Counted], long: Sequence[Counted], period: int, number: int
) -> Evidence:
    """Return the evidence against one thing, from the rows of its station in the order of blocks."""
    told = _ticks(watched, rows, period, SPARE)
    explains = log_e = log_e_above(_all(told))
    if watched.kind == "software":
        told = _ticks(watched, long, period, SPARE_LONG)
        log_e = max(explains, _log_e_mixed(told)) - HALF
    elif watched.kind != "lot":
        told = _ticks(watched, rows, period, None)
        log_e = max(explains, log_e_above(_all(told))) - HALF
    ticks = _all(told)
    return Evidence(
        vehicles=sum(tick.treated_exposure for tick in ticks),
        failed=sum(tick.treated for tick in ticks),
        usual=sum(tick.treated_exposure * tick.control / max(1, tick.control_exposure) for tick in ticks),
        compared=sum(tick.control_exposure for tick in ticks),
        log_e=log_e,
        explains=explains,
        number=number,
    )


def _log_e_mixed(told: Mapping[str, Sequence[Tick]]) -> float:
    """Return nats of a stake of which half is on all variants together, and half on each apart.

    One variant may suffer from what another is well with. The j-th that came has 1 / (j (j + 1)) of that half; what is
    left for those to come stays as it is, so that the mean of the whole is at most one.
    """
    apart = [log_e_above(ticks) - math.log(j * (j + 1)) for j, ticks in enumerate(told.values(), start=1)]
    unspent = -math.log(len(told) + 1)
    return log_sum_exp([log_e_above(_all(told)), *apart, unspent]) - HALF


def _all(told: Mapping[str, Sequence[Tick]]) -> list[Tick]:
    return [tick for ticks in told.values() for tick in ticks]


def _ticks(
    watched: Watched, rows: Sequence[Counted], period: int, spare: int | None
) -> dict[str, list[Tick]]:
    """Return what each variant told, in the order in which they came; one tick of each full block that has it.

    Of as many vehicles to compare with as `spare`, each takes one; None: they are spent evenly over the period.
    """
    ends = first_of(period + 1) // BLOCK
    beside = watched.kind in {"lot", "software"}
    unused: dict[str, list[list[int]]] = {}  # by variant, newest last: vehicles and failures of a block
    found: dict[str, list[Tick]] = {}
    for number, block in groupby(rows, key=lambda each: each.block):
        treated: dict[str, list[int]] = {}
        for each in block:
            is_treated = watched in each.watched and each.period == period
            if not is_treated and (watched in each.watched if beside else each.period == period):
                continue  # of it, in a period before; or beside it, where only periods before are compared
            if is_treated:
                place = treated.setdefault(each.variant, [0, 0])
            else:
                unused.setdefault(each.variant, []).append([0, 0])
                place = unused[each.variant][-1]
            place[0] += each.vehicles
            place[1] += each.failed
        for variant, (n, bad) in sorted(treated.items()):
            others = [0, 0]
            left = unused.get(variant, [])
            vehicles = sum(more[0] for more in left)
            wanted = n * max(1, vehicles / spare) if spare else vehicles / max(1, ends - number)
            wanted = min(wanted, n * RATIO_MAX)
            while left and others[0] < wanted:
                more = left.pop()
                others = [others[0] + more[0], others[1] + more[1]]
            found.setdefault(variant, []).append(
                Tick(treated=bad, treated_exposure=n, control=others[1], control_exposure=others[0])
            )
    return found


def _failing(counts: Iterable[Counted], watched: Watched) -> dict[str, dict[str, int]]:
    """Return how many of the failed vehicles were of which variant, software and lot."""
    found: dict[str, Counter[str]] = {"variant": Counter(), "software": Counter(), "lot": Counter()}
    period = newest_periods(counts)[watched.station]
    for each in counts:
        if watched in each.watched and each.period == period:
            for kind in ("variant", "software", "lot"):
                for value in each.values(kind):
                    found[kind][value] += each.failed
    return {kind: {v: n for v, n in values.most_common(5) if n} for kind, values in found.items()}
