"""The planner in the worker: a running schedule becomes better, and never over what happened meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ringroad.build import store, store_plant
from ringroad.build.plan_line import ScheduleDocument
from ringroad.build.store_improve import save_answer
from ringroad.build.store_running import load_running
from ringroad.build.twin.compare import PlanCheck
from ringroad.build.twin.judge import TwinCheck
from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.loop import worker
from ringroad.loop.planning import improve_changed, warm_up_if_planned
from ringroad.storage.db import Connection, connect, transaction
from ringroad.storage.ledger import latest_fact
from ringroad.storage.settings import Settings

pytestmark = [pytest.mark.engines, pytest.mark.timeout(400)]  # the first search on a machine compiles

EXAMPLE = (Path(__file__).parents[2] / "examples" / "road" / "programme.toml").read_text()
CLOCK, IDS = SystemClock(), SystemIds()
RELEASED = PlanCheck(
    twin=TwinCheck(
        released=True, reason="better in all runs", replications=1_000, better_permille=1_000, late_s=(0, 0),
        end_s=(0, 0), broken=(),
    ), vehicles=24, moved=1,
)  # fmt: skip


@pytest.fixture
def conn(pg_url: str) -> Iterator[Connection]:
    with closing(connect(pg_url)) as connection:
        yield connection


@pytest.fixture
def bad(conn: Connection) -> store_plant.Schedule:
    """A schedule with all vehicles that have a sunroof at its head: eleven violated windows."""
    with transaction(conn):
        store.import_programme(conn, IDS, source=EXAMPLE, actor="tester", now=CLOCK.now())
        orders = [
            store_plant.add_order(
                conn, IDS, programme_id="roadster", variant="city", actor="tester", now=CLOCK.now(),
                options=["sunroof"] if number < 12 else [],
            )
            for number in range(24)
        ]  # fmt: skip
        return save(conn, [order.id for order in orders], generation=0)


def save(conn: Connection, sequence: list[str], *, generation: int) -> store_plant.Schedule:
    document = ScheduleDocument(
        sequence=tuple(sequence), held=(), violations=11, late_orders=0, baseline_release_id=None, frozen=0
    )
    return store_plant.save_schedule(
        conn, IDS, programme_id="roadster", generation=generation, cause="new_orders", document=document,
        replan_latency_us=1, actor="tester", now=CLOCK.now(),
    )  # fmt: skip


def test_a_schedule_is_bettered_once_and_the_fact_names_the_one_before(
    conn: Connection, bad: store_plant.Schedule
) -> None:
    seen: dict[str, int] = {}
    (made,) = improve_changed(conn, IDS, CLOCK, seen)
    assert (made.generation, made.cause, made.parent_id) == (2, "improved", bad.id)
    assert made.document.violations < 4
    assert sorted(made.document.sequence) == sorted(bad.document.sequence)
    assert store_plant.current_schedule(conn, "roadster") == made
    fact = latest_fact(conn, kind=FactKind.SCHEDULE_REPLANNED, subject="roadster")
    assert fact
    assert (fact.actor, fact.body["cause"], fact.body["moved"] > 0) == ("system:planner", "improved", True)
    check = fact.body["check"]
    assert (check["released"], check["replications"], check["vehicles"]) == (True, 1_000, 24)
    assert check["better_permille"] >= 900
    less = f"windows with more than a station can bear went from 9 to {made.document.violations}"
    assert check["reason"].endswith(f"; it costs less: {less}")
    assert improve_changed(conn, IDS, CLOCK, seen) == []


def test_a_cheaper_schedule_that_breaks_due_times_on_the_twin_is_kept_out_and_the_fact_says_why(
    conn: Connection,
) -> None:
    """Batches of paint count most, and cost the line no time: what they would make late is seen by the twin alone."""
    painted = EXAMPLE.replace(
        'options = ["sunroof", "tow_bar"]', 'options = ["sunroof", "tow_bar", "red"]', 1
    )
    assert painted != EXAMPLE
    now = CLOCK.now()
    with transaction(conn):
        store.import_programme(
            conn, IDS, source=painted + '\n[line.paint]\ncolours = ["red"]\nbatch_max = 1\n', actor="tester", now=now
        )  # fmt: skip
        orders = [
            store_plant.add_order(
                conn, IDS, programme_id="roadster", variant="city", actor="tester", now=now,
                options=["red"] if number < 12 else [],
                due_at=now + timedelta(seconds=60 * (number + 8)) if number < 12 else None,
            )
            for number in range(24)
        ]  # fmt: skip
        kept = save(conn, [order.id for order in orders], generation=0)
    seen: dict[str, int] = {}
    assert improve_changed(conn, IDS, CLOCK, seen) == []
    assert store_plant.current_schedule(conn, "roadster") == kept
    fact = latest_fact(conn, kind=FactKind.SCHEDULE_KEPT, subject="roadster")
    replanned = latest_fact(conn, kind=FactKind.SCHEDULE_REPLANNED, subject="roadster")
    assert fact
    assert replanned
    assert (fact.causes, fact.body["schedule_id"]) == ((replanned.id,), kept.id)
    assert "would be late at the 0.9 quantile" in fact.body["reason"]
    assert fact.body["broken"]
    assert fact.body["moved"] > 0
    assert fact.body["moved_permille"] == 1000 * fact.body["moved"] // fact.body["vehicles"]
    assert improve_changed(conn, IDS, CLOCK, {}) == []  # a worker that starts again does not ask again
    assert latest_fact(conn, kind=FactKind.SCHEDULE_KEPT, subject="roadster") == fact


def test_the_time_until_checked_counts_from_what_the_schedule_answers(
    conn: Connection, bad: store_plant.Schedule
) -> None:
    with transaction(conn):
        made = store_plant.save_schedule(
            conn, IDS, programme_id="roadster", generation=1, cause="breakdown", document=bad.document,
            replan_latency_us=7_000_000, actor="tester", now=CLOCK.now(),
        )  # fmt: skip
        running = load_running(conn, "roadster")
        save_answer(
            conn, IDS, CLOCK, running=running, document=made.document, check=RELEASED, triggered_s=CLOCK.monotonic_s()
        )  # fmt: skip
    row = conn.execute(
        "SELECT checked_us, worked_us FROM line_check WHERE schedule_id = %s", (made.id,)
    ).fetchone()
    assert row
    assert row["checked_us"] >= 7_000_000 > row["worked_us"]


def test_the_worker_is_told_of_a_schedule_and_sleeps_through_other_facts(
    conn: Connection, bad: store_plant.Schedule, pg_url: str
) -> None:
    with closing(connect(pg_url)) as listener:
        listener.execute(f"LISTEN {worker.FACTS}")
        with transaction(conn):
            store_plant.block_option(
                conn, IDS, programme_id="roadster", option="sunroof", reason="late", actor="tester", now=CLOCK.now()
            )  # fmt: skip
        assert not worker.wait_for_schedule(listener, 0.1)
        with transaction(conn):
            save(conn, list(bad.document.sequence), generation=1)
            save(conn, list(bad.document.sequence), generation=2)
        assert worker.wait_for_schedule(listener, 60)
        assert not worker.wait_for_schedule(listener, 0)


def test_an_answer_is_refused_when_another_schedule_overtook_it(
    conn: Connection, bad: store_plant.Schedule
) -> None:
    running = load_running(conn, "roadster")
    with transaction(conn):
        save(conn, list(bad.document.sequence), generation=1)
    with pytest.raises(Conflict), transaction(conn):
        save_answer(
            conn, IDS, CLOCK, running=running, document=running.schedule.document, check=RELEASED,
            triggered_s=CLOCK.monotonic_s(),
        )  # fmt: skip


def test_an_answer_is_refused_when_a_car_entered_that_it_has_later(
    conn: Connection, bad: store_plant.Schedule
) -> None:
    running = load_running(conn, "roadster")
    sequence = bad.document.sequence
    with transaction(conn):
        store_plant.start_order(conn, IDS, order_id=sequence[0], actor="tester", now=CLOCK.now())
    better = ScheduleDocument.from_document(
        running.schedule.document.to_document() | {"sequence": [*sequence[1:], sequence[0]]}
    )
    with pytest.raises(Conflict, match="entered the line"), transaction(conn):
        save_answer(
            conn,
            IDS,
            CLOCK,
            running=running,
            document=better,
            check=RELEASED,
            triggered_s=CLOCK.monotonic_s(),
        )
    assert store_plant.current_schedule(conn, "roadster") == bad


def test_without_a_schedule_there_is_nothing_to_load(conn: Connection) -> None:
    assert improve_changed(conn, IDS, CLOCK, {}) == []
    assert not warm_up_if_planned(conn)
    with pytest.raises(NotFound):
        load_running(conn, "roadster")


def test_the_worker_gets_ready_first_and_then_betters_a_schedule_by_itself(
    conn: Connection,
    bad: store_plant.Schedule,
    pg_url: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    stop = threading.Event()
    settings = Settings(var=tmp_path, database_url=pg_url, nats_url="nats://127.0.0.1:9")
    thread = threading.Thread(target=worker.run, args=(settings, stop), daemon=True)
    thread.start()
    try:
        end = time.monotonic() + 120
        while (current := store_plant.current_schedule(conn, "roadster")) == bad:
            assert time.monotonic() < end
            time.sleep(0.1)
    finally:
        stop.set()
        thread.join(60)
    assert current is not None
    assert current.cause == "improved"
    said = capfd.readouterr().out
    assert 0 <= said.find("ready to plan lines") < said.find("schedule improved")


@pytest.mark.parametrize("after_s", [-86_400, 0, 282])
def test_an_order_that_no_vehicle_could_meet_is_refused_by_name_and_the_running_plan_stays(
    conn: Connection, bad: store_plant.Schedule, after_s: int
) -> None:
    """The example's stations take 283 seconds together."""
    now = CLOCK.now()
    who: dict[str, Any] = {"programme_id": "roadster", "variant": "city", "actor": "tester", "now": now}
    with pytest.raises(InvalidInput, match="a city cannot be due at") as refused, transaction(conn):
        store_plant.add_order(conn, IDS, due_at=now + timedelta(seconds=after_s), **who)
    assert "order it as rush" in refused.value.hint
    assert store_plant.current_schedule(conn, "roadster") == bad
    with transaction(conn):
        assert store_plant.add_order(conn, IDS, due_at=now + timedelta(seconds=283), **who).due_at
        opens = now + timedelta(seconds=300)
        with pytest.raises(InvalidInput, match="not wanted before"):
            store_plant.add_order(conn, IDS, due_at=now + timedelta(seconds=283), earliest_at=opens, **who)
        window = store_plant.add_order(conn, IDS, due_at=opens, earliest_at=opens, **who)
        assert (window.earliest_at, window.due_at) == (opens, opens)
