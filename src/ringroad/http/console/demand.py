"""The page of demand: the tree of sums and series, one of them as a fan, its candidates and grades."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Response

from ringroad.http import reading_demand
from ringroad.http.console.render import chart, page
from ringroad.http.console.shared import Req, asked, chosen_programme, shown, url_of
from ringroad.http.context import Ctx
from ringroad.http.views_demand import DemandForecastView, DemandPastView
from ringroad.kernel.errors import NotFound
from ringroad.signal.demand.panel import ALL, Key

ROWS_SHOWN = 200  # series and sums of an option
WAYS = (("model", "chosen"), ("floor", "floor: last 12 months"), ("naive", "same month last year"))


@shown("/demand")
def demand_page(ctx: Ctx, request: Req) -> Response[str]:
    """What will be wanted, by option; one key of it in full."""
    names = asked(request, "option", "plant", "region", "model")
    with ctx.connection() as conn:
        programmes, programme = chosen_programme(conn, request)
        values: dict[str, Any] = {}
        if programme is not None:
            runs = reading_demand.runs(conn, programme.id)
            done = next((run for run in runs if run.state == "done"), None)
            values = {"runs": runs, "run": done}
            if done is not None:
                first = "" if "" in done.grades else min(done.grades)  # vehicles, where they are forecast
                option = names["option"] or first
                key = Key(option, *(names[name] or ALL for name in ("plant", "region", "model")))
                rows = reading_demand.forecasts(conn, done.id, option=key.option, limit=ROWS_SHOWN)
                one = next((row for row in rows if key_of(row) == key), None)
                if one is None and rows:
                    one, key = rows[0], key_of(rows[0])
                if one is None:
                    raise NotFound(f"there is no forecast of {key.text}")
                past = reading_demand.past(conn, programme.id, key)
                levels = done.grades.get(key.option, {}).get("levels", {})
                values |= {
                    "options": sorted(done.grades), "option": key.option, "rows": rows, "one": one, "key": key,
                    "fan": fan_chart(past, one), "levels": levels, "ways": WAYS, "shown": shown_why(one),
                    "usage": reading_demand.book(conn, programme.id).usage,
                    "candidates": sorted(one.told["candidates"], key=lambda each: (-each["weight"], -each["skill"])),
                }  # fmt: skip
    return page(
        "demand.html",
        account=request.user,
        url=url_of(request),
        programmes=programmes,
        programme=programme,
        **values,
    )


def key_of(row: DemandForecastView) -> Key:
    """Return the key of a row."""
    return Key(row.option, row.plant, row.region, row.model)


def fan_chart(past: Sequence[DemandPastView], row: DemandForecastView) -> str:
    """Return what was and what is expected, as lines over the months. Pure."""
    before = [f"{each.month:%Y-%m}" for each in past]
    ahead = [str(each["month"]) for each in row.months]
    empty: list[float | None] = [None] * (len(before) - 1)
    last: list[float | None] = [float(past[-1].units)] if past else []
    series: list[dict[str, Any]] = [{"name": "wanted", "data": [float(each.units) for each in past]}]
    series += [
        {"name": name, "data": [*empty, *last, *(each[column] for each in row.months)]}
        for name, column in (
            ("95 %", "q95"),
            ("90 %", "q90"),
            ("median", "q50"),
            ("10 %", "q10"),
            ("5 %", "q05"),
        )
    ]
    return chart([*before, *ahead], series, kind="line", unit="units")


def shown_why(row: DemandForecastView) -> str:
    """Return what is shown for a key, and why, in a sentence. Pure."""
    told = row.told
    if row.is_sum:
        return "The sum of its parts, draw by draw; its own forecast was used to set their level where that was better."
    if not told.get("graded"):
        return "The floor, the last twelve months: there are too few months to grade a model."
    if not told["skilled"]:
        against = ", ".join(
            f"{100 * value:+.1f} % against the {name}" for name, value in sorted(told["skill"].items())
        )
        return f"The floor, the last twelve months: what validation chose has no skill ({against})."
    return f"{told['chosen']}: weighed at {len(told['origins'])} moments of the past."


handlers = [demand_page]
