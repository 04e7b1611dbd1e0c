"""What every search by annealing needs: random bits, and whether a worse state is taken. Compiled into the searches."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ringroad.build.kernels.compiled import part

Ints = NDArray[np.int64]
Seed = NDArray[np.uint64]

FINE: Final = 1 << 30  # steps of a probability; coarse enough that no rounding of exp() shows
HOPELESS: Final = 20  # times the heat, that a worse state is never taken


@part
def draw(seed: Seed) -> int:
    """Return the next 64 random bits. Source: Marsaglia (2003), xorshift64."""
    bits = seed[0]
    bits ^= bits << np.uint64(13)
    bits ^= bits >> np.uint64(7)
    bits ^= bits << np.uint64(17)
    seed[0] = bits
    return bits


@part
def below(seed: Seed, limit: int) -> int:
    """Return a random whole number from 0 to limit - 1."""
    return np.int64(((np.uint64(draw(seed)) >> np.uint64(32)) * np.uint64(limit)) >> np.uint64(32))


@part
def accepts(more: int, heat: float, seed: Seed) -> bool:
    """Say whether a state that costs so much more is taken at this heat. Source: Metropolis et al. 1953."""
    if more > HOPELESS * heat:
        return False
    chance = np.int64(math.exp(-more / heat) * FINE)
    return np.int64(np.uint64(draw(seed)) >> np.uint64(34)) < chance


@part
def is_less(one: Ints, other: Ints) -> bool:
    """Compare costs level by level; the first that differs decides."""
    for level in range(one.shape[0]):
        if one[level] != other[level]:
            return bool(one[level] < other[level])
    return False
