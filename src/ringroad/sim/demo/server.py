"""What the demo's people ask of the management API; two people, so that four eyes are four."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx

from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.limits import PAGE_ROWS_MAX
from ringroad.sim.api import Api, Done, check_answer
from ringroad.sim.demo.firmware import Firmware
from ringroad.sim.registrar import HttpRegistrar


class Server:
    """What the story does, in the words of the story.

    Args:
        operator: prepares.
        approver: approves.
    """

    def __init__(self, operator: Api, approver: Api) -> None:
        self._operator = operator
        self._approver = approver
        self._orders: set[str] = set()  # ids of orders that were placed

    # Build ------------------------------------------------------------------------------------------

    async def import_programme(self, source: str) -> dict[str, Any]:
        """Import the programme."""
        return dict(await self._operator.post("/programmes", {"source": source}))

    async def add_package(
        self, programme_id: str, image: Firmware, *, change_id: str | None
    ) -> dict[str, Any]:
        """Upload an image as a package."""
        params = {
            "programme_id": programme_id, "ecu": image.ecu, "name": image.ecu, "version": image.version,
            "format": image.format,
        }  # fmt: skip
        if change_id:
            params["change_id"] = change_id
        return dict(await self._operator.upload("/packages", image.data, **params))

    async def create_release(
        self, programme_id: str, *, version: str, document: Mapping[str, Any], change_id: str | None
    ) -> dict[str, Any]:
        """Create a release."""
        body: dict[str, Any] = {
            "programme_id": programme_id, "name": f"Roadster {version}", "version": version, "document": document,
        }  # fmt: skip
        if change_id:
            body["change_id"] = change_id

        async def made() -> Any:
            releases = await self._operator.get("/releases", programme_id=programme_id)
            return next((one for one in releases if one["version"] == version), None)

        return dict(await self._operator.post("/releases", body, done=made))

    async def check_release(self, release_id: str) -> None:
        """Check a release as a whole.

        Raises:
            InvalidInput: it has a blocking problem.
        """
        checked = await self._operator.post(f"/releases/{release_id}/check")
        if checked["state"] != "checked":
            problem = next(
                (one for one in checked["findings"] if one["severity"] == "blocking"), {"message": "?"}
            )
            raise InvalidInput(f"the release does not pass: {problem['message']}")

    async def sign_release(self, release_id: str, sign: Callable[[bytes], bytes]) -> None:
        """Fetch what is to be signed, sign it with the offline keys, publish it."""
        pending = await self._approver.get(f"/releases/{release_id}/pending-targets")
        signed = sign(pending["payload"].encode()).decode() if pending["needed"] else ""

        async def is_signed() -> Any:
            release = await self._approver.get(f"/releases/{release_id}")
            return release if release["state"] == "signed" else None

        await self._approver.post(f"/releases/{release_id}/signature", {"signed": signed}, done=is_signed)

    async def set_baseline(self, release_id: str) -> None:
        """Make a release what the line flashes."""
        await self._approver.post(f"/releases/{release_id}/baseline")

    async def add_order(self, programme_id: str, *, variant: str, region: str, rush: bool) -> None:
        """Order a vehicle."""

        async def placed() -> Any:
            orders = await self._operator.get("/orders", programme_id=programme_id, limit=PAGE_ROWS_MAX)
            return next((one for one in orders if one["id"] not in self._orders), None)

        order = await self._operator.post(
            "/orders",
            {"programme_id": programme_id, "variant": variant, "region": region, "rush": rush},
            done=placed,
        )
        self._orders.add(order["id"])

    async def schedule(self, programme_id: str) -> dict[str, Any]:
        """Return the current line schedule."""
        return dict((await self._operator.get(f"/programmes/{programme_id}/schedules", limit=1))[0])

    # Signal, design, adapt --------------------------------------------------------------------------

    async def findings(self, *, state: str) -> list[dict[str, Any]]:
        """List findings."""
        return list(await self._operator.get("/findings", state=state))

    async def accept_finding(self, finding: Mapping[str, Any], *, title: str, target: str) -> dict[str, Any]:
        """Accept a finding into a change, and let the other person approve it."""

        async def proposed() -> Any:
            changes = await self._operator.get("/changes", finding_id=finding["id"])
            return changes[0] if changes else None

        made = await self._operator.post(
            f"/findings/{finding['id']}/accept", {"title": title, "target": target}, done=proposed
        )
        path = f"/changes/{made['id']}"
        await self._approve(path, "proposed")
        return dict(await self._operator.get(path))

    async def outcomes(self, finding_id: str) -> list[dict[str, Any]]:
        """List outcomes of a finding."""
        return list(await self._operator.get("/outcomes", finding_id=finding_id))

    async def lap(self, lap_id: str) -> dict[str, Any]:
        """Return a lap's times."""
        return dict(await self._operator.get(f"/laps/{lap_id}"))

    # Ship -------------------------------------------------------------------------------------------

    async def start_campaign(
        self,
        name: str,
        release_id: str,
        *,
        query: str,
        waves: list[dict[str, int]],
        gate: Mapping[str, int],
        seed: str,
    ) -> str:
        """Create, plan, approve and start a campaign; return its id.

        Raises:
            InvalidInput: the checker blocks the plan.
        """

        async def created() -> Any:
            campaigns = await self._operator.get("/campaigns")
            return next((one for one in campaigns if one["release_id"] == release_id), None)

        made = await self._operator.post("/campaigns", {"name": name, "release_id": release_id}, done=created)
        path = f"/campaigns/{made['id']}"
        plan = await self._operator.post(
            f"{path}/plan",
            {"query": query, "waves": waves, "gate": dict(gate), "vehicle_deadline_s": 600, "seed": seed},
        )
        if not plan["current"]:
            blocking = [one["message"] for one in plan["findings"] if one.get("severity") == "blocking"]
            raise InvalidInput(f"the plan is blocked: {'; '.join(blocking)}")
        warnings = sorted({one["code"] for one in plan["findings"] if one["severity"] == "warning"})
        await self._approve(path, "draft", "planned", acknowledged=warnings)
        await self._operator.post(f"{path}/start", done=self._left(path, "approved"))
        return str(made["id"])

    async def _approve(self, path: str, *states: str, **accepted: list[str]) -> None:
        """Let the other person read what is at `path`, and approve exactly that."""
        seen = await self._approver.get(path)
        body = {"generation": seen["generation"], **accepted}
        await self._approver.post(f"{path}/approve", body, done=self._left(path, *states))

    def _left(self, path: str, *states: str) -> Done:
        """Return a look at whether what is at `path` has left these states."""

        async def look() -> Any:
            found = await self._operator.get(path)
            return None if found["state"] in states else found

        return look

    async def campaign(self, campaign_id: str) -> dict[str, Any]:
        """Read a campaign."""
        return dict(await self._operator.get(f"/campaigns/{campaign_id}"))

    async def counts(self, campaign_id: str, *, wave: int | None = None) -> dict[str, int]:
        """Return how many vehicles of a campaign, or of one of its waves, are in each state."""
        return count_states(await self._operator.get(f"/campaigns/{campaign_id}/progress"), wave=wave)

    def registrar(self, programme_id: str) -> HttpRegistrar:
        """Return the plant's access."""
        return HttpRegistrar(self._operator, programme_id)


def count_states(rows: Sequence[Mapping[str, Any]], *, wave: int | None) -> dict[str, int]:
    """Add up the vehicles of a campaign by state; `wave` None: of all waves. Pure."""
    counts: Counter[str] = Counter()
    for row in rows:
        if wave in {None, row["wave"]}:
            counts[row["state"]] += row["vehicles"]
    return dict(counts)


async def sign_up(client: httpx.AsyncClient, *, one_time: str, password: str) -> str:
    """Turn a one-time token into an account with a password, and return an API token.

    Raises:
        RingroadError: the server refused.
    """
    answer = await client.post("/api/v1/first-login", json={"token": one_time, "password": password})
    check_answer(answer)
    token: str = answer.json()["token"]
    return token
