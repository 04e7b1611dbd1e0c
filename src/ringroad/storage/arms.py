"""Two groups of vehicles side by side, measured from the lake: what happened to each, and for how long it was seen.

A vehicle is looked at in episodes: an updated one has a single episode, from the update to the end of its window; a
vehicle of the control group has one after the other, each as long as a window, so that both arms are asked the same
question: does it happen within a window?

1. A vehicle was at risk between two of its batches that are not further apart than `gap_us`, or for as long as the
   later one carried data, inside an episode, until the event.
2. Only the first event of an episode counts, where the vehicle was at risk.
3. A vehicle is silent when no batch of it was received for `quiet_us`: after the update, or after its first batch of
   an episode in the control group. Each episode is one trial, counted when it is over; one that was cut short from
   its beginning is none: whoever sends seldom has no time in it to be silent, nor to be seen not to be.
4. A quantity is measured by the first sample of an episode.

What arrives late is in the next measure, in the tick of its own time: whoever keeps counts takes the difference.

Not here: what the counts mean (`ship/guard.py`), and who is in which arm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import ibis
import pyarrow as pa

from ringroad.kernel.arm_counts import TREATED, ArmCell, ArmSum
from ringroad.kernel.errors import InvalidInput
from ringroad.storage.lake import Lake, View
from ringroad.storage.measures import BELIEVED, FAILED_BITS, TICKS_MAX

EPISODES = pa.schema(
    [
        ("vin", pa.string()),
        ("arm", pa.string()),
        ("stratum", pa.string()),
        ("from_us", pa.int64()),
        ("to_us", pa.int64()),
        ("cut", pa.bool_()),  # shorter than a window from its beginning on
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmWindow:
    """What to measure: `since_us` included, `until_us` not. Times in microseconds.

    Attributes:
        programme: whose vehicles.
        since_us: ticks before this are not told, though their events are known of.
        until_us: end of the last tick.
        tick_us: length of a tick.
        gap_us: between two batches of a vehicle that still count as one stretch.
        window_us: how far before `since_us` an episode may have begun.
    """

    programme: str
    since_us: int
    until_us: int
    tick_us: int
    gap_us: int
    window_us: int

    def __post_init__(self) -> None:
        """Refuse windows that are empty or too fine."""
        if not (self.since_us < self.until_us and min(self.tick_us, self.gap_us, self.window_us) > 0):
            raise InvalidInput("the window is empty", hint="since before until; tick, gap, window above 0")
        if (self.until_us - self.since_us) // self.tick_us > TICKS_MAX:
            raise InvalidInput(f"more than {TICKS_MAX} ticks in the window", hint="use longer ticks")

    @property
    def reads_from_us(self) -> int:
        """From when on rows are read: whatever can belong to an episode or a stretch that reaches into the window."""
        return self.since_us - self.window_us - self.gap_us


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What is counted: failed fault codes, or samples of a VSS path at or above a number."""

    path: str = ""  # empty: any fault code whose test failed or that is confirmed
    at_least: float = 1.0


def episodes_table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Return episodes as the table that the measures take: vin, arm, stratum, from_us, to_us."""
    return pa.Table.from_pylist([{"cut": False, **row} for row in rows], schema=EPISODES)


def count_events(lake: Lake, window: ArmWindow, episodes: pa.Table, event: Event) -> tuple[ArmCell, ...]:
    """Count vehicles with the event and time at risk, per arm, tick and stratum.

    Raises:
        Unavailable: the lake cannot be read now.
        Corrupt: a file of the lake does not read back.
    """

    def ask(view: View) -> tuple[ArmCell, ...]:
        arms = view.add("episodes", episodes)
        risk = view.keep("at_risk", risk_expression(view, window, arms))
        first = view.keep("first_events", first_expression(risk, events_expression(view, window, event)))
        return _cells(view.rows(cells_expression(risk, first, window)))

    return lake.read(ask)


def count_silence(lake: Lake, window: ArmWindow, episodes: pa.Table, *, quiet_us: int) -> tuple[ArmCell, ...]:
    """Count trials that are over and how many ended in silence, per arm, tick and stratum.

    Raises:
        Unavailable: the lake cannot be read now.
        Corrupt: a file of the lake does not read back.
    """

    def ask(view: View) -> tuple[ArmCell, ...]:
        arms = view.add("episodes", episodes)
        return _cells(view.rows(silence_expression(view, window, arms, quiet_us=quiet_us)))

    return lake.read(ask)


def sum_samples(lake: Lake, window: ArmWindow, episodes: pa.Table, *, path: str) -> tuple[ArmSum, ...]:
    """Sum up the first sample of each episode, per arm, tick and stratum.

    Raises:
        Unavailable: the lake cannot be read now.
        Corrupt: a file of the lake does not read back.
    """

    def ask(view: View) -> tuple[ArmSum, ...]:
        arms = view.add("episodes", episodes)
        rows = view.rows(samples_expression(view, window, arms, path=path))
        return tuple(ArmSum(**row) for row in rows)

    return lake.read(ask)


def risk_expression(view: View, window: ArmWindow, arms: Any) -> Any:
    """Return the time at risk: one row per episode and stretch of observation."""
    seen = view.table("exposure", since_us=window.reads_from_us)
    seen = seen.filter(
        seen.programme == window.programme, seen.clock.isin(BELIEVED), seen.since_us < window.until_us
    )
    seen = seen.semi_join(arms, "vin")
    # Every batch names all ECUs; the vehicle was seen once.
    seen = seen.group_by("vin", "batch", "at_us").agg(since_us=seen.since_us.min())
    seen = seen.mutate(before_us=seen.at_us.lag().over(group_by=seen.vin, order_by=[seen.at_us, seen.batch]))
    unbroken = seen.before_us.notnull() & (
        (seen.at_us - seen.before_us <= window.gap_us) | (seen.since_us < seen.before_us)
    )
    spans = seen.select(
        "vin", start_us=ibis.ifelse(unbroken, seen.before_us, seen.since_us), end_us=seen.at_us
    )
    met = spans.join(
        arms, [spans.vin == arms.vin, spans.start_us < arms.to_us, spans.end_us > arms.from_us]
    ).select(
        spans.vin,
        arms.arm,
        arms.stratum,
        arms.from_us,
        start_us=ibis.greatest(spans.start_us, arms.from_us),
        end_us=ibis.least(spans.end_us, arms.to_us, window.until_us),
    )
    return met.filter(met.start_us < met.end_us)


def events_expression(view: View, window: ArmWindow, event: Event) -> Any:
    """Return vin and time of every row that is the event."""
    if event.path:
        rows = view.table("samples", since_us=window.reads_from_us)
        rows = rows.filter(rows.path == event.path, rows.number >= event.at_least)
    else:
        rows = view.table("faults", since_us=window.reads_from_us)
        rows = rows.filter((rows.status & FAILED_BITS) != 0)
    rows = rows.filter(
        rows.programme == window.programme, rows.clock.isin(BELIEVED), rows.at_us < window.until_us
    )
    return rows.select("vin", "at_us")


def first_expression(risk: Any, events: Any) -> Any:
    """Return the first event of each episode, where its vehicle was at risk."""
    met = risk.join(
        events, [risk.vin == events.vin, events.at_us >= risk.start_us, events.at_us <= risk.end_us]
    ).select(
        risk.vin,
        risk.arm,
        risk.from_us,
        # An event at the very end of a stretch belongs to the last microsecond at risk.
        event_us=ibis.least(events.at_us, risk.end_us - 1),
    )
    return met.group_by("vin", "arm", "from_us").agg(event_us=met.event_us.min())


def cells_expression(risk: Any, first: Any, window: ArmWindow) -> Any:
    """Return vehicles with the event and time at risk until it, per arm, stratum and tick."""
    tick_us = window.tick_us
    known = risk.left_join(first, ["vin", "arm", "from_us"]).select(
        risk.arm,
        risk.stratum,
        risk.start_us,
        # The microsecond of the event itself was still at risk.
        end_us=ibis.least(risk.end_us, first.event_us.coalesce(risk.end_us) + 1),
        event_us=first.event_us,
    )
    known = known.filter(known.start_us < known.end_us, known.end_us > window.since_us)
    parts = known.mutate(
        tick=ibis.range(known.start_us // tick_us, (known.end_us - 1) // tick_us + 1).unnest()
    )
    parts = parts.mutate(
        from_us=ibis.greatest(parts.start_us, parts.tick * tick_us),
        to_us=ibis.least(parts.end_us, (parts.tick + 1) * tick_us),
    )
    parts = parts.filter(parts.tick >= window.since_us // tick_us)
    happened = (parts.event_us >= parts.from_us) & (parts.event_us < parts.to_us)
    cells = parts.group_by("arm", "stratum", "tick").agg(
        events=ibis.ifelse(happened, 1, 0).sum(), amount=(parts.to_us - parts.from_us).sum()
    )
    return cells.order_by(["tick", "stratum", "arm"])


def silence_expression(view: View, window: ArmWindow, arms: Any, *, quiet_us: int) -> Any:
    """Return trials and silent ones, per arm, stratum and tick in which the trial was over."""
    heard = view.raw("exposure")
    heard = heard.filter(
        heard.programme == window.programme,
        heard.received_us >= window.reads_from_us,
        heard.received_us < window.until_us,
    )
    heard = heard.select("vin", "received_us").distinct()
    arms = arms.filter(~arms.cut)
    met = arms.left_join(
        heard,
        [arms.vin == heard.vin, heard.received_us >= arms.from_us, heard.received_us < arms.to_us],
    ).select(arms.vin, arms.arm, arms.stratum, arms.from_us, arms.to_us, heard.received_us)
    begun = met.group_by("vin", "arm", "stratum", "from_us", "to_us").agg(first_us=met.received_us.min())
    begun = begun.mutate(begin_us=ibis.ifelse(begun.arm == TREATED, begun.from_us, begun.first_us))
    begun = begun.mutate(over_us=begun.begin_us + quiet_us)
    begun = begun.filter(
        begun.begin_us.notnull(),
        begun.over_us <= begun.to_us,
        begun.over_us < window.until_us,
        begun.over_us >= window.since_us,
    )
    told = begun.left_join(
        heard,
        [
            begun.vin == heard.vin,
            heard.received_us > begun.begin_us,
            heard.received_us <= begun.over_us,
        ],
    ).select(begun.vin, begun.arm, begun.stratum, begun.from_us, begun.over_us, heard.received_us)
    trials = told.group_by("vin", "arm", "stratum", "from_us", "over_us").agg(
        answers=told.received_us.count()
    )
    trials = trials.mutate(tick=trials.over_us // window.tick_us)
    cells = trials.group_by("arm", "stratum", "tick").agg(
        events=(trials.answers == 0).sum(), amount=trials.count()
    )
    return cells.order_by(["tick", "stratum", "arm"])


def samples_expression(view: View, window: ArmWindow, arms: Any, *, path: str) -> Any:
    """Return count, sum and sum of squares of the first sample of each episode, per arm, stratum and tick."""
    rows = view.table("samples", since_us=window.reads_from_us)
    rows = rows.filter(
        rows.programme == window.programme,
        rows.path == path,
        rows.number.notnull(),
        rows.clock.isin(BELIEVED),
        rows.at_us < window.until_us,
    )
    met = rows.join(arms, [rows.vin == arms.vin, rows.at_us >= arms.from_us, rows.at_us < arms.to_us]).select(
        rows.vin, rows.at_us, rows.number, arms.arm, arms.stratum, arms.from_us
    )
    first = met.group_by("vin", "arm", "stratum", "from_us").agg(
        at_us=met.at_us.min(), number=met.number.argmin(met.at_us)
    )
    first = first.filter(first.at_us >= window.since_us // window.tick_us * window.tick_us)
    first = first.mutate(tick=first.at_us // window.tick_us)
    sums = first.group_by("arm", "stratum", "tick").agg(
        count=first.count(), total=first.number.sum(), squares=(first.number * first.number).sum()
    )
    return sums.order_by(["tick", "stratum", "arm"])


def _cells(rows: Iterable[Mapping[str, Any]]) -> tuple[ArmCell, ...]:
    return tuple(
        ArmCell(
            arm=row["arm"],
            stratum=row["stratum"],
            tick=row["tick"],
            events=int(row["events"]),
            amount=int(row["amount"]),  # DuckDB sums 64-bit integers into 128 bits
        )
        for row in rows
    )
