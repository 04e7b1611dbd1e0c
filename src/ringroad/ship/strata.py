"""Is one stratum worse off, though all together are not? What the strata of a metric add to its reading. Pure.

A fault of one variant in one region drowns where all strata are taken together: the others say, rightly, that nothing
is wrong with them. So a metric has an e-value of all strata and one of each, and the metric's is

    e = (e of all) / 2 + (mean of the e of each planned stratum) / 2

where a stratum of which nothing was counted has e = 1. A mean of e-values with weights that were fixed beforehand is
an e-value again: the promise of the error budget holds as it did, whatever the strata have to do with each other. A
harm that all share is found at the price of ln 2 nats, one that is confined to a stratum at that of ln (2 x strata).

A stratum has an e-value of its own only where the plan holds back `CONTROL_MIN` of its vehicles. The control group is
watched window after window: what makes a few vehicles differ for good, in means as in rates, never averages out, and
would pass for harm. Smaller strata count in the e of all.

Invariants:
    The strata are chosen by the plan, so that nothing that happened later chooses a weight.
    A plan of one stratum, and one from before strata were read, is read as ever.

Source: Vovk and Wang, "E-values: calibration, combination and applications" (2021), section 4.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ringroad.kernel.rates import log_sum_exp
from ringroad.ship.guard import Reading, StratumReading

CONTROL_MIN = (
    50  # vehicles held back in a stratum; of 10, watched for a day, chance halts 5 of 100. tests/unit/ship
)
TOLD_MAX = 20  # strata of a reading that are stored, those with the most against them; each takes 200 bytes


def read_alone(matches: Mapping[str, int], *, held: int) -> list[str]:
    """Return the names of the strata that have enough vehicles in the control group to be read alone.

    Args:
        matches: vehicles of each stratum, those held back included.
        held: vehicles held back of all; the lot takes the same share of each stratum, give or take one vehicle.
    """
    total = max(1, sum(matches.values()))
    return sorted(name for name, vehicles in matches.items() if vehicles * held // total >= CONTROL_MIN)


def with_strata(whole: Reading, parts: Mapping[str, Reading], strata: Sequence[str]) -> Reading:
    """Return the reading of a metric with what its strata say.

    Args:
        whole: of all strata together.
        parts: of each stratum that anything was counted of, by its name.
        strata: names of those of the plan.
    """
    if len(strata) < 2:
        return whole
    planned = {name: parts[name] for name in sorted(strata) if name in parts}
    logs = [each.log_e_micronats / 1_000_000 for each in planned.values()]
    logs += [0.0] * (len(strata) - len(logs))
    log_half = math.log(2)
    log_each = log_sum_exp(logs) - math.log(len(strata))
    log_e = log_sum_exp([whole.log_e_micronats / 1_000_000 - log_half, log_each - log_half])
    told = sorted(planned.items(), key=lambda item: (-item[1].log_e_micronats, item[0]))[:TOLD_MAX]
    return replace(
        whole,
        log_e_micronats=math.floor(log_e * 1_000_000),
        strata=tuple(_told(name, each) for name, each in told),
    )


def _told(name: str, part: Reading) -> StratumReading:
    return StratumReading(
        stratum=name,
        log_e_micronats=part.log_e_micronats,
        point_milli=part.point_milli,
        low_milli=part.low_milli,
        high_milli=part.high_milli,
        treated=part.treated,
        control=part.control,
        treated_exposure=part.treated_exposure,
        control_exposure=part.control_exposure,
    )
