"""What a plant learns that is nobody's clone: what it believed before and what it measured since, added up.

Three sums add up to the belief after both, as long as both are of the same station. Where what was measured clearly
contradicts what was believed, somebody re-tooled it: then what was measured stands alone.

Pure. Invariant: what was measured is added to the belief of the document that somebody imported, never to one that
was learned, so that learning twice from the same observations changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from statistics import NormalDist
from typing import Final

from ringroad.build.clone.inherit import NOISE_N_MAX
from ringroad.build.clone.learn import Clone, Learned
from ringroad.build.plant.diff import CLEAR_SIGMA
from ringroad.build.plant.parameters import Key
from ringroad.build.plant.posterior import Origin, Posterior
from ringroad.kernel.errors import InvalidInput

ALONE_N_MIN: Final = 10  # observations that may contradict what was believed; fewer may be one bad morning
_Z90: Final = NormalDist().inv_cdf(0.95)


def remember(before: Posterior, own: Posterior, *, origin: Origin) -> tuple[Posterior, bool]:
    """Return the belief after what was measured, and whether that contradicts what was believed.

    Args:
        before: as the imported document has it.
        own: what was measured since.
        origin: of the new belief.

    Raises:
        InvalidInput: they are not of one family.
    """
    merged = before.merged(own, origin=origin)
    apart = abs(own.centre - before.centre) / math.sqrt(_error(own, before) + before.error_variance)
    if own.n >= ALONE_N_MIN and apart >= CLEAR_SIGMA:
        return replace(own, origin=origin), True
    return merged, False


def remember_all(
    beliefs: Mapping[Key, Posterior], own: Mapping[Key, Posterior], *, origin: Origin
) -> tuple[dict[Key, Posterior], tuple[tuple[str, Clone], ...]]:
    """Return new beliefs of what was measured, and what was found of each kind, as a clone tells it.

    Raises:
        InvalidInput: something was measured that there is no belief of.
    """
    if unknown := sorted(own.keys() - beliefs.keys()):
        raise InvalidInput(f"there is no parameter {unknown[0]}")
    new: dict[Key, Posterior] = {}
    kinds: dict[str, list[Learned]] = {}
    for key in sorted(own):
        evidence = f"{own[key].n:g} of its own beside what it believed before"
        new[key], different = remember(beliefs[key], own[key], origin=replace(origin, evidence=evidence))
        half = _Z90 * math.sqrt(new[key].error_variance)
        kinds.setdefault(key.kind, []).append(
            Learned(
                key=key, centre=new[key].centre, variance=new[key].error_variance, low=new[key].centre - half,
                high=new[key].centre + half, inherited=beliefs[key].centre, different=float(different),
                own_n=own[key].n,
            )
        )  # fmt: skip
    return new, tuple(
        (
            kind,
            Clone(
                learned=tuple(found),
                plant=0.0,
                plant_low=0.0,
                plant_high=0.0,
                transfer_sd=0.0,
                different_share=_share(found),
            ),
        )
        for kind, found in kinds.items()
    )


def _error(own: Posterior, before: Posterior) -> float:
    """Return the variance of what was measured; few times tell little of how much they spread."""
    if own.family != "time":
        return own.error_variance
    pooled = (NOISE_N_MAX * before.log_variance + own.n * own.log_variance) / (NOISE_N_MAX + own.n)
    return pooled / own.n


def _share(found: list[Learned]) -> float:
    return sum(each.different for each in found) / len(found)
