"""What a vehicle's signals said in the seconds around a fault, as it told them out of its ring: a table, and what stood still.

Where it was is not among them: whoever looks into a vehicle reads that in a session with positions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ringroad.http.context import Context
from ringroad.storage.lake import Lake, View

SECOND_US: Final = 1_000_000
AROUND_US: Final = 60 * SECOND_US  # before and after; no vehicle keeps more
SAMPLES_MAX: Final = 4_000  # read for one fault; those of a ring and of the seconds after it are a thousand
SIGNALS_SHOWN: Final = 8  # that changed; a wider table is not read
SECONDS_SHOWN: Final = 40
PLACE: Final = "Vehicle.CurrentLocation"  # VSS; its branch


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """Signals that changed by second, 0 being the fault's own, and those that did not.

    Attributes:
        signals: columns.
        rows: second, and a value per column; empty where nothing was told.
        still: signal and value.
        left: how many more signals changed than are shown.
    """

    signals: tuple[str, ...] = ()
    rows: tuple[tuple[int, tuple[str, ...]], ...] = ()
    still: tuple[tuple[str, str], ...] = ()
    left: int = 0


def around_of(ctx: Context, vin: str, at_us: int) -> Around:
    """Return what the lake has around a moment of a vehicle."""

    def ask(view: View) -> list[dict[str, Any]]:
        samples = view.table("samples")
        near = samples.filter(
            (samples.vin == vin) & (samples.at_us >= at_us - AROUND_US) & (samples.at_us <= at_us + AROUND_US)
        )
        return view.rows(near.order_by("at_us").limit(SAMPLES_MAX))

    return table_of(Lake(ctx.settings.lake).read(ask), at_us)


def table_of(samples: Iterable[Mapping[str, Any]], at_us: int) -> Around:
    """Lay samples out by second and signal. Pure; `samples` in the order of their times."""
    told: dict[str, dict[int, str]] = {}
    for each in samples:
        if each["path"].startswith(PLACE):
            continue
        value = each["text"] if each["number"] is None else f"{each['number']:g}"
        told.setdefault(each["path"], {})[(each["at_us"] - at_us) // SECOND_US] = str(value)
    still = tuple(
        (path, next(iter(values.values())))
        for path, values in sorted(told.items())
        if len(set(values.values())) == 1
    )
    changed = sorted(path for path, values in told.items() if len(set(values.values())) > 1)
    shown = tuple(changed[:SIGNALS_SHOWN])
    seconds = sorted({second for path in shown for second in told[path]}, key=abs)[:SECONDS_SHOWN]
    return Around(
        signals=shown,
        rows=tuple(
            (second, tuple(told[path].get(second, "") for path in shown)) for second in sorted(seconds)
        ),
        still=still,
        left=len(changed) - len(shown),
    )
