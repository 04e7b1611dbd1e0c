"""PyPI's unmodified rauc-hawkbit polls, downloads, installs, confirms, fails, and answers a cancel at our DDI gateway."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest

from support.gateways import TOKEN, VIN, FolderBlobs, fill, rows, serving
from support.rauc import Rauc, client_class, polling

pytestmark = [pytest.mark.engines, pytest.mark.foreign]
BUNDLE = b"a RAUC bundle " * 20_000
SHA256 = hashlib.sha256(BUNDLE).hexdigest()


async def until(check: Callable[[], Any], *, within_s: float = 60.0) -> Any:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if value := await asyncio.to_thread(check):
            return value
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within {within_s} s")


def closings(url: str) -> list[dict[str, Any]]:
    return rows(
        url,
        "SELECT kind, body FROM device_report WHERE kind NOT IN ('progress', 'config', 'fetched') ORDER BY id",
    )


@pytest.mark.parametrize(("trusted", "finished"), [(SHA256, "success"), ("0" * 64, "failure")])
def test_it_installs_what_rauc_takes_and_says_when_it_does_not(
    pg_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: str, finished: str
) -> None:
    fill(pg_url, FolderBlobs(tmp_path), BUNDLE, filename="fw-2.raucb")
    rauc = Rauc(trusted)
    results: list[int] = []
    client = client_class(monkeypatch, rauc)
    bundle = tmp_path / "download" / "bundle.raucb"
    bundle.parent.mkdir()

    async def run(origin: str) -> None:
        host = origin.removeprefix("http://")
        async with (
            aiohttp.ClientSession() as session,
            polling(
                lambda: client(
                    session, host, ssl=False, tenant_id="DEFAULT", target_name=VIN, auth_token=TOKEN,
                    attributes={"VIN": VIN}, bundle_dl_location=str(bundle), result_callback=results.append,
                )
            ),
        ):  # fmt: skip
            await until(lambda: results and closings(pg_url))

    with serving(pg_url, FolderBlobs(tmp_path), poll_s=1) as origin:
        asyncio.run(run(origin))
    (done,) = closings(pg_url)
    assert (done["kind"], done["body"]["finished"]) == ("closed", finished)
    assert rauc.installed == ([BUNDLE] if finished == "success" else [])
    assert rows(pg_url, "SELECT attributes FROM vehicle")[0]["attributes"] == {"VIN": VIN}
    progress = rows(pg_url, "SELECT body FROM device_report WHERE kind = 'progress' ORDER BY id")
    assert (progress[0]["body"]["done"], progress[0]["body"]["total"]) == (50, 100)  # used, not only taken


def test_its_refusal_of_a_cancel_leaves_the_update_to_it(
    pg_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(pg_url, FolderBlobs(tmp_path), BUNDLE)
    with psycopg.connect(pg_url, autocommit=True) as conn:
        conn.execute("UPDATE assignment SET state = 'cancelling', offered_at = now()")
    client = client_class(monkeypatch, Rauc(SHA256))

    async def run(origin: str) -> None:
        host = origin.removeprefix("http://")
        async with (
            aiohttp.ClientSession() as session,
            polling(
                lambda: client(
                    session, host, ssl=False, tenant_id="DEFAULT", target_name=VIN, auth_token=TOKEN,
                    attributes={"VIN": VIN}, bundle_dl_location=str(tmp_path / "b"), result_callback=print,
                )
            ),
        ):  # fmt: skip
            await until(lambda: closings(pg_url))

    with serving(pg_url, FolderBlobs(tmp_path), poll_s=1) as origin:
        asyncio.run(run(origin))
    assert {each["body"]["execution"] for each in closings(pg_url)} == {"rejected"}


@dataclass(frozen=True, eq=False)
class HeldBlobs(FolderBlobs):
    """A store that, once it is held, gives the beginning of a file and then nothing until it is let go."""

    held: threading.Event
    let_go: threading.Event

    def read_range(self, sha256: str, *, start: int, length: int) -> bytes:
        if self.held.is_set() and start > 0:
            self.let_go.wait(60)
        return super().read_range(sha256, start=start, length=min(length, 65_536))


def test_an_updater_on_its_library_obeys_a_cancel_during_the_download(pg_url: str, tmp_path: Path) -> None:
    action = fill(pg_url, FolderBlobs(tmp_path), BUNDLE)
    blobs = HeldBlobs(tmp_path, held=threading.Event(), let_go=threading.Event())

    async def run(origin: str) -> None:
        from rauc_hawkbit.ddi.cancel_action import CancelStatusExecution, CancelStatusResult  # noqa: PLC0415
        from rauc_hawkbit.ddi.client import DDIClient  # noqa: PLC0415

        async with aiohttp.ClientSession() as session:
            ddi = DDIClient(session, origin.removeprefix("http://"), False, TOKEN, "DEFAULT", VIN)
            href = (await ddi())["_links"]["deploymentBase"]["href"]
            number, _, content = href.rpartition("/")[2].partition("?c=")
            found = await ddi.deploymentBase[number](content)
            link = found["deployment"]["chunks"][0]["artifacts"][0]["_links"]["download"]["href"]
            blobs.held.set()
            download = asyncio.create_task(ddi.get_binary(link, str(tmp_path / "bundle")))
            await until((tmp_path / "bundle").exists)
            await asyncio.to_thread(cancel, pg_url)
            while "cancelAction" not in (await ddi())["_links"]:  # noqa: ASYNC110 - the gateway's condition
                await asyncio.sleep(0.05)
            assert not download.done()
            download.cancel()
            told = await ddi.cancelAction[number]()
            assert told["cancelAction"]["stopId"] == number == str(action)
            said = (CancelStatusExecution.closed, CancelStatusResult.success, ["stopped"])
            await ddi.cancelAction[number].feedback(*said)
            assert "cancelAction" not in (await ddi())["_links"]

    with serving(pg_url, blobs, poll_s=1) as origin:
        try:
            asyncio.run(asyncio.wait_for(run(origin), 100))
        finally:
            blobs.let_go.set()
    (done,) = closings(pg_url)
    assert (done["kind"], done["body"]["finished"]) == ("cancel", "success")


def cancel(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("UPDATE assignment SET state = 'cancelling'")
