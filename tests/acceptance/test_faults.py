"""A whole installation under load while its processes are killed: what was acknowledged is there, once.

Who is killed when is drawn from a seed; `RINGROAD_KILLS=7` draws others.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from ringroad.cli.supervisor import end_supervisor, read_state
from ringroad.kernel.clock import SystemClock
from ringroad.kernel.facts import FactKind
from ringroad.ship.model import CampaignState
from ringroad.storage.db import connect
from support.fleet import CountingIds, Story, add_vehicles, fill_programme
from support.gateways import eventually
from support.installations import Installation, installation

pytestmark = [pytest.mark.engines, pytest.mark.timeout(1_200)]

SEED = int(os.environ.get("RINGROAD_KILLS", "5"))
VEHICLES, FIRST_WAVE = 24, 12
REPORTS_MAX = 300  # of one vehicle
PAUSE_S = 0.1  # seconds between two messages of a vehicle
WAIT_S_MAX = 300.0  # seconds; the machine may be shared
GIVE_TOKENS = "UPDATE vehicle SET token_sha256 = sha256(convert_to('token of ' || vin, 'UTF8'))"


@pytest.fixture
def up() -> Iterator[Installation]:
    folder = Path(tempfile.mkdtemp(prefix="ringroad-faults-"))
    made = installation(folder)
    done = made.run("up", "--detach")
    assert done.returncode == 0, done.stdout + done.stderr
    yield made
    if read_state(made.settings()):
        end_supervisor(made.settings(), SystemClock())
    shutil.rmtree(folder)


class Vehicle:
    """A DDI client that repeats what was not acknowledged, and believes no answer about another vehicle."""

    def __init__(self, client: httpx.AsyncClient, vin: str) -> None:
        self._client, self._vin = client, vin
        self._headers = {"Authorization": f"TargetToken token of {vin}"}
        self.acknowledged: list[str] = []

    async def ask(self, method: str, url: str, **more: Any) -> httpx.Response:
        while True:
            await asyncio.sleep(PAUSE_S)
            try:
                answer = await self._client.request(method, url, headers=self._headers, **more)
            except httpx.TransportError:
                continue
            if answer.status_code == 200:
                return answer
            assert answer.status_code == 503, answer.text

    async def drive(self, quiet: asyncio.Event) -> None:
        """Report until it is quiet, then end the update."""
        base = f"/DEFAULT/controller/v1/{self._vin}"
        offer = None
        while offer is None:
            links = (await self.ask("GET", base)).json()["_links"]
            offer = links.get("deploymentBase")
        href, _, _ = offer["href"].partition("?")
        prefix, _, action = href.rpartition("/")
        assert prefix.endswith(f"{base}/deploymentBase")
        for step in range(REPORTS_MAX):
            last = quiet.is_set() or step == REPORTS_MAX - 1
            result = {"finished": "success" if last else "none"}
            status = {
                "execution": "closed" if last else "proceeding",
                "result": result,
                "details": [str(step)],
            }
            await self.close_or_tell(f"{base}/deploymentBase/{action}/feedback", status, last=last)
            self.acknowledged.append(str(step))
            if last:
                return

    async def close_or_tell(self, url: str, status: dict[str, Any], *, last: bool) -> None:
        """Send until acknowledged; an end that is stored though its answer was lost is answered 410 or 404."""
        while True:
            await asyncio.sleep(PAUSE_S)
            try:
                answer = await self._client.post(url, json={"status": status}, headers=self._headers)
            except httpx.TransportError:
                continue
            if answer.status_code == 200 or (last and answer.status_code in (404, 410)):
                return
            assert answer.status_code == 503, answer.text


def is_back(made: Installation, name: str, before: int) -> bool:
    told = made.status()
    return bool(told["well"] and told["pids"][name] != before)


def kill_all(made: Installation) -> None:
    rng = random.Random(SEED)
    names = ["server", "worker", "postgres", "nats", "server"]
    rng.shuffle(names)
    for name in names:
        before = made.wait_well()["pids"][name]
        time.sleep(rng.random())
        os.kill(before, signal.SIGKILL)
        assert eventually(partial(is_back, made, name, before), within_s=WAIT_S_MAX)


async def drive_all(made: Installation, vins: list[str]) -> list[Vehicle]:
    settings = made.settings()
    origin = f"http://{settings.http_host}:{settings.http_port}"
    quiet = asyncio.Event()
    async with httpx.AsyncClient(base_url=origin, timeout=10) as client:
        vehicles = [Vehicle(client, vin) for vin in vins]
        drives = [asyncio.create_task(vehicle.drive(quiet)) for vehicle in vehicles]
        await asyncio.to_thread(kill_all, made)
        quiet.set()
        await asyncio.wait_for(asyncio.gather(*drives), WAIT_S_MAX)
    return vehicles


def test_what_was_acknowledged_outlives_every_kill_and_is_counted_once(up: Installation) -> None:
    with closing(connect(up.database_url())) as conn:
        ids = CountingIds()
        fill_programme(conn, ids)
        vins = add_vehicles(conn, range(VEHICLES))
        conn.execute(GIVE_TOKENS)
        story = Story(conn, ids)
        story.now = SystemClock().now()
        story.start(waves=(FIRST_WAVE,))
    vehicles = asyncio.run(drive_all(up, vins))
    with closing(connect(up.database_url())) as conn:
        story.conn = conn
        assert eventually(lambda: story.campaign().state is CampaignState.FINISHED, within_s=WAIT_S_MAX)
        assert len(story.vehicles("installed")) == VEHICLES
        assert story.facts(FactKind.VEHICLE_UPDATED) == VEHICLES
        assert story.facts(FactKind.CAMPAIGN_WAVE_STARTED) == 2
        rows = conn.execute("SELECT vin, body -> 'details' ->> 0 AS step FROM device_report").fetchall()
    stored = sorted((row["vin"], row["step"]) for row in rows)
    told = sorted((vin, step) for vin, each in zip(vins, vehicles, strict=True) for step in each.acknowledged)
    assert stored == told
