"""Debian's unmodified swupdate polls, downloads, installs, confirms, refuses and cancels against our DDI gateway."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from support.gateways import TOKEN, VIN, FolderBlobs, eventually, fill, rows, serving
from support.swupdate import make_key, make_swu, swupdate

pytestmark = [
    pytest.mark.engines,
    pytest.mark.foreign,
    pytest.mark.skipif(
        any(shutil.which(tool) is None for tool in ("swupdate", "openssl", "cpio")),
        reason="swupdate, openssl or cpio is not installed: apt install swupdate openssl cpio",
    ),
]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: swupdate's sockets live below it."""
    made = Path(tempfile.mkdtemp(prefix="rrswu"))
    make_key(made)
    yield made
    shutil.rmtree(made)


def closings(url: str) -> list[dict[str, Any]]:
    return rows(
        url,
        "SELECT kind, body FROM device_report WHERE kind NOT IN ('progress', 'config', 'fetched') ORDER BY id",
    )


def test_it_installs_restarts_and_confirms(pg_url: str, folder: Path, tmp_path: Path) -> None:
    target = folder / "installed.bin"
    payload = b"new firmware " * 10_000
    fill(pg_url, FolderBlobs(tmp_path), make_swu(folder, payload, version="2", installed=target))
    with serving(pg_url, FolderBlobs(tmp_path)) as origin:
        with swupdate(folder, origin, vin=VIN, token=TOKEN) as log:
            eventually(lambda: b"post-update actions" in log.read_bytes(), within_s=120)
        assert target.read_bytes() == payload
        assert closings(pg_url) == []  # installed is not confirmed
        with swupdate(folder, origin, vin=VIN, token=TOKEN, confirm="2", version="2"):
            done = eventually(lambda: closings(pg_url), within_s=120)
    assert (done[0]["kind"], done[0]["body"]["finished"]) == ("closed", "success")
    assert rows(pg_url, "SELECT attributes <> '{}' AS told FROM vehicle")[0]["told"]


@pytest.mark.parametrize("fault", ["tampered", "unsigned", "wrong hardware"])
def test_it_refuses_and_says_so(pg_url: str, folder: Path, tmp_path: Path, fault: str) -> None:
    target = folder / "installed.bin"
    image = make_swu(folder, b"firmware " * 9_000, version="2", installed=target, sign=fault != "unsigned")
    if fault == "tampered":
        at = image.rindex(b"firmware firmware") + 4
        image = image[:at] + b"X" + image[at + 1 :]
    fill(pg_url, FolderBlobs(tmp_path), image)
    hardware = "default:9.9" if fault == "wrong hardware" else "default:1.0"
    with (
        serving(pg_url, FolderBlobs(tmp_path)) as origin,
        swupdate(folder, origin, vin=VIN, token=TOKEN, hardware=hardware) as log,
    ):
        try:
            done = eventually(lambda: closings(pg_url), within_s=120)
        except AssertionError as silence:
            raise AssertionError(f"no word of the refusal; swupdate said:\n{log.read_text()}") from silence
    assert (done[0]["kind"], done[0]["body"]["finished"]) == ("closed", "failure")
    assert not target.exists() or b"X" not in target.read_bytes()


@dataclass(frozen=True)
class SlowBlobs(FolderBlobs):
    """A store far away, so that there is time to cancel."""

    def read_range(self, sha256: str, *, start: int, length: int) -> bytes:
        time.sleep(0.1)
        return super().read_range(sha256, start=start, length=min(length, 32_768))


def test_it_obeys_a_cancel_during_the_download(pg_url: str, folder: Path, tmp_path: Path) -> None:
    target = folder / "installed.bin"
    fast, slow = FolderBlobs(tmp_path), SlowBlobs(tmp_path)
    image = make_swu(folder, bytes(2_000_000), version="2", installed=target)
    fill(pg_url, fast, image)
    with serving(pg_url, slow) as origin, swupdate(folder, origin, vin=VIN, token=TOKEN) as log:
        eventually(lambda: b"artifacts" in log.read_bytes() or b"ownload" in log.read_bytes(), within_s=120)
        with psycopg.connect(pg_url, autocommit=True) as conn:
            conn.execute("UPDATE assignment SET state = 'cancelling'")
        done = eventually(lambda: closings(pg_url), within_s=120)
    assert (done[0]["kind"], done[0]["body"]["finished"]) == ("cancel", "success")
    assert not target.exists()
