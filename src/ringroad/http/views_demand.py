"""The shapes of read models of demand."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from ringroad.http.views import View


class DemandBookView(View, frozen=True, kw_only=True):
    """What is forecast of a programme."""

    programme_id: str
    plants: list[str]
    regions: list[str]
    horizon: int
    holding_milli: int
    shortage_milli: int
    count_orders: bool
    usage: dict[str, str]  # option to the signal of a vehicle that tells of its use
    generation: int
    set_by: str
    set_at: datetime


class DemandTaken(View, frozen=True, kw_only=True):
    """What became of a table."""

    rows: int
    new: int
    repeated: int
    restated: int
    filled: int


class DemandRunView(View, frozen=True, kw_only=True):
    """A forecast: how far it is, what it knew, how every level is graded, what shifted."""

    id: str
    programme_id: str
    state: str
    options: int
    options_done: int
    engine: str
    horizon: int
    first_month: date | None
    grades: dict[str, Any]
    signals: dict[str, Any]
    shifts: list[Any]
    error: str
    asked_by: str
    asked_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class DemandForecastView(View, frozen=True, kw_only=True):
    """What is expected of one series or sum; `*` is a sum, an option of "" the vehicle itself."""

    run_id: str
    option: str
    plant: str
    region: str
    model: str
    is_sum: bool
    told: dict[str, Any]
    months: list[Any]


class DemandSamplesView(View, frozen=True, kw_only=True):
    """Draws of one series or sum, a list for each month; draw number k of all series belongs together."""

    run_id: str
    option: str
    plant: str
    region: str
    model: str
    samples: list[list[float]]


class DemandPastView(View, frozen=True, kw_only=True):
    """What was wanted in a month."""

    month: date
    units: int
