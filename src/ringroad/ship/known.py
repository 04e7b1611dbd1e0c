"""What do the readings of a comparison say: harm, and of which metric nothing at all? Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ringroad.ship.guard import BOUND_MICRONATS, HARM, Metric, Reading, SequentialPolicy


def harm_seen(policy: SequentialPolicy, readings: Sequence[Reading], *, strata: bool) -> str:
    """Return the metric that is worse than is accepted with the confidence of a bound; to halt takes more.

    With `strata`, what those say counts too: by the e-value, which shares one chance of error out among all of them.
    """
    margins = {metric.name: metric.margin_milli for metric in policy.compared}
    for each in (each for each in readings if each.known and each.metric in margins):
        margin = margins[each.metric]
        if margin < each.low_milli:
            return each.metric
        if strata and each.strata and each.log_e_micronats >= BOUND_MICRONATS:
            worst = each.strata[0]
            return f"{each.metric} in {worst.stratum}" if margin < worst.low_milli else each.metric
    return ""


def not_known(policy: SequentialPolicy | None, readings: Sequence[Reading]) -> str:
    """Name a metric of which one arm was never observed, or return an empty text."""
    return _unread(policy.compared if policy else (), readings)


def no_pace(policy: SequentialPolicy, readings: Sequence[Reading]) -> str:
    """Name a metric that sets the pace of a ramp and of which one arm was never observed, or return an empty text.

    Those that count harm set it; of a plan that compares none of them, all that it compares.
    """
    harm = tuple(metric for metric in policy.compared if metric.name in HARM)
    return _unread(harm or policy.compared, readings)


def _unread(metrics: Sequence[Metric], readings: Sequence[Reading]) -> str:
    read = {reading.metric for reading in readings if reading.known}
    return next((metric.name.value for metric in metrics if metric.name not in read), "")
