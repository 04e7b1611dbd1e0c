"""How far a plan is can be asked while it is made."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx
import pytest

from ringroad.cli.client import Address, Client
from ringroad.cli.planning import planning_shown, planning_text
from ringroad.ship.store.planning import STEPS, Planning, read_planning, say_step
from ringroad.storage.db import Connection, connect, transaction
from support.fleet import CountingIds, Story, add_vehicles, fill_programme, wait_for_locks
from support.gateways import eventually

pytestmark = pytest.mark.engines


def test_a_plan_that_is_being_made_says_how_far_it_is(conn: Connection, pg_url: str) -> None:
    ids = CountingIds()
    fill_programme(conn, ids, versions=("1.0.0", "2.0.0"))
    add_vehicles(conn, range(4))
    with closing(connect(pg_url)) as other, ThreadPoolExecutor(1) as pool:
        story = Story(conn, ids)
        with transaction(other):
            other.execute("LOCK TABLE campaign_target IN ACCESS EXCLUSIVE MODE")
            planned = pool.submit(story.plan)
            wait_for_locks(other, 1)
            found = read_planning(other, story.campaign_id)
            assert found is not None
            assert (found.step, found.doing) == (3, STEPS[2])
            assert read_planning(other, "campaign_other") is None
        assert planned.result(60).campaign_id == story.campaign_id
        assert read_planning(other, story.campaign_id) is None


@pytest.mark.parametrize("step", range(1, len(STEPS) + 1))
def test_each_step_is_told_until_its_transaction_ends(conn: Connection, pg_url: str, step: int) -> None:
    with closing(connect(pg_url)) as other:
        with transaction(conn):
            say_step(conn, "campaign_1", step)
            told = read_planning(other, "campaign_1")
            assert told is not None
            assert told.step == step
            assert told.running_s >= 0
        assert read_planning(other, "campaign_1") is None


@pytest.mark.parametrize("said", ["9", "0", "x", ""])
def test_what_another_program_calls_its_connection_is_no_step(
    conn: Connection, pg_url: str, said: str
) -> None:
    with closing(connect(pg_url)) as other, transaction(other):
        other.execute("SELECT set_config('application_name', %s, true)", (f"plan campaign_1 {said}",))
        assert read_planning(conn, "campaign_1") is None


def test_a_step_is_a_line_for_a_person() -> None:
    now = {"step": 2, "steps": 4, "doing": Planning(step=2, running_s=7).doing, "running_s": 7}
    assert planning_text(now) == "step 2 of 4: resolving each kind of vehicle (after 7 s)"


def test_the_command_line_tells_each_step_once_and_never_fails_for_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    steps = iter([0, 1, 1, 3])
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        step = next(steps, None)
        if step is None:
            return httpx.Response(503, json={"error": {"code": "unavailable", "message": "away", "hint": ""}})
        return httpx.Response(
            200, json={"step": step, "steps": 4, "doing": f"work {step}", "running_s": step}
        )

    address = Address(url="http://127.0.0.1:1", ca=None, local=True)
    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        client = Client(address, token="t", http=http)
        with planning_shown(client, "campaign_1", every_s=0.01):
            assert eventually(lambda: len(asked) == 5)
    assert set(asked) == {"/api/v1/campaigns/campaign_1/planning"}
    assert capsys.readouterr().err.splitlines() == [
        "step 1 of 4: work 1 (after 1 s)",
        "step 3 of 4: work 3 (after 3 s)",
    ]
