"""Forged, malformed, replayed and foreign feedback in a flood over a running campaign, and clocks that jump."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ringroad.kernel.clock import SystemClock
from ringroad.kernel.facts import FactKind
from ringroad.ship.gate import GatePolicy
from ringroad.ship.model import CampaignState
from ringroad.storage.db import Connection
from support.fleet import CountingIds, Story, add_vehicles, fill_programme
from support.gateways import FolderBlobs, eventually, serving

pytestmark = pytest.mark.engines

SEED = 7
FLOOD = 600  # requests
WAVE = 4
GATE = GatePolicy(failed_permille_max=100, reports_min=WAVE, silence_s_max=600)
FAR = timedelta(days=400)
CLOSED = {"status": {"execution": "closed", "result": {"finished": "success"}, "details": ["done"]}}


@pytest.fixture
def story(conn: Connection) -> Story:
    ids = CountingIds()
    fill_programme(conn, ids)
    made = Story(conn, ids)
    made.now = SystemClock().now()  # reports are received at the machine's time
    add_vehicles(conn, range(12))
    add_vehicles(conn, range(12, 14), gateway="native")
    conn.execute("UPDATE vehicle SET token_sha256 = sha256(convert_to('token of ' || vin, 'UTF8'))")
    made.start(waves=(WAVE,), query="gateway = ddi", gate=GATE)
    return made


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=60) as opened:
        yield opened


def token(vin: str) -> dict[str, str]:
    return {"Authorization": f"TargetToken token of {vin}"}


def base(vin: str) -> str:
    return f"/DEFAULT/controller/v1/{vin}"


@dataclass(frozen=True)
class Attack:
    """One request, and how it may be answered."""

    path: str
    headers: dict[str, str]
    body: bytes
    answers: frozenset[int]


def attacks(story: Story) -> list[Attack]:
    """What a stranger, a broken vehicle and one that lies would send."""
    (first, second, *_), waiting = story.vehicles("offered"), story.vehicles("pending")[0]
    mine, good = f"{base(first.vin)}/deploymentBase", json.dumps(CLOSED).encode()

    def attack(path: str, body: bytes, *answers: int, of: str = first.vin) -> Attack:
        return Attack(path=path, headers=token(of), body=body, answers=frozenset(answers))

    forged = [
        Attack(path=f"{mine}/{first.action_id}/feedback", headers=headers, body=good, answers=frozenset({401}))
        for headers in (token(second.vin), {}, {"Authorization": f"Bearer token of {first.vin}"},
                        {"Authorization": "TargetToken"}, {"Authorization": f"GatewayToken token of {first.vin}"})
    ]  # fmt: skip
    foreign = [
        attack(f"{mine}/{action}/feedback", good, 404)
        for action in (second.action_id, waiting.action_id, 2**31 - 1, 2**63, 0, -1, "x", "%00", "1e3")
    ]
    early = attack(
        f"{base(waiting.vin)}/deploymentBase/{waiting.action_id}/feedback", good, 404, of=waiting.vin
    )
    uptane = {
        "reports": [
            {"id": "r", "action_id": first.action_id, "state": "SUCCEEDED", "at": "2026-11-25T00:00:00Z"}
        ]
    }
    native = story.conn.execute("SELECT min(vin) AS vin FROM vehicle WHERE gateway = 'native'").fetchone()
    assert native is not None
    lies = Attack(  # a native vehicle that speaks about another's action: kept as its own word, and never counted
        path=f"/uptane/v1/vehicles/{native['vin']}/reports",
        headers={"Authorization": f"Bearer token of {native['vin']}"},
        body=json.dumps(uptane).encode(),
        answers=frozenset({200}),
    )
    malformed = [
        attack(f"{mine}/{first.action_id}/feedback", body, 400)
        for body in (b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"status":1}', b'{"status":{"execution":"CLOSED"}}',
                     b'{"status":{"execution":"closed","result":{"finished":"yes"}}}', b"[" * 50_000, good * 2)
    ]  # fmt: skip
    return [*forged, *foreign, early, lies, *malformed]


def test_a_flood_of_bad_feedback_moves_nothing(
    story: Story, client: httpx.Client, pg_url: str, tmp_path: Path
) -> None:
    bad = attacks(story)
    honest = story.vehicles("offered")[-1]
    url = f"{base(honest.vin)}/deploymentBase/{honest.action_id}/feedback"
    rng = random.Random(SEED)
    with serving(pg_url, FolderBlobs(tmp_path)) as origin, ThreadPoolExecutor(16) as pool:

        def send(attack: Attack) -> tuple[Attack, int]:
            answer = client.post(origin + attack.path, headers=attack.headers, content=attack.body)
            return attack, answer.status_code

        def replay(_: int) -> int:
            return client.post(origin + url, headers=token(honest.vin), json=CLOSED).status_code

        flood = [pool.submit(send, rng.choice(bad)) for _ in range(FLOOD)]
        replays = set(pool.map(replay, range(50)))
        wrong = [
            (attack.path, got)
            for attack, got in (each.result() for each in flood)
            if got not in attack.answers
        ]
    assert wrong == []
    assert 200 in replays
    assert replays <= {200, 410}
    for _ in range(3):
        story.later(1)
        story.tick()
    assert story.facts(FactKind.VEHICLE_UPDATED) == 1
    assert [action.vin for action in story.vehicles("installed")] == [honest.vin]
    assert (story.campaign().state, story.campaign().wave) == (CampaignState.RUNNING, 1)
    kept = story.conn.execute("SELECT vin, kind FROM device_report ORDER BY vin").fetchall()
    assert [row["vin"] for row in kept] == [
        honest.vin,
        next(a.path for a in bad if "uptane" in a.path).split("/")[4],
    ]


def test_no_vehicle_sees_what_is_anothers(
    story: Story, client: httpx.Client, pg_url: str, tmp_path: Path
) -> None:
    offered = story.vehicles("offered")
    with serving(pg_url, FolderBlobs(tmp_path)) as origin, ThreadPoolExecutor(8) as pool:

        def look(asking: Any, asked: Any) -> tuple[bool, int, str]:
            path = rng.choice([base(asked.vin), f"{base(asked.vin)}/deploymentBase/{asked.action_id}"])
            answer = client.get(origin + path, headers=token(asking.vin))
            return asking is asked, answer.status_code, answer.text.replace(asked.vin, "", 99)

        rng = random.Random(SEED)
        pairs = [(rng.choice(offered), rng.choice(offered)) for _ in range(200)]
        for own, status, text in pool.map(lambda pair: look(*pair), pairs):
            assert own or status == 401
            assert not any(each.vin in text for each in offered)
        for action in offered:
            links = client.get(origin + base(action.vin), headers=token(action.vin)).json()["_links"]
            assert f"/{action.vin}/deploymentBase/{action.action_id}?" in links["deploymentBase"]["href"]


class Jumping:
    """A machine whose wall clock is set anew while it runs."""

    def __init__(self) -> None:
        self.by = timedelta(0)

    def now(self) -> datetime:
        return SystemClock().now() + self.by

    def monotonic_s(self) -> float:
        return SystemClock().monotonic_s()


@pytest.mark.parametrize("jump", [FAR, -FAR, timedelta(hours=-1), timedelta(seconds=90)])
def test_a_clock_that_jumps_loses_nothing_doubles_nothing_and_advances_nothing(
    story: Story, client: httpx.Client, pg_url: str, tmp_path: Path, jump: timedelta
) -> None:
    clock = Jumping()
    first, second, *_ = story.vehicles("offered")
    with serving(pg_url, FolderBlobs(tmp_path), clock=clock, poll_s=60) as origin:

        def tell(action: Any) -> int:
            url = f"{origin}{base(action.vin)}/deploymentBase/{action.action_id}/feedback"
            return client.post(url, headers=token(action.vin), json=CLOSED).status_code

        assert tell(first) == 200
        clock.by = jump
        assert {tell(first), tell(second)} == {200, 410}
        (waiting, *_) = story.vehicles("pending")
        poll = client.get(origin + base(waiting.vin), headers=token(waiting.vin)).json()
        assert "00:00:30" <= poll["config"]["polling"]["sleep"] < "00:01:30"
        clock.by = timedelta(0)
        assert tell(second) == 410
    for at in (jump, timedelta(0)):
        story.now = SystemClock().now() + at
        story.tick()
    assert story.facts(FactKind.VEHICLE_UPDATED) == 2
    assert story.campaign().wave == 1, "half of the reports are too few, at whatever time"
    assert eventually(lambda: len(story.vehicles("installed")) == 2)
