"""The worker's threads of a hub and of a site."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from securesystemslib.signer import Signer

from ringroad.build.repository.store import OnlineSigners
from ringroad.build.site.store_key import anchors_of, ensure_key
from ringroad.kernel.clock import new_secret
from ringroad.kernel.errors import InvalidInput
from ringroad.loop.duties import Duty, Tools, load, read_stream
from ringroad.loop.site_trust import Here, run_answering, run_fetching
from ringroad.loop.sites import run_hearing, run_hub, run_site, run_telling
from ringroad.storage.blobs import Blobs
from ringroad.storage.db import connect
from ringroad.storage.leaf import Credentials, stored_credentials
from ringroad.storage.settings import Settings
from ringroad.trust.keys import public_key_dict


def site_duties(settings: Settings) -> list[Duty]:
    """Return the threads of a hub or a site."""
    joined = stored_credentials(settings.site)
    if joined is not None:
        return [
            ("site", _site, (joined.site,)),
            ("hub", _hub, (joined.site,)),
            ("to flash", _to_flash, (joined,)),
        ]
    if not settings.leaf_port:
        return []
    return [("sites", _sites, ()), ("tell sites", _tell_sites, ()), ("answer sites", _answer_sites, ())]


def _sites(tools: Tools) -> None:
    def work(stop: asyncio.Event) -> Coroutine[Any, Any, None]:
        given = tools.settings
        return run_hub(
            given.nats_url, lambda: connect(given.database_url), stop, clock=tools.clock, ids=tools.ids
        )

    read_stream(tools, "sites", work)


def _tell_sites(tools: Tools) -> None:
    def work(stop: asyncio.Event) -> Coroutine[Any, Any, None]:
        given = tools.settings
        return run_telling(given.nats_url, lambda: connect(given.database_url), stop, clock=tools.clock)

    read_stream(tools, "tell sites", work)


def _answer_sites(tools: Tools) -> None:
    held: list[OnlineSigners] = []

    def signer() -> Signer | None:
        if not held:
            held.extend(load(tools))
        return held[0].director_targets if held else None

    def work(stop: asyncio.Event) -> Coroutine[Any, Any, None]:
        given = tools.settings
        return run_answering(
            given.nats_url, lambda: connect(given.database_url), stop, blobs=Blobs(given.blob_url), signer=signer,
            clock=tools.clock, ids=tools.ids,
        )  # fmt: skip

    read_stream(tools, "answer sites", work)


def _to_flash(tools: Tools, joined: Credentials) -> None:
    def work(stop: asyncio.Event) -> Coroutine[Any, Any, None]:
        given, key = tools.settings, ensure_key(tools.settings.site, new_secret)
        anchors = anchors_of(joined, key)
        if anchors is None:
            raise InvalidInput(
                "this site's credentials name no roots: it flashes nothing",
                hint="there: ringroad site add; here: join",
            )
        here = Here(
            anchors=anchors,
            key=public_key_dict(key),
            blobs=Blobs(given.blob_url),
            partial=given.site / "partial",
        )
        return run_fetching(
            given.nats_url, here, lambda: connect(given.database_url), stop, clock=tools.clock, ids=tools.ids
        )

    read_stream(tools, "to flash", work)


def _hub(tools: Tools, site: str) -> None:
    def work(stop: asyncio.Event) -> Coroutine[Any, Any, None]:
        given = tools.settings
        return run_hearing(
            given.nats_url, site, lambda: connect(given.database_url), stop, clock=tools.clock, ids=tools.ids
        )

    read_stream(tools, "hub", work)


def _site(tools: Tools, site: str) -> None:
    def work(stop: asyncio.Event) -> Coroutine[Any, Any, None]:
        given = tools.settings
        return run_site(given.nats_url, site, lambda: connect(given.database_url), stop, clock=tools.clock)

    read_stream(tools, "site", work)
