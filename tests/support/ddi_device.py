"""One DDI device that says what a test tells it to, at a real gateway, and the database behind that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.ship.store.reports import fold_reports
from support.gateways import TOKEN, VIN, FolderBlobs, eventually, fill, rows, serving

IMAGE = bytes(range(256)) * 40


class Device:
    """One DDI device, and the database behind the gateway."""

    def __init__(self, url: str, client: httpx.Client, base: str, action: int) -> None:
        self.url, self.client, self.base, self.action = url, client, base, action

    def get(self, path: str = "", **headers: str) -> httpx.Response:
        return self.client.get(self.base + path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def post(self, path: str, body: object) -> int:
        return self.client.post(self.base + path, json=body).status_code

    def put(self, path: str, body: object) -> int:
        return self.client.put(self.base + path, json=body).status_code

    def links(self) -> dict[str, Any]:
        found: dict[str, Any] = self.get().json()["_links"]
        return found

    def set(self, assignments: str) -> None:
        """Change the action, as the reconciler does, and wait until the gateway knows."""
        before = self.get().headers["etag"].rpartition("-")[0]  # without when to come again
        with psycopg.connect(self.url, autocommit=True) as conn:
            conn.execute(f"UPDATE assignment SET {assignments}")  # noqa: S608 - a test's own words
        eventually(lambda: self.get().headers["etag"].rpartition("-")[0] != before)

    def fold(self) -> list[str]:
        """Fold what was reported, as the worker does; return the outcomes."""
        with psycopg.connect(self.url, row_factory=dict_row) as conn:
            fold_reports(conn, SystemIds(), now=SystemClock().now())
        return [row["outcome"] for row in rows(self.url, "SELECT outcome FROM device_report ORDER BY id")]

    def facts(self) -> list[str]:
        return [row["kind"] for row in rows(self.url, "SELECT kind FROM fact ORDER BY seq")]


@contextmanager
def serving_device(
    pg_url: str, folder: Path, *, success: Mapping[str, object] | None = None, **request: object
) -> Iterator[Device]:
    """Serve one device whose campaign has a plan with these terms."""
    blobs = FolderBlobs(folder)
    action = fill(pg_url, blobs, IMAGE)
    with psycopg.connect(pg_url, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO campaign_plan (id, campaign_id, generation, document, findings, made_by, made_at)"
            " VALUES ('plan_1', 'campaign_1', 1, %s, '[]', 'test', now())",
            (Jsonb({"request": request} | ({"success": success} if success else {})),),
        )
        conn.execute("UPDATE campaign SET plan_id = 'plan_1'")
        conn.execute("UPDATE assignment SET offered_at = now()")
    headers = {"Authorization": f"TargetToken {TOKEN}"}
    with serving(pg_url, blobs, poll_s=1) as origin, httpx.Client(headers=headers, timeout=60) as client:
        yield Device(pg_url, client, f"{origin}/DEFAULT/controller/v1/{VIN}", action)


def feedback(execution: str, finished: str = "none", **result: object) -> dict[str, object]:
    return {
        "status": {
            "execution": execution,
            "result": {"finished": finished, **result},
            "details": [f"{execution} it"],
        }
    }
