"""The plant line's page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from litestar import Response

from ringroad.build.stops import standing_s, stopped_stations
from ringroad.build.store import get_programme
from ringroad.build.store_running import load_running
from ringroad.build.store_stops import open_stops
from ringroad.build.store_times import line_drift
from ringroad.build.twin.drift import VEHICLES_PER_FALSE_ALARM, out_of_calibration
from ringroad.build.twin.planned import line_now
from ringroad.build.working_time import rests_until
from ringroad.http import reading, sites
from ringroad.http.balance import balance_of
from ringroad.http.console.branches import asked_from
from ringroad.http.console.line_view import Wall, line_view
from ringroad.http.console.plant_document import document_panels
from ringroad.http.console.render import chart, page
from ringroad.http.console.shared import Req, asked, chosen_programme, shown, url_of
from ringroad.http.console.twin import percent, twin_panel, what_if_chart, what_if_due_note
from ringroad.http.context import Ctx
from ringroad.http.views_build import ScheduleView
from ringroad.http.views_plant import amount
from ringroad.storage.db import Connection

SEQUENCE_SHOWN = 200  # vehicles
STOPS_SHOWN = 20
CONFLICTS_SHOWN = 5  # of each site


@shown("/plant")
def plant_page(ctx: Ctx, request: Req) -> Response[str]:
    """Stations, sequence, schedule, replan latency, orders."""
    with ctx.connection() as conn:
        programmes, programme = chosen_programme(conn, request)
        values: dict[str, Any] = {"line": {}}
        if programme is not None:
            schedules = reading.schedules(conn, programme.id)
            ids = _sequence(schedules)
            known = {order.id: order for order in reading.orders(conn, ids=ids, limit=1000)} if ids else {}
            baseline = reading.baseline(conn, programme.id)
            states = reading.orders_by_state(conn, programme.id)
            checks = reading.line_checks(conn, programme.id)
            drift = line_drift(conn, programme.id)
            questions = reading.what_ifs(conn, programme.id, limit=1)
            values = document_panels(conn, get_programme(conn, programme.id), asked(request, "position", "stands"), now=ctx.clock.now()) | {
                "sites": sites.views(ctx, conn),
                "site_link": sites.link_view(ctx, conn),
                "conflicts": sites.newest_conflicts(conn, rows_max=CONFLICTS_SHOWN),
                "amount": amount,
                "balance": balance_of(conn, programme.id),
                "line": programme.document.get("line") or {},
                "schedules": schedules,
                "schedule": schedules[0] if schedules else None,
                "made_late": schedules[0].document.get("made_late", []) if schedules else [],
                "held": held_back(schedules[0].document) if schedules else [],
                "sequence": [known[i] for i in ids if i in known],
                "standing": stopped_stations(open_stops(conn, programme_id=programme.id)),
                "built_at": sites.builder_of(conn, programme.id),
                "stops": reading.line_stops(conn, programme.id, limit=STOPS_SHOWN),
                "blocked": reading.blocked_options(conn, programme.id),
                "offered": offered(programme.document),
                "orders": reading.orders(conn, programme_id=programme.id, limit=30),
                "chart": _latency_chart(schedules),
                "moved_chart": _moved_chart(schedules),
                "view": _view(conn, programme.id, now=ctx.clock.now()) if schedules else {},
                "twin": twin_panel(checks),
                "asked": questions[0] if questions else None,
                "asked_chart": what_if_chart(questions[0]) if questions else "",
                "asked_from": asked_from(questions[0].branch) if questions else "",
                "asked_due_note": what_if_due_note(questions[0]) if questions else "",
                "drift": drift,
                "wrong": out_of_calibration(drift),
                "a_million": VEHICLES_PER_FALSE_ALARM,
                "figures": [
                    (baseline.version if baseline else "none", "release on the line",
                     f"/releases/{baseline.release_id}" if baseline else "/releases"),
                    (states.get("open", 0), "orders open", "/plant"),
                    (states.get("building", 0), "being built", "/plant"),
                    (states.get("born", 0), "born", "/facts?kind=vehicle.born"),
                    (_milliseconds(last_repair(schedules).replan_latency_us) if schedules else "–", "last repair",
                     "/facts?kind=schedule.replanned"),
                    (moved_share(last_repair(schedules)) if schedules else "–", "of vehicles moved by the last repair",
                     "/facts?kind=schedule.replanned"),
                    (_milliseconds(checks[0].checked_us) if checks else "–", "until checked on the twin", "#twin"),
                    (percent(checks[0].better_permille) if checks else "–", "of its runs better", "#twin"),
                    (moved_share(schedules[0]) if schedules else "–", "of vehicles moved by the schedule",
                     "/facts?kind=schedule.replanned"),
                    (schedules[0].generation if schedules else 0, "schedules made",
                     "/facts?kind=schedule.replanned"),
                ],
            }  # fmt: skip
    return page(
        "plant.html", account=request.user, url=url_of(request), programmes=programmes, programme=programme,
        **values,
    )  # fmt: skip


def _view(conn: Connection, programme_id: str, *, now: datetime) -> dict[str, Any]:
    """Return the line from now on, by the current sequence; nothing where the twin has no picture of it."""
    running = load_running(conn, programme_id)
    seen = line_now(
        running.line, running.schedule.document.sequence, running.orders,
        standing=standing_s(running.stops, now), now=now,
    )  # fmt: skip
    kinds = {order.id: order.variant for order in seen.orders}
    calendar = running.line.calendar
    if calendar is None:
        return line_view(seen.visits, kinds)
    wall = Wall(now=now, time=seen.time, rests=seen.rests, time_zone=calendar.time_zone)
    drawn = line_view(seen.visits, kinds, wall=wall)
    return drawn and drawn | {
        "calendar": calendar,
        "rests_until": wall.clock(until) if (until := rests_until(calendar, now=now)) else "",
    }


def held_back(document: Mapping[str, Any]) -> list[tuple[int, str]]:
    """Return how many orders a schedule left out of its sequence, by reason, most first. Pure."""
    reasons = Counter(str(each["reason"]) for each in document.get("held") or [])
    return [
        (count, reason) for reason, count in sorted(reasons.items(), key=lambda each: (-each[1], each[0]))
    ]


def offered(document: Mapping[str, Any]) -> list[str]:
    """Return the variants of a programme and their options, by name: what can be blocked. Pure."""
    variants = document["variants"]
    return sorted({*variants, *(option for each in variants.values() for option in each["options"])})


def _sequence(schedules: list[ScheduleView]) -> list[str]:
    if not schedules:
        return []
    sequence = schedules[0].document.get("sequence") or []
    ids = [item.get("order_id", "") if isinstance(item, dict) else str(item) for item in sequence]
    return ids[:SEQUENCE_SHOWN]


def last_repair(schedules: list[ScheduleView]) -> ScheduleView:
    """Return the newest schedule that answered an event; a search has all the time it wants. Pure."""
    return next((each for each in schedules if each.cause != "improved"), schedules[0])


def moved_share(schedule: ScheduleView) -> str:
    """Return the share of a schedule's vehicles whose order is not that of the one before, as the ledger has it. Pure."""
    permille = _moved_permille(schedule)
    return "–" if permille is None else percent(permille)


def _moved_permille(schedule: ScheduleView) -> int | None:
    vehicles = len(schedule.document["sequence"])
    return 1000 * schedule.document.get("moved", 0) // vehicles if vehicles else None


def _milliseconds(microseconds: int) -> str:
    return f"{microseconds / 1000:.1f} ms" if microseconds < 1_000_000 else f"{microseconds / 1e6:.2f} s"


def _latency_chart(schedules: list[ScheduleView]) -> str:
    data = [round(each.replan_latency_us / 1000, 2) for each in reversed(schedules)]
    return chart(_by_cause(schedules), [{"name": "Replan latency", "data": data}], unit="ms")


def _moved_chart(schedules: list[ScheduleView]) -> str:
    data = [(_moved_permille(each) or 0) / 10 for each in reversed(schedules)]
    return chart(_by_cause(schedules), [{"name": "Vehicles moved", "data": data}], unit="%")


def _by_cause(schedules: list[ScheduleView]) -> list[str]:
    return [f"{each.generation} {each.cause.replace('_', ' ')}" for each in reversed(schedules)]


handlers = [plant_page]
