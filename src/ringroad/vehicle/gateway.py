"""The vehicle's side of the native gateway: HTTPS, our own CA only, nothing trusted that it brings.

What it fetches is believed only after `trust` verified it.
Every failure of the network is `Unavailable`; nothing here retries, so that the one loop that does
(`orchestrator`) sees each failure.

Paths: `protocol/vehicle.py`.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

import httpx
import msgspec

from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import Forbidden, InvalidInput, NotFound, RingroadError, Unavailable, Untrusted
from ringroad.kernel.vin import Vin
from ringroad.protocol.vehicle import HEARS, HEARS_WHY, Acknowledged, Command, Report, ReportBatch
from ringroad.trust.state import VerifiedTarget
from ringroad.trust.verify import FileRequest
from ringroad.vehicle.backoff import AskedToWait, parse_retry_after
from ringroad.vehicle.images import ImageStore
from ringroad.vehicle.peers import PeerCaches
from ringroad.vehicle.receive import SERVER_PACE, Progress, range_of, receive_image

PREFIX: Final = "/uptane/v1"
ANSWER_BYTES_MAX: Final = 256 * 1024  # bytes; of a poll or an acknowledgement of 1000 reports
TIMEOUT_S: Final = 20.0  # s; to connect, and between two pieces of an answer
POOL_CONNECTIONS_MAX: Final = 4  # per vehicle with a client of its own

S = TypeVar("S", Command, Acknowledged)


def tls_context(ca_file: Path) -> ssl.SSLContext:
    """Return a client context that trusts the certificate authority in `ca_file` and no other.

    Raises:
        InvalidInput: the file is missing or holds no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput(f"{ca_file} is not a CA certificate", hint="see ca_file in config.toml") from error
    return context


def new_client(*, ca_file: Path, connections_max: int = POOL_CONNECTIONS_MAX) -> httpx.AsyncClient:
    """Return a client that trusts one authority; many vehicles in one process may share it.

    Raises:
        InvalidInput: the CA file cannot be used.
    """
    return httpx.AsyncClient(
        verify=tls_context(ca_file),
        timeout=TIMEOUT_S,
        trust_env=False,  # a proxy from the environment would see the vehicle's token
        follow_redirects=False,
        limits=httpx.Limits(max_connections=connections_max, keepalive_expiry=120),
    )


class Gateway:
    """One vehicle's conversation with the native gateway."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        vin: Vin,
        token: str,
        clock: Clock,
        server_url: str,
        peers: PeerCaches | None = None,
    ) -> None:
        self._client = client
        self._prefix = f"{server_url.rstrip('/')}{PREFIX}"
        self._vin = vin
        self._headers = {"Authorization": f"Bearer {token}"}
        self._clock = clock
        self._peers = peers
        self._etag = ""
        self._command = Command(kind="none", poll_s=60)

    async def poll(self) -> Command:
        """Return what the server wants; an unchanged answer costs a 304.

        Raises:
            Unavailable, Forbidden, NotFound: see `_failure`.
        """
        headers = {**self._headers, HEARS[0]: HEARS[1], HEARS_WHY[0]: HEARS_WHY[1]}
        if self._etag:
            headers["If-None-Match"] = self._etag
        url = f"{self._prefix}/vehicles/{self._vin}"
        async with self._request("GET", url, headers=headers) as response:
            if response.status_code == httpx.codes.NOT_MODIFIED:
                return self._command
            body = await _read(response, bytes_max=ANSWER_BYTES_MAX)
        self._command = _decode(body, Command)
        self._etag = response.headers.get("etag", "")
        return self._command

    async def fetch(self, request: FileRequest) -> bytes | None:
        """Return a metadata file, or None if the repository has none of that name.

        Raises:
            Untrusted: more bytes than asked for.
            Unavailable, Forbidden: see `_failure`.
        """
        owner = "image" if request.repository == "image" else f"director/{self._vin}"
        url = f"{self._prefix}/{owner}/{request.filename}"
        try:
            async with self._request("GET", url, headers=self._headers) as response:
                return await _read(response, bytes_max=request.bytes_max)
        except NotFound:
            return None

    async def download(self, target: VerifiedTarget, store: ImageStore, *, progress: Progress) -> int:
        """Fetch the image of `target` into `store`, from the peers first, going on where an earlier try ended.

        Returns:
            How many of its bytes peers gave, in this try and in earlier ones.

        Raises:
            Untrusted: the bytes are not the signed ones; what arrived was dropped.
            Unavailable: the connection broke or is too slow; what arrived is kept.
            NotFound: the repository does not have the image.
        """
        if self._peers is not None:
            given = await self._peers.fetch(target, store, progress=progress)
            if given is not None:
                return given
            with suppress(Untrusted):  # a peer's bytes may be before the server's; they are dropped then
                return await self._download(target, store, progress)
        return await self._download(target, store, progress)

    async def _download(self, target: VerifiedTarget, store: ImageStore, progress: Progress) -> int:
        url = f"{self._prefix}/image/targets/{target.sha256}.{target.filename}"
        with store.resume(target) as image:
            if not image.whole:
                async with self._request("GET", url, headers=range_of(image)) as response:
                    await receive_image(
                        response, image, length_bytes=target.length, pace=SERVER_PACE, clock=self._clock,
                        progress=progress,
                    )  # fmt: skip
            return image.finish()

    async def send_reports(self, reports: list[Report]) -> frozenset[str]:
        """Send reports and return the ids of those that the server made durable.

        Raises:
            Unavailable, Forbidden, InvalidInput: see `_failure`.
        """
        url = f"{self._prefix}/vehicles/{self._vin}/reports"
        content = msgspec.json.encode(ReportBatch(reports=reports))
        async with self._request("POST", url, headers=self._headers, content=content) as response:
            body = await _read(response, bytes_max=ANSWER_BYTES_MAX)
        return frozenset(_decode(body, Acknowledged).ids)

    async def put_manifest(self, manifest: bytes) -> None:
        """Upload a signed vehicle version manifest.

        Raises:
            Unavailable, Forbidden, InvalidInput: see `_failure`.
        """
        url = f"{self._prefix}/vehicles/{self._vin}/manifest"
        async with self._request("PUT", url, headers=self._headers, content=manifest):
            return

    @asynccontextmanager
    async def _request(
        self, method: str, url: str, *, headers: dict[str, str], content: bytes | None = None
    ) -> AsyncIterator[httpx.Response]:
        """Send a request and give the open answer, good or 304."""
        try:
            async with self._client.stream(method, url, headers=headers, content=content) as response:
                failure = _failure(response.status_code, url, response.headers.get("retry-after", ""))
                if failure is not None:
                    raise failure
                yield response
        except httpx.HTTPError as error:
            raise Unavailable(
                f"the server cannot be reached: {type(error).__name__}", code="offline", detail=str(error)
            ) from error


def _failure(status: int, url: str, retry_after: str = "") -> RingroadError | None:
    """Return the error of an HTTP status, or None if it is an answer."""
    if status < 300 or status == httpx.codes.NOT_MODIFIED:
        return None
    if status in (429, 503) and (wait_s := parse_retry_after(retry_after)):
        return AskedToWait(f"the server asks to wait {wait_s} s ({status})", wait_s=wait_s)
    match status:
        case 401 | 403:
            return Forbidden(
                "the server refuses this vehicle", hint="is token_file the one it was born with?"
            )
        case 404:
            return NotFound(f"the server has no {url.rpartition('/')[2]}")
        case 408 | 425 | 429:
            return Unavailable(f"the server asks to wait ({status})")
        case _ if status >= 500:
            return Unavailable(f"the server has a problem of its own ({status})")
        case _:
            return InvalidInput(f"the server refuses the request ({status})", code=f"http_{status}")


async def _read(response: httpx.Response, *, bytes_max: int) -> bytes:
    parts, size = [], 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > bytes_max:
            raise Untrusted(f"an answer of more than {bytes_max} bytes", code="endless_data")
        parts.append(part)
    return b"".join(parts)


def _decode(body: bytes, shape: type[S]) -> S:
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Unavailable("the server's answer cannot be read", detail=str(error)) from error
