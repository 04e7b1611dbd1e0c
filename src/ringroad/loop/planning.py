"""Challenge the schedule of each line after it changed.

Load, search for one that costs less, run both on the twin, make it current or keep the running one.
"""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from ringroad.build.improve_line import improve_schedule, name_less, spare_orders
from ringroad.build.logistics.store import get_outlook
from ringroad.build.plan_line import ScheduleDocument
from ringroad.build.stops import delay_s, standing_s
from ringroad.build.store_improve import current_generations, is_any_line_planned, save_answer
from ringroad.build.store_past import Past, load_past
from ringroad.build.store_plant import Schedule
from ringroad.build.store_running import Running, load_running
from ringroad.build.store_what_if import OpenQuestion, answer_what_if, open_questions
from ringroad.build.twin.compare import PlanCheck, compare
from ringroad.build.twin.judge import name_saving, withhold
from ringroad.build.twin.what_if import StopEffect, stop_station
from ringroad.build.warm_up import warm_up
from ringroad.kernel.clock import Clock, Ids
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound
from ringroad.storage.db import Connection, apart, transaction

SPARE_ROUNDS_MAX: Final = 3  # comparisons of one answer of the search

BROKEN: Final = "the line cannot be read; the worker's log says why"


def warm_up_if_planned(conn: Connection) -> bool:
    """Compile what searches and checks schedules, or load it, once some line has one; say whether it is done.

    So the first event after a start waits for no compiler, and a worker without a line never loads one.
    """
    with transaction(conn):
        if not is_any_line_planned(conn):
            return False
    warm_up()
    return True


def improve_changed(conn: Connection, ids: Ids, clock: Clock, seen: dict[str, int]) -> list[Schedule]:
    """Search for a better schedule of each line whose schedule is new since the last call.

    Args:
        conn: a connection, not in a transaction.
        ids: makes the ids.
        clock: for due times and the latency.
        seen: generation looked at last, by programme; is changed.

    Returns:
        Schedules that became current. One that the twin did not release is left out, and stays so; one that another
        schedule overtook is left out and looked at next time. One that breaks the search holds up no other line.
    """
    made: list[Schedule] = []
    with transaction(conn):
        generations = current_generations(conn)
    for programme_id, generation in generations.items():
        if seen.get(programme_id) == generation:
            continue
        with apart(conn, programme_id=programme_id):
            saved = _improve(conn, ids, clock, seen, programme_id)
            if saved is not None:
                made.append(saved)
    return made


def _improve(
    conn: Connection, ids: Ids, clock: Clock, seen: dict[str, int], programme_id: str
) -> Schedule | None:
    """Search for a better schedule of a line; return it if it became current."""
    triggered_s = clock.monotonic_s()
    with transaction(conn):
        if get_outlook(conn, programme_id).old(clock.now()):
            return None  # asked again once somebody said when parts are there
        running = load_running(conn, programme_id)
    seen[programme_id] = running.schedule.generation
    now, seed = clock.now(), running.schedule.generation
    document = improve_schedule(
        running.schedule.document, running.orders, running.line,
        now=now + timedelta(seconds=delay_s(running.stops, now)), seed=seed, available=running.available,
    )  # fmt: skip
    if document is None:
        return None
    document, check = _check(running, document, now=now, seed=seed)
    try:
        with transaction(conn):
            saved = save_answer(
                conn, ids, clock, running=running, document=document, check=check, triggered_s=triggered_s
            )
    except Conflict:
        seen.pop(programme_id)
        return None
    if saved is not None:
        seen[programme_id] = saved.generation
    return saved


def _check(
    running: Running, document: ScheduleDocument, *, now: datetime, seed: int
) -> tuple[ScheduleDocument, PlanCheck]:
    """Run the running schedule and a cheaper one on the twin; where orders would be late, spare them and run again."""
    orders, line, current = (
        {order.id: order for order in running.orders},
        running.line,
        running.schedule.document,
    )
    waiting = [order_id for order_id in current.sequence if order_id in orders]
    standing = standing_s(running.stops, now)
    starts = now + timedelta(seconds=delay_s(running.stops, now))
    ask = partial(
        compare, waiting, orders=orders, line=line, now=now, seed=seed, threads=os.cpu_count() or 1, stops=standing,
        available=running.available, source=running.source,
    )  # fmt: skip
    check = ask(document.sequence)
    spared: set[str] = set()
    for _ in range(SPARE_ROUNDS_MAX - 1):
        spared.update(check.twin.broken)
        milder = None
        if check.twin.broken:
            milder = spare_orders(
                current,
                document,
                running.orders,
                line,
                now=starts,
                spared=spared,
                available=running.available,
            )
        if milder is None:
            break
        document, check = milder, ask(milder.sequence, before=check)
    less = name_less(current, document, running.orders, line, now=starts, available=running.available)
    return document, replace(check, twin=withhold(name_saving(check.twin, less), running.drift))


def answer_questions(conn: Connection, clock: Clock) -> int:
    """Ask the twin what planners want to know before they decide; return how many questions were answered."""
    with transaction(conn):
        questions = open_questions(conn)
    answered = 0
    for question in questions:
        generation, effect = None, StopEffect(refused=BROKEN)
        with apart(conn, programme_id=question.programme_id, what_if_id=question.id):
            generation, effect = _ask(conn, clock, question)
        with transaction(conn):
            answered += answer_what_if(
                conn,
                what_if_id=question.id,
                generation=generation,
                answer=effect.to_document()
                | ({"branch": question.branch.to_document()} if question.branch else {}),
                now=clock.now(),
            )
    return answered


def _ask(conn: Connection, clock: Clock, question: OpenQuestion) -> tuple[int | None, StopEffect]:
    """Ask the twin one question; return the generation of the schedule that it was asked of, and its answer."""
    try:
        with transaction(conn):
            branch, programme_id = question.branch, question.programme_id
            past = load_past(conn, programme_id, branch) if branch is not None else None
            running = load_running(conn, programme_id)
    except (NotFound, InvalidInput) as error:
        return None, StopEffect(refused=error.message)
    if past is not None:
        return _ask_of_past(past, question)
    orders = {order.id: order for order in running.orders}
    generation, now = running.schedule.generation, clock.now()
    effect = stop_station(
        [each for each in running.schedule.document.sequence if each in orders], orders, running.line,
        station=question.station, down_s=question.down_s, now=now, seed=generation,
        threads=os.cpu_count() or 1, standing=standing_s(running.stops, now), available=running.available,
    )  # fmt: skip
    return generation, effect


def _ask_of_past(past: Past, question: OpenQuestion) -> tuple[int, StopEffect]:
    effect = stop_station(
        past.sequence, past.orders, past.line, station=question.station, down_s=question.down_s, now=past.at,
        seed=past.generation, threads=os.cpu_count() or 1, standing=past.standing,
    )  # fmt: skip
    return past.generation, effect
