"""What was counted of both arms, row by row, and what all rows together say. Pure.

Rows are only ever added. A measure is taken again and again over the same ticks, since vehicles send late; what it
finds beyond the rows so far becomes one more row for the tick in which it happened. So nothing that arrives late is
dropped, no row is changed, and each reading can be computed again from the rows that it had.

The counts of a row, whole numbers:

- counted metrics: new events treated and control; time at risk (or trials) of the tick as known now, treated and
  control, over which those events are compared; how much of it is new, treated and control.
- measured metrics: new vehicles, sum and sum of squares, treated, then the same, control; in millionths.

Invariant: a row never takes anything away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ringroad.kernel.arm_counts import TREATED, ArmCell, ArmSum
from ringroad.kernel.rates import Tick
from ringroad.ship.guard import (
    MEANS,
    MeanCell,
    Metric,
    MetricName,
    Reading,
    SequentialPolicy,
    read_mean,
    read_rate,
)
from ringroad.ship.strata import with_strata

MILLIONTHS = 1_000_000
COUNTS = 6  # whole numbers per row
Key = tuple[int, str]  # tick, stratum


@dataclass(frozen=True, slots=True, kw_only=True)
class TickRow:
    """What became known of one metric in one tick and stratum."""

    metric: MetricName
    tick: int
    stratum: str
    counts: tuple[int, ...]


def rate_rows(
    metric: MetricName, cells: Iterable[ArmCell], recorded: Iterable[TickRow]
) -> tuple[TickRow, ...]:
    """Return what the cells add to the rows recorded so far, in order of tick and stratum.

    Args:
        metric: which.
        cells: counted over these ticks now.
        recorded: rows of this metric and of these ticks.
    """
    known = _summed(recorded)
    now: dict[Key, list[int]] = {}
    for cell in cells:
        counts = now.setdefault((cell.tick, cell.stratum), [0, 0, 0, 0])
        arm = 0 if cell.arm == TREATED else 1
        counts[arm] += cell.events
        counts[2 + arm] += cell.amount
    rows = []
    for key, (treated, control, treated_amount, control_amount) in sorted(now.items()):
        before = known.get(key, (0,) * COUNTS)
        events = (max(0, treated - before[0]), max(0, control - before[1]))
        fresh = (max(0, treated_amount - before[4]), max(0, control_amount - before[5]))
        # An event whose tick has lost its time at risk since (it ended with an earlier one) still happened.
        base = (max(treated_amount, before[4]), max(control_amount, before[5]))
        if any(events) or any(fresh):
            rows.append(TickRow(metric=metric, tick=key[0], stratum=key[1], counts=(*events, *base, *fresh)))
    return tuple(rows)


def mean_rows(metric: MetricName, sums: Iterable[ArmSum], recorded: Iterable[TickRow]) -> tuple[TickRow, ...]:
    """Return what the sums add to the rows recorded so far; a tick in which fewer are measured now adds nothing."""
    known = _summed(recorded)
    now: dict[Key, list[int]] = {}
    for each in sums:
        counts = now.setdefault((each.tick, each.stratum), [0] * COUNTS)
        start = 0 if each.arm == TREATED else 3
        counts[start] += each.count
        counts[start + 1] += round(each.total * MILLIONTHS)
        counts[start + 2] += round(each.squares * MILLIONTHS**2)
    rows = []
    for key, counts in sorted(now.items()):
        more = tuple(value - old for value, old in zip(counts, known.get(key, (0,) * COUNTS), strict=True))
        if min(more[0], more[3]) >= 0 and max(more[0], more[3]) > 0:
            rows.append(TickRow(metric=metric, tick=key[0], stratum=key[1], counts=more))
    return tuple(rows)


def readings_of(
    policy: SequentialPolicy, rows: Sequence[TickRow], *, strata: Sequence[str] = ()
) -> tuple[Reading, ...]:
    """Read every metric that has a control group from all rows, in any order.

    Args:
        policy: of the campaign.
        rows: everything that was counted.
        strata: names of the plan's; without them none is read alone.
    """
    by_metric: dict[MetricName, list[TickRow]] = {}
    for row in rows:
        by_metric.setdefault(row.metric, []).append(row)
    readings = []
    for metric in policy.compared:
        mine = by_metric.get(metric.name, [])
        by_stratum: dict[str, list[TickRow]] = {}
        for row in mine if len(strata) > 1 else ():
            by_stratum.setdefault(row.stratum, []).append(row)
        limit = policy.limit(metric)
        parts = {name: _read(metric, found, limit=limit) for name, found in by_stratum.items()}
        readings.append(with_strata(_read(metric, mine, limit=limit), parts, strata))
    return tuple(readings)


def _read(metric: Metric, rows: Sequence[TickRow], *, limit: int) -> Reading:
    if metric.name in MEANS:
        cells = [cell for row in rows if (cell := _mean_cell(row.counts)) is not None]
        return read_mean(metric, cells, limit=limit)
    return read_rate(
        metric,
        [_rate_tick(row.counts) for row in rows],
        limit=limit,
        exposure=(sum(row.counts[4] for row in rows), sum(row.counts[5] for row in rows)),
    )


def _summed(rows: Iterable[TickRow]) -> Mapping[Key, tuple[int, ...]]:
    sums: dict[Key, tuple[int, ...]] = {}
    for row in rows:
        before = sums.get((row.tick, row.stratum), (0,) * COUNTS)
        sums[row.tick, row.stratum] = tuple(one + more for one, more in zip(before, row.counts, strict=True))
    return sums


def _rate_tick(counts: Sequence[int]) -> Tick:
    treated, control, treated_exposure, control_exposure = counts[:4]
    return Tick(
        treated=treated if treated_exposure else 0,
        control=control if control_exposure else 0,
        treated_exposure=treated_exposure,
        control_exposure=control_exposure,
    )


def _mean_cell(counts: Sequence[int]) -> MeanCell | None:
    """Return means and variances out of sums; None where an arm has too few for a variance."""
    treated, control = counts[:3], counts[3:]
    if treated[0] < 2 or control[0] < 2:
        return None
    return MeanCell(
        treated_n=treated[0],
        treated_mean=treated[1] // treated[0],
        treated_variance=_variance(*treated),
        control_n=control[0],
        control_mean=control[1] // control[0],
        control_variance=_variance(*control),
    )


def _variance(count: int, total: int, squares: int) -> int:
    return max(0, squares * count - total * total) // (count * (count - 1))
