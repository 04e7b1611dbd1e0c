"""The DDI gateway: hawkBit's device API below ``/DEFAULT/controller/v1/<vin>``, all of its operations.

What is said stands in `ddi.py`; who may ask, and how often, in `app.py`.

Invariants: a poll touches memory only; an answer to feedback follows its being durable; what a vehicle has not
agreed to, or may not install yet, is neither shown to it nor taken as its report.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from ringroad.http.device import ddi
from ringroad.http.device.handed_out import HandedOut
from ringroad.http.device.images import legacy_digests, send_image
from ringroad.http.device.overload import Shed
from ringroad.http.device.read_model import Device, Offer, Telling
from ringroad.http.device.steering import Need, is_told
from ringroad.http.device.store import SQL, NewReport
from ringroad.http.device.wire import (
    JSON,
    Answer,
    Receive,
    Reply,
    Request,
    Scope,
    Send,
    header,
    origin_of,
    parse_json_object,
    problem,
    read_body,
)
from ringroad.kernel.errors import Conflict, Forbidden, NotFound, RingroadError
from ringroad.kernel.limits import FEEDBACK_BYTES_MAX
from ringroad.storage.db import Connection

if TYPE_CHECKING:
    from ringroad.http.device.app import Gateways

TENANT: Final = "DEFAULT"
DDI_SCHEME: Final = b"TargetToken "
BUNDLES_KEPT: Final = 1_000  # what a release, or a return, holds for a variant, whose artifacts stay known
_ABOUT: Final = frozenset({"deploymentBase", "cancelAction", "confirmationBase"})
_DONE: Final = Answer(200, b"")
_CLOSED: Final = problem(410, "gone", "this action is closed")


class DdiGateway:
    """Answers everything below ``/<tenant>/controller/v1``."""

    def __init__(self, gateways: Gateways, borrow: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._gateways = gateways
        self._borrow = borrow
        self._bundles: dict[tuple[str, str, str], list[ddi.Artifact]] = {}
        self._handed_out = HandedOut(gateways.writer)

    def express(self, request: Request, reply: Reply) -> bool:
        """Answer a poll or feedback; see `Gateways.express`."""
        # "", tenant, "controller", "v1", id, ...
        match request.method, request.path.split("/"):
            case "GET", ["", tenant, _, _, vin] if tenant == TENANT:
                device = self._device(request, vin)
                reply(device if isinstance(device, Answer) else self._poll(request, vin, device))
            case "POST", ["", tenant, _, _, vin, about, action, "feedback"] if (
                tenant == TENANT and about in _ABOUT
            ):
                device = self._device(request, vin)
                if isinstance(device, Answer):
                    reply(device)
                elif (wait := self._gateways.limit(device)) is not None:
                    reply(wait)
                else:
                    self._feedback(request, reply, vin, device, about=about, action=action)
            case _:
                return False
        return True

    async def answer(self, request: Request, scope: Scope, receive: Receive, send: Send) -> Answer | None:
        """Answer one request, unless it was streamed."""
        parts = request.path.split("/")
        if len(parts) < 5 or parts[1] != TENANT:
            return problem(404, "not_found", "no such tenant", hint=f"the tenant is {TENANT}")
        vin = parts[4]
        device = self._device(request, vin)
        if isinstance(device, Answer):
            return device
        match (request.method, parts[5:]):
            case ("GET", []):
                return await self._gateways.settled(request)
            case ("POST", ["deploymentBase" | "cancelAction" | "confirmationBase", _, "feedback"]):
                request.body = await read_body(receive, bytes_max=FEEDBACK_BYTES_MAX)
                return await self._gateways.settled(request)
            case ("GET", [_, *_]):
                return await self._read(request, scope, send, vin=vin, device=device, rest=parts[5:])
            case ("HEAD", ["softwaremodules", module, "artifacts", filename]):
                return await self._artifact(scope, send, vin, device, module=module, filename=filename)
            case ("PUT" | "POST", rest) if ddi.methods_of(rest) == request.method:
                if (wait := self._gateways.limit(device)) is not None:
                    return wait
                body = await read_body(receive, bytes_max=FEEDBACK_BYTES_MAX)
                return await self._write(rest, body, vin, device)
        allowed = ddi.methods_of(parts[5:])
        if allowed:
            return problem(405, "method", "not with this method", (b"allow", allowed.encode()))
        return problem(404, "not_found", "no such DDI resource")

    def _device(self, request: Request, vin: str) -> Device | Answer:
        device = self._gateways.authenticate(request, vin, scheme=DDI_SCHEME)
        if isinstance(device, Device) and not device.ddi:
            # Here a bare word closes an action; a native vehicle must show its ECUs' signed manifest.
            raise Forbidden("this vehicle speaks Uptane, not DDI", hint="/uptane/v1", code="wrong_gateway")
        return device

    # Reads ----------------------------------------------------------------------------------------

    def _poll(self, request: Request, vin: str, device: Device) -> Answer:
        gateways = self._gateways
        if (away := gateways.turned_away(vin, device, Shed.POLLS)) is not None:
            return away
        found = self._shown(device)
        need = device.need if found is None or found[0] != "confirmationBase" else Need.CHOSEN
        if found is None and device.offer is not None:
            need = Need.WAITING  # until its window opens
        poll_s = gateways.poll_again_s(vin, device, need)
        tag = ddi.poll_tag(device, found)
        known = header(request.headers, b"if-none-match")
        if known is not None:
            what, _, told_s = known.strip(b'"').rpartition(b"-")
            same = what == tag and told_s.isdigit() and len(told_s) < 6
            if same and is_told(int(told_s), poll_s):
                return Answer(304, b"", ((b"etag", known),))
        if found is None and not device.is_asked and not device.installed_action:
            return ddi.idle_answer(poll_s)
        body = ddi.render_poll(device, found, base=self._base(request, vin), poll_s=poll_s)
        return Answer(200, body, (JSON, (b"etag", b'"%b-%d"' % (tag, poll_s))))

    def _shown(self, device: Device) -> ddi.Shown | None:
        if device.offer is None:
            return None
        return ddi.shown(device, self._gateways.model.telling(device, self._gateways.clock.now))

    async def _read(
        self, request: Request, scope: Scope, send: Send, *, vin: str, device: Device, rest: list[str]
    ) -> Answer | None:
        match rest:
            case ["deploymentBase" | "confirmationBase" as about, action]:
                telling = self._offer(device, action, about)
                return await self._deployment(request, scope, vin, telling, about=about)
            case ["cancelAction", action]:
                return Answer(
                    200, ddi.render_cancel(self._offer(device, action, "cancelAction").offer.action_id)
                )
            case ["confirmationBase"]:
                consent = await asyncio.to_thread(self._read_standing_consent, vin)
                return Answer(
                    200,
                    ddi.render_consent(device, self._shown(device), consent, base=self._base(request, vin)),
                )
            case ["installedBase", action]:
                offer = await asyncio.to_thread(self._read_installed, vin, ddi.parse_action_id(action))
                return await self._deployment(
                    request, scope, vin, Telling(offer=offer), about="installedBase"
                )
            case ["softwaremodules", module, "artifacts"]:
                listed = await self._module(vin, device, module)
                base = self._base(request, vin)
                return Answer(200, ddi.render_artifacts([listed], base=base))
            case ["softwaremodules", module, "artifacts", filename]:
                return await self._artifact(scope, send, vin, device, module=module, filename=filename)
        allowed = ddi.methods_of(rest)
        if allowed:
            return problem(405, "method", "not with this method", (b"allow", allowed.encode()))
        return problem(404, "not_found", "no such DDI resource")

    async def _deployment(
        self, request: Request, scope: Scope, vin: str, telling: Telling, *, about: str
    ) -> Answer:
        artifacts = await self._artifacts(telling.offer)
        asked = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("actionHistory", ["0"])[0]
        lines = ddi.parse_history(asked)
        history = await asyncio.to_thread(self._read_history, vin, telling.offer, lines) if lines else None
        body = ddi.render_deployment(
            telling, artifacts, base=self._base(request, vin), about=about, history=history
        )
        etag = b'"%d"' % ddi.fingerprint(body)
        if header(request.headers, b"if-none-match") == etag:
            return Answer(304, b"", ((b"etag", etag),))
        return Answer(200, body, (JSON, (b"etag", etag)))

    def _base(self, request: Request, vin: str) -> str:
        config = self._gateways.config
        return f"{origin_of(request, config.public_url, config.proxies)}/{TENANT}/controller/v1/{vin}"

    def _offer(self, device: Device, action: str, about: str) -> Telling:
        found = self._shown(device)
        if found is None or found[0] != about or found[1].offer.action_id != ddi.parse_action_id(action):
            raise NotFound("this device has no such action")
        return found[1]

    async def _artifacts(self, offer: Offer) -> list[ddi.Artifact]:
        key = (offer.release_id, offer.variant, offer.packages)
        if key not in self._bundles:
            if len(self._bundles) >= BUNDLES_KEPT:
                self._bundles.clear()
            self._bundles[key] = await asyncio.to_thread(self._read_bundle, *key)
        return self._bundles[key]

    async def _module(self, vin: str, device: Device, module: str) -> ddi.Artifact:
        """Return a software module that this device may have: of what it is offered, else of what it runs."""
        offers = [found[1].offer] if (found := self._shown(device)) else []
        if device.installed_action:
            offers.append(await asyncio.to_thread(self._read_installed, vin, device.installed_action))
        for offer in offers:
            for artifact in await self._artifacts(offer):
                if artifact.module_id == module:
                    return artifact
        raise NotFound("this device has no such software module")

    async def _artifact(
        self, scope: Scope, send: Send, vin: str, device: Device, *, module: str, filename: str
    ) -> Answer | None:
        if (away := self._gateways.turned_away(vin, device, Shed.DOWNLOADS)) is not None:
            return away
        artifact = await self._module(vin, device, module)
        offer = device.offer
        note = None if offer is None else partial(self._handed_out.note, vin, offer.action_id)
        if filename == artifact.filename:
            # HEAD is answered here: a signature is for one method.
            if scope["method"] == "GET" and (signed := self._gateways.signed_url) is not None:
                url = await asyncio.to_thread(signed, artifact.sha256)
                if url is not None:
                    if note is not None:  # what the store hands out, nobody tells
                        note()
                    return Answer(307, b"", ((b"location", url.encode()), (b"cache-control", b"no-store")))
            return await send_image(
                scope, send, self._gateways.blobs,
                sha256=artifact.sha256, size=artifact.size, etag=artifact.sha1, before_end=note,
            )  # fmt: skip
        if filename != f"{artifact.filename}.MD5SUM":
            raise NotFound("this software module has no such artifact")
        text = f"{artifact.md5}  {artifact.filename}\n".encode()
        return Answer(200, text, ((b"content-type", b"text/plain"),))

    # Writes ---------------------------------------------------------------------------------------

    async def _write(self, rest: list[str], body: bytes, vin: str, device: Device) -> Answer:
        match rest:
            case ["configData"]:
                mode, data = ddi.parse_config_data(parse_json_object(body))
                claim = device.claimed_action_id
                await self._keep(vin, "config", {"mode": mode, "data": data}, body, claim=claim)
                device.config_wanted = False
            case ["confirmationBase", "activateAutoConfirm"]:
                document = ddi.parse_auto_confirm(parse_json_object(body or b"{}"))
                if device.auto_confirm:
                    raise Conflict("this device agrees to everything already", code="auto_confirm_active")
                await self._keep(vin, "auto_confirm", {"active": True, **document}, body)
                device.auto_confirm = True
            case ["confirmationBase", "deactivateAutoConfirm"]:
                if device.auto_confirm:
                    await self._keep(vin, "auto_confirm", {"active": False}, body)
                    device.auto_confirm = False
            case ["installedBase"]:
                stated = ddi.parse_installed(parse_json_object(body))
                if not await asyncio.to_thread(self._states_news, vin, stated):
                    return _DONE
                await self._keep(vin, "installed", stated, body)
                return Answer(201, b"")
        # 200 and nothing else: SWUpdate takes 204 for an error and never installs.
        return _DONE

    async def _keep(
        self, vin: str, kind: str, content: dict[str, Any], body: bytes, *, claim: int = 0
    ) -> None:
        # With its time: the same words at another time are another statement. Of a claim they say the same each time.
        when = f"claim {claim}" if claim else self._gateways.clock.now().isoformat()
        key = ddi.dedupe_key(f"{kind}:{when}", 0, body)
        report = NewReport(vin=vin, dedupe_key=key, kind=kind, body={"gateway": "ddi", **content})
        await self._gateways.writer.write([report])

    def _feedback(
        self, request: Request, reply: Reply, vin: str, device: Device, *, about: str, action: str
    ) -> None:
        number = ddi.parse_action_id(action)
        update = about == "deploymentBase"
        claimed = number is not None and number == device.claimed_action_id and update
        if number is not None and number == device.unsettled_action_id and update and not claimed:
            claimed = ddi.parse_feedback(parse_json_object(bytes(request.body))).failed
        told = device.offer is not None and device.offer.action_id == number
        if number is not None and number <= device.closed_action_id and not (claimed or told):
            reply(_CLOSED)
            return
        if number is None or not (claimed or told):
            raise NotFound("this device has no such action")
        asked = not claimed and self._gateways.model.asks(device)
        if asked != (about == "confirmationBase"):
            raise NotFound("this device has no such action", hint="it waits for consent" if asked else "")
        body = bytes(request.body)
        document = parse_json_object(body)
        if about == "confirmationBase":
            self._confirmation(request, reply, vin, device, number=number, document=document)
            return
        feedback = ddi.parse_feedback(document)
        cancel = about == "cancelAction"
        closes = feedback.execution == "closed" if cancel else feedback.closes
        kind = "cancel" if cancel else "closed" if closes else "progress"
        if closes and update and not feedback.failed:  # before it is stored: the worker may be quicker
            device.unsettled_action_id = number

        def settle(error: RingroadError | None) -> None:
            if error is None and closes:
                device.close(number)
                device.unsettled_action_id = 0 if feedback.failed else device.unsettled_action_id
            elif error is None:
                device.begin(number)
            reply(_DONE if error is None else self._gateways.refuse(request.path, error))

        report = _report(vin, number, kind, feedback, body)
        self._gateways.writer.put(self._handed_out.with_note(number, report), settle)

    def _confirmation(
        self,
        request: Request,
        reply: Reply,
        vin: str,
        device: Device,
        *,
        number: int,
        document: dict[str, Any],
    ) -> None:
        word, details = ddi.parse_confirmation(document)
        now = self._gateways.clock.now()
        report = NewReport(
            vin=vin, dedupe_key=ddi.dedupe_key(f"confirmation:{now.isoformat()}", number, bytes(request.body)),
            action_id=number, kind="confirmation",
            body={"gateway": "ddi", "confirmation": word, "details": details},
        )  # fmt: skip

        def settle(error: RingroadError | None) -> None:
            if error is None and word == "confirmed":
                device.consent(number)
            reply(_DONE if error is None else self._gateways.refuse(request.path, error))

        self._gateways.writer.put([report], settle)

    # In a thread ----------------------------------------------------------------------------------

    def _read_bundle(self, release_id: str, variant: str, packages: str) -> list[ddi.Artifact]:
        with self._borrow() as conn:
            rows = list(SQL.bundle_packages(conn, release_id=release_id, variant=variant, packages=packages))
        artifacts = []
        for row in rows:
            sha1, md5 = legacy_digests(self._gateways.blobs, row["image_sha256"], row["image_bytes"])
            artifacts.append(
                ddi.Artifact(
                    module_id=row["id"], part="bApp", name=row["name"], version=row["version"],
                    filename=row["filename"], size=row["image_bytes"], sha256=row["image_sha256"],
                    sha1=sha1, md5=md5,
                )
            )  # fmt: skip
        return artifacts

    def _read_installed(self, vin: str, action_id: int | None) -> Offer:
        with self._borrow() as conn:
            row = SQL.installed_action(conn, vin=vin, action_id=action_id or 0)
        if row is None:
            raise NotFound("this device finished no such action")
        return Offer(
            action_id=row["action_id"], kind="update", release_id=row["release_id"], variant=row["variant"],
            packages=row["packages"] or "",
        )  # fmt: skip

    def _read_history(self, vin: str, offer: Offer, lines_max: int) -> dict[str, Any] | None:
        with self._borrow() as conn:
            state = SQL.action_state(conn, vin=vin, action_id=offer.action_id)
            rows = list(SQL.action_history(conn, vin=vin, action_id=offer.action_id, rows_max=lines_max))
        return ddi.history(state, [row["body"] for row in rows], lines_max=lines_max)

    def _read_standing_consent(self, vin: str) -> dict[str, Any] | None:
        with self._borrow() as conn:
            found: dict[str, Any] | None = SQL.standing_consent(conn, vin=vin)
        return found

    def _states_news(self, vin: str, stated: dict[str, str]) -> bool:
        """Tell whether a device runs other than we thought. Raises: NotFound, there is no such release."""
        with self._borrow() as conn:
            row = SQL.stated_release(conn, vin=vin, name=stated["name"], version=stated["version"])
        if row is None:
            raise NotFound("there is no release of this name and version")
        return not row["known"]


def _report(vin: str, action_id: int, kind: str, feedback: ddi.Feedback, body: bytes) -> NewReport:
    content = {
        "gateway": "ddi",
        "execution": feedback.execution,
        "finished": feedback.finished,
        "done": feedback.done,
        "total": feedback.total,
        "details": feedback.details,
    }
    return NewReport(
        vin=vin, dedupe_key=ddi.dedupe_key(kind, action_id, body), action_id=action_id, kind=kind,
        event_at=feedback.event_at, body=content,
    )  # fmt: skip
