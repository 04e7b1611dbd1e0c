"""Who locks which rows first: campaigns that are paused, ended and resumed while others write their actions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from ringroad.kernel.errors import Conflict, Unavailable
from ringroad.kernel.facts import FactKind
from ringroad.loop.reconciler import evaluate, tick
from ringroad.ship import store
from ringroad.ship.model import Campaign, CampaignState
from ringroad.ship.retry import RetryPolicy
from ringroad.ship.store.locks import keep_running
from ringroad.ship.store.reports import fold_reports
from ringroad.storage.db import Connection, connect, transaction
from support.fleet import ANY_WARNING, CountingIds, Story, add_vehicles, fill_programme, wait_for_locks

pytestmark = pytest.mark.engines

Act = Callable[..., Campaign]
VEHICLES = 20


@pytest.fixture
def story(conn: Connection) -> Story:
    ids = CountingIds()
    fill_programme(conn, ids, versions=("1.0.0", "2.0.0", "3.0.0"))
    return Story(conn, ids)


@pytest.fixture
def other(pg_url: str) -> Iterator[Connection]:
    """What a second process has; it gives up after a time that no lock is to take."""
    with closing(connect(pg_url)) as opened:
        opened.execute("SET lock_timeout = '30s'")
        yield opened


def act(story: Story, conn: Connection, do: Act, **more: Any) -> Campaign:
    """Let a person do something with the campaign, as another process would."""
    return do(
        conn, story.ids, campaign_id=story.campaign_id, actor="ann", now=story.now,
        generation=store.read_campaign(conn, story.campaign_id).generation, **more,
    )  # fmt: skip


@contextmanager
def at_once(*doing: Callable[[], object]) -> Iterator[list[str]]:
    """Do things in threads, and give what came of those that failed, once all are over."""
    failed: list[str] = []

    def run(do: Callable[[], object]) -> None:
        try:
            do()
        except (Conflict, Unavailable) as error:
            failed.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=run, args=[do]) for do in doing]
    for thread in threads:
        thread.start()
    try:
        yield failed
    finally:
        for thread in threads:
            thread.join()


def in_transaction(conn: Connection, do: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        with transaction(conn):
            do()

    return run


def until_waited_or_over(conn: Connection, thread: threading.Thread) -> None:
    """Return when a thread is over, or something waits for a lock."""
    for _ in range(3_000):
        thread.join(0.02)
        row = conn.execute(
            "SELECT count(*) AS n FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"
        ).fetchone()
        if not thread.is_alive() or (row and row["n"]):
            return
    raise AssertionError("it neither waits nor ends")


def test_a_pause_while_bundles_are_signed_leaves_no_vehicle_offered(story: Story, other: Connection) -> None:
    add_vehicles(story.conn, range(6), gateway="native")
    story.start(waves=())
    pause = threading.Thread(
        target=in_transaction(other, lambda: act(story, other, store.pause, reason="stop now"))
    )

    def issue(conn: Connection, **content: Any) -> None:
        if not pause.ident:
            pause.start()
            until_waited_or_over(conn, pause)

    tick(story.conn, story.ids, now=story.now, issue=issue)
    pause.join()
    assert story.campaign().state is CampaignState.PAUSED
    assert {action.state for action in story.vehicles()} == {"pending"}


def test_a_round_offers_nothing_while_a_pause_is_written_and_does_not_wait_for_it(
    story: Story, other: Connection
) -> None:
    add_vehicles(story.conn, range(4))
    story.start(waves=(), retry=RetryPolicy(attempts_max=3, first_s=600, last_s=900))
    for action in story.vehicles("offered"):
        story.ddi(action, "closed", "failure", kind="closed")
    story.tick()
    assert len(story.vehicles("pending")) == 4
    story.later(1_000)  # they are due again
    story.conn.execute("SET lock_timeout = '30s'")
    with transaction(other):
        act(story, other, store.pause, reason="stop now")
        assert story.tick().offered == 0
    assert story.campaign().state is CampaignState.PAUSED
    assert len(story.vehicles("pending")) == 4
    with transaction(other):
        act(story, other, store.resume)
    assert len(story.vehicles("offered")) == 4


def test_bundles_of_other_campaigns_are_signed_while_one_is_paused(story: Story, other: Connection) -> None:
    add_vehicles(story.conn, range(4), gateway="native")
    story.start(query="variant = city", waves=())
    another = Story(story.conn, story.ids)
    another.start(release="release_3.0.0", query="variant = premium", waves=())
    with transaction(other):
        act(story, other, store.pause, reason="stop now")
        story.conn.execute("SET lock_timeout = '30s'")
        story.tick()
        assert [len(each.vehicles("offered")) for each in (story, another)] == [0, 2]


def test_two_that_sign_in_turn_do_not_put_a_pause_off(story: Story, other: Connection, pg_url: str) -> None:
    add_vehicles(story.conn, range(6), gateway="native")
    story.start(waves=())
    pause = threading.Thread(
        target=in_transaction(other, lambda: act(story, other, store.pause, reason="stop now"))
    )
    with closing(connect(pg_url)) as second:
        with transaction(story.conn):
            assert keep_running(story.conn, [story.campaign_id]) == {story.campaign_id}
            pause.start()
            until_waited_or_over(story.conn, pause)
            with transaction(second):
                assert keep_running(second, [story.campaign_id]) == set()
        pause.join()
    assert story.campaign().state is CampaignState.PAUSED


def test_what_a_pause_of_before_left_offered_has_its_deadline_moved_on_as_well(story: Story) -> None:
    add_vehicles(story.conn, range(1))
    story.start(waves=())
    with transaction(story.conn):
        act(story, story.conn, store.pause, reason="wait")
    story.conn.execute(  # as servers of before could
        "UPDATE assignment SET state = 'offered', deadline_at = %s", [story.vehicles()[0].offered_at]
    )
    story.later(7_200)
    with transaction(story.conn):
        act(story, story.conn, store.resume)
    (action,) = story.vehicles()
    assert action.deadline_at == story.now


@pytest.mark.parametrize("stop", [store.abort, store.pause])
def test_who_stops_a_campaign_and_who_folds_its_reports_do_not_wait_for_each_other_for_ever(
    story: Story, other: Connection, pg_url: str, stop: Act
) -> None:
    add_vehicles(story.conn, range(VEHICLES))
    story.start(waves=())
    offered = sorted(story.vehicles("offered"), key=lambda each: each.vin)  # as they lie
    for action in offered:
        story.ddi(action, "proceeding")
    numbers = sorted(action.action_id for action in offered)
    in_the_middle = numbers[1]
    assert offered[0].action_id > in_the_middle, "who goes through them as they lie begins behind it"
    fold = in_transaction(story.conn, lambda: fold_reports(story.conn, story.ids, now=story.now))
    end = in_transaction(other, lambda: act(story, other, stop, reason="no"))
    folding, stopping = threading.Event(), threading.Event()
    with (
        closing(connect(pg_url)) as held,
        closing(connect(pg_url)) as look,
        at_once(lambda: (folding.wait(60), fold()), lambda: (stopping.wait(60), end())) as failed,
        held.transaction(force_rollback=True),
    ):
        held.execute("SELECT FROM assignment WHERE action_id = %s FOR UPDATE", [in_the_middle])
        folding.set()
        wait_for_locks(look, 1)
        stopping.set()
        wait_for_locks(look, 2)
    assert failed == []
    assert not story.vehicles("offered")


def test_two_that_wait_for_each_other_are_told_so(story: Story, other: Connection) -> None:
    add_vehicles(story.conn, range(2))
    story.start(waves=())
    one, two = (action.action_id for action in story.vehicles())
    both = threading.Barrier(2)

    def lock(conn: Connection, *numbers: int) -> None:
        with transaction(conn):
            for turn, number in enumerate(numbers):
                conn.execute("SELECT FROM assignment WHERE action_id = %s FOR UPDATE", [number])
                if turn == 0:
                    both.wait(60)

    with at_once(lambda: lock(story.conn, one, two), lambda: lock(other, two, one)) as failed:
        pass
    assert len(failed) == 1
    assert failed[0].startswith(f"{Unavailable.__name__}: somebody changed the same at the same time")


def test_an_abort_while_a_failed_attempt_is_folded_leaves_nothing_waiting(
    story: Story, other: Connection, pg_url: str
) -> None:
    add_vehicles(story.conn, range(4))
    story.start(waves=(4,), retry=RetryPolicy(attempts_max=3, first_s=600, last_s=900))
    (first, *_) = story.vehicles("offered")
    story.ddi(first, "closed", "failure", kind="closed")
    abort = in_transaction(other, lambda: act(story, other, store.abort, reason="no"))
    with closing(connect(pg_url)) as look, transaction(story.conn):
        assert fold_reports(story.conn, story.ids, now=story.now).applied == 1
        thread = threading.Thread(target=abort)
        thread.start()
        wait_for_locks(look, 1)
    thread.join()
    assert story.campaign().state is CampaignState.ABORTED
    assert {action.state for action in story.vehicles()} == {"cancelled", "cancelling"}


def test_two_reconcilers_do_not_write_the_same_hold_twice(story: Story, other: Connection) -> None:
    add_vehicles(story.conn, range(4))
    story.start(waves=(4,))
    with transaction(story.conn):
        evaluate(story.conn, story.ids, story.campaign_id, now=story.now)
        with pytest.raises(Conflict, match="being moved"), transaction(other):
            evaluate(other, CountingIds(10_000_000), story.campaign_id, now=story.now)
    with transaction(other):
        evaluate(other, CountingIds(20_000_000), story.campaign_id, now=story.now)
    assert len(store.list_gate_decisions(story.conn, story.campaign_id)) == 1


def test_a_campaign_does_not_go_on_while_a_halt_of_its_release_is_written(
    story: Story, other: Connection, pg_url: str
) -> None:
    add_vehicles(story.conn, range(4))
    story.start(query="variant = city", waves=())
    with transaction(story.conn):
        act(story, story.conn, store.pause, reason="wait")
    halting = Story(story.conn, story.ids)
    halting.start(query="variant = premium", waves=())
    story.later(60)
    resume, halted = in_transaction(other, lambda: act(story, other, store.resume)), threading.Event()
    with closing(connect(pg_url)) as look, at_once(lambda: (halted.wait(60), resume())) as failed:
        with transaction(story.conn):
            store.halt(
                story.conn,
                story.ids,
                halting.campaign(),
                actor="gate",
                reason="too_many_failures",
                now=story.now,
            )
            halted.set()
            wait_for_locks(look, 1)
    assert ["its release has halted campaign" in each for each in failed] == [True]
    assert story.campaign().state is CampaignState.PAUSED
    assert story.facts(FactKind.CAMPAIGN_RESUMED) == 0


def test_resuming_looks_up_each_vehicle_once_whatever_statistics_say(story: Story) -> None:
    vehicles = 1_000
    add_vehicles(story.conn, range(vehicles + 1))
    story.start(waves=(1,))
    pause_and_resume(story, between="ANALYZE assignment")  # nothing is open, and one that waits is released
    (first,) = story.vehicles("offered")
    story.ddi(first, "closed", "success", kind="closed")
    story.later(5)
    story.tick()
    assert (
        len(store.list_assignments(story.conn, story.campaign_id, state="offered", rows_max=5_000))
        == vehicles
    )
    before = entries_read(story.conn)
    pause_and_resume(story, between="SELECT")
    assert entries_read(story.conn) - before < 20 * vehicles  # each with each is 500,000


def pause_and_resume(story: Story, *, between: str) -> None:
    with transaction(story.conn):
        act(story, story.conn, store.pause, reason="wait")
    story.conn.execute(between)
    with transaction(story.conn):
        act(story, story.conn, store.resume)


def entries_read(conn: Connection) -> int:
    """How many entries of the index of open actions were read."""
    conn.execute("SELECT pg_stat_force_next_flush()")
    row = conn.execute(
        "SELECT idx_tup_read AS n FROM pg_stat_user_indexes WHERE indexrelname = 'assignment_one_open'"
    ).fetchone()
    assert row is not None
    return int(row["n"])


@pytest.mark.parametrize("gateway", ["ddi", "native"])
def test_a_recall_waits_for_no_campaign_that_somebody_moves_nor_for_its_vehicles(
    story: Story, other: Connection, gateway: str
) -> None:
    add_vehicles(story.conn, range(4), gateway=gateway)
    story.start(waves=())
    if gateway == "native":
        story.tick()
    recall = Story(story.conn, story.ids)
    recall.now = story.now
    recall.plan(release="release_3.0.0", waves=(), recall=True)
    other.execute("BEGIN")
    act(story, other, store.pause, reason="stop now")
    story.conn.execute("SET lock_timeout = '2s'")
    recall.approve_and_start(recall=True)  # while the other one is being paused
    recall.tick()
    other.execute("ROLLBACK")
    assert (len(story.vehicles("offered")), story.campaign().state) == (4, CampaignState.RUNNING)
    one, *rest = story.vehicles("offered")
    with other.transaction(force_rollback=True):
        other.execute("SELECT FROM assignment WHERE action_id = %s FOR UPDATE", [one.action_id])
        recall.tick()  # while somebody writes one of its actions
        assert [each.action_id for each in story.vehicles("offered")] == [one.action_id]
        assert len(recall.vehicles("offered")) == len(rest)
    recall.tick()
    assert (story.vehicles("offered"), len(recall.vehicles("offered"))) == ([], 4)


def test_who_pauses_a_campaign_waits_for_a_recall_that_starts_and_finds_what_gave_way(
    story: Story, other: Connection, pg_url: str
) -> None:
    add_vehicles(story.conn, range(4))
    story.start(waves=())
    recall = Story(story.conn, story.ids)
    recall.now = story.now
    recall.plan(release="release_3.0.0", waves=(), recall=True)
    pause = in_transaction(other, lambda: act(story, other, store.pause, reason="stop now"))
    begun = threading.Event()
    with closing(connect(pg_url)) as look, at_once(lambda: (begun.wait(60), pause())) as failed:
        with transaction(story.conn):
            store.approve(
                story.conn, story.ids, campaign_id=recall.campaign_id, generation=recall.campaign().generation, actor="ben",
                four_eyes=True, acknowledged=ANY_WARNING, now=story.now, recall=True,
            )  # fmt: skip
        with transaction(story.conn):
            store.start(
                story.conn, story.ids, campaign_id=recall.campaign_id, generation=recall.campaign().generation,
                actor="ann", now=story.now,
            )  # fmt: skip
            begun.set()
            wait_for_locks(look, 1)
    assert failed == []
    assert (story.campaign().state, story.vehicles("offered")) == (CampaignState.PAUSED, [])
    assert len(recall.vehicles("offered")) == 4
