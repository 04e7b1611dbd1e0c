"""The management API as the people and plants of a simulation use it: patient, and safe to repeat."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx

from ringroad.kernel.errors import Unavailable
from ringroad.protocol.refusal import error_of

TIMEOUT_S = 30.0
RETRIES_MAX = 120  # a server that was killed is back within seconds, its database may take longer
RETRY_S = 0.5

Done = Callable[[], Awaitable[Any]]


class Api:
    """One person's access to the management API.

    A server or database that is away is waited for. A command whose answer was lost may have been done: it is sent
    again only where doing it twice changes nothing, or after a look at the server that says it was not.

    Args:
        client: with the server's address.
        token: API token.
        sleep: waits real seconds; a server that restarts is waited for.
        attempts_max: how often a request is sent while there is no answer.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        token: str,
        sleep: Callable[[float], Any],
        *,
        attempts_max: int = RETRIES_MAX,
    ) -> None:
        self._client = client
        self._attempts_max = attempts_max
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
        self, method: str, path: str, *, attempts_max: int | None = None, **given: Any
    ) -> httpx.Response:
        """Send a request, again while the server is away.

        Raises:
            RingroadError: by the status of the answer.
        """
        wanted = self._attempts_max if attempts_max is None else attempts_max
        for attempt in range(wanted):
            last = attempt == wanted - 1
            try:
                answer = await self._client.request(method, f"/api/v1{path}", headers=self._headers, **given)
            except httpx.TransportError as error:
                if last:
                    raise Unavailable("the server does not answer", detail=str(error)) from error
            else:
                if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE or last:
                    check_answer(answer)
                    return answer
            await self._sleep(RETRY_S)
        raise Unavailable("the server does not answer")


def check_answer(answer: httpx.Response) -> None:
    """Raise what the server said, if it is not a success.

    Raises:
        Unavailable: also for a fault of the server's own; a plant waits rather than giving its cars up.
        RingroadError: by the kind that the server names.
    """
    if answer.is_success:
        return
    error = error_of(answer.status_code, answer.content)
    if answer.is_server_error and not isinstance(error, Unavailable):
        raise Unavailable(error.message, hint=error.hint, code=error.code)
    raise error
