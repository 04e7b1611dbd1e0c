"""What a plant believes of a time, a share or a rate, from how much evidence, and whose.

A posterior is kept as sufficient statistics, three numbers that add up: those of two plants are merged by adding
them, shrunk by scaling them, and are all that has to travel. A value that somebody only stated counts as one
observation.

====== ====================== ================== ==================== ====================
family belief                 `n`                `total`              `squares`
====== ====================== ================== ==================== ====================
time   normal on log scale    observations       sum of ln(seconds)   sum of ln(seconds)²
share  beta                   trials             successes            not used, 0
rate   gamma                  events             seconds observed     not used, 0
====== ====================== ================== ==================== ====================

Pure. Invariant: statistics that no observations could have are never made.
Source: docs/reference/plant-document.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from statistics import NormalDist
from typing import Any, Final, Literal

from ringroad.kernel.errors import InvalidInput

Family = Literal["time", "share", "rate"]

N_MAX: Final = 1e12  # observations
SECONDS_MIN: Final = 1e-3  # a millisecond; shorter is no work of a plant
SECONDS_MAX: Final = 3.2e9  # a hundred years
STATED_N: Final = 1.0  # what a person's word counts as
STATED_SPREAD_PERMILLE: Final = (
    50  # of a stated time, where nothing else is said; manual work varies by about 5 %
)
VARIANCE_SLACK: Final = 1e-9  # of sums of squares: they were added in floating point


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a belief comes from.

    Attributes:
        plant: the plant that observed it; "" for nobody's observation, a person's word.
        learned_at: when it was last learned from; None for never.
        evidence: from what, in words or as the id of a fact.
    """

    plant: str = ""
    learned_at: datetime | None = None
    evidence: str = ""


STATED: Final = Origin(evidence="stated")


@dataclass(frozen=True, slots=True, kw_only=True)
class Posterior:
    """A belief and where it comes from; see the table above for the three numbers."""

    family: Family
    n: float
    total: float
    squares: float = 0.0
    origin: Origin = STATED

    def __post_init__(self) -> None:
        """Refuse what no observations could sum up to."""
        problem = _impossible(self)
        if problem:
            raise InvalidInput(f"a {self.family} cannot have {problem}")

    @property
    def mean(self) -> float:
        """Expected value: seconds of a time, share of 1, seconds between two events of a rate."""
        match self.family:
            case "time":
                return math.exp(self.log_mean + self.log_variance / 2)
            case "share":
                return self.total / self.n
            case "rate":
                return self.total / self.n

    @property
    def log_mean(self) -> float:
        """Mean of the logarithm, of a time."""
        return self.total / self.n

    @property
    def log_variance(self) -> float:
        """Variance of one observation's logarithm, of a time."""
        return max(0.0, self.squares / self.n - self.log_mean**2)

    @property
    def spread_permille(self) -> int:
        """Standard deviation of one observed time, in thousandths of its mean."""
        return round(1000 * math.sqrt(math.expm1(self.log_variance)))

    def interval(self, share: float = 0.9) -> tuple[float, float]:
        """Return between what the expected value is believed to be, in the unit of `mean`.

        Times and rates on log scale, shares after Wilson: intervals that stay within what can be.
        """
        z = NormalDist().inv_cdf(0.5 + share / 2)
        if self.family == "share":
            return _wilson(self.mean, self.n, z)
        half = z * math.sqrt(self.error_variance)
        return self.mean * math.exp(-half), self.mean * math.exp(half)

    @property
    def error_variance(self) -> float:
        """Variance of the belief itself: of the logarithm of times and rates, of the logit of shares."""
        match self.family:
            case "time":
                return max(self.log_variance, VARIANCE_SLACK) / self.n
            case "share":
                good, bad = self.total + 0.5, self.n - self.total + 0.5
                return 1 / good + 1 / bad
            case "rate":
                return 1 / self.n

    @property
    def centre(self) -> float:
        """The belief on the scale that `error_variance` is of."""
        match self.family:
            case "time":
                return self.log_mean
            case "share":
                return math.log((self.total + 0.5) / (self.n - self.total + 0.5))
            case "rate":
                return math.log(self.total / self.n)

    def mean_at(self, centre: float) -> float:
        """Return what `mean` would be if `centre` were this, with this spread."""
        match self.family:
            case "time":
                return math.exp(centre + self.log_variance / 2)
            case "share":
                return 1 / (1 + math.exp(-centre))
            case "rate":
                return math.exp(centre)

    def merged(self, other: Posterior, *, origin: Origin | None = None) -> Posterior:
        """Return the belief after the evidence of both. Raises: InvalidInput, if they are not of one family."""
        if self.family != other.family:
            raise InvalidInput(f"a {self.family} and a {other.family} cannot be merged")
        return replace(
            self,
            n=self.n + other.n,
            total=self.total + other.total,
            squares=self.squares + other.squares,
            origin=origin or other.origin,
        )

    def scaled(self, weight: float) -> Posterior:
        """Return the same expectation from `weight` times the evidence: less of it is worth less to whom it is a prior."""
        if not weight > 0:
            raise InvalidInput("evidence is scaled by more than nothing")
        return replace(self, n=self.n * weight, total=self.total * weight, squares=self.squares * weight)

    def to_document(self) -> dict[str, Any]:
        """Return its JSON form."""
        origin = self.origin
        return (
            {"n": self.n, "total": self.total}
            | ({"squares": self.squares} if self.family == "time" else {})
            | ({"plant": origin.plant} if origin.plant else {})
            | ({"learned_at": origin.learned_at.isoformat()} if origin.learned_at else {})
            | ({"evidence": origin.evidence} if origin.evidence else {})
        )


def stated_time(
    mean_s: float,
    *,
    spread_permille: int = STATED_SPREAD_PERMILLE,
    n: float = STATED_N,
    origin: Origin = STATED,
) -> Posterior:
    """Return the belief in a time of this mean and spread, worth `n` observations."""
    spread = spread_permille / 1000
    variance = math.log1p(spread * spread)
    centre = math.log(mean_s) - variance / 2
    return Posterior(
        family="time", n=n, total=n * centre, squares=n * (variance + centre * centre), origin=origin
    )


def stated_share(share: float, *, n: float = STATED_N, origin: Origin = STATED) -> Posterior:
    """Return the belief in a share, worth `n` trials."""
    return Posterior(family="share", n=n, total=n * share, origin=origin)


def stated_rate(between_s: float, *, n: float = STATED_N, origin: Origin = STATED) -> Posterior:
    """Return the belief in `between_s` seconds between two events, worth `n` events."""
    return Posterior(family="rate", n=n, total=n * between_s, origin=origin)


def observed_times(seconds: Iterable[float], *, origin: Origin) -> Posterior:
    """Return what observed times say. Raises: InvalidInput, if there is none or one is not positive."""
    values = list(seconds)
    if not values or any(not SECONDS_MIN <= each <= SECONDS_MAX for each in values):
        raise InvalidInput(f"times are between {SECONDS_MIN} and {SECONDS_MAX:.0f} seconds")
    logs = [math.log(each) for each in values]
    return Posterior(
        family="time",
        n=len(logs),
        total=math.fsum(logs),
        squares=math.fsum(each * each for each in logs),
        origin=origin,
    )


def _impossible(found: Posterior) -> str:
    """Return what is impossible about three numbers, or nothing."""
    n, total, squares = found.n, found.total, found.squares
    if not all(math.isfinite(each) for each in (n, total, squares)) or not 0 < n <= N_MAX:
        return f"n = {n}: more than 0, up to {N_MAX:.0e}, and finite sums"
    match found.family:
        case "time":
            centre, bound = total / n, math.log(SECONDS_MAX)
            if not math.log(SECONDS_MIN) - VARIANCE_SLACK <= centre <= bound + VARIANCE_SLACK:
                return f"a mean of exp({centre:.3g}) seconds"
            if squares / n - centre * centre < -VARIANCE_SLACK * max(1.0, squares / n):
                return "squares that are less than those of its mean"
            if squares / n - centre * centre > bound:
                return "such a spread"
        case "share":
            if not 0 <= total <= n:
                return f"{total:g} successes of {n:g}"
        case "rate":
            if not SECONDS_MIN <= total / n <= SECONDS_MAX:
                return f"{total / n:g} seconds between two events"
    return ""


def _wilson(share: float, n: float, z: float) -> tuple[float, float]:
    """Source: Wilson 1927, the score interval of a binomial share."""
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))
