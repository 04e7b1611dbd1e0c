"""The shops of a plant as its page shows them: the plan as a Gantt chart, how good it is, what is late and why.

Pure, but for `shop_panels`, which reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from ringroad.build.plant.model import Plant
from ringroad.build.shop.late import span
from ringroad.build.shop.of_plant import shop_id
from ringroad.http.shops import shown_plan, shown_shop
from ringroad.http.views_shop import LatePartView, ShopPlanView, ShopTaskView, gap_text, level_text
from ringroad.storage.db import Connection

WIDTH: Final = 1000  # of the drawing, in its own units
LABEL: Final = 130  # of them for the names of resources
ROW: Final = 26
EDGE: Final = 30  # of them behind the last tick, for half of its text
TONES: Final = 5  # colours of parts; a sixth has the first one's again
TASKS_SHOWN: Final = 400  # of those to come, the first
LATE_SHOWN: Final = 12
STEPS_S: Final = (
    10,
    30,
    60,
    300,
    600,
    1_800,
    3_600,
    7_200,
    14_400,
    43_200,
    86_400,
    604_800,
)  # between two ticks


def shop_panels(conn: Connection, plant: Plant, *, now: datetime) -> list[dict[str, Any]]:
    """Return what the page shows of each shop."""
    panels = []
    for shop in plant.structure.shops:
        name = shop_id(shop)
        view = shown_shop(conn, plant.id, name)
        plan = shown_plan(conn, plant.id, name)
        panels.append(
            {"shop": view, "plan": plan, **(plan_panel(plan, view.resources, now=now) if plan else {})}
        )
    return panels


def plan_panel(plan: ShopPlanView, resources: Sequence[str], *, now: datetime) -> dict[str, Any]:
    """Return what is drawn and told of a plan, from now on."""
    late = {(each.order_id, each.product) for each in plan.late}
    return {
        "levels": [
            {"name": each.counted, "found": level_text(each), "gap": gap_text(each)} for each in plan.levels
        ],
        "late": [_late(each) for each in plan.late[:LATE_SHOWN]],
        "gantt": gantt([each for each in plan.tasks if now < each.ends_at], resources, late=late, now=now),
    }


def gantt(
    tasks: Sequence[ShopTaskView], resources: Sequence[str], *, late: set[tuple[str, str]], now: datetime
) -> dict[str, Any]:
    """Return bars, rows and ticks of the first tasks; nothing where nothing is to be done."""
    shown = sorted(tasks, key=lambda each: (each.starts_at, each.task))[:TASKS_SHOWN]
    if not shown:
        return {}
    end_s = max(1.0, *((each.ends_at - now).total_seconds() for each in shown))
    scale = (WIDTH - LABEL) / end_s
    products = {
        name: 1 + place % TONES for place, name in enumerate(dict.fromkeys(each.product for each in shown))
    }
    bars = []
    for each in shown:
        start = max(0.0, (each.starts_at - now).total_seconds())
        is_late = (each.order_id, each.product) in late
        bars.append(
            {
                "x": round(LABEL + start * scale, 1),
                "y": resources.index(each.resource) * ROW + 3 if each.resource in resources else 3,
                "width": round(max(1.0, ((each.ends_at - now).total_seconds() - start) * scale), 1),
                "tone": products[each.product],
                "late": is_late,
                "title": f"{each.product} of …{each.order_id[-6:]}, {each.step} on {each.resource}: "
                f"{each.starts_at:%m-%d %H:%M:%S} to {each.ends_at:%m-%d %H:%M:%S}"
                + (", late" if is_late else "") + (", fixed" if each.is_fixed else ""),
            }
        )  # fmt: skip
    return {
        "bars": bars,
        "rows": [{"name": name, "y": place * ROW} for place, name in enumerate(resources)],
        "products": [{"name": name, "tone": tone} for name, tone in products.items()],
        "ticks": _ticks(now, end_s, scale),
        "height": len(resources) * ROW,
        "left_out": len(tasks) - len(shown),
    }


def _late(part: LatePartView) -> dict[str, Any]:
    return {"part": part, "by": span(part.late_s)}


def _ticks(now: datetime, end_s: float, scale: float) -> list[dict[str, Any]]:
    step = next((each for each in STEPS_S if end_s / each <= 8), STEPS_S[-1])
    first = step - now.timestamp() % step
    form = "%H:%M:%S" if step < 60 else "%H:%M" if end_s < 86_400 else "%m-%d %H:%M"
    found: list[dict[str, Any]] = []
    at = first
    while at < end_s and len(found) <= 20:
        if LABEL + at * scale > WIDTH - EDGE:
            break
        found.append({"x": round(LABEL + at * scale, 1), "text": f"{now + timedelta(seconds=at):{form}}"})
        at += step
    return found
