"""Legs that were made: what is learned from. Columns, so that a year of a large plant fits into memory.

Pure. Invariant: a split is by time and by shipment: what is held back was planned after all that is learned from
had arrived, and no shipment is on both sides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ringroad.kernel.errors import InvalidInput

LEGS_MAX: Final = 1_000_000  # of one fit; 336,776 is a year of three airports

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Past legs, a place each.

    Attributes:
        routes: names; a route is a leg by one carrier.
        classes: names of leg classes.
        shipment: number of the shipment that the leg was part of.
        route: index into `routes`.
        of_class: index into `classes`.
        planned_min: when it was to depart, minutes since some midnight.
        arrives_min: when it was to arrive.
        departed_late_min: how late it left; not a number where nobody told.
        hub_late_min: how late it was at its last hub; not a number for a leg without one.
        arrived_late_min: how late it arrived.
    """

    routes: tuple[str, ...]
    classes: tuple[str, ...]
    shipment: Ints
    route: Ints
    of_class: Ints
    planned_min: Floats
    arrives_min: Floats
    departed_late_min: Floats
    hub_late_min: Floats
    arrived_late_min: Floats

    def __post_init__(self) -> None:
        """Refuse columns that do not fit. Raises: InvalidInput."""
        columns = [getattr(self, each.name) for each in fields(self)[2:]]
        if len({len(column) for column in columns}) != 1:
            raise InvalidInput("the columns of past legs differ in length")
        if len(self.route) > LEGS_MAX:
            raise InvalidInput(f"{len(self.route)} past legs, limit {LEGS_MAX}", hint="take the newest")
        if not all(
            np.isfinite(column).all()
            for column in (self.planned_min, self.arrives_min, self.arrived_late_min)
        ):
            raise InvalidInput("a past leg has a time that is no number", hint="leave out what never arrived")

    def __len__(self) -> int:
        """Return how many legs there are."""
        return len(self.route)

    @property
    def day(self) -> Ints:
        """The day on which each was to depart."""
        return np.floor(self.planned_min / 1440).astype(np.int64)

    @property
    def known_day(self) -> Ints:
        """The day on which each had arrived, from the next of which on its delay is known."""
        return np.floor((self.arrives_min + self.arrived_late_min) / 1440).astype(np.int64)

    def take(self, which: NDArray[np.bool_]) -> History:
        """Return some of the legs."""
        columns: dict[str, Any] = {each.name: getattr(self, each.name)[which] for each in fields(self)[2:]}
        return History(routes=self.routes, classes=self.classes, **columns)


def history_of(rows: Sequence[Mapping[str, Any]]) -> History:
    """Return past legs from rows with ``shipment``, ``route``, ``leg_class`` and the times of `History`."""
    routes = tuple(sorted({row["route"] for row in rows}))
    classes = tuple(sorted({row["leg_class"] for row in rows}))
    shipments = {name: number for number, name in enumerate(dict.fromkeys(row["shipment"] for row in rows))}
    route, of_class = ({name: number for number, name in enumerate(names)} for names in (routes, classes))

    def times(name: str) -> Floats:
        return np.array([row[name] for row in rows], dtype=np.float64)

    return History(
        routes=routes,
        classes=classes,
        shipment=np.array([shipments[row["shipment"]] for row in rows], dtype=np.int64),
        route=np.array([route[row["route"]] for row in rows], dtype=np.int64),
        of_class=np.array([of_class[row["leg_class"]] for row in rows], dtype=np.int64),
        planned_min=times("planned_min"),
        arrives_min=times("arrives_min"),
        departed_late_min=times("departed_late_min"),
        hub_late_min=times("hub_late_min"),
        arrived_late_min=times("arrived_late_min"),
    )


def split_at(history: History, day: int) -> tuple[History, History]:
    """Return what had arrived before a day, and what was planned from it on, without a shipment in both.

    A leg of the past whose shipment goes on after the cut is left out: it would tell of what is held back.
    """
    later = history.day >= day
    shared = np.isin(history.shipment, history.shipment[later])
    return history.take(~later & (history.known_day < day) & ~shared), history.take(later)
