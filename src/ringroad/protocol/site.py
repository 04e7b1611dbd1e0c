"""Wire messages between a site (a plant with engines of its own) and its hub, and the subjects they travel on.

A site tells what its stations said, in the order in which its line took it; a hub tells what is to be built.
Either may be cut off for days: a message says all that is needed to take it later, or a second time.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from ringroad.kernel.errors import InvalidInput

UP_FORMAT: Final = 1
DOWN_FORMAT: Final = 2  # the newest that a site reads, and 1; a message says the oldest that can say it
ORDERS_MAX: Final = 1_000  # in one message; some 300 kB
SITE_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")  # a token of a subject, and part of a user's name
UP_BYTES_MAX: Final = 512 * 1024  # bytes of events in one message; the broker takes 1 MiB
BIRTH_BYTES_MAX: Final = 960 * 1024  # bytes of one birth; with what is around it, the broker takes it
CHUNK_BYTES: Final = 512 * 1024  # bytes of an answer of the hub that holds a part of a file
ERROR_HEADER: Final = "Ringroad-Error"  # of an answer that is a refusal: why
EVENTS_MAX: Final = 256  # in one message
STOPS_MAX: Final = 32  # in one message; each some 20 kB at most
STANDING_MAX: Final = 64  # stops that a question names
LINES_MAX: Final = 256  # of a site that a message speaks of; of more it speaks in turn
NUMBER_MAX: Final = 2**62  # of anything that is counted; the database's numbers have 64 bits
RECEIVED_YEARS: Final = range(2000, 9999)  # in them a time of a site can be kept, in any zone

REASON_CHARS_MAX: Final = 4_000  # of why a station stands
STANDS_S_MAX: Final = 7 * 86_400  # seconds that one is expected to; a line that stands longer is planned anew

Word = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00]*$")]
Count = Annotated[int, Meta(ge=0, le=NUMBER_MAX)]

UP_STREAM: Final = "SITES_UP"
UP_SUBJECTS: Final = "ringroad.site.v1.*.up"
ASK_SUBJECTS: Final = "ringroad.site.v1.*.ask"
ASK_FORMAT: Final = 1
DOWN_STREAM: Final = "SITES_DOWN"
DOWN_SUBJECTS: Final = "ringroad.site.v1.*.down.>"


class SiteEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event of a station as the site took it."""

    position: Annotated[int, Meta(ge=1, le=NUMBER_MAX)]  # in the fold of the site's line
    seq: Count  # in the site's stream, with received_at: the same however often it is told
    received_at: Annotated[datetime, Meta(tz=True)]  # by the site's broker
    event: msgspec.Raw  # `mes.MesEvent`

    def __post_init__(self) -> None:
        """Refuse a time that a database cannot keep. Raises: ValueError."""
        if self.received_at.year not in RECEIVED_YEARS:
            raise ValueError(f"received_at is outside the years {RECEIVED_YEARS[0]} to {RECEIVED_YEARS[-1]}")


class SiteTest(msgspec.Struct, frozen=True, kw_only=True):
    """A check of the end of the line that a vehicle was registered with."""

    check: Word
    station: Word
    passed: bool
    at: Annotated[datetime, Meta(tz=True)]


class SiteBirth(msgspec.Struct, frozen=True, kw_only=True):
    """A vehicle that a site bore: its record, and what the record does not hold. Known by VIN and the record's digest."""

    number: Annotated[int, Meta(ge=1, le=NUMBER_MAX)]  # of the birth at the site, without gaps
    after: Count  # events of the line that the site had taken before
    programme_id: Word
    record: Annotated[str, Meta(max_length=BIRTH_BYTES_MAX)]  # sealed with the site's key
    gateway: Literal["native", "ddi"]
    token_sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    public_keys: Annotated[dict[str, dict[str, Any]], Meta(max_length=256)]  # by serial of the ECU
    tags: Annotated[list[Word], Meta(max_length=100)] = msgspec.field(default_factory=list)
    tests: Annotated[list[SiteTest], Meta(max_length=1_000)] = msgspec.field(default_factory=list)


class SiteStop(msgspec.Struct, frozen=True, kw_only=True):
    """That a station began to stand, or went on, as the site's ledger has it: told by a person or by an event."""

    seq: Annotated[int, Meta(ge=1, le=NUMBER_MAX)]  # of the fact at the site: rises, with gaps
    after: Count  # events of the line that the site had taken before
    id: Word  # of the stop at the site
    event_id: Word = ""  # of the event that told it, by which its hub knows it; "" for a person's
    station: Word
    kind: Literal["breakdown", "quality"]
    reason: Annotated[str, Meta(max_length=REASON_CHARS_MAX, pattern=r"^[^\x00]*$")]
    options: Annotated[list[Word], Meta(max_length=100)] = msgspec.field(default_factory=list)
    began_at: Annotated[datetime, Meta(tz=True)]
    expected_s: Annotated[int, Meta(ge=1, le=STANDS_S_MAX)]
    stopped_by: Word
    ended_at: Annotated[datetime, Meta(tz=True)] | None = None  # none: it began
    ended_by: Word = ""

    def __post_init__(self) -> None:
        """Refuse times that a database cannot keep, or that cannot be. Raises: ValueError."""
        for at in (self.began_at, self.ended_at or self.began_at):
            if at.year not in RECEIVED_YEARS:
                raise ValueError(f"a stop is outside the years {RECEIVED_YEARS[0]} to {RECEIVED_YEARS[-1]}")
        if self.ended_at is not None and self.ended_at < self.began_at:
            raise ValueError("a stop ends before it began")


class SiteLine(msgspec.Struct, frozen=True, kw_only=True):
    """How far the hub's broker had one line of a site, before this message."""

    programme_id: Word
    told: Count  # position of the last event
    kept_from: Annotated[
        int, Meta(ge=1, le=NUMBER_MAX)
    ]  # position of the oldest that the site could tell again
    stops_told: Count = 0  # seq of the last word about a stop


class SiteSums(msgspec.Struct, frozen=True, kw_only=True):
    """What its stations taught a site's plant: the message of a clone to its parents (`GET /plants/{plant_id}/sums`)."""

    number: Annotated[int, Meta(ge=1, le=NUMBER_MAX)]  # rises; one that is not above the last taken is old
    said: dict[str, Any]


class Up(msgspec.Struct, frozen=True, kw_only=True):
    """What a site tells; without events and births, that it is there."""

    format: int
    sent_at: Annotated[datetime, Meta(tz=True)]
    waiting: Count  # events behind these that the hub does not have yet
    programme_id: Word = ""
    events: Annotated[list[SiteEvent], Meta(max_length=EVENTS_MAX)] = msgspec.field(default_factory=list)
    birth: SiteBirth | None = None  # a hub that knows of none certifies no site's key, so that it bears none
    births_waiting: Count = 0  # behind this one
    births_told: Count = (
        0  # number of the last birth before that the hub's broker has; a hub without it says so
    )
    sums: SiteSums | None = None  # a hub that knows of none takes the rest
    stops: Annotated[list[SiteStop], Meta(max_length=STOPS_MAX)] = msgspec.field(default_factory=list)
    epoch: Count = (
        0  # of the site's database: in another one everything is numbered anew; 0: a site of before
    )
    lines: Annotated[list[SiteLine], Meta(max_length=LINES_MAX)] = msgspec.field(default_factory=list)


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What a site asks of its hub: its word for the site's key and the newest metadata, or a part of a file."""

    format: int
    what: Literal["trust", "targets", "image"]
    key: dict[str, Any] | None = None  # the site's public key; `trust` alone
    sha256: Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?$")] = ""  # of the file
    offset: Count = 0  # in it
    standing: Annotated[list[Word], Meta(max_length=STANDING_MAX)] = msgspec.field(
        default_factory=list
    )  # what stands at the site, by the event that told it, else by its id; `trust` alone


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """What a hub answers about trust: all that a site must verify what it flashes, and vouch for what it bears."""

    format: int
    image_roots: list[str]  # all of them, oldest first
    director_roots: list[str]
    timestamp: str
    snapshot: str
    targets_sha256: str
    targets_bytes: Count
    certificate: str  # of the site's key; "" while this hub has no keys
    no_certificate: str = (
        ""  # why it vouches for this key no more, or not yet; a site of before says that it has no keys
    )
    births_have: Count | None = (
        None  # some behind it are missing here: tell them again; a site of before does not
    )
    events_have: dict[str, Count] = msgspec.field(default_factory=dict)  # by programme, likewise: a position
    stops_have: dict[str, Count] = msgspec.field(default_factory=dict)  # by programme, likewise: a seq
    stops: dict[str, list[msgspec.Raw]] = msgspec.field(
        default_factory=dict
    )  # `SiteStop` by programme: what the site told and has otherwise by now, as after a restore of its database
    sums_have: Count | None = None  # number of the last that were taken; a hub of before does not say
    up_format: int = 1  # the newest of what a site tells that this hub reads
    aside: Count = 0  # of what the site told and this hub could not read: kept here for a person


class DownOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order that waits, or is being built."""

    id: str
    variant: str
    options: list[str]
    region: str
    rush: bool
    due_at: datetime | None
    received_at: datetime
    building: bool
    earliest_at: datetime | None = None  # a hub before windows says none


class DownBaseline(msgspec.Struct, frozen=True, kw_only=True):
    """What the line flashes: the rows of the release and of its packages, without images."""

    release: dict[str, Any]
    packages: list[dict[str, Any]]
    targets: dict[str, dict[str, str]]  # variant -> ECU -> package id
    rxswins: dict[str, str] = msgspec.field(default_factory=dict)  # by type-approved system


class Down(msgspec.Struct, frozen=True, kw_only=True):
    """What a hub tells a site of one programme: how things stand, not what changed, so that the newest is enough.

    A part is the programme, the parent of its plant, some of its orders, or, behind those, the plan: all orders that
    wait, and their sequence.
    """

    format: int
    number: Annotated[int, Meta(ge=1)]  # rises; a lower one than was taken is old
    programme_id: str
    source: str | None = None  # of the programme's file
    plant: dict[str, Any] | None = None  # its document; none: the file says the line
    parent: dict[str, Any] | None = (
        None  # document of the plant that this one is a clone of; older sites pass it over
    )
    blocked: dict[str, str] | None = None  # option to reason
    baseline: DownBaseline | None = None
    orders: Annotated[list[DownOrder], Meta(max_length=ORDERS_MAX)] = msgspec.field(default_factory=list)
    open: list[str] | None = None  # ids of all orders that wait or are being built
    sequence: list[str] | None = None  # as the hub would build them


class _Versioned(msgspec.Struct, frozen=True):
    format: int = 0


def format_of(raw: bytes) -> int:
    """Return the format that a message says it has, whatever else it holds; 0: it says none."""
    try:
        return msgspec.json.decode(raw, type=_Versioned).format
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0


def check_site_name(site: str) -> None:
    """Refuse a name that cannot be part of a subject. Raises: InvalidInput."""
    if not SITE_NAME.fullmatch(site):
        raise InvalidInput(
            f"{site[:80]!r} cannot be a site's name",
            hint="a plant that is to be a site is named with a-z, 0-9, _ and -, at most 64 of them",
        )


def user_of(site: str) -> str:
    """Return the name under which a site logs in, which is its JetStream domain too; no VIN looks like it."""
    return f"site-{site}"


def up_subject(site: str) -> str:
    """Return the subject on which a site tells its hub."""
    return f"ringroad.site.v1.{site}.up"


def ask_subject(site: str) -> str:
    """Return the subject on which a site asks its hub."""
    return f"ringroad.site.v1.{site}.ask"


def down_subject(site: str, part: str) -> str:
    """Return the subject of one part of what a hub tells a site; a newer message takes an older one's place."""
    return f"ringroad.site.v1.{site}.down.{part}"


def inbox_of(site: str) -> str:
    """Return where a site hears answers: the one thing that it may subscribe to at the hub."""
    return f"_INBOX_{user_of(site)}"


def site_of(subject: str) -> str:
    """Return the site that a subject names."""
    return subject.removeprefix("ringroad.site.v1.").rpartition(".")[0]
