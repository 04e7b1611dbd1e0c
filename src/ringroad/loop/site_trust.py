"""Between a site and its hub: what a site must hold to flash and bear vehicles, asked for and answered.

The site asks, the hub answers, never more than a part of a file at a time; what came so far is kept when the line is cut.

Invariants:
    A site is answered where it alone hears, and only about itself and what its own lines flash.
    What the hub answers is used only after it was verified here, images by their digest.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from securesystemslib.signer import Signer

from ringroad.build.site.lines import tell_lines_again
from ringroad.build.site.store import HUB_READS, get_site, note_aside, note_format, tell_again
from ringroad.build.site.store_births import may_have, targets_of, trust_for
from ringroad.build.site.store_held import (
    Anchors,
    drop_certificate,
    forget_refused,
    images_to_fetch,
    note_no_news,
    read_held,
    refuse_image,
    refused_images,
    take_coming,
    take_trust,
)
from ringroad.build.site.store_stops import take_back, what_stands
from ringroad.build.site.store_sums import tell_sums_again
from ringroad.kernel.clock import Clock, Ids
from ringroad.kernel.errors import InvalidInput, NotFound, RingroadError, Unavailable, Untrusted
from ringroad.kernel.limits import METADATA_BYTES_MAX
from ringroad.protocol.site import (
    ASK_FORMAT,
    ASK_SUBJECTS,
    CHUNK_BYTES,
    ERROR_HEADER,
    UP_FORMAT,
    Ask,
    Trust,
    ask_subject,
    format_of,
    inbox_of,
    site_of,
)
from ringroad.storage.blobs import Blobs
from ringroad.storage.broker import open_connection
from ringroad.storage.db import Connection, Opener, transaction
from ringroad.storage.leaf import open_link

LOG = structlog.get_logger(__name__)

ASK_S: Final = 15.0  # seconds between two questions of a site; its metadata is good for days
ASK_SOON_S: Final = 2.0  # seconds, while something that it is to flash is not there
ANSWER_S_MAX: Final = 10.0  # seconds the hub has to answer
RETRY_S: Final = 2.0  # seconds before a hub that did not answer is asked again
LOOK_S: Final = 0.5  # seconds between two looks whether the connection is there
CROSSED: Final = "_R_."  # what the broker makes of a reply that crosses from the account of sites
REFUSES: Final = "hub_refuses"  # code of an answer that is a refusal
ASK_BYTES_MAX: Final = 4_096  # bytes of a question

LoadSigner = Callable[[], Signer | None]


# At the hub ----------------------------------------------------------------------------------------


async def run_answering(
    nats_url: str,
    conn_opener: Opener,
    stop: asyncio.Event,
    *,
    blobs: Blobs,
    signer: LoadSigner,
    clock: Clock,
    ids: Ids,
) -> None:
    """At a hub: answer what sites ask until `stop` is set."""
    with closing(conn_opener()) as conn:
        while not stop.is_set():
            try:
                await _answer_all(
                    nats_url, conn, stop, lambda site, ask: answer(
                        conn, ids, site, ask, blobs=blobs, signer=signer(), clock=clock
                    ),
                )  # fmt: skip
            except (NatsError, OSError, TimeoutError) as error:
                LOG.warning("sites are not answered", error=repr(error))
                if conn.closed:
                    raise  # whoever keeps this going opens another connection
                await _pause(stop, RETRY_S)


async def _answer_all(
    nats_url: str, conn: Connection, stop: asyncio.Event, answering: Callable[[str, bytes], bytes]
) -> None:
    client = await open_connection(nats_url)

    async def hear(message: Msg) -> None:
        site = site_of(message.subject)
        if not message.reply.startswith((f"{inbox_of(site)}.", CROSSED)):
            LOG.warning("a site wants its answer elsewhere", site=site, reply=message.reply[:200])
            return
        try:
            await client.publish(message.reply, await asyncio.to_thread(answering, site, message.data))
        except RingroadError as error:
            LOG.warning("a site is not answered", site=site, error=error.message, detail=error.detail)
            await client.publish(message.reply, b"", headers={ERROR_HEADER: _one_line(error.message)})

    try:
        await client.subscribe(ASK_SUBJECTS, queue="hub", cb=hear)
        while not stop.is_set():
            if not client.is_connected or conn.closed:
                raise OSError("the connection was lost")
            await _pause(stop, LOOK_S)
    finally:
        with contextlib.suppress(NatsError, OSError, TimeoutError):
            await client.close()


def answer(
    conn: Connection, ids: Ids, site: str, raw: bytes, *, blobs: Blobs, signer: Signer | None, clock: Clock
) -> bytes:
    """Return the answer to one question of a site.

    Raises:
        InvalidInput: it cannot be read.
        Unavailable: the site is newer than this hub.
        NotFound: there is no such site, or nothing of that digest for it.
    """
    if len(raw) > ASK_BYTES_MAX:
        raise InvalidInput(f"a question of {len(raw)} bytes; the limit is {ASK_BYTES_MAX}")
    form = format_of(raw)
    if form > ASK_FORMAT:
        raise Unavailable(f"the site asks in format {form}; bring the hub up to date first")
    try:
        ask = msgspec.json.decode(raw, type=Ask)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput("the question cannot be read", detail=str(error)) from error
    with transaction(conn):
        get_site(conn, site)
        if ask.what == "trust":
            return msgspec.json.encode(
                trust_for(
                    conn, ids, signer, site_id=site, key=ask.key or {}, now=clock.now(), standing=ask.standing
                )
            )
        if ask.what == "targets":
            return targets_of(conn, ask.sha256)[ask.offset : ask.offset + CHUNK_BYTES]
        if not may_have(conn, site, ask.sha256):
            raise NotFound("no line of this site flashes that image")
    return blobs.read_range(ask.sha256, start=ask.offset, length=CHUNK_BYTES)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:500]


# At the site ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """This site: who it is, where its images are.

    Attributes:
        anchors: what it trusted from the first day.
        key: its public key.
        blobs: where images are.
        partial: folder of files that are half here.
    """

    anchors: Anchors
    key: dict[str, object]
    blobs: Blobs
    partial: Path


async def run_fetching(
    nats_url: str, here: Here, conn_opener: Opener, stop: asyncio.Event, *, clock: Clock, ids: Ids
) -> None:
    """At a site: hold what its hub says of trust, and the images that its lines flash, until `stop` is set."""
    said = ""
    with closing(conn_opener()) as conn:
        while not stop.is_set():
            wait_s = RETRY_S
            try:
                client = await open_link(nats_url, here.anchors.site)
                try:
                    while not stop.is_set():
                        await fetch(client, here, conn, stop, clock=clock, ids=ids)
                        said = ""
                        await asyncio.to_thread(_note, conn, said, clock)
                        await _pause(stop, await asyncio.to_thread(_wait_s, conn, here, clock))
                finally:
                    await client.close()
            except RingroadError as error:
                if error.message != said:
                    LOG.warning("nothing new to flash", reason=error.message, detail=error.detail)
                if conn.closed:
                    raise  # whoever keeps this going opens another connection
                if not stop.is_set():
                    await asyncio.to_thread(_note, conn, error.message, clock)
                said, wait_s = error.message, ASK_S if isinstance(error, Untrusted) else RETRY_S
            except (NatsError, OSError, TimeoutError):
                pass  # cut off; `run_site` says so
            await _pause(stop, wait_s)


def _note(conn: Connection, reason: str, clock: Clock) -> None:
    with transaction(conn):
        note_no_news(conn, reason, now=clock.now())


async def fetch(
    client: Client, here: Here, conn: Connection, stop: asyncio.Event, *, clock: Clock, ids: Ids
) -> None:
    """Ask once: hold what verifies, fetch what is missing, and let lines flash what is whole.

    Raises:
        Unavailable: the hub refuses, or has no keys.
        Untrusted: what it answers does not verify, or it does not vouch for this site's key.
        nats.errors.Error: it cannot be reached.
    """
    site = here.anchors.site
    standing = await asyncio.to_thread(what_stands, conn)
    raw = await _ask(
        client, site, Ask(format=ASK_FORMAT, what="trust", key=here.key, standing=standing), stop
    )
    form = format_of(raw)
    if form > ASK_FORMAT:
        raise Unavailable(f"the hub answers in format {form}; bring this site up to date")
    try:
        given = msgspec.json.decode(raw, type=Trust)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unavailable("the hub's answer cannot be read", detail=str(error)) from error
    await asyncio.to_thread(_do_as_told, conn, given, clock, ids)
    if given.no_certificate:
        raise Untrusted(given.no_certificate, code="not_certified")
    held = await asyncio.to_thread(read_held, conn)
    if held is not None and hashlib.sha256(held.image.targets).hexdigest() == given.targets_sha256:
        targets = held.image.targets
    else:
        targets = await _targets(client, site, given, stop)
    with transaction(conn):
        now_held = take_trust(conn, given, targets=targets, anchors=here.anchors, now=clock.now())
    missing = await asyncio.to_thread(images_to_fetch, conn, now_held, here.blobs.exists)
    for path in here.partial.glob("*"):
        if path.name not in missing:  # of a release that is not wanted any more
            path.unlink(missing_ok=True)
    await _fetch_images(client, here, conn, missing, stop, clock=clock)
    with transaction(conn):
        for programme in take_coming(conn, ids, clock, is_here=here.blobs.exists):
            LOG.info("the line flashes another release", programme_id=programme)


def _do_as_told(conn: Connection, given: Trust, clock: Clock, ids: Ids) -> None:
    """Tell again what the hub lacks, know again what it knows of stops that were told, and vouch for no birth with a key that it vouches for no more."""
    with transaction(conn):
        reads = given.up_format if given.up_format < UP_FORMAT else None
        note_format(conn, HUB_READS, reads, now=clock.now())
        for programme_id in tell_lines_again(conn, given, now=clock.now()):
            LOG.warning("the hub lacks what a line said; it is told again", programme_id=programme_id)
        note_aside(conn, given.aside, now=clock.now())
        tell_sums_again(conn, given.sums_have, now=clock.now())
        if given.births_have is not None:
            again = tell_again(conn, after=given.births_have, now=clock.now())
            if again:
                LOG.warning("the hub lacks births that it had; they are told again", births=again)
        if given.no_certificate:
            drop_certificate(conn)
    for programme_id, raw in ((name, raw) for name, some in given.stops.items() for raw in some):
        try:
            with transaction(conn):
                new = take_back(conn, ids, clock, programme_id, raw)
        except Unavailable:
            raise
        except RingroadError as error:  # it keeps nothing else away
            LOG.warning("a stop that the hub says cannot be here", error=error.message, detail=error.detail)
        else:
            if new:
                LOG.warning("this site forgot how a stop stands; its hub says it", programme_id=programme_id)


async def _targets(client: Client, site: str, given: Trust, stop: asyncio.Event) -> bytes:
    if given.targets_bytes > METADATA_BYTES_MAX:
        raise Untrusted(f"targets of {given.targets_bytes} bytes", code="endless_data")
    raw = b""
    while len(raw) < given.targets_bytes:
        ask = Ask(format=ASK_FORMAT, what="targets", sha256=given.targets_sha256, offset=len(raw))
        part = await _ask(client, site, ask, stop)
        if not part:
            break
        raw += part
    return raw


async def _fetch_images(
    client: Client,
    here: Here,
    conn: Connection,
    missing: Mapping[str, int],
    stop: asyncio.Event,
    *,
    clock: Clock,
) -> None:
    """Bring images here; one that is refused keeps no other away, and is noted with why."""
    with transaction(conn):
        forget_refused(conn, missing.keys())
        refused = refused_images(conn, now=clock.now())
    for sha256, size in missing.items():
        if sha256 in refused:
            continue
        try:
            await _fetch_image(client, here, sha256, size, stop)
        except RingroadError as error:
            if not isinstance(error, Untrusted) and error.code != REFUSES:
                raise
            LOG.warning("an image is not here", sha256=sha256, reason=error.message, detail=error.detail)
            with transaction(conn):
                refuse_image(conn, sha256, error.message, now=clock.now())


async def _fetch_image(client: Client, here: Here, sha256: str, size: int, stop: asyncio.Event) -> None:
    """Bring an image here, from where it stopped the last time. Raises: Untrusted, it is another."""
    here.partial.mkdir(mode=0o700, exist_ok=True)
    path = here.partial / sha256
    with path.open("ab") as sink:
        while sink.tell() < size and not stop.is_set():
            ask = Ask(format=ASK_FORMAT, what="image", sha256=sha256, offset=sink.tell())
            part = await _ask(client, here.anchors.site, ask, stop)
            if not part:
                break
            sink.write(part)
        whole = sink.tell() >= size
    if not whole:
        return
    try:
        await asyncio.to_thread(here.blobs.put_file, path, expected_sha256=sha256)
    except Untrusted:
        path.unlink(missing_ok=True)
        raise
    path.unlink(missing_ok=True)


async def _ask(client: Client, site: str, ask: Ask, stop: asyncio.Event) -> bytes:
    """Return the hub's answer. Raises: Unavailable, the hub refuses, or this process ends; nats.errors.Error."""
    subject, payload = ask_subject(site), msgspec.json.encode(ask)
    asked = asyncio.create_task(client.request(subject, payload, timeout=ANSWER_S_MAX))
    ended = asyncio.create_task(stop.wait())
    await asyncio.wait({asked, ended}, return_when=asyncio.FIRST_COMPLETED)
    ended.cancel()
    if not asked.done():
        asked.cancel()
        raise Unavailable("this process ends")
    try:
        found = asked.result()
    except NoRespondersError as error:
        raise Unavailable(
            "the hub is not reached, or is of a version that gives sites nothing to flash",
            hint="bring the hub up to date first",
        ) from error
    refused = (found.headers or {}).get(ERROR_HEADER)
    if refused is not None:
        raise Unavailable(f"the hub refuses: {refused[:500]}", code=REFUSES)
    return found.data


def _wait_s(conn: Connection, here: Here, clock: Clock) -> float:
    held = read_held(conn)
    if held is None:
        return ASK_SOON_S
    missing = images_to_fetch(conn, held, here.blobs.exists).keys()
    return ASK_SOON_S if missing - refused_images(conn, now=clock.now()).keys() else ASK_S


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
