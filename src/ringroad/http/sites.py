"""Build: sites: plants with engines of their own, which go on when they are cut off from this hub."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from litestar import Router
from litestar.params import JSONBody
from msgspec import Meta

from ringroad.build.site import store, store_aside, store_births, store_keys
from ringroad.build.site.flash import Held, Stand
from ringroad.build.site.store_handover import handed_over
from ringroad.build.site.store_held import LineHolds, no_news, read_held
from ringroad.build.site.store_up import try_again
from ringroad.http import site_births
from ringroad.http.auth import Role
from ringroad.http.context import Context, Ctx
from ringroad.http.routes import Command, Done, Go, Id, Limit, Ref, Req, Text, route
from ringroad.kernel.errors import Conflict, NotFound
from ringroad.storage.db import Connection
from ringroad.storage.leaf import Credentials, stored_credentials

BEHIND_S_MAX: Final = (
    60  # seconds that a clock may be behind before a person is told: it drifts, and is put right
)
Address = Annotated[str, Meta(max_length=260, pattern=r"^[A-Za-z0-9.:\[\]_-]*:[0-9]{1,5}$")]


class SiteView(msgspec.Struct, frozen=True, kw_only=True):
    """A site as its hub knows it."""

    id: str
    connected: bool
    cut_off_since: datetime | None
    waiting: int  # events that it had and the hub had not, when it was last heard
    heard_at: datetime | None
    reconciled_at: datetime | None  # last heard with nothing waiting
    conflicts: int
    births_waiting: int  # vehicles that it bore and the hub did not have, when it was last heard
    births_refused: int  # that are kept and not taken, and wait for a person
    births_lacking: int  # that it told and this hub does not have, as after a backup; it tells them again
    events_lacking: int  # likewise, events of its lines and words about their stops
    aside: int  # events of its lines and words about their stops that this hub could not read: they wait for a person
    newer_format: int | None  # what it tells in, which this hub cannot read: the site keeps all until it can
    vin_plant: str | None  # what stands for it in its VINs; none until its key is certified
    key_until: (
        datetime | None
    )  # until when its newest key may seal birth records; none: it has none, or it was revoked
    key_revoked: bool  # the newest
    added_by: str
    added_at: datetime


class SiteConflict(msgspec.Struct, frozen=True, kw_only=True):
    """Where a site and its hub had different truths, and how that was settled."""

    kind: str
    subject: str
    reason: str
    at: datetime


class SiteBirthView(msgspec.Struct, frozen=True, kw_only=True):
    """A birth of a site that could not be taken."""

    vin: str  # '' if it cannot be read
    sha256: str  # of its record
    code: str
    reason: str
    told_at: datetime
    settled_at: datetime | None  # when it was taken after all
    settled_by: str | None


class SiteAsideView(msgspec.Struct, frozen=True, kw_only=True):
    """An event of a site's line, or a word about a stop, that this hub could not read."""

    sha256: str
    programme_id: str
    what: Literal["event", "stop"]
    number: int  # its position, or its number among what the site wrote down
    code: str  # unreadable, or breaks_reader
    reason: str
    told_at: datetime
    settled_at: datetime | None  # when it was taken after all
    settled_by: str | None


class SiteKeyView(msgspec.Struct, frozen=True, kw_only=True):
    """A key of a site that this hub certified."""

    key_id: str
    issued_at: datetime  # when it was certified last
    expires_at: datetime
    revoked_at: datetime | None  # from when on no birth that it signed is taken
    revoked_by: str | None
    reason: str | None


class RevokeKey(Command, frozen=True, kw_only=True):
    """Why no birth that this key signed is taken any more."""

    reason: Text


class NewSite(Command, frozen=True, kw_only=True):
    """A plant that is to be a site."""

    plant_id: Ref
    address: Address | None = (
        None  # where it reaches this hub; none: the first of server_names, and leaf_port
    )


class SiteCredentials(msgspec.Struct, frozen=True, kw_only=True):
    """What a site shows its hub, and by what it knows it; it cannot be read again."""

    site: str
    hub: str
    credentials: str  # the file for `ringroad site join`
    on_line: list[str] = []  # orders whose vehicles are on its lines: they go on there
    standing: list[str] = []  # its stations that stand: a site is not told of stops from before


class LineFlash(msgspec.Struct, frozen=True, kw_only=True):
    """What the end of one line of a site may flash."""

    programme_id: str
    release: str  # name and version; '' for none
    may_flash: bool
    code: str  # why it may not: nothing_held, expired, not_released, image_missing, no_baseline; '' if it may
    reason: str
    coming: str  # the release that the hub wants instead; '' for none
    coming_missing: int  # its images that are not here yet
    refused: str  # an image that it is to flash and that could not be brought here, and why; '' for none


class SiteLink(msgspec.Struct, frozen=True, kw_only=True):
    """This installation as a site: what its hub does not have yet."""

    site: str
    hub: str
    connected: bool
    cut_off_since: datetime | None  # when its hub was last reached; None: it is connected, or never was
    waiting: int
    births_waiting: int
    reached_at: datetime | None
    vin_plant: str | None  # what stands for this plant in its VINs; None until its hub vouches for its key
    held_until: (
        datetime | None
    )  # when the first of what it holds of its hub's word ends; None: it holds nothing
    held_ends: str  # what ends then
    clock_behind_s: (
        int  # that its clock is behind the latest time that it knows of, by which ends are judged; seconds
    )
    hub_reads: (
        int | None
    )  # the newest format that the hub reads, where this site tells in a newer one: what it tells waits
    hub_tells: (
        int | None
    )  # the format that the hub tells in, where this site cannot read it: what the hub says waits
    aside: int  # events and words about stops that the hub could not read, and keeps for a person there
    no_news: str  # why nothing new of its hub's word is held; '' if it is
    lines: list[LineFlash]


@route("GET", "/sites", role=Role.VIEWER, tag="build")
def list_sites(ctx: Ctx) -> list[SiteView]:
    """List sites: who is connected, who is cut off since when, and what waits there."""
    with ctx.connection() as conn:
        return views(ctx, conn)


@route("POST", "/sites", role=Role.ADMIN, tag="build", status=201, errors=[404, 409, 422])
def add_site(ctx: Ctx, request: Req, data: JSONBody[NewSite]) -> SiteCredentials:
    """Let a plant be a site; the answer has its credentials. Again: new ones, the old token ends."""
    if not ctx.settings.leaf_port:
        raise Conflict(
            "this installation hears no sites", hint="set leaf_port, and start it again", code="no_leaf_port"
        )
    token = base64.urlsafe_b64encode(ctx.secret(store.TOKEN_BYTES)).decode().rstrip("=")
    hub = data.address or f"{ctx.settings.cert_names[0]}:{ctx.settings.leaf_port}"
    with ctx.transaction() as conn:
        store.add_site(
            conn, ctx.ids, site_id=data.plant_id, token=token, actor=request.user.name, now=ctx.clock.now()
        )
        under_way = handed_over(conn, data.plant_id)
    ca = (ctx.settings.pki / "ca.pem").read_text("ascii")
    host = hub.rpartition(":")[0]
    with ctx.connection() as conn:
        roots = store_births.first_roots(conn)
    given = Credentials(
        site=data.plant_id, hub=hub, token=token, ca=ca, image_root=roots.get("image", ""),
        director_root=roots.get("director", ""), server_url=f"https://{host}:{ctx.settings.https_port}",
        mqtt=f"{host}:{ctx.settings.mqtt_port}",
    )  # fmt: skip
    return SiteCredentials(
        site=data.plant_id, hub=hub, credentials=given.to_text(), on_line=list(under_way.on_line),
        standing=list(under_way.standing),
    )  # fmt: skip


@route("DELETE", "/sites/{site_id:str}", role=Role.ADMIN, tag="build", errors=[404])
def remove_site(ctx: Ctx, request: Req, site_id: Id) -> Done:
    """Let a plant be no site any more: its token ends."""
    with ctx.transaction() as conn:
        store.remove_site(conn, ctx.ids, site_id=site_id, actor=request.user.name, now=ctx.clock.now())
    return Done(id=site_id, state="removed")


@route("GET", "/sites/{site_id:str}/conflicts", role=Role.VIEWER, tag="build", errors=[404])
def list_conflicts(ctx: Ctx, *, site_id: Id, limit: Limit = 100) -> list[SiteConflict]:
    """List where a site and its hub had different truths, newest first."""
    with ctx.connection() as conn:
        store.get_site(conn, site_id)
        found = store.list_conflicts(conn, site_id, rows_max=limit)
    return [msgspec.convert(each, SiteConflict, from_attributes=True) for each in found]


@route("GET", "/sites/{site_id:str}/births", role=Role.VIEWER, tag="build", errors=[404])
def list_births(ctx: Ctx, *, site_id: Id, limit: Limit = 100) -> list[SiteBirthView]:
    """List births of a site that could not be taken, newest first; each is kept whole."""
    with ctx.connection() as conn:
        store.get_site(conn, site_id)
        found = store_births.list_refused_births(conn, site_id, rows_max=limit)
    return [msgspec.convert(each, SiteBirthView, from_attributes=True) for each in found]


@route(
    "POST",
    "/sites/{site_id:str}/births/{sha256:str}/take",
    role=Role.APPROVER,
    tag="build",
    errors=[404, 409, 422],
)
def take_birth(ctx: Ctx, request: Req, site_id: Id, sha256: Id, data: JSONBody[Go]) -> Done:
    """Take a birth that was refused, by the digest of its record, once what was in its way is gone."""
    del data
    with ctx.transaction() as conn:
        store.get_site(conn, site_id)
        vin = store_births.take_again(
            conn, ctx.ids, site_id=site_id, sha256=sha256, actor=request.user.name, now=ctx.clock.now()
        )
    return Done(id=vin, state="born")


@route("GET", "/sites/{site_id:str}/aside", role=Role.VIEWER, tag="build", errors=[404])
def list_aside(ctx: Ctx, *, site_id: Id, limit: Limit = 100) -> list[SiteAsideView]:
    """List events and stops of a site's lines that this hub could not read, what waits first; each is kept whole."""
    with ctx.connection() as conn:
        store.get_site(conn, site_id)
        found = store_aside.list_aside(conn, site_id, rows_max=limit)
    return [msgspec.convert(each, SiteAsideView, from_attributes=True) for each in found]


@route(
    "POST",
    "/sites/{site_id:str}/aside/{sha256:str}/take",
    role=Role.APPROVER,
    tag="build",
    errors=[404, 409],
)
def take_aside(ctx: Ctx, request: Req, site_id: Id, sha256: Id, data: JSONBody[Go]) -> Done:
    """Try what was put aside again, by its digest: after this hub was brought up to date it may be read."""
    del data
    with ctx.transaction() as conn:
        store.get_site(conn, site_id)
        what = try_again(conn, ctx.ids, ctx.clock, site_id=site_id, sha256=sha256, actor=request.user.name)
    return Done(id=what, state="taken")


@route("GET", "/sites/{site_id:str}/keys", role=Role.VIEWER, tag="build", errors=[404])
def list_keys(ctx: Ctx, *, site_id: Id, limit: Limit = 100) -> list[SiteKeyView]:
    """List the keys of a site that this hub certified, newest first, and which were revoked."""
    with ctx.connection() as conn:
        store.get_site(conn, site_id)
        found = store_keys.list_keys(conn, site_id, rows_max=limit)
    return [msgspec.convert(each, SiteKeyView, from_attributes=True) for each in found]


@route(
    "POST",
    "/sites/{site_id:str}/keys/{key_id:str}/revoke",
    role=Role.ADMIN,
    tag="build",
    errors=[404, 409],
)
def revoke_key(ctx: Ctx, request: Req, site_id: Id, key_id: Id, data: JSONBody[RevokeKey]) -> Done:
    """Take no birth any more that this key signed; those on record stay, and it is certified no more."""
    with ctx.transaction() as conn:
        store_keys.revoke_key(
            conn, ctx.ids, site_id=site_id, key_id=key_id, reason=data.reason, actor=request.user.name,
            now=ctx.clock.now(),
        )  # fmt: skip
    return Done(id=key_id, state="revoked")


@route("GET", "/site", role=Role.VIEWER, tag="build", errors=[404])
def get_link(ctx: Ctx) -> SiteLink:
    """Say what this installation, which is a site, has to tell its hub."""
    with ctx.connection() as conn:
        found = link_view(ctx, conn)
    if found is None:
        raise NotFound("this installation is no site", hint="ringroad site join FILE makes it one")
    return found


def link_view(ctx: Context, conn: Connection) -> SiteLink | None:
    """Return this installation as a site; None: it is none."""
    joined = stored_credentials(ctx.settings.site)
    if joined is None:
        return None
    link, held = store.link_of(conn), read_held(conn)
    connected = link.is_connected(ctx.clock.now())
    until, ends = held.end if held else (None, "")
    return SiteLink(
        site=joined.site, hub=joined.hub, connected=connected, waiting=link.waiting, reached_at=link.reached_at,
        cut_off_since=None if connected else link.reached_at, births_waiting=link.births_waiting,
        vin_plant=held.plant_key.vin_plant if held else None, held_until=until, held_ends=ends,
        clock_behind_s=_behind_s(held, ctx.clock.now()), hub_reads=link.hub_reads,
        hub_tells=link.hub_tells, aside=link.aside, no_news=no_news(conn),
        lines=[_line(each) for each in site_births.lines(ctx, conn)],
    )  # fmt: skip


def _behind_s(held: Held | None, now: datetime) -> int:
    behind_s = (max(held.seen_at, held.verified_at) - now).total_seconds() if held else 0.0
    return round(behind_s) if behind_s > BEHIND_S_MAX else 0


def _line(found: LineHolds) -> LineFlash:
    stands = found.decision if isinstance(found.decision, Stand) else None
    return LineFlash(
        programme_id=found.programme_id, release=found.release, may_flash=stands is None,
        code=stands.code if stands else "", reason=stands.reason if stands else "", coming=found.coming,
        coming_missing=found.coming_missing, refused=found.refused,
    )  # fmt: skip


def builder_of(conn: Connection, programme_id: str) -> str:
    """Return the site that builds a programme; "": it is built here."""
    site = store.builder_of(conn, programme_id)
    return site.id if site else ""


def newest_conflicts(conn: Connection, *, rows_max: int) -> list[tuple[str, store.Conflict]]:
    """Return the newest conflicts of each site, with its name."""
    return [
        (site.id, found)
        for site in store.list_sites(conn)
        if site.conflicts
        for found in store.list_conflicts(conn, site.id, rows_max=rows_max)
    ]


def views(ctx: Context, conn: Connection) -> list[SiteView]:
    """Return every site as it is shown."""
    return [
        _view(ctx.clock.now(), each, store_keys.newest_key(conn, each.id)) for each in store.list_sites(conn)
    ]


def _view(now: datetime, site: store.Site, key: store_keys.SiteKey | None) -> SiteView:
    revoked = key is not None and key.revoked_at is not None
    return SiteView(
        id=site.id, connected=site.cut_off_since(now) is None, cut_off_since=site.cut_off_since(now),
        waiting=site.waiting, heard_at=site.heard_at, reconciled_at=site.reconciled_at, conflicts=site.conflicts,
        births_waiting=site.births_waiting, births_refused=site.births_refused, births_lacking=site.births_lacking,
        events_lacking=site.events_lacking, newer_format=site.speaks, aside=site.aside,
        vin_plant=site.vin_plant, key_until=key.expires_at if key and not revoked else None, key_revoked=revoked,
        added_by=site.added_by, added_at=site.added_at,
    )  # fmt: skip


router = Router(
    "/",
    route_handlers=[
        list_sites,
        add_site,
        remove_site,
        list_conflicts,
        list_births,
        take_birth,
        list_aside,
        take_aside,
        list_keys,
        revoke_key,
        get_link,
    ],
)
