"""What a transport system or an AGV says of a shipment, as one JSON message.

On the JetStream subject ``ringroad.milestones.v1.<programme>`` of the stream ``MILESTONES``; the API takes the same.
The same event again, with the same `id`, counts once.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from msgspec import Meta

from ringroad.protocol.vehicle import Message

SUBJECT_PREFIX: Final = "ringroad.milestones.v1."
EVENT_BYTES_MAX: Final = 4 * 1024  # bytes of one message; its three texts sum up to 2.4 kB

Title = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]


class MilestoneEvent(Message, frozen=True, kw_only=True):
    """A shipment reached a milestone."""

    id: Title
    shipment: Title
    milestone: Title
    at: Annotated[datetime, Meta(tz=True)]
