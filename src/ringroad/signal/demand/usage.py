"""What vehicles tell of the options that they have moves the forecast by itself: their use, month by month, as signals.

Pure. Invariant: a month says something only once it is over and enough vehicles told of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Final

from ringroad.signal.demand.panel import ALL, Key, month_after, months_between
from ringroad.signal.demand.read import SignalRow
from ringroad.storage.usage import Used

VEHICLES_MIN: Final = 20  # of a variant in a month; the share of fewer says little, and something of each
MONTHS_BACK: Final = 36  # of a first look: what a regression looks back
MONTHS_AGAIN: Final = 2  # looked at again: vehicles that were away tell late
SETTLED: Final = timedelta(days=2)  # after a month's end, until it is looked at


def months_due(newest: date | None, *, now: datetime) -> list[tuple[str, datetime, datetime]]:
    """Return which months are read, with names and both ends: those that are over, and known ones only if they are new.

    Args:
        newest: month of which the lake told before.
        now: when.
    """
    until = (now - SETTLED).date().replace(day=1)
    since = month_after(until, -MONTHS_BACK) if newest is None else month_after(newest, 1 - MONTHS_AGAIN)
    firsts = [month_after(since, count) for count in range(months_between(since, until) + 1)]
    return [(f"{first:%Y-%m}", _at(first), _at(end)) for first, end in pairwise(firsts)]


def signals_of(
    usage: Mapping[str, str], used: Iterable[Used], models: Mapping[str, Collection[str]]
) -> list[SignalRow]:
    """Return signals of kind ``usage``: the share of vehicles of each model that used an option.

    Args:
        usage: option to the VSS path that tells of it.
        used: what the lake counted.
        models: of the programme, each with its options.
    """
    options: dict[str, list[str]] = {}
    for option, path in usage.items():
        options.setdefault(path, []).append(option)
    return [
        SignalRow(
            row=0, id=f"lake:{option}:{each.path}:{each.variant}:{each.month}:{each.used}/{each.told}", kind="usage",
            key=Key(option, ALL, ALL, each.variant), month=date.fromisoformat(f"{each.month}-01"),
            value=each.used / each.told,
        )
        for each in used
        if each.told >= VEHICLES_MIN and each.variant in models
        for option in options.get(each.path, ())
        if option in models[each.variant]
    ]  # fmt: skip


def _at(month: date) -> datetime:
    return datetime(month.year, month.month, 1, tzinfo=UTC)
