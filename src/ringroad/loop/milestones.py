"""Bring milestones from the stream to their shipments: once, and what cannot be where a person sees it.

Invariant: a message is acknowledged after its transaction; one that nobody can read is kept with the reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import groupby
from typing import Final

import msgspec
import structlog

from ringroad.build.logistics.milestones import TOLD_MAX, Refused, Told
from ringroad.build.logistics.store import refuse, take_milestones
from ringroad.build.plant.store_events import refuse_message
from ringroad.build.store_packages import get_programme
from ringroad.kernel.clock import Clock, Ids
from ringroad.kernel.errors import NotFound
from ringroad.loop.landing import land
from ringroad.protocol.milestone import EVENT_BYTES_MAX, SUBJECT_PREFIX, MilestoneEvent
from ringroad.storage.db import Connection, Opener, transaction
from ringroad.storage.streams import ACK_WAIT_S, MILESTONES, StreamMessage

LOG = structlog.get_logger(__name__)

ACTOR: Final = "system:milestones"


async def run_milestones(
    nats_url: str,
    conn_opener: Opener,
    stop: asyncio.Event,
    *,
    clock: Clock,
    ids: Ids,
    ack_wait_s: float = ACK_WAIT_S,
) -> None:
    """Take milestones until `stop` is set."""
    await land(
        nats_url, conn_opener, stop, place=MILESTONES, put_aside=_keep, ack_wait_s=ack_wait_s,
        take=lambda conn, messages: land_milestones(conn, ids, clock, messages),
    )  # fmt: skip


def land_milestones(conn: Connection, ids: Ids, clock: Clock, messages: Sequence[StreamMessage]) -> None:
    """Take messages in the order of the stream, each programme's in a transaction of its own."""
    ordered = sorted(messages, key=lambda message: (message.subject, message.seq))
    for subject, group in groupby(ordered, key=lambda message: message.subject):
        programme_id, now, given = _programme_of(subject), clock.now(), list(group)
        read = [_read(message) for message in given]
        told = [each for each in read if isinstance(each, Told)]
        broken = [each for each in read if isinstance(each, Refused)]
        with transaction(conn):
            try:
                get_programme(conn, programme_id)
            except NotFound:
                for message in given:
                    _keep(conn, message, f"there is no programme {programme_id!r}")
                LOG.warning("milestones of an unknown programme", subject=subject, messages=len(read))
                continue
            refuse(conn, programme_id=programme_id, refused=broken, actor=ACTOR, now=now)
            taken = repeated = refused = 0
            for start in range(0, len(told), TOLD_MAX):
                found = take_milestones(
                    conn, ids, programme_id=programme_id, delivered=told[start : start + TOLD_MAX], actor=ACTOR,
                    now=now,
                )  # fmt: skip
                taken, repeated = taken + len(found.taken), repeated + found.repeated
                refused += len(found.refused)
        LOG.info("milestones", subject=subject, taken=taken, repeated=repeated, refused=refused + len(broken))


def _keep(conn: Connection, message: StreamMessage, reason: str) -> None:
    """Keep a message that belongs to no shipment, with its bytes, beside the events of stations that cannot be."""
    programme_id = _programme_of(message.subject)
    refuse_message(conn, message, f"milestone: {reason}", programme_id=programme_id, code="milestone")


def _programme_of(subject: str) -> str:
    return subject.removeprefix(SUBJECT_PREFIX)[:200]


def _read(message: StreamMessage) -> Told | Refused:
    """Return the milestone of a message, or what is wrong with its form."""
    try:
        if len(message.payload) > EVENT_BYTES_MAX:
            return _broken(message, f"it has {len(message.payload)} bytes, limit {EVENT_BYTES_MAX}")
        event = msgspec.json.decode(message.payload, type=MilestoneEvent)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _broken(message, str(error)[:200])
    return Told(id=event.id, shipment=event.shipment, milestone=event.milestone, at=event.at)


def _broken(message: StreamMessage, why: str) -> Refused:
    told = Told(id=f"message {message.seq}", shipment="", milestone="", at=message.received_at)
    return Refused(told=told, reason=f"message {message.seq} is no milestone: {why}")
