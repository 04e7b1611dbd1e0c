"""The vehicle's gateway client against the real native gateway over the real database."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from ringroad.kernel.clock import SystemClock
from ringroad.kernel.errors import Forbidden, NotFound
from ringroad.kernel.vin import parse_vin
from ringroad.protocol.vehicle import EcuTarget, Report
from ringroad.trust.state import VerifiedTarget
from ringroad.trust.verify import FileRequest
from ringroad.vehicle.gateway import Gateway
from ringroad.vehicle.images import ImageStore
from support.gateways import TOKEN, VIN, FolderBlobs, eventually, fill, rows, serving

pytestmark = pytest.mark.engines

IMAGE = b"firmware " * 50_000


@asynccontextmanager
async def connected(origin: str, token: str = TOKEN) -> AsyncIterator[Gateway]:
    async with httpx.AsyncClient(timeout=60) as client:
        yield Gateway(client, vin=parse_vin(VIN), token=token, clock=SystemClock(), server_url=origin)


def image_target(filename: str = "fw-2.swu") -> VerifiedTarget:
    return VerifiedTarget(
        serial="S1", filename=filename, length=len(IMAGE), sha256=hashlib.sha256(IMAGE).hexdigest(),
        sha512=hashlib.sha512(IMAGE).hexdigest(), hardware_ids=("default:1.0",), release_counter=2,
        ecu_target=EcuTarget(name="box", mode="ab", format="swu", version="2"),
    )  # fmt: skip


def test_poll_download_and_report_as_the_gateway_speaks_them(pg_url: str, tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    blobs = FolderBlobs(tmp_path / "blobs")
    action_id = fill(pg_url, blobs, IMAGE, gateway="native")
    store = ImageStore(tmp_path / "images", durability="buffered")
    target = image_target()
    part = tmp_path / "images" / f"{target.sha256}.part"
    part.write_bytes(IMAGE[:100_000])

    async def run(origin: str) -> None:
        async with connected(origin) as gateway:
            first = await gateway.poll()
            assert (first.kind, first.action_id) == ("update", action_id)
            assert await gateway.poll() == first
            seen: list[int] = []
            await gateway.download(target, store, progress=lambda done, _: seen.append(done))
            assert seen[0] > 100_000
            assert seen[-1] == len(IMAGE)
            reports = [
                Report(id=f"e.{n}", action_id=action_id, state="SYNCING", at=datetime.now(UTC))
                for n in (1, 2)
            ]
            assert await gateway.send_reports(reports) == {"e.1", "e.2"}
            assert await gateway.send_reports(reports[1:]) == {"e.2"}
            with pytest.raises(NotFound):
                await gateway.download(image_target("other.swu"), store, progress=lambda _done, _total: None)
            missing = FileRequest(repository="director", filename="9.root.json", bytes_max=1_000)
            assert await gateway.fetch(missing) is None
        async with connected(origin, token="wrong") as stranger:
            with pytest.raises(Forbidden):
                await stranger.poll()

    with serving(pg_url, blobs) as origin:
        asyncio.run(run(origin))
    assert store.stored() >= {target.sha256}
    count = "SELECT count(*) AS n FROM device_report WHERE dedupe_key LIKE 'e.%'"
    assert eventually(lambda: rows(pg_url, count)[0]["n"] == 2)
