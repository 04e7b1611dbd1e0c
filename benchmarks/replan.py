"""How long until a line of 1,300 vehicles has answered an event: repaired, then bettered and checked on the twin.

A real PostgreSQL, and the functions that the server's handlers and the worker's planner call. An event is a blocked
part (3 % of the vehicles), its end, or a rush order, in turn. The repair is timed from the trigger until its
transaction is committed; the check from the same moment until the decision is committed, whatever it is.
The same of stations that stand, of a breakdown and for quality in turn, on a line with a paint shop before it, whose colours want to stay together, on one with rework and carriers, and on one with two people for three stations.
The worker is told of a schedule when it is committed, and looks at once: some milliseconds come on top.
As the worker does before it answers an event, this compiles or loads the kernels first.

Run: python -m benchmarks replan
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from psycopg.types.json import Jsonb

from benchmarks.figures import Figure
from ringroad.build import store, store_plant
from ringroad.build.plan_line import Cause
from ringroad.build.store_stops import begin_stop, end_stop, open_stops
from ringroad.build.warm_up import warm_up
from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.loop.planning import improve_changed
from ringroad.storage.db import Connection, connect, transaction
from ringroad.storage.migrate import migrate
from ringroad.storage.postgres import Postgres

VEHICLES: Final = 1_300
STATIONS: Final = 20
OPTIONS: Final = 12  # with a ratio each
RARE: Final = "o11"  # the part that is blocked, in 3 % of the vehicles
EVENTS: Final = 24
COLOURS: Final = 10  # of the painted line; a vehicle has one
BATCH_MAX: Final = 15  # vehicles of one colour in a row
STANDS_S: Final = 4 * 3_600  # seconds that a station is expected to stand: due times break
PLAIN, PAINTED, REWORK, PEOPLE = "bench", "painted", "rework", "people"  # programmes
CLOCK, IDS = SystemClock(), SystemIds()


def programme(programme_id: str) -> str:
    """A line of 20 stations with a ratio for each of 12 options; painted, with rework and carriers, with shared people, or plain."""
    names = [f"o{number}" for number in range(OPTIONS)]
    colours = [f"c{number}" for number in range(COLOURS)] if programme_id == PAINTED else []
    more = {
        15: 'rework_permille = 30\nrework_s = 600\nrework_to = "s13"\n',
        8: 'carriers = "agvs"\ntransfer_s = 5\nreturn_s = 5\n',
    }
    shared = dict.fromkeys((3, 4, 5), 'operators = "fitters"\n')
    extra = {REWORK: more, PEOPLE: shared}.get(programme_id, {})
    pools = {REWORK: "[line.pools]\nagvs = 2\n", PEOPLE: "[line.pools]\nfitters = 2\n"}.get(programme_id, "")
    stations = "".join(
        f'[[line.stations]]\nname = "s{number}"\ncycle_s = {54 + number % 5}\nbuffer = 3\n'
        + extra.get(number, "")
        for number in range(STATIONS)
    )
    ratios = "".join(
        f'[[line.ratios]]\noption = "o{number}"\np = {1 + number % 2}\nq = {3 + number % 4}\nstation = "s{number}"\n'
        for number in range(OPTIONS)
    )
    options, painted = (", ".join(f'"{each}"' for each in given) for given in (names + colours, colours))
    paint = f"[line.paint]\ncolours = [{painted}]\nbatch_max = {BATCH_MAX}\n" if painted else ""
    return (
        f'[programme]\nid = "{programme_id}"\nname = "Bench"\n'
        '[ecus.main]\nhardware_id = "hw"\nbus = "DoIP"\nos = "none"\nsecurity = "none"\nsupplier = "bench"\n'
        'storage = "ab"\nstorage_bytes = 1000000\nagent = "ab"\nprimary = true\n'
        f'[variants.car]\necus = ["main"]\noptions = [{options}]\n[line]\nname = "Line"\n{stations}{ratios}{paint}{pools}'
    )


def fill(conn: Connection, programme_id: str) -> None:
    """A baseline, and orders: a third is due at a time, each option as often as seven tenths of its ratio bear."""
    draw, now = random.Random(1), CLOCK.now()
    with transaction(conn):
        store.import_programme(conn, IDS, source=programme(programme_id), actor="bench", now=now)
        conn.execute(
            "INSERT INTO release (id, programme_id, name, version, state, document, created_by, created_at, signed_at)"
            " VALUES (%s, %s, 'R', '1', 'signed', '{}', 'bench', %s, %s)",
            (programme_id, programme_id, now, now),
        )
        conn.execute(
            "INSERT INTO line_baseline (programme_id, release_id, packages, set_at) VALUES (%s, %s, %s, %s)",
            (programme_id, programme_id, Jsonb({"car": {"main": "p"}}), now),
        )
        for number in range(VEHICLES):
            options = [
                f"o{each}" for each in range(OPTIONS)
                if draw.random() < (0.03 if f"o{each}" == RARE else 0.7 * (1 + each % 2) / (3 + each % 4))
            ]  # fmt: skip
            if programme_id == PAINTED:
                options.append(f"c{draw.randrange(COLOURS)}")
            due = now + timedelta(seconds=60 * (number + 200)) if number % 3 == 0 else None
            store_plant.add_order(
                conn,
                IDS,
                programme_id=programme_id,
                variant="car",
                actor="bench",
                now=now,
                options=options,
                due_at=due,
            )


def happen(conn: Connection, programme_id: str, number: int) -> float:
    """Let an event happen and the line answer it; return the seconds it took."""
    triggered_s, now = CLOCK.monotonic_s(), CLOCK.now()
    who: dict[str, Any] = {"programme_id": programme_id, "actor": "bench", "now": now}
    cause: Cause = "blocked_part"
    with transaction(conn):
        if number % 3 == 0:
            store_plant.block_option(conn, IDS, option=RARE, reason="late", **who)
        elif number % 3 == 1:
            store_plant.unblock_option(conn, IDS, option=RARE, **who)
        else:
            cause = "rush_order"
            colour = ["c1"] if programme_id == PAINTED else []
            store_plant.add_order(conn, IDS, variant="car", options=["o1", *colour], rush=True, **who)
        store_plant.replan(
            conn, IDS, CLOCK, programme_id=programme_id, cause=cause, actor="bench", triggered_s=triggered_s,
            triggered_at=now,
        )  # fmt: skip
    return CLOCK.monotonic_s() - triggered_s


def stand(conn: Connection, number: int) -> float:
    """Let a station of the plain line stand, and the line answer it; return the seconds it took."""
    triggered_s, now = CLOCK.monotonic_s(), CLOCK.now()
    breaks = number % 2 == 0
    with transaction(conn):
        stop, _ = begin_stop(
            conn, IDS, programme_id=PLAIN, station=f"s{number % STATIONS}", kind="breakdown" if breaks else "quality",
            reason="bench", expect_s=STANDS_S, actor="bench", now=now,
        )  # fmt: skip
        store_plant.replan(
            conn, IDS, CLOCK, programme_id=PLAIN, cause="breakdown" if breaks else "quality_stop", actor="bench",
            triggered_s=triggered_s, triggered_at=now, stop_id=stop.id,
        )  # fmt: skip
    return CLOCK.monotonic_s() - triggered_s


def go_on(conn: Connection) -> None:
    """Let all stations go on, and the line answer it."""
    with transaction(conn):
        for stop in open_stops(conn, programme_id=PLAIN):
            end_stop(conn, IDS, stop_id=stop.id, actor="bench", now=CLOCK.now())
        store_plant.replan(
            conn, IDS, CLOCK, programme_id=PLAIN, cause="station_resumed", actor="bench",
            triggered_s=CLOCK.monotonic_s(),
        )  # fmt: skip


def answered(
    conn: Connection, seen: dict[str, int], event: Callable[[], float]
) -> tuple[float, list[float], int]:
    """Return seconds until an event is repaired and until it is checked, if it was, and how many schedules came of it."""
    started_s, before = CLOCK.monotonic_s(), checks(conn)
    repaired_s = event()
    released = len(improve_changed(conn, IDS, CLOCK, seen))
    took_s = CLOCK.monotonic_s() - started_s
    return repaired_s, [took_s] if checks(conn) > before else [], released


def measure(conn: Connection, programme_id: str) -> tuple[list[float], list[float], int]:
    """Return seconds until repaired and until checked, by event, and how many checks released a schedule."""
    fill(conn, programme_id)
    seen: dict[str, int] = {}
    happen(conn, programme_id, 2)
    improve_changed(conn, IDS, CLOCK, seen)  # compiles, or loads what was compiled
    repaired, checked, released = [], [], 0
    for number in range(EVENTS):
        repaired_s, checked_s, made = answered(conn, seen, partial(happen, conn, programme_id, number))
        repaired.append(repaired_s)
        checked += checked_s
        released += made
    return repaired, checked, released


def measure_stops(conn: Connection) -> tuple[list[float], int]:
    """Return seconds until a stop of the plain line is checked, by stop, and how many checks released a schedule.

    Each comes when the line has just repaired another event, so that there is something to better and check.
    """
    seen: dict[str, int] = {}
    checked, released = [], 0
    for number in range(EVENTS):
        happen(conn, PLAIN, number)
        _, checked_s, made = answered(conn, seen, partial(stand, conn, number))
        checked += checked_s
        released += made
        go_on(conn)
    return checked, released


def checks(conn: Connection) -> int:
    """Return how many checks were made."""
    row = conn.execute("SELECT count(*) AS made FROM line_check").fetchone()
    return int(row["made"]) if row else 0


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        server = Postgres(home=Path(folder) / "postgres", clock=CLOCK, may_create_account=False)
        server.start()
        try:
            with closing(connect(server.url())) as conn:
                migrate(conn, now=CLOCK.now())
                warm_up()
                repaired, checked, released = measure(conn, PLAIN)
                load = f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
                stops, after_stops = measure_stops(conn)
                stops_load = f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
                painted = measure(conn, PAINTED)
                rework = measure(conn, REWORK)
                people = measure(conn, PEOPLE)
        finally:
            server.stop()
    what = f"{VEHICLES} vehicles, {STATIONS} stations, {OPTIONS} ratios, {EVENTS} events"
    note = f"1,000 runs of both plans; {len(checked)} checks, {released} released; median {np.median(checked):.2f} s"
    return [
        Figure(name="replan.repair_p95_ms", value=round(1000 * float(np.quantile(repaired, 0.95)), 1), unit="ms",
               target=200, better="lower", note=f"{what}; event to repair committed; {load}"),
        Figure(name="replan.checked_p95_s", value=round(float(np.quantile(checked, 0.95)), 2), unit="s", target=3,
               better="lower", note=f"{note}; {load}"),
        Figure(name="replan.breakdown_checked_p95_s", value=round(float(np.quantile(stops, 0.95)), 2), unit="s", target=3,
               better="lower",
               note=f"a station stands, {EVENTS // 2} breakdowns and {EVENTS // 2} quality stops, each just after another event; {len(stops)} checks,"
                    f" {after_stops} released; median {np.median(stops):.2f} s; {stops_load}"),
        Figure(name="replan.rework_checked_p95_s", value=round(float(np.quantile(rework[1], 0.95)), 2), unit="s",
               target=3, better="lower",
               note=f"{what}, a gate that refuses 3 %, carriers; {len(rework[1])} checks, {rework[2]} released;"
                    f" load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"),
        Figure(name="replan.people_checked_p95_s", value=round(float(np.quantile(people[1], 0.95)), 2), unit="s",
               target=3, better="lower",
               note=f"{what}, two people for three stations; {len(people[1])} checks, {people[2]} released;"
                    f" load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"),
        Figure(name="replan.painted_checked_p95_s", value=round(float(np.quantile(painted[1], 0.95)), 2), unit="s",
               target=3, better="lower",
               note=f"{what}, {COLOURS} colours, {BATCH_MAX} of one in a row; {len(painted[1])} checks, {painted[2]} released;"
                    f" load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"),
    ]  # fmt: skip
