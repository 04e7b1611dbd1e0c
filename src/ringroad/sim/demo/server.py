"""The management API as the demo's people and its plant use it; two people, so that four eyes are four."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx

from ringroad.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound, RingroadError, Unavailable
from ringroad.sim.assembly import BaselinePackage, Blueprint
from ringroad.sim.demo.firmware import Firmware
from ringroad.sim.plant import LineOrder, LineSchedule

TIMEOUT_S = 30.0
RETRIES_MAX = 120  # a server that was killed is back within seconds, its database may take longer
RETRY_S = 0.5
ORDERS_MAX = 1_000  # one page

_ERRORS: Mapping[int, type[RingroadError]] = {
    400: InvalidInput,
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: InvalidInput,
    422: InvalidInput,
    503: Unavailable,
}


Done = Callable[[], Awaitable[Any]]


class Api:
    """One person's access to the management API.

    A server or database that is away is waited for. A command whose answer was lost may have been done: it is sent
    again only where doing it twice changes nothing, or after a look at the server that says it was not.

    Args:
        client: with the server's address.
        token: API token.
        sleep: waits real seconds; a server that restarts is waited for.
    """

    def __init__(self, client: httpx.AsyncClient, token: str, sleep: Callable[[float], Any]) -> None:
        self._client = client
        self._headers = {"Authorization": f"Bearer {token}"}
        self._sleep = sleep

    async def get(self, path: str, **params: Any) -> Any:
        """Read."""
        return (await self._send("GET", path, params=params)).json()

    async def post(
        self, path: str, body: Mapping[str, Any] | None = None, *, done: Done | None = None
    ) -> Any:
        """Do.

        Args:
            path: below /api/v1.
            body: the command.
            done: for commands that must not be done twice; looks whether it was done, and returns what the
                answer would have been, or None.
        """
        if done is None:
            return (await self._send("POST", path, json=dict(body or {}))).json()
        for attempt in range(RETRIES_MAX):
            try:
                return await self.post_once(path, body)
            except Unavailable:
                if attempt == RETRIES_MAX - 1:
                    raise
            await self._sleep(RETRY_S)
            found = await done()
            if found is not None:
                return found
        raise Unavailable("the server does not answer")

    async def post_once(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Do, and leave it to the caller what a lost answer means.

        Raises:
            Unavailable: it may have been done or not.
        """
        return (await self._send("POST", path, attempts_max=1, json=dict(body or {}))).json()

    async def upload(self, path: str, data: bytes, **params: Any) -> Any:
        """Send a file; the same file twice changes nothing."""
        return (await self._send("POST", path, params=params, content=data)).json()

    async def download(self, path: str) -> bytes:
        """Get a file."""
        return (await self._send("GET", path)).content

    async def _send(
        self, method: str, path: str, *, attempts_max: int = RETRIES_MAX, **given: Any
    ) -> httpx.Response:
        """Send a request, again while the server is away.

        Raises:
            RingroadError: by the status of the answer.
        """
        for attempt in range(attempts_max):
            last = attempt == attempts_max - 1
            try:
                answer = await self._client.request(method, f"/api/v1{path}", headers=self._headers, **given)
            except httpx.TransportError as error:
                if last:
                    raise Unavailable("the server does not answer", detail=str(error)) from error
            else:
                if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE or last:
                    _check(answer)
                    return answer
            await self._sleep(RETRY_S)
        raise Unavailable("the server does not answer")


def _check(answer: httpx.Response) -> None:
    if answer.is_success:
        return
    try:
        error = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        error = {"code": "", "message": f"HTTP {answer.status_code}", "hint": ""}
    kind = _ERRORS.get(answer.status_code, Unavailable)
    raise kind(error["message"], hint=error.get("hint", ""), code=error.get("code", ""))


class Server:
    """What the story does, in the words of the story.

    Args:
        operator: prepares.
        approver: approves.
    """

    def __init__(self, operator: Api, approver: Api) -> None:
        self._operator = operator
        self._approver = approver
        self._images: dict[str, bytes] = {}  # by sha256: the plant's own store
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
            orders = await self._operator.get("/orders", programme_id=programme_id, limit=ORDERS_MAX)
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
        await self._approve(path, "draft", "planned")
        await self._operator.post(f"{path}/start", done=self._left(path, "approved"))
        return str(made["id"])

    async def _approve(self, path: str, *states: str) -> None:
        """Let the other person read what is at `path`, and approve exactly that."""
        seen = await self._approver.get(path)
        body = {"generation": seen["generation"]}
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

    async def counts(self, campaign_id: str) -> dict[str, int]:
        """Return how many vehicles of a campaign are in each state."""
        counts: Counter[str] = Counter()
        for row in await self._operator.get(f"/campaigns/{campaign_id}/progress"):
            counts[row["state"]] += row["vehicles"]
        return dict(counts)

    # The plant's side (`sim.plant.Registrar`) ------------------------------------------------------------

    async def blueprint(self, programme_id: str, *, variant: str, region: str) -> Blueprint:
        """Return what to build: ECUs of the programme, packages of the baseline with their images."""
        document = (await self._operator.get(f"/programmes/{programme_id}"))["document"]
        baseline = await self._operator.get(f"/programmes/{programme_id}/baseline/{variant}")
        packages = {}
        for package in baseline["packages"]:
            sha256 = package["image_sha256"]
            if sha256 not in self._images:
                self._images[sha256] = await self._operator.download(f"/packages/{package['id']}/image")
            packages[package["ecu"]] = BaselinePackage(
                ecu=package["ecu"], filename=package["filename"], version=package["version"],
                format=package["format"], image=self._images[sha256], release_counter=package["release_counter"],
                hardware_ids=tuple(package["hardware_ids"]),
            )  # fmt: skip
        return Blueprint(
            programme_id=programme_id,
            variant=variant,
            region=region,
            release_id=baseline["release_id"],
            ecus={name: document["ecus"][name] for name in document["variants"][variant]["ecus"]},
            packages=packages,
        )

    def registrar(self, programme_id: str) -> PlantApi:
        """Return the plant's access."""
        return PlantApi(self, self._operator, programme_id)


class PlantApi:
    """What the plant asks of the server, over HTTP."""

    def __init__(self, server: Server, api: Api, programme_id: str) -> None:
        self._server = server
        self._api = api
        self._programme_id = programme_id

    async def current_schedule(self) -> LineSchedule | None:
        """Return the newest schedule, or None before the first."""
        found = await self._api.get(f"/programmes/{self._programme_id}/schedules", limit=1)
        if not found:
            return None
        document = found[0]["document"]
        wanted: list[str] = document["sequence"]
        orders = await self._api.get("/orders", programme_id=self._programme_id, limit=ORDERS_MAX)
        known = {order["id"]: order for order in orders}
        return LineSchedule(
            generation=found[0]["generation"],
            orders=tuple(
                LineOrder(
                    id=each,
                    variant=known[each]["variant"],
                    region=known[each]["region"],
                    state=known[each]["state"],
                )
                for each in wanted
                if each in known and known[each]["state"] in {"open", "building"}
            ),
            release_id=document["baseline_release_id"],
        )

    async def blueprint(self, *, variant: str, region: str) -> Blueprint:
        """Return the variant's ECUs and the baseline's packages with their images, as they are now."""
        return await self._server.blueprint(self._programme_id, variant=variant, region=region)

    async def start_order(self, order_id: str) -> None:
        """Note that a car entered the line."""
        await self._api.post_once(f"/orders/{order_id}/start")  # the plant knows what a lost answer means

    async def reopen_order(self, order_id: str) -> None:
        """Put an order back whose car left the line unfinished."""
        await self._api.post_once(f"/orders/{order_id}/reopen")

    async def register(self, registration: Mapping[str, Any], *, order_id: str) -> None:
        """Register a new vehicle."""
        body = {**registration, "order_id": order_id}
        installed = {each["serial"]: each for each in body.pop("installed")}
        body["ecus"] = [
            {**ecu, **{key: installed[ecu["serial"]][key] for key in ("filename", "version", "image_sha256")}}
            for ecu in body["ecus"]
        ]
        await self._api.post_once("/vehicles", body)


async def sign_up(client: httpx.AsyncClient, *, one_time: str, password: str) -> str:
    """Turn a one-time token into an account with a password, and return an API token.

    Raises:
        RingroadError: the server refused.
    """
    answer = await client.post("/api/v1/first-login", json={"token": one_time, "password": password})
    _check(answer)
    token: str = answer.json()["token"]
    return token
