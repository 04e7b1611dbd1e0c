"""The page of quality: which vehicles are right at once, what fails more often than before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from litestar import Response

from ringroad.build.plant.store import looks_at_less
from ringroad.build.quality import store, store_draw, store_gates, store_watch
from ringroad.build.quality.store_watch import DAYS
from ringroad.http.console.render import page
from ringroad.http.console.shared import Req, chosen_programme, shown, url_of
from ringroad.http.context import Ctx
from ringroad.http.views_quality import LevelView, YieldsView, alarm_view, gate_view, yields_view
from ringroad.storage.db import one_snapshot

UNITS: Final = 1_000  # of the width of a picture
WORST_SHOWN: Final = 3  # things of one station
ALARMS_SHOWN: Final = 50
CELLS_SHOWN: Final = 12
RESULTS_SHOWN: Final = 12
DRAWS_SHOWN: Final = 12
LOTS_SHOWN: Final = 50
APART: Final = 1.25  # as often as its station, from which a thing is drawn below it
STEP: Final = 0.05  # of the axis


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the picture: where the share right at once is, from 0 to `UNITS`.

    Attributes:
        view: what it is of.
        low: of the interval.
        width: of it.
        point: what is believed.
        tone: of its colour.
        told: in words, for those who do not see it.
    """

    view: LevelView
    low: float
    width: float
    point: float
    tone: str
    told: str


@shown("/quality")
def quality_page(ctx: Ctx, request: Req) -> Response[str]:
    """Yield by station with its doubt, alarms, the worst vehicles alike, and the newest results."""
    with ctx.transaction() as conn:
        one_snapshot(conn)  # the worker counts days meanwhile
        programmes, programme = chosen_programme(conn, request)
        values: dict[str, Any] = {}
        if programme is not None:
            found = store_watch.line_yields(conn, programme.id, now=ctx.clock.now())
            yields = yields_view(programme.id, found, days=DAYS)
            alarms = [
                alarm_view(each)
                for each in store_watch.list_alarms(conn, programme.id, rows_max=ALARMS_SHOWN)
            ]
            rows, axis = picture(yields)
            gates = [
                gate_view(each) for each in store_gates.judge_gates(conn, programme.id, now=ctx.clock.now())
            ]
            standing = sum(each.closed_at is None for each in alarms)
            values = {
                "yields": yields, "rows": rows, "axis": axis, "alarms": alarms, "gates": gates,
                "cells": yields.cells[:CELLS_SHOWN],
                "lowered": looks_at_less(conn, programme.id),
                "draws": store_draw.list_draws(conn, programme.id, rows_max=DRAWS_SHOWN),
                "lots": store_draw.list_contained(conn, programme.id, rows_max=LOTS_SHOWN),
                "results": store.list_results(conn, programme.id, rows_max=RESULTS_SHOWN),
                "figures": [
                    (f"{100 * yields.rolled:.1f} %" if rows else "–", "right at once at every station", "#yield"),
                    (sum(row.view.vehicles for row in rows if row.view.kind == "station"), f"checks in {DAYS} days", "#yield"),
                    (standing, "alarms stand", "#alarms"),
                ],
            }  # fmt: skip
    return page(
        "quality.html", account=request.user, url=url_of(request), programmes=programmes, programme=programme,
        **values,
    )  # fmt: skip


def picture(yields: YieldsView) -> tuple[list[Row], list[tuple[float, str]]]:
    """Lay out stations in their order, with what is worst of each below it, on one axis up to 100 %. Pure.

    Returns:
        Rows, and the axis as places and words.
    """
    stations = [each for each in yields.levels if each.kind == "station"]
    drawn: list[LevelView] = []
    for station in stations:
        below = sorted(
            (each for each in yields.levels if each.kind != "station" and each.station == station.station),
            key=lambda each: -each.times,
        )
        drawn += [station, *(each for each in below[:WORST_SHOWN] if each.times >= APART)]
    first = min((math.floor(each.low / STEP) * STEP for each in drawn), default=0.0)
    return [_row(each, first) for each in drawn], _axis(first)


def _row(view: LevelView, first: float) -> Row:
    low, high, point = (
        UNITS * (share - first) / (1 - first) for share in (view.low, view.high, view.first_pass)
    )
    tone = "f-run" if view.kind == "station" else "f-bad" if view.times >= 2 else "f-warn"
    return Row(
        view=view, low=round(low, 1), width=round(max(4.0, high - low), 1), point=round(point, 1), tone=tone,
        told=f"{100 * view.first_pass:.1f} % right at once, between {100 * view.low:.1f} and {100 * view.high:.1f} %",
    )  # fmt: skip


def _axis(first: float) -> list[tuple[float, str]]:
    shares: Sequence[float] = [first + (1 - first) * quarter / 4 for quarter in range(5)]
    return [(UNITS * quarter / 4, f"{100 * share:.0f} %") for quarter, share in enumerate(shares)]


handlers = [quality_page]
