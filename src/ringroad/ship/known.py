"""What do the readings of a comparison say: harm, and of which metric nothing at all? Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ringroad.ship.guard import BOUND_MICRONATS, HARM, Metric, Reading, SequentialPolicy


def harm_seen(
    policy: SequentialPolicy, readings: Sequence[Reading], *, strata: bool, where: bool = False
) -> str:
    """Return the metric that is worse than is accepted with the confidence of a bound; to halt takes more.

    With `strata`, what those say counts too: by the e-value, which shares one chance of error out among all of them. With
    `where`, the worst of them is named as well where all together are worse.
    """
    margins = {metric.name: metric.margin_milli for metric in policy.compared}
    for each in (each for each in readings if each.known and each.metric in margins):
        margin = margins[each.metric]
        if margin < each.low_milli:
            return _where(each, margin) if where else each.metric
        if strata and each.strata and each.log_e_micronats >= BOUND_MICRONATS:
            return _where(each, margin)
    return ""


def refused_where(policy: SequentialPolicy, readings: Sequence[Reading], refused: str) -> str:
    """Return a metric that refuses an update, with the stratum that the newest reading names for it."""
    margins = {metric.name: metric.margin_milli for metric in policy.compared}
    found = (
        _where(each, margins[each.metric])
        for each in readings
        if each.metric in margins and each.metric == refused
    )
    return next(found, refused)


def _where(reading: Reading, margin_milli: int) -> str:
    """Return a metric with its worst stratum, if that alone is worse than is accepted with the confidence of a bound."""
    worst = reading.strata[0] if reading.strata else None
    return (
        f"{reading.metric} in {worst.stratum}" if worst and margin_milli < worst.low_milli else reading.metric
    )


def not_known(
    policy: SequentialPolicy | None, readings: Sequence[Reading], *, exposed: Mapping[str, tuple[int, int]]
) -> str:
    """Name a metric of which one arm was never observed, or return an empty text.

    Of those that count harm, also one of which an arm was not observed since it had the exposure of `exposed`; others
    are known so long after an update that waves would wait for them.
    """
    unread = _unread(policy.compared if policy else (), readings)
    return unread or next((each.metric.value for each in readings if _is_as_before(each, exposed)), "")


def _is_as_before(reading: Reading, exposed: Mapping[str, tuple[int, int]]) -> bool:
    treated, control = exposed.get(reading.metric, (-1, -1))
    seen = treated < reading.treated_exposure and control < reading.control_exposure
    return reading.metric in HARM and not seen


def pace(policy: SequentialPolicy) -> tuple[Metric, ...]:
    """Return the metrics that set the pace of a ramp as they count harm; a plan may compare none of them."""
    return tuple(metric for metric in policy.compared if metric.name in HARM)


def no_pace(policy: SequentialPolicy, readings: Sequence[Reading]) -> str:
    """Name a metric that sets the pace of a ramp and of which one arm was never observed, or return an empty text.

    Those that count harm set it; of a plan that compares none of them, all that it compares.
    """
    return _unread(pace(policy) or policy.compared, readings)


def _unread(metrics: Sequence[Metric], readings: Sequence[Reading]) -> str:
    read = {reading.metric for reading in readings if reading.known}
    return next((metric.name.value for metric in metrics if metric.name not in read), "")
