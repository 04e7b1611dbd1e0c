"""Serves the driver page, over a small HTTP server of its own (`small_http.py`), for the screen of one vehicle.

It answers seven resources. Whoever reaches the address may speak for the
driver, so it is on loopback unless the configuration names another address.

What keeps pages of others from speaking for the driver:

1. `Host` must be the configured address: a name of somebody else that resolves to it is refused.
2. A word needs the token that only the page itself was given, and an `Origin` of the page where there is one.
3. A word is taken for the update, the phase and the notes that were shown with it (`view.take_word`), or for the
   session as it was shown: by whom, why, how deep, until when.
4. Nothing may frame the page, and it runs no script but its own.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import Conflict, NotFound, Unavailable
from ringroad.vehicle.address import Address
from ringroad.vehicle.consent import write_word
from ringroad.vehicle.diagnostics.sessions import answer_session, look_at_sessions
from ringroad.vehicle.driver.language import Words, choose
from ringroad.vehicle.driver.page import SCRIPT, STYLE, render_page, render_part
from ringroad.vehicle.driver.view import take_word, view_of
from ringroad.vehicle.driver.visits import render_visits
from ringroad.vehicle.files import Durability
from ringroad.vehicle.glance import Glance
from ringroad.vehicle.small_http import (
    Answer,
    BadRequest,
    Limits,
    Request,
    SmallServer,
    plain_answer,
)

FORM_FIELDS_MAX: Final = 10
BY: Final = "driver page"

_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self';"
    " frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class DriverPage:
    """The page of one vehicle."""

    def __init__(
        self,
        *,
        folder: Path,
        glance: Callable[[], Glance],
        heard: Callable[[], None],
        clock: Clock,
        token: str,
        durability: Durability,
    ) -> None:
        """Take what it shows and where it leaves a word.

        Args:
            folder: of the vehicle; a word is left there as `ringroad vehicle consent` leaves it.
            glance: at the orchestrator.
            heard: called after a word was left.
            clock: the vehicle's.
            token: random; a form must send it back.
            durability: of the word.
        """
        self._folder = folder
        self._glance = glance
        self._heard = heard
        self._clock = clock
        self._token = token
        self._durability: Durability = durability

    async def serve(self, address: Address) -> None:
        """Serve until cancelled; an address that cannot be had is tried again."""

        async def answer(request: Request, names: frozenset[str]) -> Answer:
            return self.answer(request, names)

        await SmallServer(answer, headers=_HEADERS, limits=Limits()).serve(address)

    def answer(self, request: Request, names: frozenset[str]) -> Answer:
        """Answer one request; `names`: what it may call this host."""
        if request.headers.get("host", "").lower() not in names:
            return plain_answer(HTTPStatus.MISDIRECTED_REQUEST, "this address has another name")
        words = choose(request.headers.get("accept-language", ""))
        match request.method, request.path.partition("?")[0]:
            case "GET", "/":
                return self._page(self._glance(), words)
            case "GET", "/part":
                return Answer(status=HTTPStatus.OK, body=self._part(self._glance(), words).encode())
            case "GET", "/page.css":
                return Answer(status=HTTPStatus.OK, body=STYLE, kind="text/css")
            case "GET", "/page.js":
                return Answer(status=HTTPStatus.OK, body=SCRIPT, kind="text/javascript")
            case "POST", "/answer":
                return self._hear(request, names, self._keep_word)
            case "POST", "/visit":
                return self._hear(request, names, self._keep_visit)
            case _, "/" | "/part" | "/page.css" | "/page.js" | "/answer" | "/visit":
                return plain_answer(HTTPStatus.METHOD_NOT_ALLOWED, "not with this method")
        return plain_answer(HTTPStatus.NOT_FOUND, "there is no such page")

    def _page(
        self, glance: Glance, words: Words, *, status: HTTPStatus = HTTPStatus.OK, alert: str = ""
    ) -> Answer:
        page = render_page(
            view_of(glance, words), token=self._token, alert=alert, visits=self._visits(glance, words), words=words
        )  # fmt: skip
        return Answer(status=status, body=page.encode())

    def _part(self, glance: Glance, words: Words) -> str:
        visits = self._visits(glance, words)
        return render_part(view_of(glance, words), token=self._token, visits=visits, words=words)

    def _visits(self, glance: Glance, words: Words) -> str:
        sessions = look_at_sessions(self._folder, now=self._clock.now())
        return render_visits(sessions, token=self._token, zone=glance.zone, words=words)

    def _hear(
        self, request: Request, names: frozenset[str], keep: Callable[[Glance, dict[str, str]], None]
    ) -> Answer:
        glance, words = self._glance(), choose(request.headers.get("accept-language", ""))
        origin = request.headers.get("origin", "")
        form = _read_form(request)
        if origin and origin.lower() not in {f"http://{name}" for name in names}:
            return plain_answer(HTTPStatus.FORBIDDEN, "this was sent by another page")
        if not hmac.compare_digest(form.get("token", "").encode(), self._token.encode()):
            # After a restart the page has another token: its driver only looks again.
            alert = words.say("alert.old")
            return self._page(glance, words, status=HTTPStatus.FORBIDDEN, alert=alert)
        try:
            keep(glance, form)
        except (Conflict, NotFound):
            alert = words.say("alert.changed")
            return self._page(glance, words, status=HTTPStatus.CONFLICT, alert=alert)
        except Unavailable as error:
            alert = words.say("alert.not_kept", why=error.message)
            return self._page(glance, words, status=HTTPStatus.SERVICE_UNAVAILABLE, alert=alert)
        self._heard()
        return Answer(status=HTTPStatus.SEE_OTHER, location="/")

    def _keep_word(self, glance: Glance, form: dict[str, str]) -> None:
        said = take_word(
            view_of(glance), action_id=form.get("action_id", ""), phase=form.get("phase", ""),
            word=form.get("word", ""), notes_sha256=form.get("notes_sha256", ""),
        )  # fmt: skip
        write_word(
            self._folder, action_id=said.action_id, word=said.word, through=said.through, by=BY,
            now=self._clock.now(), hours=said.hours, notes_sha256=said.notes_sha256, durability=self._durability,
        )  # fmt: skip

    def _keep_visit(self, _: Glance, form: dict[str, str]) -> None:
        word = form.get("word", "")
        if word not in {"allow", "deny"}:
            raise BadRequest("this is no answer")
        answer_session(
            self._folder, form.get("session", ""), allow=word == "allow", seen=form.get("seen", ""),
            now=self._clock.now(),
        )  # fmt: skip


def _read_form(request: Request) -> dict[str, str]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise BadRequest("this is no form")
    try:
        fields = parse_qs(
            request.body.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=FORM_FIELDS_MAX
        )  # fmt: skip
    except ValueError as error:  # UnicodeDecodeError is one
        raise BadRequest("the form cannot be read") from error
    if any(len(values) != 1 for values in fields.values()):
        raise BadRequest("a field was sent twice")
    return {name: values[0] for name, values in fields.items()}
