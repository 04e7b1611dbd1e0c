"""Update agent of an ECU that is updated over HTTP, in the manner of SOVD: register, prepare, execute, status.

1. prepare: POST /updates, the bytes to /bulk-data/updates/{id}, PUT /updates/{id}/prepare, then its status.
2. activate: PUT /updates/{id}/execute; the ECU restarts on trial, at once or a moment after it answered, and is asked
   until the image runs, the update's status says that it failed or is forgotten, or `RESTART_S_MAX` is over.
3. commit and rollback: PUT /updates/{id}/x-ringroad-commit or -rollback, for which SOVD has no word.

The id of an update is the SHA-256 of its image. Its settings: ``url``, and ``ca_file`` for an https of one's own.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

import httpx
import msgspec

from ringroad.kernel.errors import InvalidInput, Unavailable
from ringroad.vehicle.agents.base import (
    CheckKind,
    DataItem,
    Done,
    EcuImage,
    EcuInventory,
    Failed,
    Fault,
    ImageSource,
    Outcome,
    Progress,
    Reason,
    Software,
    is_as_signed,
    unfit,
)
from ringroad.vehicle.agents.plugins import AgentSite
from ringroad.vehicle.agents.session import CONFIRMED_FAULT, RESTART_S_MAX, Refusal, guarded
from ringroad.vehicle.agents.sovd_selftest import self_test
from ringroad.vehicle.agents.sovd_wire import (
    Faults,
    Identification,
    Identified,
    Items,
    NotThere,
    Status,
    body_of,
    decode,
    reason_named,
    refusal_of,
)

CHUNK_BYTES: Final = 1 << 18
REQUEST_S_MAX: Final = 30.0  # s; one request, its bytes included
PREPARE_S_MAX: Final = 600.0  # s; the ECU hashes what it was sent
POLL_S: Final = 0.1
Holds = Callable[[Software | None, EcuImage], bool]
DATA_MAX: Final = 256  # of one ECU that are listed
TRANSFERS_MAX: Final = 5  # times that a broken transfer is taken up again in one call
FAILS_OVER_IT: Final = "server_error"  # code of an answer that says no more than that it went wrong


class SovdAgent:
    """An `UpdateAgent` for one ECU behind HTTP.

    Args:
        site: of the ECU; its secret is the bearer token.
        transport: for simulations; default is the network.
    """

    def __init__(self, site: AgentSite, transport: httpx.AsyncBaseTransport | None = None) -> None:
        site.known("url", "ca_file")
        if site.mode != "ab":
            raise InvalidInput(
                f'{site.name}: updates over HTTP are staged beside what runs, so its mode is "ab"'
            )
        self._site = site
        self._url = site.setting("url").rstrip("/")
        if not self._url.startswith(("http://", "https://")):
            raise InvalidInput(f"{site.name}: the setting url is no address", hint='url = "https://..."')
        ca_file = site.setting("ca_file", "")
        try:
            self._tls = ssl.create_default_context(cafile=ca_file) if ca_file else None
        except OSError as error:
            raise InvalidInput(f"{site.name}: {ca_file} cannot be read as certificates") from error
        self._transport = transport
        self._client: httpx.AsyncClient | None = None

    async def prepare(self, image: EcuImage, source: ImageSource, *, progress: Progress) -> Outcome:
        """Send the image, and have it checked."""
        return await guarded(self._prepare(image, source, progress))

    async def install(self, image: EcuImage, source: ImageSource, *, progress: Progress) -> Outcome:
        """Send it again, if what was staged was lost since."""
        return await guarded(self._prepare(image, source, progress, _is))

    async def activate(self, image: EcuImage) -> Outcome:
        """Execute, and wait until the ECU answers with the image."""
        return await guarded(self._activate(image))

    async def verify(
        self,
        image: EcuImage,
        checks: frozenset[CheckKind],
        *,
        known_faults: frozenset[str] = frozenset(),
    ) -> Outcome:
        """Check what runs."""
        return await guarded(self._verify(image, checks, known_faults))

    async def commit(self, image: EcuImage) -> Outcome:
        """Make it permanent; faults of what ran before are cleared."""
        return await guarded(self._commit(image))

    async def rollback(
        self,
        image: EcuImage,
        *,
        backup: EcuImage | None = None,  # noqa: ARG002 - the other bank is the backup
        source: ImageSource | None = None,  # noqa: ARG002
        progress: Progress,  # noqa: ARG002
    ) -> Outcome:
        """Go back to the bank that ran before."""
        return await guarded(self._rollback(image))

    async def inventory(self) -> EcuInventory | Failed:
        """Ask the ECU what it is."""
        return await guarded(self._inventory())

    async def faults(self) -> tuple[Fault, ...] | Failed:
        """Ask the ECU for its stored fault codes alone."""
        return await guarded(self._faults())

    async def fault(self, code: str) -> Mapping[str, Any] | Failed | None:
        """Ask what surrounded a fault."""
        told = await guarded(self._told(f"/faults/{quote(code, safe='')}"))
        if not isinstance(told, Mapping):
            return told
        around = told.get("environment_data", {})
        return around if isinstance(around, Mapping) else {}

    async def clear_faults(self, code: str) -> Outcome:
        """Have a fault forgotten, or all."""
        path = f"/faults/{quote(code, safe='')}" if code else "/faults"
        return await guarded(self._clear(path))

    async def data(self) -> tuple[DataItem, ...] | Failed:
        """Ask which data the ECU tells, beside its identification; an ECU without such a list tells none."""
        return await guarded(self._data())

    async def datum(self, name: str) -> Mapping[str, Any] | Failed | None:
        """Ask for one of them."""
        return await guarded(self._told(f"/data/{quote(name, safe='')}"))

    @property
    def operations(self) -> frozenset[str]:
        """What every ECU of this kind owes: the self-test is a check of updates, a restart is how they begin."""
        return frozenset({"reset", "self-test"})

    async def operate(self, operation: str) -> Mapping[str, Any] | Failed:
        """Test the ECU, or restart it and wait until it answers."""
        return await guarded(self._operate(operation))

    async def close(self) -> None:
        """Drop the connection."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    # Verbs -----------------------------------------------------------------------------------------

    async def _prepare(
        self, image: EcuImage, source: ImageSource, progress: Progress, is_staged: Holds = is_as_signed
    ) -> Outcome:
        found = await self._identify()
        if _is(found.running, image):
            return Done(already=True)
        refused = unfit(image, hardware_id=found.hardware_id, committed_counter=found.committed_counter)
        if refused is not None:
            return refused
        if is_staged(found.staged, image):
            return Done(already=True)
        await self._check(image, source)
        fields = {
            "version": image.target.version, "sha256": image.sha256, "length": image.length_bytes,
            "release_counter": image.release_counter, "hardware_id": found.hardware_id,
        }  # fmt: skip
        await self._ask("POST", "/updates", msgspec.json.encode(fields))
        await self._send(image, source, progress)
        await self._ask("PUT", f"/updates/{image.sha256}/prepare")
        status = await self._until_ended(image)
        if status.status != "completed":
            return Failed(reason=reason_named(status.vendor_code), detail=status.vendor_code)
        return Done()

    async def _check(self, image: EcuImage, source: ImageSource) -> None:
        """Hash the image before anything is erased for it."""
        digest = hashlib.sha256()
        done = 0
        while done < image.length_bytes:
            chunk = await source.read(done, min(CHUNK_BYTES, image.length_bytes - done))
            if not chunk:
                break
            digest.update(chunk)
            done += len(chunk)
        if done != image.length_bytes or digest.hexdigest() != image.sha256:
            raise Refusal(Reason.HASH_MISMATCH, f"{image.filename} is not the signed image")

    async def _send(self, image: EcuImage, source: ImageSource, progress: Progress) -> None:
        """Send what is not there yet, and go on where a connection broke."""
        for attempt in range(1, TRANSFERS_MAX + 1):
            try:
                done = (await self._status(image)).received_bytes
                while done < image.length_bytes:
                    chunk = await source.read(done, min(CHUNK_BYTES, image.length_bytes - done))
                    place = f"bytes {done}-{done + len(chunk) - 1}/{image.length_bytes}"
                    path = f"/bulk-data/updates/{image.sha256}"
                    await self._ask("PUT", path, chunk, {"content-range": place})
                    done += len(chunk)
                    progress(done, image.length_bytes)
                return
            except Unavailable:
                if attempt == TRANSFERS_MAX:
                    raise

    async def _until_ended(self, image: EcuImage) -> Status:
        async with asyncio.timeout(PREPARE_S_MAX):
            while True:
                status = await self._status(image)
                if status.status in {"completed", "failed"}:
                    return status
                await asyncio.sleep(POLL_S)

    async def _activate(self, image: EcuImage) -> Outcome:
        found = await self._identify()
        if _is(found.running, image):
            return Done(already=True)
        if not _is(found.staged, image):
            return Failed(reason=Reason.NOT_STAGED, detail="the ECU does not hold this image")
        known = await self._at_work(image)
        await self._ask("PUT", f"/updates/{image.sha256}/execute")
        if not _is((await self._restarted(image, runs=True, known=known)).running, image):
            return Failed(reason=Reason.BOOT_FAILED, detail="the ECU came back with its old software")
        return Done()

    async def _verify(
        self, image: EcuImage, checks: frozenset[CheckKind], known_faults: frozenset[str]
    ) -> Outcome:
        running = (await self._identify()).running
        if running is None:
            return Failed(reason=Reason.BOOT_FAILED, detail="the ECU is in its bootloader")
        if not _is(running, image):
            return Failed(reason=Reason.NOT_ACTIVE, detail=f"{running.version} runs")
        if "version" in checks and running.version != image.target.version:
            return Failed(reason=Reason.VERSION_MISMATCH, detail=f"{running.version!r} is reported")
        if "self_test" in checks and not await self_test(self._ask):
            return Failed(reason=Reason.SELF_TEST_FAILED)
        if "no_new_faults" in checks:
            confirmed = {one.code for one in await self._faults() if one.status & CONFIRMED_FAULT}
            if new := sorted(confirmed - known_faults):
                return Failed(reason=Reason.NEW_FAULTS, detail=", ".join(new))
        return Done()

    async def _commit(self, image: EcuImage) -> Outcome:
        found = await self._identify()
        if not _is(found.running, image):
            return Failed(reason=Reason.NOT_ACTIVE, detail="another image runs; activate again")
        await self._ask("DELETE", "/faults")
        if not found.trial and found.committed_counter >= image.release_counter:
            return Done(already=True)
        await self._ask("PUT", f"/updates/{image.sha256}/x-ringroad-commit")
        return Done()

    async def _rollback(self, image: EcuImage) -> Outcome:
        found = await self._identify()
        if _is(found.running, image) and not found.trial:
            if found.committed_counter < image.release_counter:
                return Done(already=True)  # it ran before the update
            return Failed(reason=Reason.ALREADY_COMMITTED, detail="roll forward with a new release")
        await self._ask("PUT", f"/updates/{image.sha256}/x-ringroad-rollback")
        if not _is(found.running, image):
            return Done(already=True)
        if _is((await self._restarted(image, runs=False)).running, image):
            return Failed(reason=Reason.BOOT_FAILED, detail="the ECU did not go back")
        return Done()

    async def _inventory(self) -> EcuInventory:
        found = await self._identify()
        return EcuInventory(
            serial=found.serial,
            hardware_id=found.hardware_id,
            mode="application" if found.running is not None else "bootloader",
            running=found.running,
            trial=found.trial,
            staged=found.staged,
            committed_counter=found.committed_counter,
            faults=await self._faults(),
        )

    async def _clear(self, path: str) -> Outcome:
        await self._identify()
        await self._ask("DELETE", path)
        return Done()

    async def _operate(self, operation: str) -> Mapping[str, Any]:
        before = await self._identify()
        if operation == "self-test":
            return {"passed": await self_test(self._ask)}
        try:
            await self._ask("POST", f"/operations/{operation}/executions")
            taken = True
        except Unavailable:
            taken = False  # it may restart before it answers
        running = (await self._started_again(before, taken=taken)).running
        if running is None and before.running is not None:
            raise Refusal(Reason.BOOT_FAILED, "the ECU came back in its bootloader")
        return {"software_version": running.version if running is not None else ""}

    async def _started_again(self, before: Identification, *, taken: bool) -> Identification:
        """Ask until the ECU has started again; return what it says then.

        An answer alone says nothing: the restart may still come. Where the ECU counts its starts, that count decides; else
        it has to take the order, be away, and come back.

        Args:
            before: what it said before the order.
            taken: whether it took the order.

        Raises:
            Unavailable: it does not answer.
            Refusal: another ECU answers, or no restart was seen.
        """
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + RESTART_S_MAX
        away = False
        while True:
            over = loop.time() >= give_up_at
            try:
                found = await self._identify()
                counted = not {before.boot, found.boot} & {"", None}
                if (found.boot != before.boot) if counted else (taken and away):
                    return found
                if over:
                    why = "" if counted or taken else ": it did not answer the order, and counts no starts"
                    raise Refusal(Reason.BOOT_FAILED, f"no restart was seen in {RESTART_S_MAX:g} s{why}")
            except Unavailable:
                away = True
                if over:
                    raise
            await asyncio.sleep(POLL_S)

    async def _data(self) -> tuple[DataItem, ...]:
        try:
            listed = decode(await self._ask("GET", "/data"), Items).items[:DATA_MAX]
        except NotThere:
            return ()
        return tuple(
            DataItem(id=each.id, name=each.name or each.id, category=each.category) for each in listed
        )

    async def _told(self, path: str) -> Mapping[str, Any] | None:
        """Return what the ECU tells at a place; None where there is nothing."""
        await self._identify()
        try:
            return decode(await self._ask("GET", path), dict[str, Any])
        except NotThere:
            return None
        except Unavailable as error:
            if error.code != FAILS_OVER_IT:
                raise
            raise Refusal(Reason.BUSY, error.message) from error  # it answered just now: it is not away

    # Requests --------------------------------------------------------------------------------------

    async def _identify(self) -> Identification:
        found = decode(await self._ask("GET", "/data/identification"), Identified).data
        if found.serial != self._site.serial:
            detail = f"{found.serial!r} answers instead of {self._site.serial!r}"
            raise Refusal(Reason.SERIAL_MISMATCH, detail)
        return found

    async def _restarted(self, image: EcuImage, *, runs: bool, known: bool = False) -> Identification:
        """Ask until the image runs, or no longer does; return what was last said when that has failed.

        An answer with the software of before says nothing yet: the restart may still come.

        Args:
            image: that was executed or rolled back.
            runs: whether it should run.
            known: whether the ECU had the update at work; if it has forgotten it, it has restarted.
        """
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + RESTART_S_MAX
        ended = False
        while True:
            try:
                found = await self._identify()
                if ended or _is(found.running, image) is runs or loop.time() >= give_up_at:
                    return found
                # What runs is asked once more after that: the restart may have come between the two questions.
                ended = known and not await self._at_work(image)
                if ended:
                    continue
            except Unavailable:
                if loop.time() >= give_up_at:
                    raise
            await asyncio.sleep(POLL_S)

    async def _at_work(self, image: EcuImage) -> bool:
        """Return whether the ECU knows the update and has not given it up."""
        try:
            return (await self._status(image)).status != "failed"
        except Refusal:
            return False

    async def _status(self, image: EcuImage) -> Status:
        return decode(await self._ask("GET", f"/updates/{image.sha256}/status"), Status)

    async def _faults(self) -> tuple[Fault, ...]:
        items = decode(await self._ask("GET", "/faults"), Faults).items
        return tuple(Fault(code=one.code, status=one.status.mask) for one in items)

    async def _ask(
        self, method: str, path: str, content: bytes = b"", headers: dict[str, str] | None = None
    ) -> bytes:
        """Send one request; return the body of a good answer.

        Raises:
            Unavailable: no answer, or the ECU restarts.
            Refusal: it said no.
        """
        if self._client is None:
            self._client = httpx.AsyncClient(
                base_url=f"{self._url}/v1", transport=self._transport, timeout=REQUEST_S_MAX,
                verify=self._tls or True, trust_env=False,
                headers={"authorization": f"Bearer {self._site.secret.hex()}", "accept-encoding": "identity"},
            )  # fmt: skip
        try:
            async with self._client.stream(method, path, content=content, headers=headers) as answer:
                body = await body_of(answer)
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise Unavailable(f"{self._site.name} does not answer: {type(error).__name__}") from error
        if answer.status_code >= 500:
            raise Unavailable(f"{self._site.name} answers {answer.status_code}", code=FAILS_OVER_IT)
        if answer.status_code >= 300:
            raise refusal_of(answer, body)
        return body


def _is(software: Software | None, image: EcuImage) -> bool:
    return software is not None and software.sha256 == image.sha256
